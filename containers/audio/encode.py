"""Tracks as the files that users get: wav, flac, mp3, ogg and m4a, written block by block.

The containers of video are here too, with sound alone: whoever wants pictures beside it copies
both streams into one file (`containers.audio.remux`).

Knows what each format can hold, what is converted where it cannot, and with which settings an
encoder keeps the length through a lossy round trip.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from clearstem.errors import AudioOutOfRange, InvalidOption
from containers.audio.compose import Reader
from containers.audio.resample import ResampledReader
from containers.audio.sinks import Codec, FfmpegSink, VorbisSink, picture_size
from containers.audio.stream import BLOCK_FRAMES, Progress, ignore
from containers.audio.xing import set_length

Floats = NDArray[np.float32]

# MPEG-1, MPEG-2 and MPEG-2.5 layer III, and MPEG-4 AAC (ISO/IEC 14496-3, table 1.18).
_MP3_RATES_HZ = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
_AAC_RATES_HZ = (*_MP3_RATES_HZ, 64_000, 88_200, 96_000)
# Opus decodes at 48 kHz whatever went in (RFC 7845, section 5.1).
_OPUS_RATES_HZ = (48_000,)
# One packet of 20 ms. FFmpeg's Matroska demuxer trims no padding of a sound that is shorter.
_OPUS_LEAST_FRAMES = 960


@dataclass(frozen=True, slots=True)
class _Format:
    """What one output format takes."""

    max_channels: int
    bit_depths: tuple[int, ...] = ()
    rates_hz: tuple[int, ...] = ()
    holds_cover: bool = True
    least_frames: int = 1


_FORMATS: Mapping[str, _Format] = {
    "wav": _Format(max_channels=8, bit_depths=(16, 24, 32), holds_cover=False),
    "flac": _Format(max_channels=8, bit_depths=(16, 24)),
    "mp3": _Format(max_channels=2, rates_hz=_MP3_RATES_HZ),
    "ogg": _Format(max_channels=8, holds_cover=False),
    "m4a": _Format(max_channels=8, rates_hz=_AAC_RATES_HZ),
    "mp4": _Format(max_channels=8, rates_hz=_AAC_RATES_HZ),
    "m4v": _Format(max_channels=8, rates_hz=_AAC_RATES_HZ),
    "mov": _Format(max_channels=8, rates_hz=_AAC_RATES_HZ, holds_cover=False),
    "mkv": _Format(max_channels=8, rates_hz=_AAC_RATES_HZ, holds_cover=False),
    "webm": _Format(
        max_channels=8,
        rates_hz=_OPUS_RATES_HZ,
        holds_cover=False,
        least_frames=_OPUS_LEAST_FRAMES,
    ),
    "wmv": _Format(max_channels=8, bit_depths=(16,), holds_cover=False),
}
# How FFmpeg calls the muxers of AAC, and what it is told: the movie clock counts the edit list,
# hence the length, and by default counts in ms.
_AAC_MUXERS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "m4a": ("mp4", {"brand": "M4A "}),
    "mp4": ("mp4", {}),
    "m4v": ("mp4", {"brand": "M4V "}),
    "mov": ("mov", {}),
    "mkv": ("matroska", {}),
}
_DEFAULT_BIT_DEPTH = 24


@dataclass(frozen=True, slots=True)
class Encoded:
    """A file as `encode` left it.

    Attributes
    ----------
    path : Path
        The file.
    format : str
        ``wav``, ``flac``, ``mp3``, ``ogg``, ``m4a``, ``mp4``, ``m4v``, ``mov``, ``mkv``,
        ``webm`` or ``wmv``.
    rate_hz, channels, frames : int
        What it decodes to.
    bit_depth : int or None
        16, 24 or 32 (floating point); None for lossy formats.
    conversions : tuple of str
        What could not be kept, fit to be shown: sample rate, cover art.
    """

    path: Path
    format: str
    rate_hz: int
    channels: int
    frames: int
    bit_depth: int | None
    conversions: tuple[str, ...]


class _Sink(Protocol):
    """An open file of some format."""

    def write(self, block: Floats) -> None: ...

    def close(self) -> None: ...


def check_output(format: str, *, channels: int, bit_depth: int | None = None) -> None:
    """Refuse what `encode` could not write, before any work is put into it.

    Parameters
    ----------
    format : str
        One that `encode` writes.
    channels : int
        Of the recording.
    bit_depth : int or None
        As for `encode`.

    Raises
    ------
    InvalidOption
        If there is no such format, or it has no such bit depth.
    AudioOutOfRange
        If the format holds fewer channels. There is no silent downmix: it would change the
        balance of what was separated.
    """
    known = _FORMATS.get(format)
    if known is None:
        raise InvalidOption(f"no output format {format!r}; there are {', '.join(_FORMATS)}")
    if not 1 <= channels <= known.max_channels:
        fitting = [name for name, other in _FORMATS.items() if channels <= other.max_channels]
        raise AudioOutOfRange(
            f"{format} holds 1 to {known.max_channels} channels, the recording has {channels}; "
            f"formats that hold as many: {', '.join(fitting) or 'none'}"
        )
    if bit_depth is not None and bit_depth not in known.bit_depths:
        accepted = ", ".join(map(str, known.bit_depths)) or "none: it is lossy"
        raise InvalidOption(f"{format} with {bit_depth} bits; accepted: {accepted}")


def encode(
    recording: Reader,
    path: Path,
    *,
    format: str,
    gain: float = 1.0,
    bit_depth: int | None = None,
    tags: Mapping[str, str] | None = None,
    cover: bytes | None = None,
    progress: Progress = ignore,
) -> Encoded:
    """Write a recording as a file of the given format.

    It decodes to as many frames as went in, aligned to the sample; where the format does not
    know the rate, to as many as cover the same time at the nearest rate that it knows. Formats
    of integers are rounded to the nearest step, without dither, and clamped to full scale.

    Parameters
    ----------
    recording : Reader
        What to write; read from front to end, not closed.
    path : Path
        The file to write; overwritten.
    format : str
        ``wav`` (RF64 where it passes 4 GiB), ``flac``, ``mp3`` (320 kbit/s, or the most that
        the rate allows), ``ogg`` (Vorbis, quality 8), ``m4a``, ``mp4``, ``m4v``, ``mov``, ``mkv``
        (AAC, 128 kbit/s a channel), ``webm`` (Opus, 96 kbit/s a channel) or ``wmv`` (16 bits).
    gain : float
        Linear factor on every sample.
    bit_depth : int or None
        wav: 16, 24 or 32 (floating point); flac: 16 or 24; None is 24 bits. Lossy: None.
    tags : mapping of str to str
        Title, artist and the like, as `decode` gives them.
    cover : bytes or None
        JPEG or PNG.
    progress : Progress
        Told after each block, in frames of the file.

    Raises
    ------
    InvalidOption, AudioOutOfRange
        As by `check_output`.
    """
    check_output(format, channels=recording.channels, bit_depth=bit_depth)
    known = _FORMATS[format]
    if known.bit_depths:
        bit_depth = bit_depth or min(_DEFAULT_BIT_DEPTH, max(known.bit_depths))
    source = _at_known_rate(recording, known)
    kept_cover = cover if known.holds_cover and cover and picture_size(cover) else None
    sink = _open_sink(format, path, source, bit_depth=bit_depth, tags=tags or {}, cover=kept_cover)
    try:
        done = 0
        frames = max(source.frames, known.least_frames)
        for block in _blocks(source, frames):
            sink.write(block * np.float32(gain))
            done += block.shape[1]
            progress(done, frames)
    finally:
        sink.close()
    if format == "mp3":
        set_length(path, frames)
    conversions = []
    if frames > source.frames:
        conversions.append(f"{source.frames} frames filled up with silence to {frames}")
    if source.rate_hz != recording.rate_hz:
        conversions.append(
            f"{recording.rate_hz} Hz converted to {source.rate_hz} Hz: {format} has no such rate"
        )
    if cover and not kept_cover:
        why = "it is no picture" if known.holds_cover else f"our {format} files hold none"
        conversions.append(f"cover art left out: {why}")
    return Encoded(
        path, format, source.rate_hz, source.channels, frames, bit_depth, tuple(conversions)
    )


def _at_known_rate(recording: Reader, known: _Format) -> Reader:
    """The recording itself, or converted to the best rate that the format knows."""
    rate_hz = recording.rate_hz
    if not known.rates_hz or rate_hz in known.rates_hz:
        return recording
    # A whole fraction first (96 to 48, 88.2 to 44.1 kHz), else nothing of the band is lost.
    whole = [each for each in known.rates_hz if rate_hz % each == 0 and each >= 32_000]
    above = [each for each in known.rates_hz if each >= rate_hz]
    best = max(whole) if whole else min(above, default=known.rates_hz[-1])
    return ResampledReader(recording, rate_hz=best)


def _blocks(source: Reader, frames: int) -> Iterator[Floats]:
    for start in range(0, frames, BLOCK_FRAMES):
        yield source.read(start, min(start + BLOCK_FRAMES, frames))


def _open_sink(
    format: str,
    path: Path,
    source: Reader,
    *,
    bit_depth: int | None,
    tags: Mapping[str, str],
    cover: bytes | None,
) -> _Sink:
    if format == "ogg":
        return VorbisSink(path, source, tags=tags)
    return FfmpegSink(path, source, codec=_codec(format, source, bit_depth), tags=tags, cover=cover)


def _codec(format: str, source: Reader, bit_depth: int | None) -> Codec:
    if format == "mp3":
        # What LAME takes at most: MPEG-1 320, MPEG-2 160, MPEG-2.5 64 kbit/s.
        most = 320_000 if source.rate_hz >= 32_000 else 160_000
        return Codec(
            "mp3", "libmp3lame", "fltp", "flt", most if source.rate_hz >= 16_000 else 64_000
        )
    if format == "webm":
        return Codec("webm", "libopus", "flt", "flt", 96_000 * source.channels)
    if format in _AAC_MUXERS:
        muxer, asked = _AAC_MUXERS[format]
        clock = {"movie_timescale": str(source.rate_hz)} if muxer != "matroska" else {}
        return Codec(muxer, "aac", "fltp", "flt", 128_000 * source.channels, {**asked, **clock})
    sample_format: Literal["s16", "s32"] = "s16" if bit_depth == 16 else "s32"
    if format == "flac":
        return Codec("flac", "flac", sample_format, sample_format)
    if format == "wmv":
        # ASF tells of no encoder's delay, so the sound must have none.
        return Codec("asf", "pcm_s16le", "s16", "s16")
    options = {"rf64": "auto"}
    if bit_depth == 32:
        return Codec("wav", "pcm_f32le", "flt", "flt", muxer_options=options)
    return Codec("wav", f"pcm_s{bit_depth}le", sample_format, sample_format, muxer_options=options)

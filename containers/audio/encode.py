"""Tracks as the files that users get: wav, aiff, flac, mp3, ogg, opus and m4a, block by block.

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

from clearstem.errors import AudioOutOfRange, InvalidOption, NonFiniteOutput
from containers.audio.compose import Reader
from containers.audio.demuxing import tags_in
from containers.audio.id3_chunk import append_tag
from containers.audio.layouts import LAYOUTS, LIBOPUS_ORDER
from containers.audio.muxing import picture_size
from containers.audio.ogg_comments import set_comments
from containers.audio.pictures import MOST_PIXELS
from containers.audio.resample import ResampledReader
from containers.audio.sinks import LAME_DELAY, Codec, FfmpegSink, LameSink, VorbisSink
from containers.audio.stream import BLOCK_FRAMES, Progress, ignore
from containers.audio.tags import listed
from containers.audio.xing import set_length

Floats = NDArray[np.float32]

# MPEG-1, MPEG-2 and MPEG-2.5 layer III, and MPEG-4 AAC (ISO/IEC 14496-3, table 1.18).
_MP3_RATES_HZ = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
_AAC_RATES_HZ = (*_MP3_RATES_HZ, 64_000, 88_200, 96_000)
# Opus decodes at 48 kHz whatever went in (RFC 7845, section 5.1).
_OPUS_RATES_HZ = (48_000,)
# Chunk sizes of AIFF are signed in many readers; the rest is for header and tags.
_AIFF_BYTES = 2**31 - 2**25
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
    most_bytes: int | None = None


_FORMATS: Mapping[str, _Format] = {
    "wav": _Format(max_channels=8, bit_depths=(16, 24, 32)),
    "aiff": _Format(max_channels=8, bit_depths=(16, 24), most_bytes=_AIFF_BYTES),
    "flac": _Format(max_channels=8, bit_depths=(16, 24)),
    "mp3": _Format(max_channels=2, rates_hz=_MP3_RATES_HZ),
    "ogg": _Format(max_channels=8),
    "opus": _Format(max_channels=8, rates_hz=_OPUS_RATES_HZ),
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
# libFLAC's own default. FFmpeg takes 16384 at 192 kHz, and its demuxer finds no frame then where
# there are six channels or more of loud sound.
_FLAC_FRAME_FRAMES = 4096
# What FFmpeg writes into the CHAN chunk for 7.1 says that the sides come first: none is better.
_AIFF_LAYOUTS = (*LAYOUTS[:7], "8 channels")
_NO_COVER = f"it is no picture of up to {MOST_PIXELS} pixels"
# Tags and cover come into these when the sound is in them (`containers.audio.ogg_comments`).
_OGG = frozenset({"ogg", "opus"})
# In these a tag of their own stands behind the sound (`containers.audio.id3_chunk`).
_CHUNKED = frozenset({"wav", "aiff"})


@dataclass(frozen=True, slots=True)
class Encoded:
    """A file as `encode` left it.

    Attributes
    ----------
    path : Path
        The file.
    format : str
        ``wav``, ``aiff``, ``flac``, ``mp3``, ``ogg``, ``opus``, ``m4a``, ``mp4``, ``m4v``,
        ``mov``, ``mkv``, ``webm`` or ``wmv``.
    rate_hz, channels, frames : int
        What it decodes to.
    bit_depth : int or None
        16, 24 or 32 (floating point); None for lossy formats.
    conversions : tuple of str
        What could not be kept, fit to be shown: sample rate, peaks, cover art, tags.
    """

    path: Path
    format: str
    rate_hz: int
    channels: int
    frames: int
    bit_depth: int | None
    conversions: tuple[str, ...]


class _Sink(Protocol):
    """An open file of some format; `clamps` where it holds nothing beyond full scale."""

    clamps: bool

    def write(self, block: Floats) -> None: ...

    def close(self) -> None: ...


def depths_of(format: str) -> tuple[int, ...]:
    """Bits of a sample that a format is written with, ascending; none where it is lossy.

    Parameters
    ----------
    format : str
        One that `encode` writes.
    """
    return _FORMATS[format].bit_depths


def check_output(
    format: str, *, channels: int, bit_depth: int | None = None, frames: int | None = None
) -> None:
    """Refuse what `encode` could not write, before any work is put into it.

    Parameters
    ----------
    format : str
        One that `encode` writes.
    channels : int
        Of the recording.
    bit_depth : int or None
        As for `encode`.
    frames : int or None
        Length of the recording, where it is known already.

    Raises
    ------
    InvalidOption
        If there is no such format, or it has no such bit depth.
    AudioOutOfRange
        If the format holds fewer channels, or no file of that length. There is no silent
        downmix: it would change the balance of what was separated.
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
    size = (frames or 0) * channels * (bit_depth or _DEFAULT_BIT_DEPTH) // 8
    if known.most_bytes is not None and size > known.most_bytes:
        raise AudioOutOfRange(
            f"{format} holds {known.most_bytes / 2**30:.2f} GiB, the recording takes "
            f"{size / 2**30:.2f} GiB; wav and flac hold it"
        )


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
        ``wav`` (RF64 where it passes 4 GiB), ``aiff`` (up to 2 GiB), ``flac``, ``mp3`` (320
        kbit/s, or the most that the rate allows), ``ogg`` (Vorbis, quality 8), ``m4a``, ``mp4``,
        ``m4v``, ``mov``, ``mkv`` (AAC, 128 kbit/s a channel), ``opus``, ``webm`` (Opus, 96 kbit/s
        a channel) or ``wmv`` (16 bits).
    gain : float
        Linear factor on every sample.
    bit_depth : int or None
        wav: 16, 24 or 32 (floating point); aiff, flac: 16 or 24; None is 24 bits. Lossy: None.
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
    NonFiniteOutput
        If the recording holds NaN or infinite samples.

    Notes
    -----
    Silence decodes to silence, a constant to itself but for the high-pass of LAME; one sample is a
    file of one frame. What lies beyond full scale is kept by float WAV, and to decoders that give
    floats by AAC, Opus and Vorbis; integers and mp3, whose LAME is given 16 bits, clamp it, never
    wrapped, and `Encoded.conversions` counts the samples. Of the formats only AIFF cannot hold ten
    hours.
    """
    check_output(format, channels=recording.channels, bit_depth=bit_depth, frames=recording.frames)
    known = _FORMATS[format]
    if known.bit_depths:
        bit_depth = bit_depth or min(_DEFAULT_BIT_DEPTH, max(known.bit_depths))
    source = _at_known_rate(recording, known)
    kept_cover = cover if known.holds_cover and cover and picture_size(cover) else None
    sink = _open_sink(format, path, source, bit_depth=bit_depth, tags=tags or {}, cover=kept_cover)
    try:
        done = clamped = 0
        frames = max(source.frames, known.least_frames)
        for block in _blocks(source, frames):
            if not np.isfinite(block).all():
                at_s = done / source.rate_hz
                raise NonFiniteOutput(f"{path.name}: NaN or infinite samples at {at_s:.1f} s")
            level = block * np.float32(gain)
            clamped += _beyond_full_scale(level) if sink.clamps else 0
            sink.write(level)
            done += block.shape[1]
            progress(done, frames)
    finally:
        sink.close()
    if format == "mp3":
        set_length(path, frames, delay=LAME_DELAY)
    if format in _OGG:
        set_comments(path, tags=tags or {}, cover=kept_cover)
    if format in _CHUNKED and (tags or kept_cover):
        held = append_tag(path, tags=tags or {}, cover=kept_cover)
        kept_cover = kept_cover if held else None
    conversions = [
        *_sound_conversions(recording, source, frames, format),
        *_clamping(clamped),
        *_label_conversions(path, format, tags or {}, cover, kept_cover),
    ]
    return Encoded(
        path, format, source.rate_hz, source.channels, frames, bit_depth, tuple(conversions)
    )


def _sound_conversions(
    recording: Reader, source: Reader, frames: int, format: str
) -> Iterator[str]:
    if frames > source.frames:
        yield f"{source.frames} frames filled up with silence to {frames}"
    if source.rate_hz != recording.rate_hz:
        yield f"{recording.rate_hz} Hz converted to {source.rate_hz} Hz: {format} has no such rate"


def _beyond_full_scale(block: Floats) -> int:
    """How many samples lie where integers end."""
    if not block.size or (block.max() <= 1 and block.min() >= -1):
        return 0
    return int(np.count_nonzero(np.abs(block) > 1))


def _clamping(samples: int) -> Iterator[str]:
    if samples:
        yield f"clipped at full scale: {samples} sample{'s' if samples > 1 else ''}"


def _label_conversions(
    path: Path, format: str, tags: Mapping[str, str], cover: bytes | None, kept: bytes | None
) -> Iterator[str]:
    if cover and not kept:
        why = f"our {format} files hold none" if picture_size(cover) else _NO_COVER
        yield f"cover art left out: {why}"
    # Asked of the file itself: which kinds a format has room for is its muxer's to know.
    found = tags_in(path) if tags else {}
    lost = [key for key, value in tags.items() if value.strip() and key not in found]
    if lost:
        yield f"tags left out: {listed(lost)}; our {format} files hold none such"


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
        return VorbisSink(path, source)
    if format == "mp3":
        bit_rate = _mp3_bit_rate(source.rate_hz)
        return LameSink(path, source, bit_rate=bit_rate, tags=tags, cover=cover)
    codec = _codec(format, source, bit_depth)
    if format in _OGG | _CHUNKED:
        cover = None
    if format in _OGG:
        tags = {}
    return FfmpegSink(path, source, codec=codec, tags=tags, cover=cover)


def _mp3_bit_rate(rate_hz: int) -> int:
    """What LAME takes at most: MPEG-1 320, MPEG-2 160, MPEG-2.5 64 kbit/s."""
    if rate_hz >= 32_000:
        return 320_000
    return 160_000 if rate_hz >= 16_000 else 64_000


def _codec(format: str, source: Reader, bit_depth: int | None) -> Codec:
    if format in ("opus", "webm"):
        rate = 96_000 * source.channels
        return Codec(format, "libopus", "flt", "flt", rate, orders=LIBOPUS_ORDER)
    if format in _AAC_MUXERS:
        muxer, asked = _AAC_MUXERS[format]
        clock = {"movie_timescale": str(source.rate_hz)} if muxer != "matroska" else {}
        return Codec(muxer, "aac", "fltp", "flt", 128_000 * source.channels, {**asked, **clock})
    sample_format: Literal["s16", "s32"] = "s16" if bit_depth == 16 else "s32"
    if format == "flac":
        frame_frames = _FLAC_FRAME_FRAMES
        return Codec("flac", "flac", sample_format, sample_format, frame_frames=frame_frames)
    if format == "aiff":
        name = f"pcm_s{bit_depth}be"
        return Codec("aiff", name, sample_format, sample_format, layouts=_AIFF_LAYOUTS)
    if format == "wmv":
        # ASF tells of no encoder's delay, so the sound must have none.
        return Codec("asf", "pcm_s16le", "s16", "s16")
    options = {"rf64": "auto"}
    if bit_depth == 32:
        return Codec("wav", "pcm_f32le", "flt", "flt", muxer_options=options)
    return Codec("wav", f"pcm_s{bit_depth}le", sample_format, sample_format, muxer_options=options)

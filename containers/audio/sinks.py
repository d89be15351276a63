"""The encoders behind `encode`: FFmpeg through PyAV, and libsndfile for Vorbis.

The PyAV wheel has no Vorbis encoder worth the name, and libsndfile neither AAC nor cover art:
two libraries with sample layouts, channel orders and traps of their own. They end here.
"""

import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, cast, get_args

import av
import numpy as np
import soundfile
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import PacketSideData, PktSideDataT
from av.video.stream import VideoStream
from numpy.typing import NDArray

from containers.audio.compose import Reader
from containers.audio.layouts import LAYOUTS, VORBIS_ORDER

Floats = NDArray[np.float32]

# libsndfile counts Vorbis quality downwards: 0.2 is -q8, about 256 kbit/s in stereo.
_VORBIS_COMPRESSION = 0.2

# AV_PKT_DATA_SKIP_SAMPLES, little-endian (libavcodec/packet.h).
_SKIP = struct.Struct("<IIBB")

# What libsndfile can write as Vorbis comments, by its names.
_VORBIS_TAGS = {
    "title": "title", "artist": "artist", "album": "album", "date": "date", "genre": "genre",
    "comment": "comment", "copyright": "copyright", "track": "tracknumber",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Codec:
    """How FFmpeg is told to write one format.

    `sample_format` is what it is given, `encoder_format` what the encoder takes: PyAV converts.
    """

    muxer: str
    encoder: str
    encoder_format: str
    sample_format: Literal["s16", "s32", "flt"]
    bit_rate: int = 0
    muxer_options: Mapping[str, str] | None = None


class FfmpegSink:
    """An open wav, flac, mp3 or m4a file.

    Parameters
    ----------
    path : Path
        The file to write; overwritten.
    source : Reader
        Tells rate and channels.
    codec : Codec
        What FFmpeg is told.
    tags : mapping of str to str
        Title, artist and the like.
    cover : bytes or None
        JPEG or PNG; anything else is left out.
    """

    def __init__(
        self,
        path: Path,
        source: Reader,
        *,
        codec: Codec,
        tags: Mapping[str, str],
        cover: bytes | None,
    ) -> None:
        self._codec = codec
        self._layout = LAYOUTS[source.channels - 1]
        self._rate_hz = source.rate_hz
        self._position = 0
        # Bit-exact: the same sound gives the same bytes, without FFmpeg's version and the time.
        options = {"fflags": "+bitexact"} | dict(codec.muxer_options or {})
        self._file: OutputContainer = av.open(
            str(path), "w", format=codec.muxer, container_options=options
        )
        try:
            self._sound = self._add_sound()
            picture = _add_picture(self._file, cover) if cover else None
            self._file.metadata.update(tags)
            self._file.start_encoding()
            if picture is not None and cover is not None:
                self._file.mux(_picture_packet(picture, cover))
        except BaseException:
            self._file.close()
            raise

    def _add_sound(self) -> AudioStream:
        sound = cast(AudioStream, self._file.add_stream(self._codec.encoder, rate=self._rate_hz))
        context = sound.codec_context
        context.layout = self._layout
        context.format = self._codec.encoder_format
        context.time_base = Fraction(1, self._rate_hz)
        if self._codec.bit_rate:
            context.bit_rate = self._codec.bit_rate
        return sound

    def write(self, block: Floats) -> None:
        """Append a block of shape (channels, frames); it is not changed."""
        samples = _samples(block, self._codec)
        frame = av.AudioFrame.from_ndarray(
            samples, format=self._codec.sample_format, layout=self._layout
        )
        frame.sample_rate = self._rate_hz
        frame.pts = self._position
        frame.time_base = Fraction(1, self._rate_hz)
        self._position += block.shape[1]
        self._file.mux(self._sound.encode(frame))

    def close(self) -> None:
        """Let the encoder give out what it holds back, and finish the file."""
        try:
            packets = self._sound.encode(None)
            if packets and (self._codec.muxer, self._codec.encoder) == ("matroska", "aac"):
                _mark_padding(packets[-1], frame_frames=self._sound.codec_context.frame_size)
            self._file.mux(packets)
        finally:
            self._file.close()


def _mark_padding(last: "av.Packet[AudioStream]", *, frame_frames: int) -> None:
    """Tell the Matroska muxer what the last packet is padded with (its DiscardPadding).

    FFmpeg's AAC encoder says it by the packet's duration only, which that muxer does not read.
    """
    padding = frame_frames - (last.duration or frame_frames)
    if padding > 0:
        kind = get_args(PktSideDataT).index("skip_samples")
        # Frames to drop at the front and at the back, and two reasons that nobody reads.
        told = cast(Any, PacketSideData)(kind, _SKIP.size)  # its stub knows no arguments
        told.update(_SKIP.pack(0, padding, 0, 0))
        told.to_packet(last)


class VorbisSink:
    """An open Ogg Vorbis file.

    Parameters
    ----------
    path : Path
        The file to write; overwritten.
    source : Reader
        Tells rate and channels.
    tags : mapping of str to str
        Title, artist and the like.
    """

    def __init__(self, path: Path, source: Reader, *, tags: Mapping[str, str]) -> None:
        self._order = list(VORBIS_ORDER.get(source.channels, range(source.channels)))
        self._file = soundfile.SoundFile(
            path,
            "w",
            samplerate=source.rate_hz,
            channels=source.channels,
            format="OGG",
            subtype="VORBIS",
            compression_level=_VORBIS_COMPRESSION,
        )
        for key, name in _VORBIS_TAGS.items():
            if key in tags:
                setattr(self._file, name, tags[key])

    def write(self, block: Floats) -> None:
        """Append a block of shape (channels, frames); it is not changed."""
        # libsndfile takes (frames, channels), and at most BLOCK_FRAMES of them (see there).
        self._file.write(np.ascontiguousarray(block[self._order].T))

    def close(self) -> None:
        """Let the encoder give out what it holds back, and finish the file."""
        self._file.close()


def _samples(
    block: Floats, codec: Codec
) -> NDArray[np.float32] | NDArray[np.int16] | NDArray[np.int32]:
    """A block as FFmpeg takes it: interleaved, and for integers rounded and clamped.

    Never planar: PyAV reads and writes past the end of a frame of eight planes.
    """
    packed = block.T.reshape(1, -1)
    if codec.sample_format == "flt":
        return packed
    if codec.sample_format == "s16":
        return _quantised(packed, bits=16).astype(np.int16)
    # 24 bits in the upper part of 32: the encoders for 24 bits take the lower byte off.
    return np.left_shift(_quantised(packed, bits=24).astype(np.int32), 8)


def _quantised(samples: Floats, *, bits: int) -> Floats:
    """Samples in steps of an integer of so many bits, rounded and clamped to what it holds."""
    full = 2 ** (bits - 1)
    steps: Floats = np.rint(samples * np.float32(full))
    return np.clip(steps, -full, full - 1, out=steps)


def picture_size(cover: bytes) -> tuple[int, int] | None:
    """Width and height of a JPEG or PNG; None where it is neither or broken."""
    options = {"format_whitelist": "jpeg_pipe,png_pipe"}
    try:
        with av.open(io.BytesIO(cover), options=options) as image:
            shown = image.streams.video[0].codec_context
            return (shown.width, shown.height) if shown.width and shown.height else None
    except (av.error.FFmpegError, IndexError):
        return None


def _add_picture(file: OutputContainer, cover: bytes) -> VideoStream | None:
    """A stream for the cover, which is stored as it is; None where it is no picture."""
    size = picture_size(cover)
    if size is None:
        return None
    png = cover.startswith(b"\x89PNG")
    picture = file.add_stream("png" if png else "mjpeg")
    picture.width, picture.height = size
    picture.pix_fmt = "rgb24" if png else "yuvj420p"
    picture.disposition = av.stream.Disposition.attached_pic
    return picture


def _picture_packet(picture: VideoStream, cover: bytes) -> "av.Packet[av.stream.Stream]":
    packet = av.Packet(cover)
    packet.stream = picture
    packet.pts = packet.dts = 0
    packet.time_base = picture.time_base or Fraction(1, 25)
    return packet

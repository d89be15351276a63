"""The encoders behind `encode`: FFmpeg through PyAV, LAME for mp3, libsndfile for Vorbis.

The PyAV wheel has no Vorbis encoder worth the name and a LAME that takes two and a half times
as long as lameenc's; libsndfile has neither AAC nor cover art, lameenc nothing but frames. Three
libraries with sample layouts, channel orders and traps of their own: they end here.
"""

import io
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import av
import lameenc
import numpy as np
import soundfile
from av.audio.stream import AudioStream
from av.packet import PacketSideData, PktSideDataT
from numpy.typing import NDArray

from containers.audio.compose import Reader
from containers.audio.layouts import LAYOUTS, VORBIS_ORDER
from containers.audio.muxing import begin, open_output
from containers.audio.samples import interleaved

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

Floats = NDArray[np.float32]

# libsndfile counts Vorbis quality downwards: 0.2 is -q8, about 256 kbit/s in stereo.
_VORBIS_COMPRESSION = 0.2

# AV_PKT_DATA_SKIP_SAMPLES, little-endian (libavcodec/packet.h).
_SKIP = struct.Struct("<IIBB")
# LAME's own default, and FFmpeg's.
_LAME_QUALITY = 3
LAME_DELAY = 576
"""Frames that LAME puts before the sound; every decoder adds 529."""


@dataclass(frozen=True, slots=True)
class Codec:
    """How FFmpeg is told to write one format.

    `sample_format` is what it is given, `encoder_format` what the encoder takes: PyAV converts.
    `frame_frames` is how long its frames are; 0 leaves that to the encoder. `layouts` are what it
    calls the orders of 1 to 8 channels, `orders` are ours of those counts for which it wants
    another one.
    """

    muxer: str
    encoder: str
    encoder_format: str
    sample_format: Literal["s16", "s32", "flt"]
    bit_rate: int = 0
    muxer_options: Mapping[str, str] | None = None
    frame_frames: int = 0
    layouts: Sequence[str] = LAYOUTS
    orders: Mapping[int, Sequence[int]] = field(default_factory=dict)


class FfmpegSink:
    """An open file of one that FFmpeg writes: wav, aiff, flac, m4a, opus, video containers.

    Attributes
    ----------
    clamps : bool
        Whether the samples pass through integers, which hold nothing beyond full scale.

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
        self.clamps = codec.sample_format != "flt"
        self._layout = codec.layouts[source.channels - 1]
        self._order = list(codec.orders.get(source.channels, ()))
        self._rate_hz = source.rate_hz
        self._position = 0
        self._file = open_output(path, codec.muxer, codec.muxer_options or {})
        try:
            self._sound = self._add_sound()
            begin(self._file, tags=tags, cover=cover)
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
        if self._codec.frame_frames:
            context.options = {"frame_size": str(self._codec.frame_frames)}
        return sound

    def write(self, block: Floats) -> None:
        """Append a block of shape (channels, frames); it is not changed."""
        if self._order:
            block = block[self._order]
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


class LameSink:
    """An open mp3 file of constant bit rate.

    Attributes
    ----------
    clamps : bool
        True: LAME is given 16 bits.

    Parameters
    ----------
    path : Path
        The file to write; overwritten.
    source : Reader
        Tells rate and channels, one or two.
    bit_rate : int
        Bits per second, one that the rate allows.
    tags, cover
        As for `FfmpegSink`.
    """

    def __init__(
        self,
        path: Path,
        source: Reader,
        *,
        bit_rate: int,
        tags: Mapping[str, str],
        cover: bytes | None,
    ) -> None:
        self.clamps = True
        self._lame = _lame(source, bit_rate)
        self._frames = av.CodecContext.create("mp3", "r")
        # Frames of MPEG-1 and of MPEG-2 (ISO/IEC 11172-3 and 13818-3, layer III).
        self._frame_samples = 1152 if source.rate_hz >= 32_000 else 576
        self._time_base = Fraction(1, source.rate_hz)
        self._file = open_output(path, "mp3", {})
        try:
            # FFmpeg's own LAME is never asked to encode: it tells the muxer of rate, channels
            # and the encoder's delay, which is the same.
            layout = LAYOUTS[source.channels - 1]
            self._sound = self._file.add_stream("libmp3lame", rate=source.rate_hz, layout=layout)
            self._sound.codec_context.bit_rate = bit_rate
            begin(self._file, tags=tags, cover=cover)
        except BaseException:
            self._file.close()
            raise
        self._position = -LAME_DELAY - 529

    def write(self, block: Floats) -> None:
        """Append a block of shape (channels, frames); it is not changed."""
        samples = _quantised(interleaved(block), bits=16).astype("<i2")
        self._mux(bytes(self._lame.encode(samples.tobytes())))

    def close(self) -> None:
        """Let the encoder give out what it holds back, and finish the file."""
        try:
            self._mux(bytes(self._lame.flush()))
            self._mux(b"")
        finally:
            self._file.close()

    def _mux(self, data: bytes) -> None:
        """Write what is whole of LAME's frames; the rest too where no data follow."""
        for packet in self._frames.parse(data):
            packet.stream = self._sound
            packet.pts = packet.dts = self._position
            packet.time_base = self._time_base
            packet.duration = self._frame_samples
            self._position += self._frame_samples
            self._file.mux(packet)


def _lame(source: Reader, bit_rate: int) -> lameenc.Encoder:
    lame = lameenc.Encoder()
    lame.silence()
    lame.set_channels(source.channels)
    lame.set_in_sample_rate(source.rate_hz)
    lame.set_out_sample_rate(source.rate_hz)
    lame.set_bit_rate(bit_rate // 1000)
    lame.set_quality(_LAME_QUALITY)
    return lame


class VorbisSink:
    """An open Ogg Vorbis file.

    Attributes
    ----------
    clamps : bool
        False: libvorbis is given floats.

    Parameters
    ----------
    path : Path
        The file to write; overwritten.
    source : Reader
        Tells rate and channels.
    """

    def __init__(self, path: Path, source: Reader) -> None:
        self.clamps = False
        self._order = list(VORBIS_ORDER.get(source.channels, range(source.channels)))
        self._file = _Disk(path, "w")
        try:
            self._sound = soundfile.SoundFile(
                self._file,
                "w",
                samplerate=source.rate_hz,
                channels=source.channels,
                format="OGG",
                subtype="VORBIS",
                compression_level=_VORBIS_COMPRESSION,
            )
        except BaseException:
            self._file.close()
            raise

    def write(self, block: Floats) -> None:
        """Append a block of shape (channels, frames); it is not changed."""
        # libsndfile takes (frames, channels), and at most BLOCK_FRAMES of them (see there).
        self._sound.write(interleaved(block[self._order]))
        self._file.check()

    def close(self) -> None:
        """Let the encoder give out what it holds back, and finish the file."""
        try:
            self._sound.close()
        finally:
            self._file.close()
        self._file.check()


class _Disk(io.FileIO):
    """A file for libsndfile, which keeps what went wrong with it.

    By itself libsndfile tells of a full disk as of any other error of the system, and not at
    all of what goes wrong while it closes a file.
    """

    _error: OSError | None = None

    def write(self, data: "ReadableBuffer", /) -> int:
        """Write all of it, or keep why not: nothing can be raised through libsndfile."""
        left = memoryview(data)
        whole = left.nbytes
        try:
            while left and self._error is None:
                left = left[super().write(left) :]
        except OSError as error:
            self._error = error
        return whole

    def check(self) -> None:
        """Raise what was kept."""
        if self._error is not None:
            raise self._error


def _samples(
    block: Floats, codec: Codec
) -> NDArray[np.float32] | NDArray[np.int16] | NDArray[np.int32]:
    """A block as FFmpeg takes it: interleaved, and for integers rounded and clamped.

    Never planar: PyAV reads and writes past the end of a frame of eight planes.
    """
    packed = interleaved(block).reshape(1, -1)
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

"""Samples out of FFmpeg's frames, whatever type and layout its decoders left them in.

A block has the shape (channels, frames) everywhere, but one that was decoded lies in memory
frame by frame, as PCM, FLAC and scratch files do. Turning it costs as much as decoding PCM, so
it is left to those who need it turned.
"""

from typing import Any, cast

import numpy as np
from av.audio.fifo import AudioFifo
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from numpy.typing import NDArray

_DTYPES = {"u8": "u1", "s16": "i2", "s32": "i4", "s64": "i8", "flt": "f4", "dbl": "f8"}


def bit_depth(stream: AudioStream) -> int | None:
    """Bits of one sample of a stream; None for lossy codecs."""
    codec = stream.codec_context
    if codec.name.startswith("pcm_"):
        digits = "".join(filter(str.isdigit, codec.name))
        return int(digits) if digits else 8  # A-law and µ-law
    if codec.name == "flac" and codec.extradata is not None and len(codec.extradata) >= 14:
        # STREAMINFO (RFC 9639, section 8.2): 5 bits, the depth less one, from bit 103 on.
        return ((codec.extradata[12] & 1) << 4 | codec.extradata[13] >> 4) + 1
    if codec.name in ("alac", "wavpack", "ape", "tta"):
        return 16 if codec.format.name.startswith("s16") else 24
    return None


class FrameQueue:
    """Decoded frames of any length, taken out as blocks of whatever length is asked for.

    FFmpeg's own queue: a codec's frames are short, and Python's part in each costs as much as
    its decoding.
    """

    def __init__(self) -> None:
        self._fifo = AudioFifo()

    @property
    def frames(self) -> int:
        """How many are waiting."""
        return self._fifo.samples

    def put(self, frame: AudioFrame) -> None:
        """Append a frame of the same rate, channels and sample type as those before it."""
        # Time stamps are not ours to check; broadcasts begin anywhere.
        frame.pts = None
        self._fifo.write(frame)

    def get(self, frames: int) -> NDArray[np.float32]:
        """The oldest frames as float32 (channels, frames), full scale ±1.

        Parameters
        ----------
        frames : int
            1 to the number that are waiting.
        """
        return _floats(_raw(cast(AudioFrame, self._fifo.read(frames))))


def silence(frames: int, *, like: AudioFrame) -> AudioFrame:
    """A frame of so many silent samples, of the rate, channels and sample type of another."""
    silent = AudioFrame(format=like.format, layout=like.layout, samples=frames)
    silent.sample_rate = like.sample_rate
    zero = b"\x80" if like.format.packed.name == "u8" else b"\0"
    for plane in silent.planes[: like.layout.nb_channels if like.format.is_planar else 1]:
        plane.update(zero * plane.buffer_size)
    return silent


def interleaved(block: NDArray[np.float32]) -> NDArray[np.float32]:
    """A block of (channels, frames) as (frames, channels), C-contiguous.

    Returns
    -------
    ndarray of float32
        A view where the block lies so already, else a copy.
    """
    turned = block.T
    if turned.flags.c_contiguous:
        return turned
    # Channel by channel: numpy's own way takes six times as long.
    copy = np.empty(turned.shape, block.dtype)
    for channel, samples in enumerate(block):
        copy[:, channel] = samples
    return copy


def _floats(raw: NDArray[Any]) -> NDArray[np.float32]:
    """Samples of any type as float32, full scale ±1, in memory as they are given."""
    if raw.dtype == np.uint8:
        return (raw.astype(np.float32) - np.float32(128)) * np.float32(2.0**-7)
    if np.issubdtype(raw.dtype, np.integer):
        # A power of two rounds nothing.
        scale = np.float32(2.0 ** -(8 * raw.dtype.itemsize - 1))
        samples = np.empty_like(raw, np.float32)
        np.multiply(raw, scale, out=samples, casting="same_kind")
        return samples
    with np.errstate(over="ignore"):  # float64 beyond float32 becomes inf, which is reported
        return raw.astype(np.float32, copy=False)


def _raw(frame: AudioFrame) -> NDArray[Any]:
    """The frame's samples in their own type as (channels, frames), frame by frame in memory.

    Not `to_ndarray`: of a frame with eight planes PyAV 18 reads a ninth, and crashes.
    """
    dtype = np.dtype(_DTYPES[frame.format.packed.name])
    channels = frame.layout.nb_channels
    if not frame.format.is_planar:
        packed = np.frombuffer(memoryview(frame.planes[0]), dtype, count=frame.samples * channels)
        return packed.reshape(-1, channels).T
    rows = np.empty((frame.samples, channels), dtype)
    for channel, plane in enumerate(frame.planes[:channels]):
        rows[:, channel] = np.frombuffer(memoryview(plane), dtype, count=frame.samples)
    return rows.T

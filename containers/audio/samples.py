"""Samples out of FFmpeg's frames, whatever type and layout its decoders left them in."""

from typing import Any

import numpy as np
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


def planar_float(frame: AudioFrame) -> NDArray[np.float32]:
    """Samples of a frame as float32 (channels, frames), full scale ±1."""
    raw = _raw(frame)
    if raw.dtype == np.uint8:
        return (raw.astype(np.float32) - np.float32(128)) * np.float32(2.0**-7)
    if np.issubdtype(raw.dtype, np.integer):
        # In one pass and in rows; a power of two rounds nothing.
        scale = np.float32(2.0 ** -(8 * raw.dtype.itemsize - 1))
        samples = np.empty(raw.shape, np.float32)
        np.multiply(raw, scale, out=samples, casting="same_kind")
        return samples
    with np.errstate(over="ignore"):  # float64 beyond float32 becomes inf, which is reported
        return raw.astype(np.float32, copy=False)


def _raw(frame: AudioFrame) -> NDArray[Any]:
    """The frame's samples in their own type as (channels, frames), a view of its memory.

    Not `to_ndarray`: of a frame with eight planes PyAV 18 reads a ninth, and crashes.
    """
    dtype = np.dtype(_DTYPES[frame.format.packed.name])
    channels = frame.layout.nb_channels
    if not frame.format.is_planar:
        packed = np.frombuffer(memoryview(frame.planes[0]), dtype, count=frame.samples * channels)
        return packed.reshape(-1, channels).T
    planes = [memoryview(plane) for plane in frame.planes[:channels]]
    return np.stack([np.frombuffer(plane, dtype, count=frame.samples) for plane in planes])

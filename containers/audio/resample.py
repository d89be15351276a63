"""Sample rate conversion of recordings of any length, without delay and exact in length.

soxr's HQ quality, block by block: its worst spur is at -140 dB. A stream of soxr is aligned
with its input and only late in giving it out, so nothing is shifted here; what its rounding
makes longer or shorter by a frame at the very end is cut or filled with zeros.
"""

from collections.abc import Iterator

import numpy as np
import soxr
from numpy.typing import NDArray

from containers.audio.compose import Reader
from containers.audio.forward import ForwardReader
from containers.audio.stream import BLOCK_FRAMES

Floats = NDArray[np.float32]


def resampled_frames(frames: int, *, from_hz: int, to_hz: int) -> int:
    """Frames at `to_hz` that cover `frames` frames at `from_hz`."""
    return -(-frames * to_hz // from_hz)


class BlockResampler:
    """Converts blocks that come in order, to an agreed number of frames.

    Parameters
    ----------
    from_hz, to_hz
        Rates before and after; equal rates pass blocks through.
    channels
        Channels of every block, >= 1.
    frames
        How many frames come out in all.
    """

    def __init__(self, *, from_hz: int, to_hz: int, channels: int, frames: int) -> None:
        self._stream = (
            soxr.ResampleStream(from_hz, to_hz, channels, dtype="float32", quality="HQ")
            if from_hz != to_hz
            else None
        )
        self._missing = frames

    def convert(self, block: Floats, *, last: bool) -> Floats:
        """The frames that are ready once `block` is known.

        Parameters
        ----------
        block
            float32 (channels, n); not changed.
        last
            Whether the recording ends with this block.

        Returns
        -------
        ndarray
            float32 (channels, m), C-contiguous; m may be 0 until the last block.
        """
        if self._stream is None:
            ready = block
        else:
            # soxr takes (frames, channels).
            ready = self._stream.resample_chunk(np.ascontiguousarray(block.T), last=last).T
        ready = ready[:, : self._missing]
        self._missing -= ready.shape[1]
        if last and self._missing:
            ready = np.pad(ready, ((0, 0), (0, self._missing)))
            self._missing = 0
        return np.ascontiguousarray(ready)


class ResampledReader(ForwardReader):
    """`source` as a recording of another rate, converted when it is read.

    Parameters
    ----------
    source
        The recording; it stays open as long as this is read.
    rate_hz
        The rate to show it at.
    history
        Frames kept of what was read, for several who read it side by side.
    """

    def __init__(self, source: Reader, *, rate_hz: int, history: int = 0) -> None:
        self._source = source
        frames = resampled_frames(source.frames, from_hz=source.rate_hz, to_hz=rate_hz)
        super().__init__(rate_hz=rate_hz, channels=source.channels, frames=frames, history=history)

    def _computed(self) -> Iterator[Floats]:
        source = self._source
        resampler = BlockResampler(
            from_hz=source.rate_hz, to_hz=self.rate_hz, channels=self.channels, frames=self.frames
        )
        for start in range(0, source.frames, BLOCK_FRAMES):
            stop = min(start + BLOCK_FRAMES, source.frames)
            yield resampler.convert(source.read(start, stop), last=stop == source.frames)

"""Samples that are no numbers: found, silenced and reported."""

import numpy as np
from numpy.typing import NDArray


class Repair:
    """Puts 0 for samples that are no numbers, and remembers where the first one was.

    One NaN in a recording would spread through every filter and transform after it.

    Parameters
    ----------
    rate_hz : int
        Frames per second, to tell positions in seconds.
    """

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._position = 0
        self._count = 0
        self._first = ""

    def __call__(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """The next block of the recording, sound.

        Parameters
        ----------
        block : ndarray of float32, shape (channels, frames)
            Not changed.

        Returns
        -------
        ndarray of float32, same shape
            The block itself where it is sound, else a repaired copy.
        """
        sound = np.isfinite(block)
        if not sound.all():
            bad = ~sound
            if not self._count:
                frame = int(np.argmax(bad.any(axis=0)))
                channel = int(np.argmax(bad[:, frame]))
                at_s = (self._position + frame) / self._rate_hz
                self._first = f"the first at {at_s:.6f} s in channel {channel + 1}"
            self._count += int(np.count_nonzero(bad))
            block = np.where(bad, np.float32(0), block)
        self._position += block.shape[1]
        return block

    def warnings(self) -> list[str]:
        """What was replaced, if anything: count, first position and channel (from 1)."""
        if not self._count:
            return []
        return [f"{self._count} samples are NaN or infinite and were set to 0, {self._first}"]

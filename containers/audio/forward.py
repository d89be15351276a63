"""Recordings that are computed when they are read, from their beginning on."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class ForwardReader(ABC):
    """A recording whose blocks depend on those before them.

    Reading goes forward: a read that starts more than `history` frames before the one
    preceding it is answered, but computes the recording from its beginning again.

    Parameters
    ----------
    rate_hz, channels, frames : int
        What the recording is read as.
    history : int
        Frames kept of what was read, for several who read it side by side.
    """

    def __init__(self, *, rate_hz: int, channels: int, frames: int, history: int = 0) -> None:
        self.rate_hz = rate_hz
        self.channels = channels
        self.frames = frames
        self._history = history
        self._rewind()

    @abstractmethod
    def _computed(self) -> Iterator[Floats]:
        """The whole recording in order, in blocks of any length."""

    def _rewind(self) -> None:
        self._blocks = self._computed()
        self._kept_from = 0
        self._kept = np.zeros((self.channels, 0), np.float32)

    def read(self, start: int, stop: int) -> Floats:
        """Frames `start` to `stop` as float32 (channels, stop - start); zeros outside."""
        first, last = min(max(start, 0), self.frames), min(max(stop, 0), self.frames)
        if first < self._kept_from:
            self._rewind()
        self._fill(max(0, first - self._history), last)
        block = np.zeros((self.channels, stop - start), np.float32)
        held = self._kept[:, first - self._kept_from : last - self._kept_from]
        block[:, first - start : last - start] = held
        return block

    def _fill(self, start: int, stop: int) -> None:
        """Compute until `stop` and let go of what lies before `start`, block by block."""
        self._forget(start)
        parts = [self._kept]
        held = self._kept_from + self._kept.shape[1]
        while held < stop:
            if held <= start:
                parts, self._kept_from = [parts[0][:, :0]], held
            parts.append(next(self._blocks))
            held += parts[-1].shape[1]
        if len(parts) > 1:
            self._kept = np.concatenate(parts, axis=1)
        self._forget(start)

    def _forget(self, start: int) -> None:
        drop = min(max(0, start - self._kept_from), self._kept.shape[1])
        self._kept, self._kept_from = self._kept[:, drop:], self._kept_from + drop

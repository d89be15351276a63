"""Composite tracks: recordings that are sums of others, computed when they are read.

The accompaniment is the main track without the vocals. It costs one subtraction per
sample to make and as much disk as the source to keep, so it is not kept. The main track
itself is the source, read as it is.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clearstem.errors import LengthChanged


class Reader(Protocol):
    """What can be read like a `containers.audio.stream.Recording`.

    Attributes
    ----------
    rate_hz, channels, frames : int
        Sample rate, number of channels, length in frames.
    """

    @property
    def rate_hz(self) -> int: ...  # noqa: D102 # told above

    @property
    def channels(self) -> int: ...  # noqa: D102

    @property
    def frames(self) -> int: ...  # noqa: D102

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Frames `start` to `stop` as float32 (channels, stop - start); zeros outside."""
        ...


class Writer(Protocol):
    """What takes blocks in order, like a `containers.audio.stream.RecordingWriter`."""

    def write(self, block: NDArray[np.float32]) -> object:
        """Append a float32 block of shape (channels, frames)."""
        ...


class Difference:
    """`whole` minus `parts`, sample by sample, rounded once to float32.

    Parameters
    ----------
    whole, parts
        Recordings of the same rate, channel count and length. All stay open as long
        as this is read; none is closed here.

    Raises
    ------
    LengthChanged
        If they differ in rate, channels or length.

    Examples
    --------
    The accompaniment of a separated song is ``Difference(song, vocals)``, and what its
    separation lost is ``Difference(song, *stems)``.
    """

    def __init__(self, whole: Reader, *parts: Reader) -> None:
        for part in parts:
            if _form(whole) != _form(part):
                msg = (
                    "rate, channels and frames are "
                    f"{_form(whole)} of the whole but {_form(part)} of its part"
                )
                raise LengthChanged(msg)
        self._whole = whole
        self._parts = parts
        self.rate_hz = whole.rate_hz
        self.channels = whole.channels
        self.frames = whole.frames

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Frames `start` to `stop` as float32 (channels, stop - start); zeros outside."""
        rest = self._whole.read(start, stop).astype(np.float64)
        for part in self._parts:
            rest -= part.read(start, stop)
        return rest.astype(np.float32)


def _form(recording: Reader) -> tuple[int, int, int]:
    return recording.rate_hz, recording.channels, recording.frames

"""Cutting a recording into overlapping segments and fading their results together.

Sample for sample what ``demucs.apply.apply_model`` does with ``split=True, shifts=0``, the
same float32 operations in the same order, but keeping one segment instead of the recording.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Read = Callable[[int, int], Floats]
Forward = Callable[[Floats], Floats]


@dataclass(frozen=True, slots=True)
class Segments:
    """How a recording is cut.

    Attributes
    ----------
    length
        Frames of a segment, >= 2.
    overlap
        Share of a segment that the next one covers again, 0 <= overlap < 1.
    """

    length: int
    overlap: float = 0.25

    @property
    def stride(self) -> int:
        """Frames from the start of a segment to the start of the next, >= 1."""
        return max(1, int((1 - self.overlap) * self.length))

    def fade(self) -> Floats:
        """Weight of each frame: a triangle, highest in the middle, 0 < weight <= 1."""
        half = self.length // 2
        rise, fall = np.arange(1, half + 1), np.arange(self.length - half, 0, -1)
        triangle = np.concatenate([rise, fall]).astype(np.float32)
        weight: Floats = triangle / triangle.max()
        return weight


def _itself(length: int) -> int:
    return length


def overlap_add(
    read: Read,
    frames: int,
    *,
    segments: Segments,
    forward: Forward,
    padded: Callable[[int], int] = _itself,
) -> Iterator[Floats]:
    """Stems of a recording, segment after segment.

    Parameters
    ----------
    read
        ``read(start, stop)`` gives float32 (channels, stop - start), zeros outside.
    frames
        Length of the recording.
    segments
        How it is cut.
    forward
        Turns (channels, n) into (stems, channels, n), an array that is changed here.
    padded
        The ``n`` for a segment of a given length, at least that length. What is added is
        read evenly from both sides of the segment.

    Yields
    ------
    ndarray
        float32 (stems, channels, m) in order, `frames` frames in all.
    """
    fade = segments.fade()
    total = np.zeros((0, 0, segments.length), np.float32)
    weight = np.zeros(segments.length, np.float32)
    for offset in range(0, frames, segments.stride):
        length = min(segments.length, frames - offset)
        stems = _segment(read, offset, length, padded(length), forward)
        stems *= fade[:length]
        if offset == 0:
            total = np.zeros((*stems.shape[:2], segments.length), np.float32)
        total[..., :length] += stems
        weight[:length] += fade[:length]
        done = min(segments.stride, length) if offset + segments.stride < frames else length
        yield total[..., :done] / weight[:done]
        for held in (total, weight):
            held[..., :-done] = held[..., done:]
            held[..., -done:] = 0


def _segment(read: Read, offset: int, length: int, padded: int, forward: Forward) -> Floats:
    before = (padded - length) // 2
    stems = forward(read(offset - before, offset - before + padded))
    return stems[..., before : before + length]

"""Cutting a recording into overlapping segments and fading their results together.

Sample for sample what ``demucs.apply.apply_model`` does with ``split=True, shifts=0``, the
same float32 operations in the same order, but keeping one segment instead of the recording.
It can begin at any block: what earlier segments reach into it is computed again.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Read = Callable[[int, int], Floats]
Forward = Callable[[Floats], Floats]
"""Turns one segment (channels, n) into (stems, channels, n), an array that may be changed."""

Stream = Callable[[Iterable[Floats]], Iterator[Floats]]
"""The same for segments in order; it may read a few ahead, to run them together."""


def each(forward: Forward) -> Stream:
    """The stream that runs one segment after the other."""
    return functools.partial(map, forward)


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

    @property
    def reach(self) -> int:
        """How many segments before a block still sound in it."""
        return -(-self.length // self.stride) - 1

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
    forward: Stream,
    padded: Callable[[int], int] = _itself,
    first: int = 0,
) -> Iterator[Floats]:
    """Stems of a recording, block after block.

    Parameters
    ----------
    read
        ``read(start, stop)`` gives float32 (channels, stop - start), zeros outside.
    frames
        Length of the recording.
    segments
        How it is cut.
    forward
        Turns segments (channels, n) into (stems, channels, n), arrays that are changed here.
    padded
        The ``n`` for a segment of a given length, at least that length. What is added is
        read evenly from both sides of the segment.
    first
        Number of the block to begin at, >= 0. The blocks from there on are the same bits
        whatever it is, as long as `forward` answers a segment alike in any company.

    Yields
    ------
    ndarray
        float32 (stems, channels, m) in order, one block a segment, of ``segments.stride``
        frames each but the last; from block 0 on, `frames` frames in all.
    """
    fade = segments.fade()
    total = np.zeros((0, 0, segments.length), np.float32)
    weight = np.zeros(segments.length, np.float32)
    begin = max(0, first - segments.reach)
    offsets = range(0, frames, segments.stride)[begin:]
    cut = _Cut(read, frames, segments.length, padded)
    answers = forward(map(cut.segment, offsets))
    for number, (offset, answer) in enumerate(zip(offsets, answers, strict=True), begin):
        stems, length = cut.trimmed(answer, offset), cut.length(offset)
        stems *= fade[:length]
        if number == begin:
            total = np.zeros((*stems.shape[:2], segments.length), np.float32)
        total[..., :length] += stems
        weight[:length] += fade[:length]
        done = min(segments.stride, length) if offset + segments.stride < frames else length
        if number >= first:
            yield total[..., :done] / weight[:done]
        for held in (total, weight):
            held[..., :-done] = held[..., done:]
            held[..., -done:] = 0


@dataclass(frozen=True, slots=True)
class _Cut:
    """Segments of a recording, made as long as the separator wants them."""

    read: Read
    frames: int
    longest: int
    padded: Callable[[int], int]

    def length(self, offset: int) -> int:
        return min(self.longest, self.frames - offset)

    def _before(self, offset: int) -> int:
        return (self.padded(self.length(offset)) - self.length(offset)) // 2

    def segment(self, offset: int) -> Floats:
        start = offset - self._before(offset)
        return self.read(start, start + self.padded(self.length(offset)))

    def trimmed(self, answer: Floats, offset: int) -> Floats:
        before = self._before(offset)
        return answer[..., before : before + self.length(offset)]

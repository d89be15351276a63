"""Segments in batches through a CUDA card, copies overlapped with computing.

Three streams of the card work side by side: one copies the next batch in, one computes,
one copies the last answer out. The host's side of both copies is pinned, without which the
card's driver would copy it once more and wait.

How many segments fit is measured once; where more memory is asked for than was foreseen, or
somebody else takes it, batches become smaller until they fit.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch

from clearstem.errors import CardOutOfMemory
from containers.audio.overlap import Floats, Segments, Stream

# A batch of 16 fills the largest cards' units; more only adds latency and memory.
MOST_IN_BATCH = 16
# What is on its way through the card is lost when the task is killed, with what is not stored
# yet: half of what may be computed again (`containers.stages.resume.MOST_REDONE_S`).
_MOST_AHEAD_S = 30.0
# What the allocator's rounding and cuDNN's workspaces may take beside a batch.
_USABLE_SHARE = 0.7

Collect = Callable[[], Floats]


def most_in_batch(segments: Segments, *, rate_hz: int) -> int:
    """The largest batch of which two, the one computed and the one cut, are not too much to lose.

    Two of htdemucs's segments of 7.8 s. Each is some hundred thousand samples wide and fills
    much of a card by itself, so that larger batches save little beside a bound that holds.

    Returns
    -------
    int
        1 to `MOST_IN_BATCH`.
    """
    ahead = int(_MOST_AHEAD_S * rate_hz) // segments.stride
    return max(1, min(MOST_IN_BATCH, ahead // 2))


def batch_size(*, free_bytes: int, segment_bytes: int, most: int) -> int:
    """How many segments are run at once.

    Parameters
    ----------
    free_bytes
        Memory that is free on the card.
    segment_bytes
        What one segment took at its peak, > 0.
    most
        The most that are wanted at once, >= 1.

    Returns
    -------
    int
        1 to `most`.
    """
    fitting = int(free_bytes * _USABLE_SHARE) // segment_bytes
    return max(1, min(most, fitting))


def batches(segments: Iterable[Floats], size: Callable[[], int]) -> Iterator[Floats]:
    """Segments of one shape stacked into batches, in order.

    Parameters
    ----------
    segments
        float32 (channels, n); where ``n`` changes a batch ends.
    size
        Asked before each batch.

    Yields
    ------
    ndarray
        float32 (1 to ``size()``, channels, n).
    """
    held: list[Floats] = []
    most = size()
    for segment in segments:
        if held and (len(held) == most or held[0].shape != segment.shape):
            yield np.stack(held)
            held, most = [], size()
        held.append(segment)
        if len(held) == most:
            yield np.stack(held)
            held, most = [], size()
    if held:
        yield np.stack(held)


def overlapped(stacked: Iterable[Floats], start: Callable[[Floats], Collect]) -> Iterator[Floats]:
    """Answers of batches, segment by segment; a batch is started before the last is awaited.

    Parameters
    ----------
    stacked
        Batches in order.
    start
        Sets a batch going and returns what waits for its answers.

    Yields
    ------
    ndarray
        One answer for each segment, in order.
    """
    pending: Collect | None = None
    for batch in stacked:
        following = start(batch)
        if pending is not None:
            yield from pending()
        pending = following
    if pending is not None:
        yield from pending()


def batched_on(
    device: torch.device, forward: Callable[[torch.Tensor], torch.Tensor], *, most: int
) -> Stream:
    """`forward` over segments in batches sized to what is free on the card.

    The first segment is run alone and measured. A batch that does not fit after all is run again
    in halves, and no later one is larger.

    Parameters
    ----------
    device
        A CUDA device.
    forward
        float32 (segments, channels, n) to float32 (segments, stems, channels, n), both on
        the card.
    most
        Segments of a batch, at most.

    Raises
    ------
    CardOutOfMemory
        While it is read, if the card has no room for a single segment.
    """

    def stream(segments: Iterable[Floats]) -> Iterator[Floats]:
        lane = _Lane(device, forward, most=most)
        return overlapped(batches(segments, lambda: lane.size), lane.start)

    return stream


class _Lane:
    """The streams of a card, and how many segments fit.

    Attributes
    ----------
    size
        Segments of the next batch; 1 until one was measured.
    """

    def __init__(
        self, device: torch.device, forward: Callable[[torch.Tensor], torch.Tensor], *, most: int
    ) -> None:
        self._device, self._forward, self._most = device, forward, most
        streams: Any = torch.cuda  # its Stream has no types
        self._inward, self._outward = streams.Stream(device), streams.Stream(device)
        self.size = 1
        self._measured = False

    def start(self, batch: Floats) -> Collect:
        """Set a batch going; what waits for its answers.

        Raises
        ------
        CardOutOfMemory
            If there is no room for one segment, all other work being done.
        """
        try:
            return self._run(batch)
        except torch.cuda.OutOfMemoryError:
            pass  # left here, since the traceback keeps what the network had allocated
        # What runs yet has to end before its memory can be given back.
        torch.cuda.synchronize(self._device)
        torch.cuda.empty_cache()
        if len(batch) > 1:
            return self._in_halves(batch)
        try:
            return self._run(batch)
        except torch.cuda.OutOfMemoryError as exc:
            free, whole = (count / 2**30 for count in torch.cuda.mem_get_info(self._device))
            raise CardOutOfMemory(
                f"one segment of {batch.shape[-1]} frames does not fit on the card, of whose "
                f"{whole:.1f} GiB {free:.1f} are free"
            ) from exc

    def _in_halves(self, batch: Floats) -> Collect:
        half = (len(batch) + 1) // 2
        self.size = min(self.size, half)
        # The first is over before the second begins: side by side they took too much.
        answers = [self.start(part)() for part in (batch[:half], batch[half:])]
        return lambda: np.concatenate(answers)

    def _run(self, batch: Floats) -> Collect:
        return self._queue(batch) if self._measured else self._measure(batch)

    def _queue(self, batch: Floats) -> Collect:
        compute = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._inward):
            given = torch.from_numpy(batch).pin_memory().to(self._device, non_blocking=True)
        compute.wait_stream(self._inward)
        # Else the allocator could hand the memory out again while the other stream uses it.
        given.record_stream(compute)
        answer = self._forward(given)
        self._outward.wait_stream(compute)
        with torch.cuda.stream(self._outward):
            host = torch.empty(answer.shape, dtype=answer.dtype, pin_memory=True)
            host.copy_(answer, non_blocking=True)
            answer.record_stream(self._outward)
            copied = self._outward.record_event()

        def collect() -> Floats:
            copied.synchronize()
            stems: Floats = host.numpy()
            return stems

        return collect

    def _measure(self, batch: Floats) -> Collect:
        torch.cuda.reset_peak_memory_stats(self._device)
        before = torch.cuda.memory_allocated(self._device)
        answer: Floats = self._forward(torch.from_numpy(batch).to(self._device)).cpu().numpy()
        taken = torch.cuda.max_memory_allocated(self._device) - before
        torch.cuda.empty_cache()
        free, _ = torch.cuda.mem_get_info(self._device)
        self.size = batch_size(
            free_bytes=free, segment_bytes=max(1, taken // len(batch)), most=self._most
        )
        self._measured = True
        return lambda: answer

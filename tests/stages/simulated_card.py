"""A card that puts everything off: what torch asks of CUDA, on a CPU and as late as may be.

On a real card streams run side by side, and what one does is there for another only where it
waits for it. Here nothing is done before somebody waits on the host, and then only what that
needs: a missing wait leaves poison in the answer, which a real card does on a bad day only.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from tests.stages.memory import Floats

POISON = np.float32(1e30)


@dataclass(eq=False)
class Stream:
    """Work in order, each piece done when somebody gets that far."""

    name: str
    queue: list[Callable[[], None]] = field(default_factory=list)
    done: int = 0

    def enqueue(self, work: Callable[[], None]) -> None:
        self.queue.append(work)

    def run_until(self, place: int) -> None:
        while self.done < place:
            work = self.queue[self.done]
            self.done += 1
            work()

    def wait_stream(self, other: "Stream") -> None:
        place = len(other.queue)
        self.enqueue(lambda: other.run_until(place))

    def record_event(self) -> "Event":
        return Event(self, len(self.queue))


@dataclass
class Event:
    stream: Stream
    place: int

    def synchronize(self) -> None:
        self.stream.run_until(self.place)


class Memory:
    """A tensor on the card or in pinned memory; its numbers come when its stream gets there."""

    def __init__(self, card: "Card", shape: torch.Size, *, pinned: bool) -> None:
        self.card, self.shape, self.pinned = card, shape, pinned
        self.dtype = torch.float32
        self.values = torch.full(shape, float(POISON))
        self.made_on = card.current
        self.recorded: set[str] = set()

    def copy_(self, other: "Memory", *, non_blocking: bool) -> None:
        assert self.pinned and non_blocking, "the driver would copy once more and wait"
        self.card.read_on_another_stream(other)
        self.card.current.enqueue(lambda: self.values.copy_(other.values))

    def record_stream(self, stream: Stream) -> None:
        self.recorded.add(stream.name)

    def numpy(self) -> Floats:
        assert self.pinned
        return self.values.numpy()


class Host:
    """What `torch.from_numpy` gives, as far as it is on its way to the card."""

    def __init__(self, card: "Card", samples: Floats, *, pinned: bool = False) -> None:
        self.card, self.samples, self.pinned = card, samples, pinned

    def pin_memory(self) -> "Host":
        return Host(self.card, self.samples, pinned=True)

    def to(self, _device: torch.device, *, non_blocking: bool = False) -> "Memory | torch.Tensor":
        if not non_blocking:
            return torch.from_numpy(self.samples)
        assert self.pinned, "only from pinned memory does a copy run beside anything"
        memory = Memory(self.card, torch.Size(self.samples.shape), pinned=False)
        given = torch.from_numpy(self.samples.copy())
        self.card.current.enqueue(lambda: memory.values.copy_(given))
        return memory


class Card:
    """Stands where `torch` and `torch.cuda` stand in `containers.audio.card`."""

    OutOfMemoryError = torch.OutOfMemoryError

    def __init__(
        self, *, free_bytes: int, segment_bytes: int, room: Callable[[int], int] = lambda _: 99
    ) -> None:
        self.free_bytes, self.segment_bytes = free_bytes, segment_bytes
        # How many segments fit at the n-th try, whatever was measured.
        self._room = room
        self.emptied = 0
        self.current = self.compute = Stream("compute")
        self.streams = [self.compute]
        self.crossings: list[tuple[Memory, str]] = []
        self.batches: list[int] = []
        self.peak = 0
        self.cuda = self

    # of torch
    def from_numpy(self, samples: Floats) -> Host:
        return Host(self, samples)

    def empty(self, shape: torch.Size, *, dtype: torch.dtype, pin_memory: bool) -> Memory:
        assert dtype is torch.float32
        return Memory(self, shape, pinned=pin_memory)

    # of torch.cuda
    def Stream(self, _device: torch.device) -> Stream:
        self.streams.append(Stream(f"stream {len(self.streams)}"))
        return self.streams[-1]

    @contextlib.contextmanager
    def stream(self, stream: Stream) -> Iterator[None]:
        before, self.current = self.current, stream
        try:
            yield
        finally:
            self.current = before

    def current_stream(self, _device: torch.device) -> Stream:
        return self.current

    def reset_peak_memory_stats(self, _device: torch.device) -> None:
        self.peak = 0

    def memory_allocated(self, _device: torch.device) -> int:
        return 0

    def max_memory_allocated(self, _device: torch.device) -> int:
        return self.peak

    def synchronize(self, _device: torch.device) -> None:
        for stream in self.streams:
            stream.run_until(len(stream.queue))

    def empty_cache(self) -> None:
        self.emptied += 1

    def mem_get_info(self, _device: torch.device) -> tuple[int, int]:
        return self.free_bytes, 2 * self.free_bytes

    # what a network does on it
    def read_on_another_stream(self, memory: Memory) -> None:
        if memory.made_on is not self.current:
            self.crossings.append((memory, self.current.name))

    def running(
        self, forward: Callable[[torch.Tensor], torch.Tensor]
    ) -> Callable[[torch.Tensor | Memory], torch.Tensor | Memory]:
        """`forward` as it is run on the card: queued behind what its stream has to do."""

        def queued(given: torch.Tensor | Memory) -> torch.Tensor | Memory:
            count = given.shape[0]
            self.batches.append(count)
            if count > self._room(len(self.batches)):
                raise self.OutOfMemoryError("CUDA out of memory")
            self.peak = max(self.peak, count * self.segment_bytes)
            if isinstance(given, torch.Tensor):
                return forward(given)
            self.read_on_another_stream(given)
            answer = Memory(self, forward(torch.zeros(given.shape)).shape, pinned=False)
            self.current.enqueue(lambda: answer.values.copy_(forward(given.values)))
            return answer

        return queued

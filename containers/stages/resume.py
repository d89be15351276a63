"""Restart points of a separation: finished groups of blocks, kept in the work bucket.

A network needs minutes for what storage takes in seconds, and a Spot machine may be taken
away at any time. So blocks of stems are stored in groups while the next ones are computed,
and after each group a small list of all groups so far is written. A run that finds such a
list, made of the same recording by the same network on the same kind of machine, reads the
blocks from there and goes on where they end. The stems come out as the same bits as without
the interruption: the blocks are those the network gave, and what is left of the last segment
is computed again.

Groups are never deleted here: no stage may delete. They go with the work bucket's lifecycle.
"""

import hashlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from clearstem import recipes
from clearstem.facts import Location
from clearstem.records import dumps, loads
from containers.audio.demucs_engine import Blocks, Making
from containers.audio.overlap import Floats
from containers.audio.stream import Recording, RecordingWriter
from containers.checksums import sha256_of
from containers.workspace import Workspace

# No more than this is ever computed again.
MOST_REDONE_S = 60.0
_LIST = "progress.json"


@dataclass(frozen=True, slots=True)
class StoredGroup:
    """Blocks in one object: a float32 WAV whose channels are those of all stems in turn.

    Attributes
    ----------
    stems, channels : int
        Of every block.
    blocks : tuple of int
        Frames of each block.
    """

    location: Location
    sha256: str
    stems: int
    channels: int
    blocks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Progress:
    """The list of groups.

    Attributes
    ----------
    identity : str
        sha256 over everything that decides what the blocks hold.
    """

    identity: str
    groups: tuple[StoredGroup, ...] = ()


def blocks_in_group(making: Making) -> int:
    """How many blocks are stored at a time, >= 1.

    A kill costs at worst the group being stored, all but the last block of the one being made,
    what the network was ahead of that, and the segments before the next block that still sound in
    it. With htdemucs's segments of 7.8 s a processor, which is one segment ahead, makes groups of
    four blocks and loses 55 s at most; a card, which is two batches of two ahead
    (`containers.audio.card.most_in_batch`), makes groups of two and loses 49 s. Further groups of
    channels and the networks of a bag are computed side by side, so in the recording it is the
    same time. A network whose segments are longer than 15 s cannot stay below `MOST_REDONE_S`.
    """
    segments = making.segments
    again = segments.reach * segments.stride + segments.length - segments.stride
    free = int(MOST_REDONE_S * making.rate_hz - again) // segments.stride
    return max(1, (free + 1 - making.ahead) // 2)


@dataclass(slots=True)
class RestartPoints:
    """The restart points of one separation; called, it is a `containers.audio` `Keep`.

    Parameters
    ----------
    space
        Where the stage works.
    made_of
        What decides the blocks beside the network's form: sums of recording and weights,
        device, backend, precision, versions.
    """

    space: Workspace
    made_of: tuple[str, ...]
    _groups: list[StoredGroup] = field(default_factory=list, init=False)

    def __call__(self, blocks: Blocks, making: Making) -> Iterator[Floats]:
        """All blocks in order, those of an earlier run from storage."""
        told = "\n".join((*self.made_of, repr(making)))
        identity = hashlib.sha256(told.encode()).hexdigest()
        for group in self._found(identity):
            path = self._fetched(group)
            # A group that is gone or damaged ends what can be relied on.
            if path is None:
                break
            self._groups.append(group)
            yield from _read(path, group)
            path.unlink()
        first = sum(len(group.blocks) for group in self._groups)
        yield from self._storing(blocks(first), identity, blocks_in_group(making))

    def _storing(self, fresh: Iterator[Floats], identity: str, most: int) -> Iterator[Floats]:
        held: list[Floats] = []
        with ThreadPoolExecutor(1) as storage:
            running: Future[None] | None = None
            for block in fresh:
                held.append(block)
                if len(held) == most:
                    # One group on its way at a time bounds what is lost, and memory.
                    if running:
                        running.result()
                    running = storage.submit(self._store, identity, held)
                    held = []
                yield block
            if running:
                running.result()

    def _store(self, identity: str, blocks: list[Floats]) -> None:
        """Store a group, and then the list that makes it count."""
        name = f"stems-{len(self._groups):04d}.wav"
        path = self.space.scratch / name
        stems, channels = blocks[0].shape[:2]
        with RecordingWriter(path, rate_hz=1, channels=stems * channels, frames=None) as file:
            for block in blocks:
                file.write(block.reshape(stems * channels, -1))
        location = self._location(name)
        self.space.store.put_file(path, to=location, content_type="audio/wav")
        lengths = tuple(block.shape[2] for block in blocks)
        self._groups.append(StoredGroup(location, sha256_of(path), stems, channels, lengths))
        path.unlink()
        text = dumps(Progress(identity, tuple(self._groups)))
        self.space.store.write_text(text, to=self._location(_LIST), content_type="application/json")

    def _found(self, identity: str) -> tuple[StoredGroup, ...]:
        text = self.space.store.read_text(self._location(_LIST))
        if text is None:
            return ()
        progress = loads(text, Progress)
        return progress.groups if progress.identity == identity else ()

    def _fetched(self, group: StoredGroup) -> Path | None:
        path = self.space.scratch / "earlier.wav"
        if self.space.store.size_bytes(group.location) is None:
            return None
        self.space.store.fetch(group.location, to=path)
        return path if sha256_of(path) == group.sha256 else None

    def _location(self, artifact: str) -> Location:
        space = self.space
        key = recipes.work_key(space.job.job_id, stage=space.stage, artifact=artifact)
        return Location(space.settings.work_bucket, key)


def _read(path: Path, group: StoredGroup) -> Iterator[Floats]:
    start = 0
    with Recording.open(path) as recording:
        for frames in group.blocks:
            block = recording.read(start, start + frames)
            start += frames
            yield np.ascontiguousarray(block).reshape(group.stems, group.channels, frames)

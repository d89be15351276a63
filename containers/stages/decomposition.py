"""Stage ``harmonic_percussive_separation``: the accompaniment in its two parts.

The accompaniment is the source without the separated vocals.
"""

from pathlib import Path

from clearstem.jobs import StageResult
from clearstem.recipes import SEPARATION
from containers.audio.compose import Difference, Reader
from containers.audio.decompose import decompose
from containers.audio.stream import Progress, Recording, RecordingWriter
from containers.stages.shares import share
from containers.workspace import Workspace


def run(space: Workspace, progress: Progress) -> StageResult:
    """Keep ``harmonic`` and ``percussive``, which add up to the accompaniment."""
    source = Recording.open(space.artifact("source", of=SEPARATION))
    vocals = Recording.open(space.artifact("vocals", of=SEPARATION))
    with source, vocals:
        keep_parts(
            space,
            Difference(source, vocals),
            harmonic="harmonic",
            percussive="percussive",
            progress=progress,
        )
    return StageResult()


def keep_parts(
    space: Workspace, source: Reader, *, harmonic: str, percussive: str, progress: Progress
) -> None:
    """Decompose a recording and keep both parts under the given names."""
    paths = [space.scratch / f"{name}.wav" for name in (harmonic, percussive)]
    first, second = (_writer(path, like=source) for path in paths)
    with first, second:
        decompose(source, first, second, progress=share(progress, 0.05, 0.9))
    for path in paths:
        space.keep(path.stem, path, frames=source.frames)


def _writer(path: Path, *, like: Reader) -> RecordingWriter:
    return RecordingWriter(path, rate_hz=like.rate_hz, channels=like.channels, frames=like.frames)

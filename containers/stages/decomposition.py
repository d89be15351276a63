"""Stage ``harmonic_percussive_separation``: the accompaniment in its two parts.

The accompaniment is the source without the separated vocals. A job may ask for the parts of
the source or of a stem instead.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clearstem.facts import StageResult
from clearstem.options import Decompose, SeparateOptions
from clearstem.recipes import SEPARATION
from containers.audio.compose import Difference, Reader
from containers.audio.decompose import decompose
from containers.audio.stream import Progress, Recording, RecordingWriter
from containers.stages.shares import share
from containers.workspace import Workspace


def run(space: Workspace, progress: Progress) -> StageResult:
    """Keep ``harmonic`` and ``percussive``, which add up to what the job says."""
    with _decomposed(space) as source:
        keep_parts(space, source, harmonic="harmonic", percussive="percussive", progress=progress)
    return StageResult()


@contextmanager
def _decomposed(space: Workspace) -> Iterator[Reader]:
    """What the job's option ``decompose`` names."""
    chosen = space.options(SeparateOptions).decompose
    if chosen is Decompose.ACCOMPANIMENT:
        source = Recording.open(space.artifact("source", of=SEPARATION))
        vocals = Recording.open(space.artifact("vocals", of=SEPARATION))
        with source, vocals:
            yield Difference(source, vocals)
    else:
        # The artifacts of the separation are called as the option's values are.
        with Recording.open(space.artifact(chosen.value, of=SEPARATION)) as recording:
            yield recording


def keep_parts(
    space: Workspace, source: Reader, *, harmonic: str, percussive: str, progress: Progress
) -> None:
    """Decompose a recording as the job's options say and keep both parts."""
    options = space.options(SeparateOptions)
    paths = [space.scratch / f"{name}.wav" for name in (harmonic, percussive)]
    first, second = (_writer(path, like=source) for path in paths)
    with first, second:
        decompose(
            source,
            first,
            second,
            kernel=options.hpss_kernel,
            margin=options.hpss_margin,
            progress=share(progress, 0.05, 0.9),
        )
    for path in paths:
        space.keep(path.stem, path, frames=source.frames)


def _writer(path: Path, *, like: Reader) -> RecordingWriter:
    return RecordingWriter(path, rate_hz=like.rate_hz, channels=like.channels, frames=like.frames)

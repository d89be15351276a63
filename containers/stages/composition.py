"""Stage ``composite_track_creation``: the main track, and the two parts of it.

The main track is the source itself and is not copied; later stages read it as
the separation left it.
"""

from clearstem.facts import StageResult
from clearstem.recipes import SEPARATION
from containers.audio.stream import Progress, Recording
from containers.stages.decomposition import keep_parts
from containers.workspace import Workspace


def run(space: Workspace, progress: Progress) -> StageResult:
    """Keep ``main_harmonic`` and ``main_percussive``, which add up to the source."""
    with Recording.open(space.artifact("source", of=SEPARATION)) as source:
        keep_parts(
            space,
            source,
            harmonic="main_harmonic",
            percussive="main_percussive",
            progress=progress,
        )
    return StageResult()

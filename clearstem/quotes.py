"""What a job would take, told before it is made: from what jobs like it took.

No table of speeds stands here: machines, engines and models differ, and the
owner's own finished jobs of the same engine were measured on the very machines
that the next one will run on. Where there are none, there is no estimate.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Final

from clearstem.errors import ClearstemError
from clearstem.jobs import Job
from clearstem.receipts import stage_dollars, stage_machine
from clearstem.recipes import Recipe

# Medians over that many; older jobs tell of older versions.
LOOKED_AT: Final = 20

# A header tells seconds; whether a stage's task is a short one is a matter of
# frames, of which no usual recording has more a second.
_RATE_HZ: Final = 48_000


@dataclass(frozen=True, slots=True)
class Quote:
    """An estimate for a job that was not made.

    Attributes
    ----------
    job : Job
        As it would enter the queue.
    audio_s : float or None
        How long the recording is, where its header tells.
    stage_s : Mapping[str, float]
        Estimated work by stage, in seconds; empty where there is nothing to
        tell it from.
    stage_dollars : Mapping[str, float]
        What those seconds would cost, at the prices of a job's receipt and on
        the machines that the default template would take.
    jobs_ahead : int
        How many jobs wait before it would.
    based_on : int
        How many finished jobs the estimate is from.
    cached : Job or None
        The job whose stored result would be the answer: it would take no time.
    refusal : ClearstemError or None
        The limit of its owner's that the job would not fit in as things stand.
    """

    job: Job
    audio_s: float | None
    stage_s: Mapping[str, float]
    stage_dollars: Mapping[str, float]
    jobs_ahead: int
    based_on: int
    cached: Job | None = None
    refusal: ClearstemError | None = None

    @property
    def seconds(self) -> float | None:
        """Estimated work in all, waiting apart."""
        return sum(self.stage_s.values()) if self.stage_s else None

    @property
    def dollars(self) -> float | None:
        """Estimated dollars of that work; None where there is no estimate of it."""
        return sum(self.stage_dollars.values()) if self.stage_dollars else None


def quoted(
    job: Job,
    *,
    audio_s: float | None,
    jobs_ahead: int,
    past: Iterable[Job],
    cached: Job | None = None,
    refusal: ClearstemError | None = None,
) -> Quote:
    """The estimate for a job from those that are over; the ones unlike it are left out."""
    alike = [(old, old.audio.duration_s) for old in past if old.audio and _is_like(old, job)]
    stage_s: dict[str, float] = {}
    if cached is not None:
        stage_s = dict.fromkeys(_stages(job.recipe), 0.0)
    elif audio_s is not None and alike:
        stage_s = {name: audio_s * _pace(name, alike) for name in _stages(job.recipe)}
    dollars = _priced(job, stage_s, frames=_RATE_HZ * (audio_s or 0.0))
    based_on = len(alike)
    return Quote(
        job, audio_s, stage_s, dollars, jobs_ahead, based_on, cached=cached, refusal=refusal
    )


def _priced(job: Job, stage_s: Mapping[str, float], *, frames: float) -> dict[str, float]:
    return {
        stage: stage_dollars(seconds, machine=stage_machine(job, stage, frames=frames))
        for stage, seconds in stage_s.items()
    }


def _is_like(old: Job, job: Job) -> bool:
    engine = old.engine
    same = (engine.name, engine.model) == (job.engine.name, job.engine.model)
    # What was answered from the cache tells of no work.
    return same and old.recipe_name == job.recipe_name and old.cached_from is None


def _stages(recipe: Recipe) -> list[str]:
    return [spec.name for spec in recipe.stages]


def _pace(stage: str, alike: list[tuple[Job, float]]) -> float:
    """Seconds of work to a second of sound."""
    return median((old.stage(stage).duration_s or 0.0) / length_s for old, length_s in alike)

"""Which of an owner's jobs a list is to show. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from clearstem.errors import InvalidRequest
from clearstem.jobs import Job, JobState
from clearstem.recipes import RECIPES

# A state by its own name, and by those that the pipeline dialect has for it.
_STATES: Final[Mapping[str, frozenset[JobState]]] = {
    **{state.value: frozenset({state}) for state in JobState},
    "processing": frozenset({JobState.QUEUED, JobState.RUNNING}),
    "completed": frozenset({JobState.SUCCEEDED}),
    # A cancelled job is shown as failed, so whoever asks for those is shown it too.
    "failed": frozenset({JobState.FAILED, JobState.CANCELLED}),
}


@dataclass(frozen=True, slots=True)
class JobFilter:
    """What a job has to be like.

    Attributes
    ----------
    states : frozenset of JobState
        Empty: any.
    recipe_name : str or None
        None: any.
    labels : Mapping[str, str]
        Each of them, with just that value.
    since, until : datetime or None
        When it was submitted: from `since` on, before `until`.
    """

    states: frozenset[JobState] = frozenset()
    recipe_name: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    since: datetime | None = None
    until: datetime | None = None

    @property
    def looks_inside(self) -> bool:
        """Whether jobs have to be read to be chosen; their time is in their key."""
        return bool(self.states or self.recipe_name or self.labels)

    def matches(self, job: Job) -> bool:
        """Whether the job is one of those, its time apart."""
        return (
            (not self.states or job.state in self.states)
            and self.recipe_name in (None, job.recipe_name)
            and all(job.labels.get(name) == value for name, value in self.labels.items())
        )

    @property
    def bounds(self) -> tuple[str, str]:
        """The least and the greatest sort key of jobs submitted in that time."""
        # "$" is the character after "#": beyond every time.
        first = f"JOB#{self.since.isoformat()}" if self.since else "JOB#"
        return first, f"JOB#{self.until.isoformat()}" if self.until else "JOB$"


EVERY: Final = JobFilter()


def job_filter(
    *,
    status: str | None = None,
    recipe: str | None = None,
    labels: Mapping[str, str] | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> JobFilter:
    """A filter from what a caller wrote.

    Raises
    ------
    InvalidRequest
        A status or a recipe that there is not, or a time that ends before it begins.
    """
    if status is not None and status not in _STATES:
        raise InvalidRequest(f"status {status!r} is not one of {', '.join(_STATES)}")
    if recipe is not None and recipe not in RECIPES:
        raise InvalidRequest(f"recipe {recipe!r} is not one of {', '.join(RECIPES)}")
    states = _STATES[status] if status else frozenset[JobState]()
    first, end = _utc("since", since), _utc("until", until)
    if first and end and end < first:
        raise InvalidRequest(
            f"until {end.isoformat()} is before since {first.isoformat()}",
            facts={
                "field": "until",
                "value": end.isoformat(),
                "accepted": {"minimum": first.isoformat()},
            },
        )
    return JobFilter(states, recipe, labels or {}, since=first, until=end)


def _utc(name: str, moment: datetime | None) -> datetime | None:
    # Keys hold UTC; this API writes times without a zone and means UTC by them.
    if moment is None or moment.tzinfo is None:
        return moment and moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError as exc:
        raise InvalidRequest(
            f"{name} {moment.isoformat()} is not within the years 1 to 9999 of UTC",
            facts={"field": name, "value": moment.isoformat()},
        ) from exc

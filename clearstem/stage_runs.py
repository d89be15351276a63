"""One stage of one job: where it stands, and how long it took."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum


class StageState(StrEnum):
    """Where one stage of a job stands."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class StageRun:
    """One stage of one job.

    Attributes
    ----------
    fraction : float
        Work done, 0 to 1, from blocks processed; it never falls.
    error : str or None
        The last thing that went wrong, kept through a retry.
    made_by : str or None
        The code that made what the stage left, where it is known.
    """

    name: str
    state: StageState = StageState.PENDING
    started_at: datetime | None = None
    completed_at: datetime | None = None
    fraction: float = 0.0
    error: str | None = None
    made_by: str | None = None

    @property
    def duration_s(self) -> float | None:
        """Seconds from start to end, retries included; None until it ended."""
        if self.started_at is None or self.completed_at is None:
            return None
        return (self.completed_at - self.started_at).total_seconds()

    def spared(self, *, at: datetime) -> "StageRun":
        """The stage with nothing left to do; one that was not begun took no time."""
        ended = at if self.started_at else None
        return replace(
            self, state=StageState.SUCCEEDED, completed_at=ended, fraction=1.0, error=None
        )

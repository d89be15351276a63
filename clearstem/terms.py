"""What a client attaches to a job beside its options: labels, and how long it is kept."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from math import isfinite
from typing import Final

from clearstem.errors import InvalidOption
from clearstem.jobs import Job

# A job is read whole at every look at it: its labels stay a small part of it.
MOST_LABELS: Final = 16
LONGEST_VALUE: Final = 256
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
# Below an hour a job may be gone before its results were fetched.
KEPT_HOURS: Final = (1.0, 24.0 * 365)


@dataclass(frozen=True, slots=True)
class Terms:
    """Labels and retention of a job.

    Attributes
    ----------
    labels : Mapping[str, str]
        Names of letters, digits, ``_ . -``; values of up to 256 characters.
    kept_hours : float or None
        How long after its submission the job is deleted; None: never, or what
        its owner has settled for all his jobs.

    Raises
    ------
    InvalidOption
        Too many labels, a name or a value that is none, hours out of range.
    """

    labels: Mapping[str, str] = field(default_factory=dict)
    kept_hours: float | None = None

    def __post_init__(self) -> None:
        if len(self.labels) > MOST_LABELS:
            raise InvalidOption(f"{len(self.labels)} labels are more than {MOST_LABELS}")
        for name, value in self.labels.items():
            _check_label(name, value)
        low, high = KEPT_HOURS
        if self.kept_hours is not None and not low <= self.kept_hours <= high:
            raise InvalidOption(
                f"retention of {self.kept_hours:g} hours is outside {low:g} to {high:g}",
                facts={
                    "field": "retention_hours",
                    "value": self.kept_hours if isfinite(self.kept_hours) else str(self.kept_hours),
                    "accepted": {"minimum": low, "maximum": high},
                },
            )

    def of(self, job: Job, *, at: datetime) -> Job:
        """The job under these terms; its time runs from its submission."""
        expires_at = None
        if self.kept_hours is not None:
            expires_at = job.created_at + timedelta(hours=self.kept_hours)
        if (dict(job.labels), job.expires_at) == (dict(self.labels), expires_at):
            return job
        updated_at = max(at, job.updated_at)
        return replace(job, labels=dict(self.labels), expires_at=expires_at, updated_at=updated_at)


NO_TERMS: Final = Terms()


def terms_of(job: Job) -> Terms:
    """The terms that a job is under."""
    kept = None if job.expires_at is None else job.expires_at - job.created_at
    return Terms(job.labels, kept_hours=None if kept is None else kept / timedelta(hours=1))


def _check_label(name: str, value: str) -> None:
    if _NAME.fullmatch(name) is None:
        raise InvalidOption(f"label {name[:80]!r} is not of letters, digits, '_', '.' and '-'")
    if not 0 < len(value) <= LONGEST_VALUE or not value.isprintable():
        raise InvalidOption(
            f"label {name} has a value that is not 1 to {LONGEST_VALUE} printable characters"
        )

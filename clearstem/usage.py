"""What a job counts for: a pure function of its record.

Counters are kept by adding the difference between what a record counts for
after a change and what it did before, in the transaction that writes it. So a
counter is the sum over the records that are there, whatever happened in
whatever order: an event that is late or told twice changes no record, and no
counter.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from clearstem.jobs import Job, JobState

MINUTE_MS: Final = 60_000


@dataclass(frozen=True, slots=True)
class Usage:
    """What is used, of one owner or by one job.

    Attributes
    ----------
    unfinished : int
        Jobs that are not over.
    stored_bytes : int
        Of recordings and tracks whose job's results were not deleted. A
        recording counts for each job that works on it: which of them is the
        last to let it go is not known when the first does.
    audio_ms : int
        Milliseconds of audio, of the calendar month (UTC) of submission.
    """

    unfinished: int = 0
    stored_bytes: int = 0
    audio_ms: int = 0

    @property
    def audio_minutes(self) -> float:
        """The audio in the unit of its limit."""
        return self.audio_ms / MINUTE_MS

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.unfinished + other.unfinished,
            self.stored_bytes + other.stored_bytes,
            self.audio_ms + other.audio_ms,
        )

    def __sub__(self, other: "Usage") -> "Usage":
        return self + Usage(-other.unfinished, -other.stored_bytes, -other.audio_ms)


NOTHING = Usage()


def usage_of(job: Job) -> Usage:
    """What a job counts for as it stands; nothing if it is older than the counters."""
    if not job.counted:
        return NOTHING
    return Usage(
        unfinished=0 if job.state.is_final else 1,
        stored_bytes=0 if job.deleted_at else _stored_bytes(job),
        audio_ms=round(1000 * (job.duration_s or 0.0)) if _is_charged(job) else 0,
    )


def month_of(job: Job) -> str:
    """The month that a job's minutes belong to, for example ``2026-11``: of its submission.

    It never changes, so that a job that runs over midnight settles where it reserved.
    """
    return month_at(job.created_at)


def month_at(moment: datetime) -> str:
    """The calendar month (UTC) of a moment."""
    return moment.strftime("%Y-%m")


def _stored_bytes(job: Job) -> int:
    return job.source.size_bytes + sum(track.size_bytes for track in job.tracks)


def _is_charged(job: Job) -> bool:
    """Whether a job's minutes count: it works or has worked for its owner.

    A failure gives them back, and so does a cancellation before the work began;
    later the machines have run. A stored result was worked on, and counted, before.
    """
    if job.cached_from is not None:
        return False
    if job.state is JobState.CANCELLED:
        return any(run.started_at is not None for run in job.stages)
    return job.state is not JobState.FAILED

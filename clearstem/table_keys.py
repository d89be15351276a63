"""Under which keys the one table holds what belongs to a job.

docs/architecture.md lists them all.
"""

from typing import Final

from clearstem.facts import Location

JOB: Final = "JOB"
EVENT: Final = "EVENT#"
TOMBSTONE: Final = "TOMBSTONE"
EXPIRY: Final = "DUE#EXPIRY"
AFTERMATH: Final = "DUE#AFTERMATH"
FADING: Final = "DUE#FADING"
RETENTION: Final = "RETENTION"
TOLD: Final = "TOLD#"
QUOTA: Final = "QUOTA"
USAGE: Final = "USAGE"
MINUTES: Final = "MINUTES#"
RESULT: Final = "RESULT#"


def job_key(job_id: str) -> str:
    """The partition of everything that belongs to one job."""
    return f"JOB#{job_id}"


def usage_key(owner: str) -> str:
    """The partition of what an owner used: stages write there, and to no item of `owner_key`."""
    return f"USAGE#{owner}"


def owner_key(owner: str) -> str:
    """The partition of what an owner has settled for all jobs to come."""
    return f"OWNER#{owner}"


def cache_key(owner: str) -> str:
    """The partition of what an owner's finished jobs answer."""
    return f"CACHE#{owner}"


def source_key(location: Location) -> str:
    """The partition of the jobs that work on one recording."""
    return f"SOURCE#{location.bucket}/{location.key}"


def event_sort(number: int) -> str:
    """The sort key of a log's entry: text that sorts as the numbers do."""
    return f"{EVENT}{number:010d}"

"""Under which keys the one table holds what it holds.

docs/architecture.md lists them all. Partitions are named here for their modules
and for the policies alike, since what a function may do is told by partition
(`infra.function_grants`).
"""

from enum import StrEnum
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


class Partition(StrEnum):
    """What the partition keys begin with; what they are of comes behind it."""

    JOB = "JOB#"
    SOURCE = "SOURCE#"
    OWNER = "OWNER#"
    USAGE = "USAGE#"
    WATCH = "WATCH#"
    CONNECTION = "CONN#"
    UPLOAD = "UPLOAD#"
    KEY = "KEY#"
    CACHE = "CACHE#"
    RATE = "RATE#"
    ONCE = "ONCE#"
    ENTRY = "ENTRY#"
    HOOKS = "HOOKS#"
    DELIVERY = "DELIVERY#"
    COUNTED = "COUNTED#"
    QUEUE = "QUEUE#"

    @property
    def any(self) -> str:
        """Every partition of the kind, as a policy names it."""
        return f"{self}*"


def job_key(job_id: str) -> str:
    """The partition of everything that belongs to one job, but for those who watch it."""
    return f"{Partition.JOB}{job_id}"


def watch_key(job_id: str) -> str:
    """The partition of a job's watchers: who tells them may write there, and to no job."""
    return f"{Partition.WATCH}{job_id}"


def usage_key(owner: str) -> str:
    """The partition of what an owner used: stages write there, and to no item of `owner_key`."""
    return f"{Partition.USAGE}{owner}"


def owner_key(owner: str) -> str:
    """The partition of what an owner has settled for all jobs to come."""
    return f"{Partition.OWNER}{owner}"


def cache_key(owner: str) -> str:
    """The partition of what an owner's finished jobs answer."""
    return f"{Partition.CACHE}{owner}"


def source_key(location: Location) -> str:
    """The partition of the jobs that work on one recording."""
    return f"{Partition.SOURCE}{location.bucket}/{location.key}"


def event_sort(number: int) -> str:
    """The sort key of a log's entry: text that sorts as the numbers do."""
    return f"{EVENT}{number:010d}"

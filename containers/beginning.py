"""What a job's first stage does before any work: bring the recording, look for its result.

Only here is every recording read whole, however it came: its hash is taken of
the very bytes that are going to be worked on. Where a finished job of the same
owner was asked the same of the same bytes, its result is copied, and the job is
over.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from clearstem.errors import JobIsOver, StageInterrupted
from clearstem.facts import StageResult
from clearstem.jobs import Job
from clearstem.reporting import StageReporter
from clearstem.result_cache import Entry
from clearstem.service import Service
from containers.checksums import sha256_of
from containers.stages.results import put_to_client
from containers.stages.shares import share
from containers.workspace import Workspace

if TYPE_CHECKING:
    from containers.audio.stream import Progress

# Of the first stage's bar, where the recording lies at an address.
_FETCHING: Final = 0.4

Lend = Callable[[Job, Entry], Service]
"""The core, for a job that may read the results of an entry and copy them to its own place."""

_log = logging.getLogger(__name__)


def take_in(space: Workspace, progress: "Progress") -> "Progress":
    """Bring the recording into the scratch folder, from its address where it has one.

    `space` has the job with the recording's hash afterwards, if the job wants anything
    of the cache.

    Returns
    -------
    callable
        The part of `progress` that is left.

    Raises
    ------
    SourceNotFetched, JobIsOver
        As `containers.remote.fetch_source` does.
    """
    source, left = space.job.source, progress
    if source.url is not None and not source.size_bytes:
        # It takes an HTTP client, which no other job needs.
        from containers.remote import fetch_source

        fetch_source(space, share(progress, 0.0, _FETCHING))
        left = share(progress, _FETCHING, 1.0)
    original = space.source()
    if space.job.options.cache:
        source = replace(space.job.source, sha256=sha256_of(original))
        space.job = replace(space.job, source=source)
    return left


def answered(space: Workspace, reporter: StageReporter, *, lend: Lend) -> bool:
    """Whether a stored result was there, and ended the job.

    What goes wrong with finding and copying it costs the work and never the job.

    Raises
    ------
    JobIsOver
        The job was cancelled meanwhile.
    StageInterrupted
        The task was told to stop.
    """
    try:
        found = _taken(space, reporter, lend=lend)
    except (JobIsOver, StageInterrupted):
        raise
    except Exception:  # noqa: BLE001  # whatever it is, the job can be worked on
        job_id = space.job.job_id
        _log.warning("job %s is not answered from the cache", job_id, exc_info=True)
        return False
    if found is None:
        return False
    result, made_by = found
    undelivered = _put_copy(space, result)
    reporter.answered(replace(result, undelivered=undelivered), by=made_by)
    return True


def _taken(
    space: Workspace, reporter: StageReporter, *, lend: Lend
) -> tuple[StageResult, str] | None:
    """What is known of the job when its answer is copied, and which job made that."""
    job = space.job
    entry = reporter.jobs.cache.find(job, at=reporter.now())
    if entry is None:
        return None
    answers = lend(job, entry).answers
    made = answers.made(entry, job)
    if made is None:
        return None
    result = replace(answers.take(made, job), source_sha256=job.source.sha256)
    return result, made.job_id


def _put_copy(space: Workspace, result: StageResult) -> str | None:
    """Put a copied result to the client's address, for which alone it is fetched."""
    job = space.job
    if job.output_url is None:
        return None
    track = next(track for track in result.tracks if track.name == job.recipe.voice)
    path = space.scratch / PurePosixPath(track.location.key).name
    space.store.fetch(track.location, to=path)
    return put_to_client(space, path)

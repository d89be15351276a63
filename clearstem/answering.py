"""Answering a job with a result that is stored already.

The files are copied within storage to the job's own place, so that they can be
fetched, kept and deleted like any other job's, whatever becomes of the one that
made them. The record is there before the copies and succeeds after them: who
dies in between leaves a job that the sweep starts, and its first stage comes
here again.
"""

import json
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import PurePosixPath
from threading import Lock
from typing import Final

from clearstem import media
from clearstem.errors import JobNotFound, TrackNotFound
from clearstem.facts import Location, StageResult, Track
from clearstem.job_table import JobTable
from clearstem.jobs import Job, JobState
from clearstem.options import DenoiseOptions
from clearstem.recipes import REPORT
from clearstem.records import dumps
from clearstem.result_cache import Entry
from clearstem.track_store import TrackStore

# What is copied while a request waits, which API Gateway ends after 29 s: nine tracks of
# ten minutes. What does not fit is copied by the job's first stage.
AT_ONCE_BYTES: Final = 2 * 1024 * media.MEBIBYTE
_SIDE_BY_SIDE: Final = 8

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Budget:
    """What one request may have copied while it waits, shared by its jobs and their threads.

    Attributes
    ----------
    left_bytes : int
        What is left of it.
    """

    left_bytes: int = field(default_factory=lambda: AT_ONCE_BYTES)
    _lock: Lock = field(default_factory=Lock, init=False)

    def spend(self, size_bytes: int) -> bool:
        """Whether so much was left; then it no longer is."""
        with self._lock:
            if size_bytes > self.left_bytes:
                return False
            self.left_bytes -= size_bytes
            return True


@dataclass(frozen=True, slots=True)
class Answers:
    """Gives jobs the stored results of others.

    Attributes
    ----------
    budget : Budget or None
        Of the request whose jobs are answered; None: each job has one of its own.
    now : callable
        The time, in UTC.
    """

    jobs: JobTable
    store: TrackStore
    now: Callable[[], datetime]
    budget: Budget | None = None

    def at_once(self, job: Job) -> Job | None:
        """Answer a job that was just recorded; None where it has to be started.

        A result that is to be put to an address of the client's is a stage's to put. What
        goes wrong here costs the work and never the job. Where only the news of success
        got lost, the job is started although it is over: its first stage finds that.
        """
        if job.output_url is not None:
            return None
        try:
            made = self.find(job)
            if made is None or not (self.budget or Budget()).spend(_size_bytes(made)):
                return None
            result = self.take(made, job)
            return self.jobs.change(
                job.job_id, lambda j: j.answered(result, by=made.job_id, at=self.now())
            )
        except Exception:  # noqa: BLE001  # whatever it is, the job can be worked on
            _log.warning("job %s is not answered from the cache", job.job_id, exc_info=True)
            return None

    def find(self, job: Job) -> Job | None:
        """The job whose result is what another asks for, if it is known and kept."""
        entry = self.jobs.cache.find(job, at=self.now())
        return None if entry is None else self.made(entry, job)

    def made(self, entry: Entry, job: Job) -> Job | None:
        """The job of an entry, if its result still stands and is what `job` asks for."""
        try:
            made = self.jobs.get(entry.job_id)
        except JobNotFound:
            return None
        stands = made.state is JobState.SUCCEEDED and made.deleted_at is None
        kept = made.expires_at is None or self.now() < made.expires_at
        own = (made.owner, made.destination) == (job.owner, entry.results)
        return made if stands and kept and own and _is_short_enough(made, job) else None

    def take(self, made: Job, job: Job) -> StageResult:
        """Copy a job's files to another's place; what that one knows then.

        Raises
        ------
        TrackNotFound
            They are not there, or not whole.
        Exception
            Whatever storage's client, its threads or a report in no form of ours bring
            about; who calls this works on the job then.
        """
        tracks = tuple(
            replace(track, location=_beside(job, _name(track.location))) for track in made.tracks
        )
        with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
            for _ in pool.map(self._copy, made.tracks, tracks):
                pass
        self._report(made, job, tracks=tracks)
        return StageResult(
            audio=made.audio,
            separation=made.separation,
            loudness=made.loudness,
            tracks=tracks,
            notes=made.notes,
            denoising=made.denoising,
        )

    def _copy(self, track: Track, copied: Track) -> None:
        kind = media.content_type(copied.extension)
        self.store.copy(track.location, to=copied.location, content_type=kind)
        if self.store.size_bytes(copied.location) != copied.size_bytes:
            raise TrackNotFound(f"{track.name} is not stored as it was made")

    def _report(self, made: Job, job: Job, *, tracks: tuple[Track, ...]) -> None:
        """Leave the report of the tracks beside them, where the recipe makes one."""
        text = self.store.read_text(_beside(made, REPORT))
        if text is None:
            return
        told = json.loads(text)
        told |= {
            "job_id": job.job_id,
            "source": json.loads(dumps(job.source)),
            "result": told["result"] | {"tracks": json.loads(dumps(tracks))},
            "cache": {"hit": True, "job_id": made.job_id},
        }
        copied = json.dumps(told, indent=2, ensure_ascii=False) + "\n"
        self.store.write_text(copied, to=_beside(job, REPORT), content_type="application/json")


def _is_short_enough(made: Job, job: Job) -> bool:
    """Whether the recording is as short as the job asks for: one that is not has to fail."""
    limit_s = job.options.max_duration_s if isinstance(job.options, DenoiseOptions) else None
    return limit_s is None or (made.duration_s or 0.0) <= limit_s


def _size_bytes(job: Job) -> int:
    return sum(track.size_bytes for track in job.tracks)


def _name(location: Location) -> str:
    return PurePosixPath(location.key).name


def _beside(job: Job, name: str) -> Location:
    return Location(job.destination.bucket, f"{job.destination.key}{name}")

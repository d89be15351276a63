"""The stages of a job as the processes they are, one after the other, without Step Functions."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.fresh import Fresh, run_fresh
from bench.measure import note
from clearstem.denoisers import engine_for
from clearstem.facts import Location, Source
from clearstem.options import Options
from clearstem.queueing import queued_job
from clearstem.service import Service
from clearstem.twin import running_twin, twin

_STAGE = """
import sys
from bench.traffic import counted
from containers.stage import main
with counted() as moved:
    if code := main(sys.argv[1:]):
        sys.exit(code)
print()
print(moved.read, moved.written)
"""


@dataclass(frozen=True, slots=True)
class Staged(Fresh):
    """A stage's process, and the bytes it had from storage and sent there."""

    read_bytes: int
    written_bytes: int


@contextmanager
def storage(folder: Path, *, models: Path, **settings: str) -> Iterator[Service]:
    """The service over a local twin of its own, in this process and those that it starts.

    Parameters
    ----------
    folder : Path
        For the twin's state.
    models : Path
        Where the twin looks for weights.
    settings : str
        More of the environment, without ``CLEARSTEM_``, in lower case.
    """
    before = dict(os.environ)
    state = folder / "state"
    try:
        with twin(state=state, models=models):
            os.environ.update(running_twin(state).environment)
            os.environ.update(
                {f"CLEARSTEM_{key.upper()}": value for key, value in settings.items()}
            )
            yield Service.from_env()
    finally:
        os.environ.clear()
        os.environ.update(before)


def run_stages(service: Service, path: Path, *, options: Options) -> dict[str, Staged]:
    """Each stage of a job over one file, in order; the job's execution is never started.

    Raises
    ------
    RuntimeError
        Where a stage fails.
    """
    job_id = _unstarted_job(service, path, options)
    found = {}
    for spec in options.recipe.stages:
        found[spec.name] = done = _run_stage(spec.name, job_id)
        note(
            f"{spec.name}: {done.wall_s:.1f} s, peak {done.peak_rss_mb:.0f} MB, "
            f"read {done.read_bytes / 1e6:.0f} MB, wrote {done.written_bytes / 1e6:.0f} MB"
        )
    if made := service.jobs.get(job_id).separation:
        note(f"separated by {made.backend}")
    return found


def _run_stage(name: str, job_id: str) -> Staged:
    done = run_fresh(_STAGE, name, "--job-id", job_id)
    read, written = map(int, done.said.split())
    return Staged(done.wall_s, done.peak_rss_mb, done.said, read, written)


def _unstarted_job(service: Service, path: Path, options: Options) -> str:
    settings, job_id, format = service.settings, service.new_id(), path.suffix.removeprefix(".")
    location = Location(settings.uploads_bucket, f"uploads/bench/{job_id}/source.{format}")
    service.store.put_file(path, to=location, content_type=f"audio/{format}")
    service.jobs.create(
        queued_job(
            job_id=job_id,
            owner="bench",
            recipe=options.recipe,
            source=Source(location, path.name, format, path.stat().st_size),
            destination=Location(settings.tracks_bucket, f"jobs/{job_id}/"),
            options=options,
            engine=engine_for(options, settings=settings),
            at=service.now(),
        )
    )
    return job_id

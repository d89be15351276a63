"""The stages of a job as the processes they are, one after the other, without Step Functions."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
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
from containers.stage import main
if code := main(sys.argv[1:]):
    sys.exit(code)
"""


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


def run_stages(service: Service, path: Path, *, options: Options) -> dict[str, Fresh]:
    """Each stage of a job over one file, in order; the job's execution is never started.

    Raises
    ------
    RuntimeError
        Where a stage fails.
    """
    job_id = _unstarted_job(service, path, options)
    found = {}
    for spec in options.recipe.stages:
        found[spec.name] = done = run_fresh(_STAGE, spec.name, "--job-id", job_id)
        note(f"{spec.name}: {done.wall_s:.1f} s, peak {done.peak_rss_mb:.0f} MB")
    if made := service.jobs.get(job_id).separation:
        note(f"separated by {made.backend}")
    note(f"written to storage: {_stored_mb(service, job_id):.0f} MB")
    return found


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


def _stored_mb(service: Service, job_id: str) -> float:
    """What the stages left in the work and the tracks bucket, in MB."""
    pages = service.store.client.get_paginator("list_objects_v2")
    sizes = [
        found["Size"]
        for bucket in (service.settings.work_bucket, service.settings.tracks_bucket)
        for page in pages.paginate(Bucket=bucket, Prefix=f"jobs/{job_id}/")
        for found in page.get("Contents", [])
    ]
    return sum(sizes) / 1e6

"""Peak memory of every stage on a long recording, each as the process it is.

Goal: 1.5 GB a stage on 30 minutes of stereo at 44.1 kHz.
"""

import os
import sys
import tempfile
from pathlib import Path

import soundfile

from bench.measure import Outcome, note, run
from clearstem.client import Client
from clearstem.facts import Location, Source
from clearstem.jobs import queued_job
from clearstem.models import choose_engine
from clearstem.options import SeparateOptions
from clearstem.recipes import SEPARATE
from clearstem.service import Service
from clearstem.twin import running_twin, twin
from containers.audio.song import RATE_HZ, song

MINUTES = 30
GOAL_MB = 1500.0


def measure(*, minutes: int = MINUTES) -> list[Outcome]:
    """Run the four stages of one job by hand, so that each is measured alone."""
    with tempfile.TemporaryDirectory(prefix="clearstem-bench-") as folder:
        path, state = Path(folder) / "long.flac", Path(folder) / "state"
        _write_long(path, minutes=minutes)
        with twin(state=state, models=Path(folder) / "models") as url, Client(url):
            os.environ.update(running_twin(state).environment)
            service = Service.from_env()
            job_id = _unstarted_job(service, path)
            return [_stage(spec.name, job_id, folder=Path(folder)) for spec in SEPARATE.stages]


def _write_long(path: Path, *, minutes: int) -> None:
    piece = song(30.0).T
    with soundfile.SoundFile(path, "w", RATE_HZ, 2, subtype="PCM_16") as file:
        for _ in range(2 * minutes):
            file.write(piece)


def _unstarted_job(service: Service, path: Path) -> str:
    """A job whose execution is never started: the stages are run by us."""
    settings, job_id = service.settings, service.new_id()
    location = Location(settings.uploads_bucket, f"uploads/bench/{job_id}/source.flac")
    service.store.put_file(path, to=location, content_type="audio/flac")
    options = SeparateOptions()
    service.jobs.create(
        queued_job(
            job_id=job_id,
            owner="bench",
            recipe=SEPARATE,
            source=Source(location, path.name, "flac", path.stat().st_size),
            destination=Location(settings.tracks_bucket, f"jobs/{job_id}/"),
            options=options,
            engine=choose_engine(options.engine, settings=settings),
            at=service.now(),
        )
    )
    return job_id


def _stage(name: str, job_id: str, *, folder: Path) -> Outcome:
    log = folder / f"{name}.log"
    command = [sys.executable, "-m", "containers.stage", name, "--job-id", job_id]
    done = run(command, env=dict(os.environ), log=log)
    if done.exit_code:
        raise RuntimeError(log.read_text()[-2000:])
    note(f"{name}: {done.wall_s:.1f} s, peak {done.peak_rss_mb:.0f} MB")
    return Outcome(f"memory:{name}", done.wall_s, None, None, GOAL_MB, done.peak_rss_mb, unit="MB")

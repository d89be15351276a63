"""Running a whole recipe in this process: every stage's real code, no task runner."""

import dataclasses
from pathlib import Path

import numpy as np
import soundfile

from clearstem.errors import StageError
from clearstem.jobs import Job
from clearstem.options import DenoiseOptions, DenoiserChoice, separate_options
from clearstem.recipes import DENOISE
from clearstem.service import Service
from containers.stage import run_stage

SHARED_AUDIO = Path(__file__).resolve().parents[2] / "shared" / "audio"


def submitted(service: Service, path: Path, *, owner: str = "tester", **options: str) -> Job:
    """A job of a local file, uploaded and recorded; nothing has worked on it yet."""
    upload = service.intake.announce(owner=owner, file_name=path.name)
    with service.intake.writer(upload) as writer:
        writer.write(path.read_bytes())
    return service.intake.submit_upload(upload, separate_options(options))


def submitted_noisy(
    service: Service, path: Path, *, output_url: str | None = None, **chosen
) -> Job:
    """A noise reduction of a local file, by the spectral engine unless told otherwise."""
    upload = service.intake.announce(owner="tester", file_name=path.name, recipe=DENOISE)
    with service.intake.writer(upload) as writer:
        writer.write(path.read_bytes())
    options = DenoiseOptions(**{"engine": DenoiserChoice.SPECTRAL, **chosen})
    return service.intake.submit_upload(upload, options, output_url=output_url)


def result_of(service: Service, job: Job, *, to: Path) -> Path:
    """The file that a finished noise reduction left."""
    found = job.result
    assert found is not None, job.failure
    path = to / f"result.{found.extension}"
    service.store.fetch(found.location, to=path)
    return path


def run_recipe(service: Service, job: Job) -> Job:
    """Run the job's stages in order, up to the first that fails."""
    for spec in job.recipe.stages:
        try:
            run_stage(spec.name, job.job_id, service=service)
        except StageError:
            break
    return service.jobs.get(job.job_id)


def with_models(service: Service, folder: Path) -> Service:
    """The same service, looking for weights in a folder."""
    return dataclasses.replace(
        service, settings=dataclasses.replace(service.settings, models_dir=folder)
    )


def track(service: Service, job: Job, name: str, *, to: Path) -> tuple[np.ndarray, int]:
    """A finished job's track as float64 of shape (channels, frames), and its rate in Hz."""
    found = job.track(name)
    assert found is not None, f"job has no track {name}"
    path = to / f"{name}.{found.extension}"
    service.store.fetch(found.location, to=path)
    samples, rate_hz = soundfile.read(path, dtype="float64", always_2d=True)
    return samples.T, rate_hz


def level_db(samples: np.ndarray) -> float:
    """RMS level relative to full scale, in dB; -inf for silence."""
    with np.errstate(divide="ignore"):
        return float(10 * np.log10(np.mean(np.square(samples))))

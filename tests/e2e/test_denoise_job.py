"""A noise reduction through the whole twin: state machine, stage processes, storage."""

import time
from pathlib import Path

import boto3
import pytest

from clearstem.jobs import Job, JobState
from clearstem.options import DenoiseOptions
from clearstem.recipes import DENOISE
from clearstem.service import Service
from clearstem.settings import Settings
from clearstem.twin import running_twin
from tests.stages.videos import picture_packets, write_video
from tests.stages.weights import model_files
from tests.twin import Launched


@pytest.fixture
def equipped(voice_twin: Launched, monkeypatch: pytest.MonkeyPatch) -> Service:
    """The service of a twin that has a neural denoiser's files."""
    model_files("dtln")
    env = running_twin(voice_twin.state).environment
    session = boto3.Session(
        aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
        region_name=env["AWS_DEFAULT_REGION"],
    )
    monkeypatch.setenv("AWS_ENDPOINT_URL", env["AWS_ENDPOINT_URL"])
    return Service.over(Settings.from_env(env), session=session)


def finished(service: Service, path: Path) -> Job:
    upload = service.intake.announce(owner="local", file_name=path.name, recipe=DENOISE)
    with service.intake.writer(upload) as writer:
        writer.write(path.read_bytes())
    job = service.intake.submit_upload(upload, DenoiseOptions(cache=False))
    deadline = time.monotonic() + 120
    while not (job := service.jobs.get(job.job_id)).state.is_final:
        assert time.monotonic() < deadline, job
        time.sleep(0.2)
    assert job.state is JobState.SUCCEEDED, job.failure
    return job


def test_a_video_comes_from_the_network_that_is_there_with_its_pictures(
    equipped: Service, tmp_path: Path
) -> None:
    path = write_video(tmp_path / "film.mp4", muxer="mp4", seconds=1.0)
    job = finished(equipped, path)
    assert job.denoising is not None
    assert (job.denoising.engine, job.denoising.model) == ("neural", "dtln")
    assert job.denoising.model_sha256 == job.engine.sha256
    assert job.percent == 100
    track = job.result
    assert track is not None and track.extension == "mp4"
    equipped.store.fetch(track.location, to=tmp_path / "result.mp4")
    assert picture_packets(tmp_path / "result.mp4") == picture_packets(path)

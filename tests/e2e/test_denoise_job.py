"""Noise reductions through the whole twin: state machine, stage processes, storage."""

import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import numpy as np
import pytest
import soundfile

from clearstem.jobs import Job, JobState
from clearstem.options import DenoiseOptions, DenoiserChoice
from clearstem.recipes import DENOISE
from clearstem.service import Service
from clearstem.settings import Settings
from clearstem.twin import running_twin, twin
from tests.stages.videos import picture_packets, write_video
from tests.stages.weights import model_files


@pytest.fixture(scope="module")
def equipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service of a twin that has a neural denoiser's files."""
    models = model_files("dtln")[0].path.parent
    state = tmp_path_factory.mktemp("twin") / "state"
    with twin(state=state, models=models):
        env = running_twin(state).environment
        session = boto3.Session(
            aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
            region_name=env["AWS_DEFAULT_REGION"],
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ENDPOINT_URL", env["AWS_ENDPOINT_URL"])
            yield Service.over(Settings.from_env(env), session=session)


def finished(service: Service, path: Path, engine: DenoiserChoice) -> Job:
    upload = service.intake.announce(owner="local", file_name=path.name, recipe=DENOISE)
    with service.intake.writer(upload) as writer:
        writer.write(path.read_bytes())
    job = service.intake.submit_upload(upload, DenoiseOptions(engine=engine))
    deadline = time.monotonic() + 120
    while not (job := service.jobs.get(job.job_id)).state.is_final:
        assert time.monotonic() < deadline, job
        time.sleep(0.2)
    assert job.state is JobState.SUCCEEDED, job.failure
    return job


def test_a_wav_is_denoised_by_the_network_that_is_there(equipped: Service, tmp_path: Path) -> None:
    t = np.arange(32_000) / 16_000
    tone = 0.2 * np.sin(2 * np.pi * 440 * t) * ((t % 1) < 0.5)
    hiss = 0.02 * np.random.default_rng(0).standard_normal(len(t))
    path = tmp_path / "talk.wav"
    soundfile.write(path, tone + hiss, 16_000)
    job = finished(equipped, path, DenoiserChoice.AUTO)
    assert job.denoising is not None
    assert (job.denoising.engine, job.denoising.model) == ("neural", "dtln")
    assert job.denoising.model_sha256 == job.engine.sha256
    track = job.result
    assert track is not None and (track.extension, track.frames) == ("wav", 32_000)
    assert job.percent == 100


def test_a_video_comes_back_with_its_pictures(equipped: Service, tmp_path: Path) -> None:
    path = write_video(tmp_path / "film.mp4", muxer="mp4", seconds=1.0)
    job = finished(equipped, path, DenoiserChoice.SPECTRAL)
    assert job.denoising is not None
    assert (job.denoising.engine, job.denoising.model) == ("spectral", "gate-1")
    track = job.result
    assert track is not None and track.extension == "mp4"
    equipped.store.fetch(track.location, to=tmp_path / "result.mp4")
    assert picture_packets(tmp_path / "result.mp4") == picture_packets(path)

"""What becomes of a job whose stage fills the disk, by what the stage runs as."""

import errno
import signal
import types
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from aws_lambda_powertools import Logger

from clearstem.errors import ScratchFull
from clearstem.jobs import Job, JobState
from clearstem.recipes import EXTRACTION
from clearstem.service import Service
from clearstem.stage_runs import StageState
from containers import stage
from containers.audio.encode import encode
from tests.recipes import submitted_noisy
from tests.signals import noise
from tests.stages.memory import Sound
from tests.submitted import wav


@pytest.fixture
def job(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Job]:
    """A job whose first stage finds the disk full."""

    def run(_space: object, _progress: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(stage, "_service", lambda _job_id: service)
    monkeypatch.setattr(stage, "_module", lambda _stage: types.SimpleNamespace(run=run))
    path = tmp_path / "talk.wav"
    path.write_bytes(wav())
    before = signal.getsignal(signal.SIGTERM)
    yield submitted_noisy(service, path)
    signal.signal(signal.SIGTERM, before)


def test_in_batch_a_full_disk_is_the_end_and_says_so(service: Service, job: Job) -> None:
    # 65 is not retried: the next attempt would have the same disk.
    assert stage.main([EXTRACTION, "--job-id", job.job_id]) == 65
    job = service.jobs.get(job.job_id)
    assert (job.state, job.stage(EXTRACTION).state) == (JobState.FAILED, StageState.FAILED)
    assert job.failure is not None
    assert (job.failure.stage, job.failure.name) == (EXTRACTION, "Clearstem.TooLongForDisk")
    assert job.failure.message.startswith("The recording is too long")


def test_as_a_function_a_full_disk_leaves_the_job_to_batch(
    service: Service, job: Job, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ScratchFull):
        stage.handler({"stages": [EXTRACTION], "job_id": job.job_id}, None)
    # By its id an operator finds what became of a job, as in Batch.
    (line,) = (record for record in caplog.records if record.message == "stage ended")
    assert vars(line)["error_name"] == "Clearstem.ScratchFull"
    assert Logger(service=EXTRACTION).get_current_keys()["job_id"] == job.job_id
    job = service.jobs.get(job.job_id)
    assert (job.state, job.stage(EXTRACTION).state) == (JobState.RUNNING, StageState.RUNNING)


@pytest.mark.parametrize("seconds", [0.1, 5.0])
@pytest.mark.parametrize("format", ["wav", "flac", "mp3", "ogg", "opus", "m4a", "mkv"])
def test_whatever_writes_the_sound_tells_of_a_full_disk(
    tmp_path: Path, format: str, seconds: float
) -> None:
    path = tmp_path / f"track.{format}"
    # The shorter sound comes to the disk when its file is closed, the longer one before.
    path.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as told:
        encode(Sound(noise(round(seconds * 44_100), channels=2)), path, format=format)
    assert told.value.errno == errno.ENOSPC

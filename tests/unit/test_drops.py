"""Objects dropped in a bucket, and all that becomes no job."""

from collections.abc import Callable
from dataclasses import replace
from typing import NoReturn

import pytest
from botocore.exceptions import ClientError

from clearstem.drops import reject_drop, submit_drop
from clearstem.errors import (
    ContentMismatch,
    EmptyFile,
    EngineUnavailable,
    InvalidOption,
    InvalidRequest,
    TooLarge,
    UnsupportedFormat,
    UploadNotFound,
)
from clearstem.executions import ExecutionState
from clearstem.facts import Failure, Location
from clearstem.intake import Intake
from clearstem.jobs import Job, JobState
from clearstem.options import SeparateOptions
from clearstem.service import Service
from tests.unit.examples import START
from tests.unit.test_media import NO_SOUNDS, SOUNDS

WAV = SOUNDS["wav"]


@pytest.fixture
def intake(service: Service) -> Intake:
    """Ways in that know no time but one, and take a thousand bytes."""
    small = replace(service.settings, max_upload_bytes=1000)
    return replace(service.intake, settings=small, now=lambda: START)


@pytest.fixture
def drop(service: Service) -> Callable[..., Location]:
    """Puts an object into the drop bucket."""

    def put(key: str, body: bytes = WAV, **metadata: str) -> Location:
        bucket = service.settings.drop_bucket
        service.store.client.put_object(Bucket=bucket, Key=key, Body=body, Metadata=metadata)
        return Location(bucket, key)

    return put


def jobs_of(intake: Intake, owner: str = "ada") -> tuple[Job, ...]:
    return intake.jobs.history(owner, limit=100).jobs


def test_a_dropped_object_becomes_its_owners_job_with_results_beside_it(intake, drop):
    location = drop("drop/ada/demos/Песня.wav")
    job = submit_drop(location, event_id="0055AED6DCD90281E5", intake=intake)
    assert (job.owner, job.source.location) == ("ada", location)
    assert job.source.file_name == "Песня.wav"
    assert job.destination == Location(location.bucket, f"done/ada/Песня.wav/{job.job_id}/")
    assert jobs_of(intake) == (job,)


def test_a_repeated_drop_event_makes_no_second_job(intake, drop):
    location = drop("drop/ada/song.wav")
    first = submit_drop(location, event_id="0055AED6DCD90281E5", intake=intake)
    assert submit_drop(location, event_id="0055AED6DCD90281E5", intake=intake) is None
    assert jobs_of(intake) == (first,)


class Busy:
    """Executions of which none can be started for now."""

    def start(self, job_id: str, *, owner: str, engine: str, attempt: int) -> NoReturn:
        error = {"Code": "ThrottlingException", "Message": "Rate exceeded"}
        raise ClientError({"Error": error}, "StartExecution")


def test_a_job_that_could_not_be_started_is_started_when_its_event_comes_again(intake, drop):
    """Nobody watches a drop: a failed job without a note beside the results is lost."""
    location = drop("drop/ada/song.wav")
    busy = replace(intake, executions=dict.fromkeys(intake.executions, Busy()))
    for attempt in (1, 2):
        with pytest.raises(ClientError):
            submit_drop(location, event_id="1", intake=busy)
        (job,) = jobs_of(intake)
        assert (job.state, job.attempt) == (JobState.FAILED, attempt)
    again = submit_drop(location, event_id="1", intake=intake)
    assert (again.job_id, again.state, again.attempt) == (job.job_id, JobState.QUEUED, 3)
    executions = intake.executions["separate"]
    assert executions.state(job.job_id, attempt=3) is not ExecutionState.MISSING
    assert submit_drop(location, event_id="1", intake=intake) is None
    assert jobs_of(intake) == (again,)


def test_a_repeated_event_of_a_job_that_failed_at_its_work_starts_nothing(intake, drop):
    location = drop("drop/ada/song.wav")
    job = submit_drop(location, event_id="1", intake=intake)
    failure = Failure(None, "Clearstem.NoAudio", "no frames")
    failed = intake.jobs.change(job.job_id, lambda j: j.fail(failure, at=START))
    assert submit_drop(location, event_id="1", intake=intake) is None
    assert jobs_of(intake) == (failed,)


def test_an_object_dropped_anew_is_another_job(intake, drop):
    location = drop("drop/ada/song.wav")
    first = submit_drop(location, event_id="0055AED6DCD90281E5", intake=intake)
    second = submit_drop(location, event_id="0055AED6DCD90281E6", intake=intake)
    other = submit_drop(drop("drop/ada/b/song.wav"), event_id="0055AED6DCD90281E5", intake=intake)
    assert len({first.job_id, second.job_id, other.job_id}) == 3


def test_an_objects_metadata_are_the_jobs_options(intake, drop):
    options = {"clearstem-format": "flac", "clearstem-target-lufs": "-16", "artist": "Ada"}
    job = submit_drop(drop("drop/ada/song.wav", **options), event_id="1", intake=intake)
    assert job.options == SeparateOptions(output_format="flac", target_lufs=-16.0)


def test_a_dropped_object_that_is_nothing_to_work_on_becomes_no_job(intake, drop):
    refusals = {
        "empty.wav": (b"", EmptyFile),
        "large.wav": (WAV + bytes(1000), TooLarge),
        "page.wav": (NO_SOUNDS["html"], ContentMismatch),
        "notes.txt": (WAV, UnsupportedFormat),
    }
    for name, (body, error) in refusals.items():
        with pytest.raises(error):
            submit_drop(drop(f"drop/ada/{name}", body), event_id="1", intake=intake)
    assert jobs_of(intake) == ()


def test_a_drop_of_nobody_becomes_no_job(intake, drop):
    for key in ("drop/song.wav", "drop/../song.wav", "drop/a b/song.wav", "done/ada/song.wav"):
        with pytest.raises(InvalidRequest):
            submit_drop(drop(key), event_id="1", intake=intake)
    assert jobs_of(intake) == jobs_of(intake, "a b") == jobs_of(intake, "..") == ()


def test_a_drop_with_options_that_cannot_be_met_becomes_no_job(intake, drop):
    refusals = {
        ("clearstem-formt", "mp3"): InvalidOption,
        ("clearstem-engine", "umx"): InvalidOption,
        ("clearstem-engine", "demucs"): EngineUnavailable,
    }
    for option, error in refusals.items():
        with pytest.raises(error):
            submit_drop(
                drop("drop/ada/song.wav", WAV, **dict([option])), event_id="1", intake=intake
            )
    assert jobs_of(intake) == ()


def test_an_object_that_is_gone_when_its_event_comes_becomes_no_job(intake):
    gone = Location(intake.settings.drop_bucket, "drop/ada/song.wav")
    with pytest.raises(UploadNotFound):
        submit_drop(gone, event_id="1", intake=intake)


def test_a_folder_made_in_the_console_is_no_recording(intake, drop):
    assert submit_drop(drop("drop/ada/demos/", b""), event_id="1", intake=intake) is None
    assert jobs_of(intake) == ()


def test_a_rejected_drop_is_told_beside_the_results(intake, drop):
    location = drop("drop/ada/demos/notes.txt")
    reject_drop(location, UnsupportedFormat("Unsupported audio format: .txt"), store=intake.store)
    beside = Location(location.bucket, "done/ada/demos/notes.txt.error.txt")
    assert intake.store.read_text(beside) == "Unsupported audio format: .txt\n"

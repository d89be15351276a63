"""Each way in, and everything that is turned away at the door."""

from dataclasses import replace

import pytest

from clearstem.errors import (
    ContentMismatch,
    EmptyFile,
    EngineUnavailable,
    JobExists,
    MissingFile,
    TooLarge,
    UnsupportedFormat,
    UploadNotFound,
    UrlRefused,
)
from clearstem.executions import ExecutionState
from clearstem.facts import Location
from clearstem.intake import Intake
from clearstem.jobs import Job, JobState
from clearstem.options import DenoiseOptions, SeparateOptions, separate_options
from clearstem.recipes import EngineName
from clearstem.service import Service
from clearstem.uploads import Upload
from tests.emulator import until
from tests.unit.examples import START
from tests.unit.test_media import NO_SOUNDS, SOUNDS

WAV = SOUNDS["wav"]


@pytest.fixture
def intake(service: Service) -> Intake:
    """Ways in that know no time but one, and take a thousand bytes."""
    small = replace(service.settings, max_upload_bytes=1000)
    return replace(service.intake, settings=small, now=lambda: START)


def uploaded(intake: Intake, data: bytes = WAV, *, name: str = "song.wav") -> Upload:
    upload = intake.announce(owner="ada", file_name=name)
    intake.store.client.put_object(
        Bucket=upload.location.bucket, Key=upload.location.key, Body=data
    )
    return upload


def jobs_of(intake: Intake, owner: str = "ada") -> tuple[Job, ...]:
    return intake.jobs.history(owner, limit=100).jobs


def test_an_announced_upload_is_remembered_for_its_owner(intake):
    upload = intake.announce(owner="ada", file_name="C:\\Music\\Песня.WAV")
    assert intake.uploads.get(upload.upload_id, owner="ada") == upload
    assert (upload.file_name, upload.extension) == ("Песня.WAV", "wav")


def test_another_owners_upload_is_not_found_like_one_that_never_was(intake):
    upload = intake.announce(owner="ada", file_name="song.wav")
    for upload_id, owner in ((upload.upload_id, "bob"), ("nothing", "ada")):
        with pytest.raises(UploadNotFound, match=f"no upload {upload_id}"):
            intake.uploads.get(upload_id, owner=owner)


def test_a_strangers_file_name_has_no_part_in_the_storage_key(intake):
    upload = intake.announce(owner="ada", file_name="../../bob/1/source.flac")
    assert upload.location == Location(
        intake.settings.uploads_bucket, f"uploads/ada/{upload.upload_id}/source.flac"
    )


def test_a_name_that_will_not_do_announces_nothing(intake):
    refusals = {None: MissingFile, "": MissingFile, "song.aac": UnsupportedFormat}
    for name, error in refusals.items():
        with pytest.raises(error):
            intake.announce(owner="ada", file_name=name)
    items = intake.uploads.client.scan(TableName=intake.uploads.table)["Items"]
    assert items == []


def test_an_upload_written_through_the_service_becomes_a_job(intake):
    upload = intake.announce(owner="ada", file_name="song.wav")
    with intake.writer(upload) as target:
        target.write(WAV)
    job = intake.submit_upload(upload, separate_options({"format": "mp3"}))
    assert (job.state, job.owner, job.ticket > 0) == (JobState.QUEUED, "ada", True)
    assert (job.source.location, job.source.size_bytes) == (upload.location, len(WAV))
    assert (job.source.file_name, job.source.extension) == ("song.wav", "wav")
    assert job.options.output_format == "mp3"
    assert job.engine.name is EngineName.SPECTRAL
    assert job.destination == Location(intake.settings.tracks_bucket, f"jobs/{job.job_id}/")
    assert job.created_at == START


def test_a_job_is_on_record_and_its_execution_started(intake):
    job = intake.submit_upload(uploaded(intake), SeparateOptions())
    assert intake.jobs.get(job.job_id) == job
    until(lambda: intake.executions["separate"].state(job.job_id) is ExecutionState.SUCCEEDED)


def test_an_upload_beyond_the_limit_is_cut_off_while_it_is_written(intake):
    upload = intake.announce(owner="ada", file_name="song.wav")
    with pytest.raises(TooLarge), intake.writer(upload) as target:
        target.write(bytes(1001))


def test_an_upload_link_bears_the_limit_and_the_media_type(intake):
    links = intake.presign(intake.announce(owner="ada", file_name="song.mp3"))
    assert links.put_headers == {"Content-Type": "audio/mpeg"}
    assert links.post_fields["Content-Type"] == "audio/mpeg"


def test_an_upload_that_is_nothing_to_work_on_becomes_no_job(intake):
    refusals = {
        b"": EmptyFile,
        WAV + bytes(1000): TooLarge,
        NO_SOUNDS["text"]: ContentMismatch,
        NO_SOUNDS["html"]: ContentMismatch,
    }
    for data, error in refusals.items():
        upload = uploaded(intake, data)
        with pytest.raises(error, match=r"song\.wav"):
            intake.submit_upload(upload, SeparateOptions())
    assert jobs_of(intake) == ()


def test_an_upload_whose_bytes_never_came_becomes_no_job(intake):
    upload = intake.announce(owner="ada", file_name="song.wav")
    with pytest.raises(UploadNotFound):
        intake.submit_upload(upload, SeparateOptions())
    assert jobs_of(intake) == ()


def test_a_file_of_exactly_the_limit_is_taken(intake):
    upload = uploaded(intake, WAV + bytes(1000 - len(WAV)))
    assert intake.submit_upload(upload, SeparateOptions()).source.size_bytes == 1000


def test_an_engine_that_is_not_there_becomes_no_job(intake):
    with pytest.raises(EngineUnavailable, match="clearstem models fetch htdemucs"):
        intake.submit_upload(uploaded(intake), separate_options({"engine": "demucs"}))
    assert jobs_of(intake) == ()


def test_the_same_upload_twice_is_two_jobs(intake):
    upload = uploaded(intake)
    first, second = (intake.submit_upload(upload, SeparateOptions()) for _ in range(2))
    assert first.job_id != second.job_id
    assert len(jobs_of(intake)) == 2


def submit_again(intake: Intake, job: Job) -> Job:
    return intake.submit(
        job_id=job.job_id,
        owner="eve",
        source=job.source,
        destination=job.destination,
        options=job.options,
    )


def test_a_taken_id_is_refused_and_starts_nothing_anew(intake):
    job = intake.submit_upload(uploaded(intake), SeparateOptions())
    with pytest.raises(JobExists):
        submit_again(intake, job)
    assert jobs_of(intake) == (job,)
    assert jobs_of(intake, "eve") == ()


def test_a_job_that_cannot_be_started_is_failed_and_does_not_wait_for_ever(intake):
    known = intake.executions["separate"]
    lost = replace(known, state_machine_arn=known.state_machine_arn + "x")
    broken = replace(intake, executions={"separate": lost})
    with pytest.raises(lost.client.exceptions.StateMachineDoesNotExist):
        broken.submit_upload(uploaded(broken), SeparateOptions())
    (job,) = jobs_of(broken)
    assert (job.state, job.failure.name) == (JobState.FAILED, "Clearstem.NotStarted")
    assert job.failure.message.startswith("the job could not be started: ")
    # And nobody stands behind it in the queue.
    assert intake.jobs.jobs_ahead(intake.submit_upload(uploaded(intake), SeparateOptions())) == 0


ADDRESS = "https://storage.example/a/S%C3%B6ng.WAV?X-Amz-Signature=s3cret"


def test_an_address_becomes_a_job_whose_source_is_still_to_come(intake):
    job = intake.submit_url(ADDRESS, DenoiseOptions(), owner="ada", output_url=ADDRESS)
    assert (job.state, job.owner, job.recipe_name) == (JobState.QUEUED, "ada", "denoise")
    assert (job.source.url, job.output_url, job.source.size_bytes) == (ADDRESS, ADDRESS, 0)
    assert (job.source.file_name, job.source.extension) == ("Söng.WAV", "wav")
    bucket = intake.settings.uploads_bucket
    assert job.source.location == Location(bucket, f"uploads/ada/{job.job_id}/source")
    assert job.destination == Location(intake.settings.tracks_bucket, f"jobs/{job.job_id}/")
    assert intake.jobs.get(job.job_id) == job
    until(lambda: intake.executions["denoise"].state(job.job_id) is ExecutionState.SUCCEEDED)


def test_an_address_that_tells_no_format_of_the_recipe_leaves_it_open(intake):
    for path in ("a", "a.php", "a.txt", ""):
        job = intake.submit_url(f"https://storage.example/{path}", DenoiseOptions(), owner="ada")
        assert job.source.extension == ""
        assert job.source.file_name == (path or "recording")


def test_an_address_that_is_never_called_becomes_no_job(intake):
    for refused in ("http://storage.example/a.wav", "https://169.254.169.254/a.wav", ""):
        with pytest.raises(UrlRefused, match=r"^input: the address "):
            intake.submit_url(refused, DenoiseOptions(), owner="ada")
        with pytest.raises(UrlRefused, match=r"^output: the address "):
            intake.submit_url(ADDRESS, DenoiseOptions(), owner="ada", output_url=refused)
        with pytest.raises(UrlRefused, match=r"^output: the address "):
            intake.submit_upload(uploaded(intake), DenoiseOptions(), output_url=refused)
    assert jobs_of(intake) == ()

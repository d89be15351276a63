"""Jobs answered with stored results: what they are then, and what becomes of either."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from s3transfer.exceptions import S3CopyFailedError

from clearstem import answering
from clearstem.errors import Contention, JobIsOver
from clearstem.executions import ExecutionState, execution_name, parse_name
from clearstem.facts import Location, StageResult
from clearstem.intake import Intake
from clearstem.job_events import EventKind
from clearstem.job_table import JobTable, Transition
from clearstem.jobs import Job, JobState
from clearstem.options import DenoiseOptions, Options, SeparateOptions
from clearstem.quotas import Quota
from clearstem.receipts import receipt
from clearstem.recipes import REPORT, SEPARATE
from clearstem.service import Service
from clearstem.uploads import Upload
from clearstem.usage import month_of
from containers.stage import run_stage
from tests.submitted import denoised, finish, long_wav, wav


@dataclass
class Started:
    """Executions that are asked to start, and do nothing."""

    names: list[str]

    def start(self, job_id: str, *, owner: str, engine: str, attempt: int = 1) -> None:
        self.names.append(execution_name(job_id, attempt=attempt))

    def state(self, job_id: str, *, attempt: int) -> ExecutionState:
        started = execution_name(job_id, attempt=attempt) in self.names
        return ExecutionState.RUNNING if started else ExecutionState.MISSING

    def at_work(self) -> frozenset[str]:
        return frozenset(parse_name(name)[0] for name in self.names)


@pytest.fixture
def started() -> Started:
    return Started([])


@pytest.fixture
def service(service: Service, started: Started) -> Service:
    executions: Any = {"separate": started, "denoise": started}
    return replace(service, executions=executions)


def sent(intake: Intake, *, owner: str = "ada", content: bytes | None = None) -> Upload:
    """A recording that came through us, as forms do."""
    upload = intake.announce(owner=owner, file_name="song.wav")
    with intake.writer(upload) as writer:
        writer.write(wav() if content is None else content)
    return replace(upload, sha256=writer.sha256)


def submitted(service: Service, options: Options | None = None, **upload: Any) -> Job:
    given = SeparateOptions() if options is None else options
    return service.intake.submit_upload(sent(service.intake, **upload), given)


def made(service: Service, **upload: Any) -> Job:
    """A finished separation with a report beside its tracks."""
    job = finish(service, submitted(service, **upload))
    report = {"job_id": job.job_id, "separation": None, "result": {"notes": [], "tracks": []}}
    where = Location(job.destination.bucket, f"{job.destination.key}{REPORT}")
    service.store.write_text(json.dumps(report), to=where, content_type="application/json")
    return job


def files(service: Service, job: Job) -> dict[str, bytes]:
    where = job.destination
    listed = service.store.client.list_objects_v2(Bucket=where.bucket, Prefix=where.key)
    return {
        entry["Key"].removeprefix(where.key): b"".join(
            service.store.chunks(Location(where.bucket, entry["Key"]))
        )
        for entry in listed.get("Contents", ())
    }


def test_the_same_again_is_answered_at_once_and_never_started(service, started):
    first = made(service)
    second = submitted(service)
    assert (second.state, second.cached_from) == (JobState.SUCCEEDED, first.job_id)
    assert second.job_id != first.job_id and started.names == [first.job_id]
    assert second.percent == 100
    assert second.engine == first.engine
    assert [(t.name, t.sha256) for t in second.tracks] == [(t.name, t.sha256) for t in first.tracks]
    assert service.jobs.get(second.job_id) == second


def test_its_files_are_copies_of_its_own_and_its_report_says_whose(service):
    first, second = made(service), submitted(service)
    mine, copied = files(service, first), files(service, second)
    assert copied.keys() == mine.keys() == {*(f"{n}.wav" for n in SEPARATE.tracks), REPORT}
    for track in second.tracks:
        assert track.location.key == f"{second.destination.key}{track.name}.wav"
        assert copied[f"{track.name}.wav"] == mine[f"{track.name}.wav"]
    head = service.store.client.head_object(
        Bucket=second.destination.bucket, Key=second.tracks[0].location.key
    )
    assert head["ContentType"] == "audio/wav"
    report = json.loads(copied[REPORT])
    assert report["job_id"] == second.job_id
    assert report["cache"] == {"hit": True, "job_id": first.job_id}
    keys = {track["location"]["key"] for track in report["result"]["tracks"]}
    assert keys == {track.location.key for track in second.tracks}


def test_each_of_both_outlives_the_other(service):
    first, second = made(service), submitted(service)
    whole = files(service, second)
    service.removal.delete(first.job_id)
    assert files(service, second) == whole
    third = submitted(service)
    assert third.state is JobState.QUEUED  # what answered is gone
    finish(service, third)
    fourth = submitted(service)
    assert fourth.cached_from == third.job_id
    receipt_of_fourth = service.removal.delete(fourth.job_id)
    assert receipt_of_fourth.files == len(SEPARATE.tracks) + 1  # and its recording
    assert files(service, service.jobs.get(third.job_id))


def test_the_log_says_that_it_was_taken_in_and_that_it_succeeded(service):
    made(service)
    events = service.log.after(0, job_id=submitted(service).job_id)
    assert [event.kind for event in events] == [EventKind.QUEUED, EventKind.SUCCEEDED]
    assert [event.number for event in events] == [1, 2]


def test_it_takes_no_place_in_the_queue_no_minutes_and_no_money(service):
    service = replace(service, jobs=replace(service.jobs, quota=Quota(minutes_per_month=10.0)))
    content = long_wav(60.0)
    first = made(service, content=content)
    used = service.jobs.quotas.used("ada", month=month_of(first))
    second = submitted(service, content=content)
    assert second.cached_from == first.job_id
    after = service.jobs.quotas.used("ada", month=month_of(second))
    assert (after.audio_ms, after.unfinished) == (used.audio_ms, 0) == (60_000, 0)
    size = sum(track.size_bytes for track in second.tracks) + second.source.size_bytes
    assert after.stored_bytes - used.stored_bytes == size
    assert service.jobs.jobs_before_next("separate", "bob") == 0
    assert (receipt(second).seconds, receipt(second).dollars) == (0.0, 0.0)


OTHERWISE: dict[str, Callable[[Service], Job]] = {
    "another owner": lambda service: submitted(service, owner="bob"),
    "another option": lambda service: submitted(service, SeparateOptions(output_format="flac")),
    "without the cache": lambda service: submitted(service, SeparateOptions(cache=False)),
    "another file": lambda service: submitted(service, content=wav(401)),
    "another recipe": lambda service: submitted(service, DenoiseOptions()),
}


def test_what_is_not_the_same_is_worked_on(service: Service, started: Started) -> None:
    made(service)
    for name, asked in OTHERWISE.items():
        job = asked(service)
        assert (job.state, job.cached_from) == (JobState.QUEUED, None), name
        assert started.names[-1] == job.job_id


def test_a_clients_word_for_the_content_is_not_taken(service):
    first = made(service)
    upload = service.intake.announce(owner="ada", file_name="song.wav")
    service.store.client.put_object(
        Bucket=upload.location.bucket,
        Key=upload.location.key,
        Body=wav(401),
        Metadata={"sha256": first.source.sha256 or ""},
    )
    assert service.intake.submit_upload(upload, SeparateOptions()).state is JobState.QUEUED


def test_storages_own_sum_of_a_whole_object_is(service):
    first = made(service)
    upload = service.intake.announce(owner="ada", file_name="song.wav")
    service.store.client.put_object(
        Bucket=upload.location.bucket,
        Key=upload.location.key,
        Body=wav(),
        ChecksumAlgorithm="SHA256",
    )
    job = service.intake.submit_upload(upload, SeparateOptions())
    assert job.cached_from == first.job_id


def test_a_result_of_which_a_file_is_gone_answers_nobody(service, started):
    first = made(service)
    lost = first.tracks[-1].location
    service.store.client.delete_object(Bucket=lost.bucket, Key=lost.key)
    job = submitted(service)
    assert (job.state, started.names[-1]) == (JobState.QUEUED, job.job_id)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda service, job: service.removal.delete_results(job.job_id),
        lambda service, job: service.jobs.change(
            job.job_id,
            lambda j: replace(j, expires_at=service.now() - timedelta(seconds=1)),
        ),
    ],
    ids=["results deleted", "time over"],
)
def test_a_result_that_is_given_out_no_more_answers_nobody(service, spoil):
    first = made(service)
    spoil(service, first)
    assert submitted(service).state is JobState.QUEUED


def test_a_recording_that_is_too_long_for_the_asker_is_not_answered_from_who_had_no_limit(service):
    upload = replace(sent(service.intake), extension="wav")
    first = service.intake.submit_upload(upload, DenoiseOptions())
    first = denoised(service, first)
    service.jobs.change(
        first.job_id, lambda j: replace(j, source=replace(j.source, duration_s=901.0))
    )
    asked = DenoiseOptions(max_duration_s=900.0)
    assert service.intake.submit_upload(upload, asked).state is JobState.QUEUED
    longer = DenoiseOptions(max_duration_s=902.0)
    assert service.intake.submit_upload(upload, longer).cached_from == first.job_id


def test_a_large_result_is_left_to_the_first_stage(service, started, monkeypatch):
    first = made(service)
    monkeypatch.setattr(answering, "AT_ONCE_BYTES", 1)
    second = submitted(service)
    assert (second.state, started.names[-1]) == (JobState.QUEUED, second.job_id)
    run_stage(SEPARATE.stages[0].name, second.job_id, service=service)
    second = service.jobs.get(second.job_id)
    assert (second.state, second.cached_from) == (JobState.SUCCEEDED, first.job_id)
    assert files(service, second).keys() == files(service, first).keys()


class Killed(BaseException):
    """What nothing catches, as nothing catches SIGKILL."""


def test_a_kill_between_copy_and_completion_is_made_good_by_the_sweep(
    service, started, monkeypatch
):
    first = made(service)

    def dies(*_: object, **__: object) -> Job:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Job, "answered", dies)
        submitted(service)
    (waiting,) = service.jobs.unfinished("separate", before=service.now() + timedelta(hours=1))
    assert started.names == [first.job_id]
    list(service.settler.sweep(quiet=timedelta(0)))
    assert started.names == [first.job_id, waiting.job_id]
    run_stage(SEPARATE.stages[0].name, waiting.job_id, service=service)
    done = service.jobs.get(waiting.job_id)
    assert (done.state, done.cached_from) == (JobState.SUCCEEDED, first.job_id)
    kinds = [event.kind for event in service.log.after(0, job_id=done.job_id)]
    assert kinds[-2:] == [EventKind.STAGE_COMPLETED, EventKind.SUCCEEDED]


def test_late_news_of_stages_does_nothing_to_an_answered_job(service):
    made(service)
    job = submitted(service)
    for spec in SEPARATE.stages:
        run_stage(spec.name, job.job_id, service=service)
        reporter = service.reporter(job.job_id, stage=spec.name, monotonic=lambda: 0.0)
        with pytest.raises(JobIsOver):
            reporter.progress(1, 2)
        reporter.complete(StageResult())
    settled = service.settler.settle(
        job.job_id, attempt=1, status="FAILED", error=None, cause="late"
    )
    assert settled == service.jobs.get(job.job_id) == job


def test_a_job_cancelled_while_its_files_are_copied_stays_cancelled(service, monkeypatch):
    made(service)
    take = answering.Answers.take

    def cancelled_meanwhile(self: answering.Answers, source: Job, job: Job) -> StageResult:
        self.jobs.change(job.job_id, lambda j: j.cancel(at=service.now()))
        return take(self, source, job)

    monkeypatch.setattr(answering.Answers, "take", cancelled_meanwhile)
    job = submitted(service)
    assert (job.state, job.tracks, job.cached_from) == (JobState.CANCELLED, (), None)
    service.removal.delete(job.job_id)
    assert files(service, job) == {}


def test_two_at_once_that_are_alike_are_both_worked_on_and_both_end_well(service, started):
    one, two = submitted(service), submitted(service)
    assert started.names == [one.job_id, two.job_id]
    assert {finish(service, job).state for job in (one, two)} == {JobState.SUCCEEDED}
    assert submitted(service).cached_from == two.job_id


@pytest.mark.parametrize(
    ("step", "fault"),
    [
        ("find", EndpointConnectionError(endpoint_url="nowhere")),
        ("take", S3CopyFailedError("not the size it had")),
        ("take", RuntimeError("can't start new thread")),
        ("take", KeyError("result")),
        ("find", Contention("others write to it")),
    ],
    ids=lambda given: given if isinstance(given, str) else type(given).__name__,
)
def test_whatever_goes_wrong_with_the_cache_costs_the_work_and_not_the_job(
    service, started, monkeypatch, caplog, step, fault
):
    made(service)

    def refused(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr(answering.Answers, step, refused)
    job = submitted(service)
    assert (job.state, started.names[-1]) == (JobState.QUEUED, job.job_id)
    assert caplog.records[-1].exc_info[1] is fault


def test_a_report_that_cannot_be_read_costs_the_work_and_not_the_job(service, started):
    first = made(service)
    where = Location(first.destination.bucket, f"{first.destination.key}{REPORT}")
    service.store.write_text("{", to=where, content_type="application/json")
    job = submitted(service)
    assert (job.state, started.names[-1]) == (JobState.QUEUED, job.job_id)


def test_a_record_that_cannot_be_changed_costs_the_work_and_not_the_job(
    service, started, monkeypatch
):
    made(service)

    def contended(*_: object, **__: object) -> Job:
        raise Contention("others write to it")

    monkeypatch.setattr(JobTable, "change", contended)
    job = submitted(service)
    assert (job.state, started.names[-1]) == (JobState.QUEUED, job.job_id)


def test_a_job_that_was_answered_though_nobody_heard_of_it_may_be_started(
    service, started, monkeypatch
):
    first = made(service)
    change = JobTable.change

    def unheard(self: JobTable, job_id: str, transition: Transition) -> Job:
        change(self, job_id, transition)
        raise EndpointConnectionError(endpoint_url="nowhere")

    with monkeypatch.context() as patch:
        patch.setattr(JobTable, "change", unheard)
        job = submitted(service)
    answered = service.jobs.get(job.job_id)
    assert (answered.state, answered.cached_from) == (JobState.SUCCEEDED, first.job_id)
    assert started.names[-1] == job.job_id
    run_stage(SEPARATE.stages[0].name, job.job_id, service=service)
    assert service.jobs.get(job.job_id) == answered


def test_a_quote_says_that_it_would_take_no_time(service):
    first = made(service)
    upload = sent(service.intake)
    quote = service.intake.quote(upload, SeparateOptions())
    assert quote.cached == service.jobs.get(first.job_id)
    assert (quote.seconds, quote.dollars) == (0.0, 0.0)
    assert service.intake.quote(upload, SeparateOptions(cache=False)).cached is None

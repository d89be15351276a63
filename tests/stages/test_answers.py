"""The first stage's look for a stored result, when only it has read the recording whole."""

import json
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import soundfile
from botocore.exceptions import EndpointConnectionError

from clearstem.answering import Answers
from clearstem.errors import JobIsOver, StageInterrupted
from clearstem.facts import Failure, Location
from clearstem.job_events import EventKind
from clearstem.jobs import Job, JobState
from clearstem.options import DenoiseOptions, DenoiserChoice
from clearstem.recipes import EXTRACTION, manifest_key
from clearstem.reporting import StageReporter
from clearstem.result_cache import ResultCache, maker_of
from clearstem.service import Service
from containers.checksums import sha256_of
from containers.stage import run_stage
from tests.recipes import result_of, run_recipe, submitted_noisy
from tests.signals import noise


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("talk") / "talk.wav"
    soundfile.write(path, noise(8_000).T, 16_000, subtype="PCM_16")
    return path


def sent(service: Service, path: Path, **chosen: Any) -> Job:
    """A job of a recording of whose content nobody knows anything yet."""
    job = submitted_noisy(service, path, **chosen)
    assert job.source.sha256 is None
    return job


def test_the_same_bytes_are_worked_on_once(service: Service, talk: Path, tmp_path: Path) -> None:
    first = run_recipe(service, sent(service, talk))
    assert (first.state, first.cached_from) == (JobState.SUCCEEDED, None)
    assert first.source.sha256 == sha256_of(talk)
    second = run_recipe(service, sent(service, talk))
    assert (second.state, second.cached_from) == (JobState.SUCCEEDED, first.job_id)
    assert second.source.sha256 == first.source.sha256
    assert (second.audio, second.denoising) == (first.audio, first.denoising)
    assert result_of(service, second, to=tmp_path).read_bytes() == (
        service.store.client.get_object(
            Bucket=first.destination.bucket, Key=f"{first.destination.key}clean.wav"
        )["Body"].read()
    )
    kinds = [event.kind for event in service.log.after(0, job_id=second.job_id)]
    assert kinds.count(EventKind.STAGE_STARTED) == kinds.count(EventKind.STAGE_COMPLETED) == 1
    assert kinds[-1] is EventKind.SUCCEEDED
    # The first stage took its time; the others were spared.
    assert [run.duration_s is None for run in second.stages] == [False, True, True]


@pytest.mark.parametrize("chosen", [{"cache": False}, {"strength": 50.0}])
def test_what_is_not_asked_the_same_way_is_worked_on(
    service: Service, talk: Path, chosen: dict[str, Any]
) -> None:
    run_recipe(service, sent(service, talk))
    other = run_recipe(service, sent(service, talk, **chosen))
    assert (other.state, other.cached_from) == (JobState.SUCCEEDED, None)


def test_what_failed_answers_nobody(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "broken.mp3"
    path.write_bytes(b"ID3\x04\x00\x00\x00\x00\x00\x00" + bytes(4000))
    failures = [run_recipe(service, sent(service, path)) for _ in range(2)]
    assert [(job.state, job.cached_from) for job in failures] == [(JobState.FAILED, None)] * 2


def test_a_recording_from_an_address_is_answered_when_it_has_come(
    service: Service, talk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run_recipe(service, sent(service, talk))

    def fetch_source(space: Any, progress: Any) -> None:
        service.store.put_file(talk, to=space.job.source.location, content_type="audio/wav")
        size = talk.stat().st_size
        space.job = space.tell_fetched(replace(space.job.source, size_bytes=size))
        progress(1, 1)

    remote: Any = types.ModuleType("containers.remote")
    remote.fetch_source = fetch_source
    monkeypatch.setitem(sys.modules, "containers.remote", remote)
    options = DenoiseOptions(engine=DenoiserChoice.SPECTRAL)
    job = service.intake.submit_url("https://example.com/talk.wav", options, owner="tester")
    job = run_recipe(service, job)
    assert (job.state, job.cached_from) == (JobState.SUCCEEDED, first.job_id)


@pytest.mark.parametrize("told", [None, "the output address answered 403"])
def test_a_stored_result_is_put_to_the_clients_address_before_the_job_succeeds(
    service: Service, talk: Path, monkeypatch: pytest.MonkeyPatch, told: str | None
) -> None:
    first = run_recipe(service, sent(service, talk))
    seen = []

    def deliver(space: Any, path: Path, *, content_type: str) -> str | None:
        state = service.jobs.get(space.job.job_id).state
        seen.append((state, content_type, sha256_of(path)))
        return told

    remote: Any = types.ModuleType("containers.remote")
    remote.deliver = deliver
    monkeypatch.setitem(sys.modules, "containers.remote", remote)
    job = run_recipe(service, sent(service, talk, output_url="https://example.com/put.wav"))
    assert first.result is not None
    assert seen == [(JobState.RUNNING, "audio/wav", first.result.sha256)]
    assert (job.state, job.cached_from, job.undelivered) == (
        JobState.SUCCEEDED,
        first.job_id,
        told,
    )


def test_why_one_result_was_not_put_is_not_told_of_the_next(
    service: Service, talk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote: Any = types.ModuleType("containers.remote")
    remote.deliver = lambda *_, **__: "the output address answered 403"
    monkeypatch.setitem(sys.modules, "containers.remote", remote)
    first = run_recipe(service, sent(service, talk, output_url="https://example.com/put.wav"))
    assert "the output address answered 403" in first.remarks
    second = run_recipe(service, sent(service, talk))
    assert (second.cached_from, second.remarks) == (first.job_id, first.notes)


def test_a_stage_killed_between_copy_and_completion_comes_to_the_same_end(
    service: Service, talk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run_recipe(service, sent(service, talk))
    job = sent(service, talk)

    def dies(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(StageReporter, "answered", dies)
        run_stage(EXTRACTION, job.job_id, service=service)
    assert service.jobs.get(job.job_id).state is JobState.RUNNING
    job = run_recipe(service, job)
    assert (job.state, job.cached_from) == (JobState.SUCCEEDED, first.job_id)


def test_a_job_cancelled_while_its_answer_is_copied_is_over(
    service: Service, talk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_recipe(service, sent(service, talk))
    job = sent(service, talk)
    answered = StageReporter.answered

    def cancelled_before(self: StageReporter, *args: Any, **named: Any) -> Job:
        self.jobs.change(job.job_id, lambda j: j.cancel(at=service.now()))
        return answered(self, *args, **named)

    monkeypatch.setattr(StageReporter, "answered", cancelled_before)
    with pytest.raises(JobIsOver):
        run_stage(EXTRACTION, job.job_id, service=service)
    assert service.jobs.get(job.job_id).state is JobState.CANCELLED


def test_a_result_that_went_meanwhile_costs_the_work_alone(service: Service, talk: Path) -> None:
    first = run_recipe(service, sent(service, talk))
    place = first.tracks[0].location
    service.store.client.delete_object(Bucket=place.bucket, Key=place.key)
    second = run_recipe(service, sent(service, talk))
    assert (second.state, second.cached_from) == (JobState.SUCCEEDED, None)


@pytest.mark.parametrize(
    ("owner", "step", "fault"),
    [
        (ResultCache, "find", EndpointConnectionError(endpoint_url="nowhere")),
        (Answers, "take", RuntimeError("can't start new thread")),
        (Answers, "take", KeyError("result")),
    ],
    ids=["table", "threads", "report"],
)
def test_whatever_goes_wrong_with_the_cache_costs_the_work_alone(
    service: Service,
    talk: Path,
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    step: str,
    fault: Exception,
) -> None:
    run_recipe(service, sent(service, talk))
    monkeypatch.setattr(owner, step, raising(fault))
    second = run_recipe(service, sent(service, talk))
    assert (second.state, second.cached_from) == (JobState.SUCCEEDED, None)


def test_a_stage_told_to_stop_while_it_copies_an_answer_stops(
    service: Service, talk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_recipe(service, sent(service, talk))
    job = sent(service, talk)
    monkeypatch.setattr(Answers, "take", raising(StageInterrupted("stopped by SIGTERM")))
    with pytest.raises(StageInterrupted):
        run_stage(EXTRACTION, job.job_id, service=service)


def test_a_job_retried_across_a_deployment_answers_nobody(service: Service, talk: Path) -> None:
    """Its first stage was done by the release before, whose manifest still holds."""
    before = replace(service, jobs=replace(service.jobs, maker="the release before"))
    job = sent(service, talk)
    run_stage(EXTRACTION, job.job_id, service=before)
    failure = Failure(None, "Clearstem.Test", "no machine")
    service.jobs.change(job.job_id, lambda j: j.fail(failure, at=service.now()))
    service.jobs.change(job.job_id, lambda j: j.retry(at=service.now()))
    job = run_recipe(service, job)
    assert job.state is JobState.SUCCEEDED
    assert [run.made_by for run in job.stages] == [
        maker_of(stage, maker=by.jobs.maker)
        for stage, by in zip(job.recipe.stages, (before, service, service), strict=True)
    ]
    for asker in (service, before):
        assert asker.jobs.cache.find(job, at=service.now()) is None


def test_a_manifest_that_does_not_say_by_what_it_was_made_answers_nobody(
    service: Service, talk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = sent(service, talk)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(StageReporter, "complete", raising(KeyboardInterrupt()))
        run_stage(EXTRACTION, job.job_id, service=service)
    where = Location(service.settings.work_bucket, manifest_key(job.job_id, stage=EXTRACTION))
    told = json.loads(service.store.read_text(where) or "")
    del told["result"]["made_by"]
    service.store.write_text(json.dumps(told), to=where, content_type="application/json")
    job = run_recipe(service, job)
    assert job.state is JobState.SUCCEEDED
    assert job.stage(EXTRACTION).made_by is None
    assert service.jobs.cache.find(job, at=service.now()) is None


def raising(fault: BaseException) -> Callable[..., None]:
    def refused(*_: object, **__: object) -> None:
        raise fault

    return refused

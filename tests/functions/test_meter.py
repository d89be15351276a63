"""What is measured of jobs."""

import pytest

from clearstem.facts import Failure, StageResult
from clearstem.jobs import Job
from clearstem.receipts import receipt
from functions.meter import is_measured, measurements
from tests.unit.examples import STAGES, a_job, after, at


def told(job: Job) -> list[tuple[str, float, dict[str, str]]]:
    """Every metric of a job: name, value, dimensions."""
    return [(found.metric, found.value, dict(found.dimensions)) for found in measurements(job)]


def test_jobs_are_measured_when_they_leave_the_queue_and_when_they_end() -> None:
    queued = a_job()
    running = queued.start_stage(STAGES[0], at=at(1))
    further = running.advance(STAGES[0], fraction=0.5, at=at(2))
    failed = running.fail(Failure(STAGES[0], "Clearstem.NoAudio", "no sound"), at=at(5))
    assert is_measured(queued, running)
    assert is_measured(running, failed)
    assert is_measured(queued, queued.cancel(at=at(1)))
    assert is_measured(None, queued)
    assert not is_measured(running, further)
    # Its results are deleted, or it is retried.
    assert not is_measured(failed, failed)
    assert not is_measured(failed, queued)


def test_a_job_that_was_made_is_one_submission() -> None:
    assert told(a_job()) == [("JobsSubmitted", 1, {"recipe": "separate"})]


def test_a_job_that_begins_tells_how_long_it_waited() -> None:
    job = a_job().start_stage(STAGES[0], at=at(42))
    assert told(job) == [("QueueSeconds", 42, {"recipe": "separate"})]


def test_a_job_that_succeeds_tells_its_seconds_and_dollars() -> None:
    job = a_job()
    for index, stage in enumerate(STAGES):
        job = job.start_stage(stage, at=at(10 * index))
        job = after(job, stage, when=at(10 * index + 10))
    found = told(job)
    assert ("JobsEnded", 1, {"state": "succeeded"}) in found
    assert ("JobSeconds", 40, {"recipe": "separate"}) in found
    seconds = {d["stage"]: value for name, value, d in found if name == "StageSeconds"}
    assert seconds == dict.fromkeys(STAGES, 10)
    (dollars,) = [value for name, value, _ in found if name == "JobDollars"]
    assert dollars == pytest.approx(receipt(job).dollars)
    assert not any(name == "Failures" for name, _, _ in found)


def test_a_failure_is_counted_by_its_name() -> None:
    job = a_job().start_stage(STAGES[0], at=at(1))
    job = job.fail(Failure(STAGES[0], "Clearstem.NoAudio", "no sound"), at=at(5))
    found = told(job)
    assert ("Failures", 1, {"error": "Clearstem.NoAudio"}) in found
    assert ("JobsEnded", 1, {"state": "failed"}) in found


def test_an_answer_from_the_cache_is_counted_as_one() -> None:
    made = after(a_job("made"), *STAGES, when=at(1))
    result = StageResult(audio=made.audio, tracks=made.tracks)
    job = a_job().answered(result, by="made", at=at(1))
    assert is_measured(a_job(), job)
    assert ("JobsCached", 1, {"recipe": "separate"}) in told(job)
    assert not any(name == "JobsCached" for name, *_ in told(made))

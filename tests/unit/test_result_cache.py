"""What a stored result is found by, and when there is one to be found."""

from dataclasses import fields, replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from clearstem.facts import Engine, Failure, StageResult
from clearstem.job_table import JobTable
from clearstem.jobs import Job, JobState
from clearstem.options import (
    Decompose,
    DenoiseOptions,
    DenoiserChoice,
    EngineChoice,
    Gain,
    SeparateOptions,
)
from clearstem.recipes import DENOISE, RECIPES, SEPARATE, SEPARATION, EngineName
from clearstem.result_cache import key_of, maker_of
from clearstem.retention import FILES_LAST
from clearstem.table_keys import cache_key
from tests.unit.examples import JOB_ID, STAGES, START, a_job, after, at

MAKER = "clearstem 1.0.0 fp32"
SHA256 = "ab" * 32
DEMUCS = Engine(EngineName.DEMUCS, "htdemucs", "cd" * 32, preview=False, reason="it is here")


def known(job: Job | None = None, *, sha256: str | None = SHA256) -> Job:
    """The example job with a recording whose content is known."""
    job = job or a_job()
    return replace(job, source=replace(job.source, sha256=sha256))


def denoising(**options: Any) -> Job:
    job = known()
    return replace(job, recipe_name=DENOISE.name, options=DenoiseOptions(**options))


def key(job: Job, *, maker: str = MAKER) -> str | None:
    return key_of(job, made_by=[maker_of(s, maker=maker) for s in job.recipe.stages])


# For each option another value than its default; one that is added must be told here.
OTHER_SEPARATION: dict[str, Any] = {
    "output_format": "flac",
    "target_lufs": -16.0,
    "ceiling_dbtp": -2.0,
    "gain": Gain.PER_TRACK,
    "limit": True,
    "residual": True,
    "decompose": Decompose.DRUMS,
    "hpss_kernel": 17,
    "hpss_margin": 2.0,
}
OTHER_DENOISING: dict[str, Any] = {
    "strength": 50.0,
    "output_extension": "mp3",
    "auto_level_lufs": -16.0,
}
WITHOUT_EFFECT = {"engine", "cache", "max_duration_s"}


@pytest.mark.parametrize("name", OTHER_SEPARATION)
def test_each_option_of_a_separation_makes_another_result(name):
    other = replace(known(), options=SeparateOptions(**{name: OTHER_SEPARATION[name]}))
    assert key(other) != key(known())


@pytest.mark.parametrize("name", OTHER_DENOISING)
def test_each_option_of_a_noise_reduction_makes_another_result(name):
    assert key(denoising(**{name: OTHER_DENOISING[name]})) != key(denoising())


def test_no_option_is_forgotten():
    for kind, others in ((SeparateOptions, OTHER_SEPARATION), (DenoiseOptions, OTHER_DENOISING)):
        assert {field.name for field in fields(kind)} - WITHOUT_EFFECT == set(others)


def test_how_an_engine_was_asked_for_and_how_long_a_recording_may_be_change_no_result():
    by_name = SeparateOptions(engine=EngineChoice.SPECTRAL)
    assert key(replace(known(), options=by_name)) == key(known())
    limited = denoising(max_duration_s=900.0, engine=DenoiserChoice.SPECTRAL)
    assert key(limited) == key(denoising())


@pytest.mark.parametrize(
    "other",
    [
        known(a_job(owner="bob")),
        known(sha256="ac" * 32),
        replace(known(), engine=DEMUCS),
        replace(known(), engine=replace(DEMUCS, sha256="ce" * 32)),
        replace(known(), source=replace(known().source, extension="mp3")),
        denoising(),
    ],
    ids=["owner", "content", "engine", "weights", "extension", "recipe"],
)
def test_what_decides_a_result_is_in_its_key(other):
    assert key(other) not in (key(known()), None)


def test_another_release_or_precision_finds_nothing():
    assert key(known(), maker="clearstem 1.0.0 bf16") != key(known())


def test_a_stage_of_another_revision_finds_nothing(monkeypatch):
    before = key(known())
    first, *others = SEPARATE.stages
    raised = replace(SEPARATE, stages=(replace(first, revision=first.revision + 1), *others))
    monkeypatch.setitem(RECIPES, SEPARATE.name, raised)  # type: ignore[arg-type]
    assert key(known()) != before


def test_names_labels_and_ids_change_nothing():
    other = replace(
        known(a_job("another")),
        source=replace(known().source, file_name="other.wav", size_bytes=1),
        labels={"album": "Demos"},
        callback_url="https://example.org/hook",
        download_token="t",
    )
    assert key(other) == key(known())


def test_without_a_known_content_or_with_the_cache_off_a_job_takes_no_part():
    assert key(known(sha256=None)) is None
    assert key(replace(known(), options=SeparateOptions(cache=False))) is None


@pytest.fixture
def jobs(dynamodb: Any) -> JobTable:
    return JobTable(dynamodb, "clearstem", maker=MAKER)


def finished(jobs: JobTable, job: Job) -> Job:
    jobs.create(job)
    return jobs.change(job.job_id, lambda j: after(j, *STAGES, when=at(9), maker=MAKER))


def found(jobs: JobTable, job: Job, *, when: datetime = START) -> str | None:
    entry = jobs.cache.find(job, at=when)
    return entry.job_id if entry else None


def entries(jobs: JobTable, owner: str = "ada") -> list[str]:
    """The jobs that answer others of their owner's."""
    answer = jobs.client.query(
        TableName=jobs.table,
        KeyConditionExpression="pk = :owner",
        ExpressionAttributeValues={":owner": {"S": cache_key(owner)}},
    )
    return [item["job_id"]["S"] for item in answer["Items"]]


def test_a_job_that_succeeded_is_found_by_the_next_one_like_it(jobs):
    made = finished(jobs, known())
    assert found(jobs, known(a_job("next"))) == JOB_ID
    entry = jobs.cache.find(known(), at=START)
    assert (entry.results, entry.until) == (made.destination, START + FILES_LAST)


def test_nobody_elses_job_is_found_and_none_of_other_options(jobs):
    finished(jobs, known())
    assert found(jobs, known(a_job("next", owner="bob"))) is None
    other = replace(known(a_job("next")), options=SeparateOptions(output_format="flac"))
    assert found(jobs, other) is None


@pytest.mark.parametrize(
    "end",
    [
        lambda job: job.fail(Failure(SEPARATION, "Clearstem.Test", "no"), at=at(2)),
        lambda job: job.cancel(at=at(2)),
        lambda job: job.start_stage(SEPARATION, at=at(2)),
    ],
    ids=["failed", "cancelled", "running"],
)
def test_what_did_not_succeed_is_never_found(jobs, end):
    jobs.create(known())
    jobs.change(JOB_ID, end)
    assert found(jobs, known()) is None


def test_a_job_that_opted_out_answers_nobody(jobs):
    finished(jobs, replace(known(), options=SeparateOptions(cache=False)))
    assert found(jobs, known()) is None


def test_an_entry_ends_with_its_jobs_retention(jobs):
    finished(jobs, replace(known(), expires_at=START + timedelta(hours=1)))
    assert found(jobs, known(), when=at(3599)) == JOB_ID
    assert found(jobs, known(), when=at(3600)) is None


def test_of_two_jobs_alike_at_once_the_later_end_is_found(jobs):
    for job_id in ("one", "two"):
        jobs.create(known(a_job(job_id)))
    for job_id in ("two", "one"):
        jobs.change(job_id, lambda j: after(j, *STAGES, when=at(9), maker=MAKER))
    assert found(jobs, known()) == "one"


@pytest.mark.parametrize("earlier", ["clearstem 0.9.0 fp32 audio_separation 1", None])
def test_a_job_of_which_a_stage_was_done_by_other_code_answers_nobody(jobs, earlier):
    jobs.create(known())

    def begun_before(job: Job) -> Job:
        result = replace(_told(after(a_job(), SEPARATION)), made_by=earlier)
        return job.start_stage(SEPARATION, at=at(1)).complete_stage(SEPARATION, result, at=at(2))

    jobs.change(JOB_ID, begun_before)
    ended = jobs.change(JOB_ID, lambda j: after(j, *STAGES[1:], when=at(9), maker=MAKER))
    assert ended.state is JobState.SUCCEEDED
    assert entries(jobs) == []


def test_what_is_left_of_a_stage_is_of_the_code_that_made_it_through_a_retry():
    first = after(known(), SEPARATION, maker=MAKER)
    failed = first.fail(Failure(None, "Clearstem.Test", "no"), at=at(3))
    made_by = maker_of(SEPARATE.stages[0], maker=MAKER)
    assert failed.retry(at=at(4)).stage(SEPARATION).made_by == made_by


@pytest.mark.parametrize("release", [MAKER, "clearstem 1.1.0 fp32"])
def test_what_a_job_left_is_forgotten_by_whichever_release_deletes_it(jobs, release):
    made = finished(jobs, known())
    assert entries(jobs) == [JOB_ID]
    replace(jobs, maker=release).cache.forget(made)
    assert entries(jobs) == []
    jobs.cache.forget(made)  # and again


def test_forgetting_a_job_leaves_the_entry_that_a_later_one_put_in_its_place(jobs):
    first = finished(jobs, known())
    finished(jobs, known(a_job("later")))
    jobs.cache.forget(first)
    assert entries(jobs) == ["later"]


def test_an_answered_job_leaves_the_entry_to_the_one_that_made_the_result(jobs):
    made = finished(jobs, known())
    jobs.create(known(a_job("answered")))
    result = replace(_told(made), source_sha256=SHA256)
    jobs.change("answered", lambda j: j.answered(result, by=JOB_ID, at=at(20)))
    assert found(jobs, known()) == JOB_ID


def test_the_content_that_the_first_stage_read_is_the_one_that_counts(jobs):
    """Whatever stood there when the job was submitted: storage can be written to in between."""
    jobs.create(known(sha256="00" * 32))

    def read(job: Job) -> Job:
        begun = job.start_stage(SEPARATION, at=at(1))
        by = maker_of(SEPARATE.stages[0], maker=MAKER)
        told = _told(after(a_job(), SEPARATION))
        result = replace(told, source_sha256=SHA256, made_by=by)
        return begun.complete_stage(SEPARATION, result, at=at(2))

    jobs.change(JOB_ID, read)
    jobs.change(JOB_ID, lambda j: after(j, *STAGES[1:], when=at(9), maker=MAKER))
    assert found(jobs, known()) == JOB_ID
    assert found(jobs, known(sha256="00" * 32)) is None


def _told(job: Job) -> StageResult:
    return StageResult(audio=job.audio, separation=job.separation, tracks=job.tracks)

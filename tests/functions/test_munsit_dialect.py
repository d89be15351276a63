"""The Munsit dialect: events, records and errors."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from clearstem.errors import (
    ClearstemError,
    InvalidOption,
    JobNotFound,
    MissingFile,
    TooLarge,
    TooLong,
    TooManyRequests,
    TrackNotFound,
    Unauthorized,
)
from clearstem.facts import Failure, Source, StageResult, Track
from clearstem.jobs import Job
from clearstem.options import DenoiseOptions
from clearstem.queueing import queued_job
from clearstem.recipes import DENOISE, EXTRACTION, NOISE_REDUCTION
from functions import dialects
from functions.dialects import munsit
from tests.unit.examples import AUDIO, JOB_ID, SPECTRAL, a_job, at

BASE = "https://api.example/live"
TOKEN, SOURCE_TOKEN = "7c9e10b3", "51d0aa97"


def queued() -> Job:
    example = a_job()
    return queued_job(
        job_id=JOB_ID,
        owner="ada",
        recipe=DENOISE,
        source=example.source,
        destination=example.destination,
        options=DenoiseOptions(),
        engine=SPECTRAL,
        at=at(0),
        download_token=TOKEN,
        source_token=SOURCE_TOKEN,
    )


def running(stage: str = EXTRACTION, fraction: float = 0.7) -> Job:
    job = queued()
    for spec in DENOISE.stages:
        job = job.start_stage(spec.name, at=at(1))
        if spec.name == stage:
            return job.advance(stage, fraction=fraction, at=at(2))
        job = job.complete_stage(spec.name, StageResult(), at=at(2))
    raise AssertionError(stage)


def succeeded() -> Job:
    job = queued()
    track = Track("clean", job.destination, "wav", 1, 1, "00" * 32, None, None)
    for spec in DENOISE.stages:
        last = spec is DENOISE.stages[-1]
        result = StageResult(tracks=(track,) if last else ())
        job = job.start_stage(spec.name, at=at(1)).complete_stage(spec.name, result, at=at(2))
    return job


def test_both_ids_are_the_jobs() -> None:
    assert munsit.accepted(queued()) == {"jobId": JOB_ID, "denoiseId": JOB_ID}


@pytest.mark.parametrize(
    ("job", "pct", "message"),
    [
        (queued(), 0.0, "Waiting to start"),
        (running(), 10.0, "Extracting audio"),
        (running(NOISE_REDUCTION, 0.5), 42.9, "Running noise reduction"),
    ],
)
def test_a_job_under_way_is_processing(job: Job, pct: float, message: str) -> None:
    expected = {"stage": "processing", "pct": pct, "message": message}
    assert munsit.event(job, base_url=BASE) == expected
    assert job.percent == pct


def test_a_job_that_is_done_has_an_absolute_address() -> None:
    event = munsit.event(succeeded(), base_url=BASE)
    assert event["stage"] == "done"
    assert event["denoiseId"] == JOB_ID
    assert event["url"].startswith(f"{BASE}/v1/dl/{TOKEN}/")
    assert event["url"] == munsit.audio_url(succeeded(), base_url=BASE)


@pytest.mark.parametrize(
    ("job", "message"),
    [
        (queued().fail(Failure(None, "x", "no sound in it"), at=at(1)), "no sound in it"),
        (queued().cancel(at=at(1)), "cancelled by its owner"),
        (succeeded().delete_results(at=at(9)), "the result is no longer there"),
        (replace(succeeded(), download_token=""), "the result is no longer there"),
    ],
)
def test_whatever_has_no_result_ends_in_an_error(job: Job, message: str) -> None:
    assert munsit.event(job, base_url=BASE) == {"stage": "error", "message": message}


def test_an_event_is_one_line_of_json() -> None:
    job = queued().fail(Failure(None, "x", "two\nlines é"), at=at(1))
    text = munsit.event_text(job, base_url=BASE)
    assert "\n" not in text and "é" in text
    assert json.loads(text)["message"] == "two\nlines é"


def test_the_length_is_the_decoded_one_once_it_is_known() -> None:
    probed = replace(queued(), source=replace(queued().source, duration_s=9.96))
    assert munsit.record(queued(), base_url=BASE)["audio_duration"] == 0.0
    assert munsit.record(probed, base_url=BASE)["audio_duration"] == 9.96
    decoded = replace(probed, audio=AUDIO)
    assert munsit.record(decoded, base_url=BASE)["audio_duration"] == 10.0


def test_times_are_written_as_javascript_does() -> None:
    moment = datetime(2026, 3, 1, 12, 0, 0, 123_999, tzinfo=UTC)
    job = replace(queued(), created_at=moment)
    assert munsit.record(job, base_url=BASE)["created_at"] == "2026-03-01T12:00:00.123Z"


def test_the_recording_lies_at_an_address_that_the_results_does_not_give_away() -> None:
    record = munsit.record(succeeded(), base_url=BASE)
    address = f"{BASE}/api/v1/originals/{SOURCE_TOKEN}/{JOB_ID}.wav"
    assert record["original_audio_url"] == address
    assert SOURCE_TOKEN not in str(record["audio_url"])
    assert dialects.is_open(address.removeprefix(BASE))


def test_a_recording_that_is_not_fetched_yet_lies_where_the_client_said() -> None:
    address = "https://media.example/talk.wav"
    source = Source(queued().source.location, "talk.wav", "wav", 0, url=address)
    job = replace(queued(), source=source)
    assert munsit.record(job, base_url=BASE)["original_audio_url"] == address
    fetched = replace(job, source=replace(source, size_bytes=9))
    assert munsit.record(fetched, base_url=BASE)["original_audio_url"].startswith(BASE)


@pytest.mark.parametrize(
    ("extension", "kind"),
    [
        *((e, "video") for e in ("mp4", "mov", "mkv", "webm", "avi", "m4v")),
        *((e, "audio") for e in ("wav", "mp3", "flac", "wmv", "")),
    ],
)
def test_video_is_what_the_documents_call_video(extension: str, kind: str) -> None:
    job = replace(queued(), source=replace(queued().source, extension=extension))
    assert munsit.record(job, base_url=BASE)["source_type"] == kind


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (MissingFile("No filename provided"), 400, "40002"),
        (InvalidOption("limit x"), 400, "40001"),
        (TooLarge("too large"), 400, "40003"),
        (TooLong(duration_s=901, limit_s=900), 400, "40004"),
        (Unauthorized("Invalid or missing API key"), 401, "40101"),
        (TrackNotFound("Track not found"), 404, "40401"),
        (TooManyRequests("slow down", retry_after_s=3), 429, "42901"),
        (ClearstemError("Internal server error"), 500, "50001"),
    ],
)
def test_every_error_has_its_status_in_its_code(
    error: ClearstemError, status: int, code: str
) -> None:
    found, body = munsit.problem(error)
    assert (found, body["errorCode"]) == (status, code)
    assert body.keys() == {"errorCode", "errorMessage"}


def test_an_unknown_job_has_a_body_of_its_own() -> None:
    expected = (404, {"message": "Denoising job not found"})
    assert munsit.problem(JobNotFound("Job not found")) == expected


def test_what_exceeds_a_limit_never_reads_as_the_limit() -> None:
    limit = 200 * 1024 * 1024
    expected = "File size exceeds the maximum limit of 200MB. File size: 200.01MB"
    assert munsit.size_message(limit + 1, limit_bytes=limit) == expected
    _, body = munsit.problem(TooLong(duration_s=900.2, limit_s=900))
    expected = "Duration exceeds the maximum limit of 15 minutes. Duration: 15.01 minutes"
    assert body["errorMessage"] == expected


@pytest.mark.parametrize("path", ["/api/v1/denoise", "/api/v1/denoise/x/progress"])
def test_its_paths_need_a_key_and_are_refused_in_its_words(path: str) -> None:
    dialect = dialects.dialect_of(path)
    assert dialect == "munsit"
    assert dialects.needs_key(dialect) and dialects.refuses_by_itself(dialect)
    assert not dialects.is_open(path)

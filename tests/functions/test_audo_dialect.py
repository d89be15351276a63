"""The Audo dialect: states, paths and what a request asks for."""

import json
from dataclasses import replace

import pytest

from clearstem.errors import InvalidOption, InvalidRequest, JobNotFound
from clearstem.facts import Failure, StageResult, Track
from clearstem.jobs import Job, queued_job
from clearstem.options import DenoiseOptions
from clearstem.recipes import DENOISE
from functions.dialects import RENDERERS, audo
from tests.unit.examples import JOB_ID, SPECTRAL, a_job, at

TOKEN = "7c9e10b3-96ca-4904-aecf-ce815339c859"


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
    )


def succeeded(extension: str = "mp3") -> Job:
    job = queued()
    track = Track("clean", job.destination, extension, 1, 1, "00" * 32, None, None)
    for spec in DENOISE.stages:
        last = spec is DENOISE.stages[-1]
        result = StageResult(tracks=(track,) if last else ())
        job = job.start_stage(spec.name, at=at(1)).complete_stage(spec.name, result, at=at(2))
    return job


def test_a_waiting_job_says_how_many_are_ahead():
    assert audo.state_document(queued(), 3) == {"state": "queued", "jobsAhead": 3}


def test_a_running_job_says_how_far_it_is():
    job = queued().start_stage("extraction", at=at(1)).advance("extraction", fraction=0.7, at=at(2))
    assert audo.state_document(job, 0) == {"state": "in_progress", "percent": 10.0}


def test_a_failed_job_says_why():
    job = queued().fail(Failure("extraction", "Clearstem.NoAudio", "no sound in it"), at=at(1))
    assert audo.state_document(job, 0) == {"state": "failed", "reason": "no sound in it"}


def test_a_cancelled_job_is_a_failed_one():
    assert audo.state_document(queued().cancel(at=at(1)), 0)["state"] == "failed"


def test_the_path_of_a_result_suits_the_client():
    path = audo.state_document(succeeded(), 0)["downloadPath"]
    assert path.startswith("/dl/") and path.endswith(".mp3")
    assert "?" not in path and TOKEN in path
    assert audo.job_of_file(path.rpartition("/")[2]) == JOB_ID


def test_deleted_results_are_given_out_no_more():
    job = succeeded().delete_results(at=at(9))
    assert audo.download_path(job) is None
    assert audo.state_document(job, 0)["state"] == "failed"


def test_a_job_without_a_token_has_no_open_address():
    assert audo.download_path(replace(succeeded(), download_token="")) is None


def test_a_frame_is_the_state_document():
    frame = json.loads(RENDERERS["audo"](queued(), 2))
    assert frame == {"state": "queued", "jobsAhead": 2}


@pytest.mark.parametrize("extension", ["mp3", ".mp3", "MP3"])
def test_an_extension_may_have_a_dot(extension):
    assert audo.options_of({"outputExtension": extension}).output_extension == "mp3"


def test_nulls_are_as_good_as_nothing():
    fields = {"outputExtension": None, "output": None, "autoVolume": None}
    assert audo.options_of(fields) == DenoiseOptions()


@pytest.mark.parametrize(("asked", "lufs"), [(False, None), (True, -16.0), (-20, -20.0)])
def test_automatic_volume_is_a_switch_or_a_level(asked, lufs):
    assert audo.options_of({"autoVolume": asked}).auto_level_lufs == lufs


def test_the_amount_is_the_strength():
    assert audo.options_of({"noiseReductionAmount": 40}).strength == 40.0


@pytest.mark.parametrize(
    "fields",
    [
        {"noiseReductionAmount": 0},
        {"noiseReductionAmount": True},
        {"noiseReductionAmount": "40"},
        {"autoVolume": "loud"},
        {"autoVolume": 3},
        {"outputExtension": "exe"},
        {"outputExtension": 3},
    ],
)
def test_what_is_out_of_range_is_a_422(fields):
    with pytest.raises(InvalidOption) as refused:
        audo.options_of(fields)
    assert audo.problem(refused.value) == (422, {"detail": str(refused.value)})


def test_a_file_is_named_in_either_way():
    assert audo.asked_input({"fileId": "f"}) == audo.asked_input({"input": "f"}) == "f"


@pytest.mark.parametrize(
    "fields",
    [{}, {"input": None}, {"input": "https://a.example/b.wav"}, {"input": "f", "output": "x"}],
)
def test_what_cannot_be_fetched_or_sent_is_refused(fields):
    with pytest.raises(InvalidRequest):
        audo.asked_input(fields)


@pytest.mark.parametrize("body", [b"", b"input=f", b"[1]", b"\xff"])
def test_a_body_that_is_no_json_object_is_refused(body):
    with pytest.raises(InvalidRequest):
        audo.request_fields(body)


def test_other_errors_keep_their_status():
    assert audo.problem(JobNotFound("Job not found")) == (404, {"detail": "Job not found"})

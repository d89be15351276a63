"""The Audo dialect: states, paths and what a request asks for."""

import json
from dataclasses import replace
from typing import Any

import pytest

from clearstem.errors import InvalidRequest, JobNotFound, TrackNotFound
from clearstem.facts import Failure, StageResult, Track
from clearstem.jobs import Job
from clearstem.options import DenoiseOptions
from clearstem.queueing import queued_job
from clearstem.recipes import DENOISE
from functions.dialects import RENDERERS, audo, is_open
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


def asked(**fields: Any) -> audo.Removal:
    return audo.removal(json.dumps({"input": "f", **fields}).encode())


@pytest.mark.parametrize("extension", ["mp3", ".mp3", "MP3"])
def test_an_extension_may_have_a_dot(extension):
    assert asked(outputExtension=extension).options.output_extension == "mp3"


def test_nulls_are_as_good_as_nothing():
    nothing = asked(outputExtension=None, output=None, autoVolume=None)
    assert nothing == audo.Removal("f", None, DenoiseOptions())


@pytest.mark.parametrize(("volume", "lufs"), [(False, None), (True, -16.0), (-20, -20.0)])
def test_automatic_volume_is_a_switch_or_a_level(volume, lufs):
    assert asked(autoVolume=volume).options.auto_level_lufs == lufs


def test_the_amount_is_the_strength():
    assert asked(noiseReductionAmount=40).options.strength == 40.0


@pytest.mark.parametrize(
    ("output", "extension"),
    [
        ("https://b.example/audo-enhanced_foo.mp4?content-type=video%2Fmp4&Expires=1", "mp4"),
        ("https://b.example/foo.MP3", "mp3"),
        ("https://b.example/results/17", None),
        ("https://b.example/page.php?name=a.wav", None),
        ("https://[", None),
    ],
)
def test_a_result_is_of_the_kind_that_the_address_it_is_put_to_says(output, extension):
    # A presigned address is signed for the Content-Type of that kind.
    removal = asked(output=output)
    assert (removal.output_url, removal.options.output_extension) == (output, extension)
    assert asked(output=output, outputExtension="flac").options.output_extension == "flac"


@pytest.mark.parametrize(
    "fields",
    [
        {"noiseReductionAmount": 0},
        {"noiseReductionAmount": 101},
        {"noiseReductionAmount": True},
        {"noiseReductionAmount": "40"},
        {"autoVolume": "loud"},
        {"autoVolume": 3},
        {"outputExtension": "exe"},
        {"outputExtension": 3},
        {"output": 3},
        {"input": 3},
        {"input": None},
        {"input": ""},
    ],
)
def test_what_is_out_of_range_is_a_422(fields):
    with pytest.raises(InvalidRequest) as refused:
        asked(**fields)
    assert audo.problem(refused.value) == (422, {"detail": str(refused.value)})


def test_a_file_is_named_in_either_way():
    assert audo.removal(b'{"fileId": "f"}') == audo.removal(b'{"input": "f"}')


def test_an_input_may_be_an_address():
    assert asked(input="https://a.example/b.wav").is_remote
    assert not asked().is_remote


@pytest.mark.parametrize("body", [b"", b"input=f", b"[1]", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_json_object_is_refused(body):
    with pytest.raises(InvalidRequest):
        audo.removal(body)


def test_a_source_on_its_way_is_being_downloaded():
    job = queued()
    awaited = replace(job.source, url="https://a.example/b.wav", size_bytes=0)
    job = replace(job, source=awaited)
    assert audo.state_document(job, 1) == {"state": "queued", "jobsAhead": 1}
    job = job.start_stage("extraction", at=at(1))
    assert audo.state_document(job, 0) == {"state": "downloading"}
    job = job.fetched(replace(awaited, size_bytes=5), at=at(2))
    assert audo.state_document(job, 0) == {"state": "in_progress", "percent": 0.0}


def test_a_result_is_found_at_its_own_path_and_at_no_other():
    job = succeeded()
    path = audo.download_path(job)
    assert audo.downloaded(job, path=path).name == "clean"
    elsewhere = (path.replace(TOKEN, TOKEN[:-1] + "0"), path + "x", path.replace(".mp3", ".wav"))
    for wrong in (*elsewhere, "/dl//x", path.replace(TOKEN, "é")):
        with pytest.raises(TrackNotFound):
            audo.downloaded(job, path=wrong)
    for gone in (job.delete_results(at=at(9)), replace(job, download_token=""), queued()):
        with pytest.raises(TrackNotFound):
            audo.downloaded(gone, path=path)


@pytest.mark.parametrize("path", ["/v1/dl/t/f.mp3", "/v1//dl/t/f.mp3"])
def test_only_downloads_are_open_to_all(path):
    assert is_open(path)
    assert not any(map(is_open, ("/v1/upload", "/v1/dlx", "/dl/t/f.mp3", "/v1/apiKey/test")))


def test_other_errors_keep_their_status():
    assert audo.problem(JobNotFound("Job not found")) == (404, {"detail": "Job not found"})

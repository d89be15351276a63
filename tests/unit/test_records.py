"""Whatever a job holds comes back from DynamoDB's form and from JSON as it went in."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clearstem.facts import (
    AudioFormat,
    Engine,
    Failure,
    Location,
    Loudness,
    Separation,
    Source,
    StageResult,
    Track,
)
from clearstem.jobs import Job
from clearstem.options import DenoiseOptions, SeparateOptions
from clearstem.records import dumps, from_item, loads, to_item
from clearstem.stage_runs import StageRun
from tests.unit.examples import LOUDNESS, a_job, after

# DynamoDB's numbers: 38 digits, magnitudes from 1e-130 to 1e126.
MAGNITUDES = st.floats(1e-100, 1e100)
NUMBERS = st.one_of(st.just(0.0), MAGNITUDES, MAGNITUDES.map(lambda x: -x))
COUNTS = st.integers(0, 10**18)
TIMES = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
TEXTS = st.text(max_size=20)
LOCATIONS = st.builds(Location, TEXTS, TEXTS)


def few(values: st.SearchStrategy) -> st.SearchStrategy:
    return st.lists(values, max_size=2).map(tuple)


def maybe(values: st.SearchStrategy) -> st.SearchStrategy:
    return st.one_of(st.none(), values)


AUDIOS = st.builds(
    AudioFormat,
    TEXTS,
    TEXTS,
    rate_hz=COUNTS,
    channels=COUNTS,
    frames=COUNTS,
    bit_depth=maybe(COUNTS),
)
SEPARATIONS = st.builds(
    Separation,
    model_sha256=maybe(TEXTS),
    residual_db=maybe(NUMBERS),
    versions=st.dictionaries(TEXTS, TEXTS, max_size=3),
)
LOUDNESSES = st.builds(
    Loudness,
    source_lufs=maybe(NUMBERS),
    main_lufs=maybe(NUMBERS),
    target_lufs=NUMBERS,
    ceiling_dbtp=NUMBERS,
    gain_db=NUMBERS,
    held_back_by=maybe(TEXTS),
    source_max_momentary_lufs=maybe(NUMBERS),
    source_max_short_term_lufs=maybe(NUMBERS),
    source_loudness_range_lu=maybe(NUMBERS),
)
TRACKS = st.builds(
    Track,
    name=TEXTS,
    location=LOCATIONS,
    frames=COUNTS,
    size_bytes=COUNTS,
    true_peak_dbtp=maybe(NUMBERS),
    loudness_lufs=maybe(NUMBERS),
    max_momentary_lufs=maybe(NUMBERS),
    max_short_term_lufs=maybe(NUMBERS),
    loudness_range_lu=maybe(NUMBERS),
)
RUNS = st.builds(
    StageRun,
    started_at=maybe(TIMES),
    completed_at=maybe(TIMES),
    fraction=NUMBERS,
    error=maybe(TEXTS),
)
RESULTS = st.builds(
    StageResult,
    audio=maybe(AUDIOS),
    separation=maybe(SEPARATIONS),
    loudness=maybe(LOUDNESSES),
    tracks=few(TRACKS),
    notes=few(TEXTS),
)
SEPARATE_OPTIONS = st.builds(
    SeparateOptions,
    output_format=st.sampled_from(("wav", "mp3")),
    target_lufs=st.floats(-40, -5),
    ceiling_dbtp=st.one_of(st.just(0.0), st.floats(-20, -1e-9)),
)
DENOISE_OPTIONS = st.builds(
    DenoiseOptions,
    strength=st.floats(1, 100),
    output_extension=maybe(st.sampled_from(("wav", "mp4"))),
    auto_level_lufs=maybe(st.floats(-40, -5)),
    max_duration_s=maybe(st.floats(1e-3, 1e6)),
)
JOBS = st.builds(
    Job,
    created_at=TIMES,
    updated_at=TIMES,
    source=st.builds(Source, LOCATIONS, size_bytes=COUNTS),
    destination=LOCATIONS,
    options=st.one_of(SEPARATE_OPTIONS, DENOISE_OPTIONS),
    engine=st.builds(Engine, sha256=maybe(TEXTS)),
    stages=few(RUNS),
    ticket=COUNTS,
    version=COUNTS,
    audio=maybe(AUDIOS),
    separation=maybe(SEPARATIONS),
    loudness=maybe(LOUDNESSES),
    tracks=few(TRACKS),
    notes=few(TEXTS),
    failure=maybe(st.builds(Failure, maybe(TEXTS))),
    denoising=st.none(),
    download_token=TEXTS,
    deleted_at=maybe(TIMES),
)

# A whole job takes a while to be drawn, on a busy machine.
some_examples = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


@given(JOBS)
@some_examples
def test_any_job_comes_back_from_a_dynamodb_item(job):
    stored = to_item(job, pk="JOB#1", sk="JOB", ttl=7)
    found = from_item(stored, Job)
    assert found == job
    assert type(found.version) is int
    assert all(type(run.fraction) is float for run in found.stages)


@given(JOBS)
@some_examples
def test_any_job_comes_back_from_json(job):
    assert loads(dumps(job), Job) == job


@given(RESULTS)
@some_examples
def test_any_stage_result_comes_back_from_a_manifest(result):
    assert loads(dumps(result).encode(), StageResult) == result


def test_options_are_stored_under_the_name_of_their_recipe():
    job = a_job()
    assert to_item(job)["options"]["M"]["recipe"] == {"S": "separate"}
    quiet = replace(job, recipe_name="denoise", options=DenoiseOptions(auto_level_lufs=-16.0))
    stored = json.loads(dumps(quiet))
    assert stored["options"]["recipe"] == "denoise"
    assert loads(dumps(quiet), Job).options == DenoiseOptions(auto_level_lufs=-16.0)


def test_a_record_older_than_the_second_recipe_is_a_separation():
    stored = json.loads(dumps(a_job()))
    for unknown_then in ("recipe", "denoising", "download_token", "deleted_at"):
        (stored["options"] if unknown_then == "recipe" else stored).pop(unknown_then)
    assert loads(json.dumps(stored), Job) == a_job()


def test_a_record_older_than_the_meters_windows_has_none_of_them():
    job = after(a_job(), *(stage.name for stage in a_job().recipe.stages))
    stored = json.loads(dumps(job))
    for told in (stored["loudness"], *stored["tracks"]):
        for name in [name for name in told if "momentary" in name or "short" in name]:
            del told[name]
        del told["loudness_range_lu" if "name" in told else "source_loudness_range_lu"]
    assert loads(json.dumps(stored), Job) == job


def test_a_record_of_a_later_version_is_read_without_what_only_that_knows():
    item = to_item(a_job(), pk="JOB#1", sk="JOB", rating=5)
    item["source"]["M"]["encoder"] = {"S": "LAME3.100"}
    item["stages"]["L"][0]["M"]["machine"] = {"S": "gpu"}
    assert from_item(item, Job) == a_job()


def test_attributes_that_are_no_fields_lie_beside_them():
    item = to_item(a_job(), pk="JOB#1", sk="JOB", ttl=1234)
    assert (item["pk"], item["sk"], item["ttl"]) == ({"S": "JOB#1"}, {"S": "JOB"}, {"N": "1234"})
    assert item["state"] == {"S": "queued"}
    assert item["owner"] == {"S": "ada"}


def test_numbers_are_stored_as_dynamodb_numbers_without_a_rounding_error():
    item = to_item(after(a_job(), "audio_separation"))
    assert Decimal(item["stages"]["L"][0]["M"]["fraction"]["N"]) == 1
    assert to_item(LOUDNESS)["source_lufs"] == {"N": "-20.25"}


def test_times_are_text_that_sorts_as_they_do():
    whole, half = (datetime(2026, 3, 1, 12, 0, 0, us, tzinfo=UTC) for us in (0, 500_000))
    earlier, later = (to_item(a_job(created_at=t))["created_at"]["S"] for t in (whole, half))
    assert earlier < later


def test_json_keeps_its_order_so_that_equal_values_are_equal_text():
    text = dumps(LOUDNESS)
    assert list(json.loads(text)) == sorted(json.loads(text))


@pytest.mark.parametrize("silence", [float("-inf"), float("nan")])
def test_a_number_that_no_json_reader_takes_is_refused_when_written(silence):
    loudness = Loudness(silence, None, -14.0, -1.0, 0.0, None)
    with pytest.raises(ValueError, match="not JSON compliant"):
        dumps(loudness)
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_item(loudness)


def test_a_job_stored_before_there_were_these_options_has_their_defaults():
    record = json.loads(dumps(a_job()))
    for name in ("gain", "limit", "residual", "decompose", "hpss_kernel", "hpss_margin"):
        del record["options"][name]
    assert loads(json.dumps(record), Job) == a_job()

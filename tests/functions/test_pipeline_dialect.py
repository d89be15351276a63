"""The documents of the pipeline dialect, against the published ones."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from clearstem.facts import (
    AudioFormat,
    Engine,
    Failure,
    Location,
    Loudness,
    Source,
    StageResult,
    Track,
)
from clearstem.jobs import Job
from clearstem.options import SeparateOptions
from clearstem.queueing import queued_job
from clearstem.recipes import SEPARATE, EngineName
from clearstem.settings import Settings
from functions.dialects import RENDERERS, pipeline, pipeline_config

JOB_ID = "a1b2c3d4-e5f6-4789-8abc-1a2b3c4d5e6f"
CREATED = datetime(2024, 1, 15, 10, 30, 45, 123456, UTC)
STARTED = datetime(2024, 1, 15, 10, 30, 46, 123456, UTC)
ENDED = datetime(2024, 1, 15, 10, 35, 12, 654321, UTC)
SETTINGS = Settings("table", "uploads", "work", "tracks", "drop")
STAGES = [stage.name for stage in SEPARATE.stages]


def queued() -> Job:
    return queued_job(
        job_id=JOB_ID,
        owner="alice",
        recipe=SEPARATE,
        source=Source(Location("uploads", "source.wav"), "song.wav", "wav", 844),
        destination=Location("tracks", f"jobs/{JOB_ID}/"),
        options=SeparateOptions(),
        engine=Engine(EngineName.SPECTRAL, "spectral-1", None, True, "asked for by name"),
        at=CREATED,
    )


def track(name: str) -> Track:
    return Track(name, Location("tracks", name), "wav", 10, 64, "0" * 64, -1.0, None)


def completed() -> Job:
    job = queued()
    for name in STAGES:
        result = StageResult()
        if name == STAGES[-1]:
            # Written in another order than the recipe's.
            result = StageResult(
                audio=AudioFormat("wav", "pcm_s16le", 8000, 1, 10, 16),
                loudness=Loudness(None, None, -14.0, -1.0, 0.0, None),
                tracks=tuple(track(n) for n in reversed(SEPARATE.tracks)),
                notes=("mono",),
            )
        job = job.start_stage(name, at=STARTED).complete_stage(name, result, at=ENDED)
    return job


def test_a_job_under_way_is_the_published_document_field_by_field_in_order() -> None:
    job = queued().start_stage(STAGES[0], at=STARTED)
    pending = {
        "status": "pending",
        "started_at": None,
        "completed_at": None,
        "error": None,
        "duration_seconds": None,
    }
    published = {
        "job_id": JOB_ID,
        "status": "processing",
        "created_at": "2024-01-15T10:30:45.123456",
        "stages": [
            {
                "name": "audio_separation",
                "processor_type": "separator",
                "status": "processing",
                "started_at": "2024-01-15T10:30:46.123456",
                "completed_at": None,
                "error": None,
                "duration_seconds": None,
            },
            {
                "name": "harmonic_percussive_separation",
                "processor_type": "decomposition",
                **pending,
            },
            {"name": "composite_track_creation", "processor_type": "composition", **pending},
            {"name": "normalization", "processor_type": "audio_processing", **pending},
        ],
        "outputs": {},
    }
    document = json.loads(pipeline.render(job))
    published_fields = dict(list(document.items())[:5])
    for stage in published_fields["stages"]:
        assert stage.popitem() == ("percent", 0.0)
    assert json.dumps(published_fields) == json.dumps(published)


def test_a_completed_job_has_nine_outputs_in_the_published_order() -> None:
    document = pipeline.job_document(completed())
    assert document["status"] == "completed"
    assert document["percent"] == 100.0
    assert list(document["outputs"]) == [
        "vocals",
        "drums",
        "bass",
        "other",
        "harmonic",
        "percussive",
        "main",
        "main_harmonic",
        "main_percussive",
    ]
    assert document["outputs"]["main"] == f"/download/{JOB_ID}/main.wav"
    assert [t["name"] for t in document["tracks"]] == list(document["outputs"])
    assert document["audio"] is not None
    assert document["audio"]["duration_s"] == 0.001
    assert document["notes"] == ["mono"]


def test_a_duration_is_rounded_to_milliseconds() -> None:
    assert pipeline.job_document(completed())["stages"][0]["duration_seconds"] == 266.531


def test_times_are_utc_whatever_zone_they_come_in() -> None:
    berlin = timezone(timedelta(hours=1))
    assert pipeline.timestamp(CREATED.astimezone(berlin)) == "2024-01-15T10:30:45.123456"
    assert pipeline.timestamp(CREATED.replace(microsecond=0)) == "2024-01-15T10:30:45.000000"


def test_a_failed_job_says_which_stage_and_why_and_has_no_outputs() -> None:
    job = queued().start_stage(STAGES[0], at=STARTED)
    failed = job.fail(Failure(STAGES[0], "Clearstem.UnreadableAudio", "no sound"), at=ENDED)
    document = pipeline.job_document(failed)
    assert document["status"] == "failed"
    assert document["stages"][0]["status"] == "failed"
    assert document["stages"][0]["error"] == "no sound"
    assert document["outputs"] == {}
    assert document["error"] == {
        "stage": STAGES[0],
        "name": "Clearstem.UnreadableAudio",
        "message": "no sound",
    }


def test_a_cancelled_job_is_failed_and_no_stage_of_it_is_processing() -> None:
    cancelled = queued().start_stage(STAGES[0], at=STARTED).cancel(at=ENDED)
    document = pipeline.job_document(cancelled)
    assert document["status"] == "failed"
    assert {stage["status"] for stage in document["stages"]} == {"failed", "pending"}
    assert document["error"] is not None
    assert document["error"]["message"] == "cancelled by its owner"


def test_the_tracks_of_an_unfinished_job_are_not_shown() -> None:
    job = replace(queued(), tracks=(track("main"),))
    assert pipeline.outputs(job) == {}
    assert pipeline.find_track(job, "main") is None


@pytest.mark.parametrize("name", ["main", "main.wav"])
def test_a_track_is_found_by_its_exact_name_with_or_without_extension(name: str) -> None:
    found = pipeline.find_track(completed(), name)
    assert found is not None
    assert found.name == "main"


@pytest.mark.parametrize("name", ["mai", "main_", "MAIN", "main.mp3", "main.wav.wav", "", "all"])
def test_nothing_but_the_exact_name_finds_a_track(name: str) -> None:
    assert pipeline.find_track(completed(), name) is None


def test_main_is_not_found_where_only_main_harmonic_is() -> None:
    job = replace(completed(), tracks=(track("main_harmonic"),))
    assert pipeline.find_track(job, "main") is None


def test_a_long_name_leaves_room_for_the_tracks_name() -> None:
    job = completed()
    long = replace(job, source=replace(job.source, file_name="ö" * 120 + ".wav"))
    name = pipeline.track_file_name(long, track("main_percussive"))
    assert name.endswith(" - main_percussive.wav")
    assert len(name.encode()) <= 255


def test_health_and_configuration_are_the_published_documents() -> None:
    assert json.dumps(pipeline.health()) == (
        '{"status": "healthy", "version": "1.0.0", "pipeline_stages": 4}'
    )
    config = pipeline_config.config(SETTINGS)
    first_fields = dict(list(config.items())[:3])
    assert json.dumps(first_fields) == json.dumps(
        {
            "max_file_size_mb": 500,
            "supported_formats": ["wav", "mp3", "flac", "ogg"],
            "pipeline_stages": [
                {"name": "audio_separation", "processor_type": "separator"},
                {"name": "harmonic_percussive_separation", "processor_type": "decomposition"},
                {"name": "composite_track_creation", "processor_type": "composition"},
                {"name": "normalization", "processor_type": "audio_processing"},
            ],
        }
    )


def test_configuration_says_which_engine_auto_takes_and_why() -> None:
    separator = pipeline_config.config(SETTINGS)["separator"]
    assert separator["engine"] == "spectral"
    assert separator["preview"] is True
    assert "clearstem models fetch htdemucs" in separator["reason"]


def test_configuration_tells_of_a_model_that_nobody_knows() -> None:
    separator = pipeline_config.config(replace(SETTINGS, separator_model="nodemucs"))["separator"]
    assert separator["engine"] is None
    assert "nodemucs" in separator["reason"]


def test_every_dialect_renders_a_job_as_one_json_text() -> None:
    for render in RENDERERS.values():
        assert isinstance(json.loads(render(completed(), 0)), dict)

"""Example values of the core, for tests that care about one of their fields only."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from clearstem.facts import (
    AudioFormat,
    Engine,
    Location,
    Loudness,
    Separation,
    Source,
    StageResult,
    Track,
)
from clearstem.jobs import Job
from clearstem.options import SeparateOptions
from clearstem.queueing import queued_job
from clearstem.recipes import (
    COMPOSITION,
    DECOMPOSITION,
    NORMALIZATION,
    SEPARATE,
    SEPARATION,
    EngineName,
)
from clearstem.result_cache import maker_of

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
STAGES = (SEPARATION, DECOMPOSITION, COMPOSITION, NORMALIZATION)
JOB_ID = "0b7a4b6e-6f1c-4f6b-9d61-0c6f4b1f2a11"

SPECTRAL = Engine(EngineName.SPECTRAL, "spectral-1", None, preview=True, reason="asked for by name")
AUDIO = AudioFormat("wav", "pcm_s16le", rate_hz=44_100, channels=2, frames=441_000, bit_depth=16)
SEPARATION_MADE = Separation(
    engine=EngineName.SPECTRAL,
    model="spectral-1",
    model_sha256=None,
    device="cpu",
    preview=True,
    residual_db=-71.5,
    versions={"numpy": "2.4.6"},
)
LOUDNESS = Loudness(
    source_lufs=-20.25,
    main_lufs=-14.0,
    target_lufs=-14.0,
    ceiling_dbtp=-1.0,
    gain_db=6.25,
    held_back_by=None,
)


def at(seconds: float) -> datetime:
    """A time so many seconds after the example job was submitted."""
    return START + timedelta(seconds=seconds)


def a_job(job_id: str = JOB_ID, *, owner: str = "ada", created_at: datetime = START) -> Job:
    """A job as it enters the queue."""
    return queued_job(
        job_id=job_id,
        owner=owner,
        recipe=SEPARATE,
        source=Source(
            Location("uploads", "uploads/ada/1/source.wav"), "song.wav", "wav", 1_764_044
        ),
        destination=Location("tracks", f"jobs/{job_id}/"),
        options=SeparateOptions(),
        engine=SPECTRAL,
        at=created_at,
    )


def started(job: Job) -> Job:
    """The job when its first stage is under way."""
    return job.start_stage(SEPARATION, at=at(1))


def a_track(name: str) -> Track:
    """A track of the example job."""
    return Track(
        name=name,
        location=Location("tracks", f"jobs/{JOB_ID}/{name}.wav"),
        extension="wav",
        frames=441_000,
        size_bytes=2_646_044,
        sha256="00" * 32,
        true_peak_dbtp=-1.5,
        loudness_lufs=-16.0,
    )


def result_of(stage: str) -> StageResult:
    """What the stages of an ordinary job find out; the last one delivers the tracks."""
    if stage == SEPARATION:
        return StageResult(audio=AUDIO, separation=SEPARATION_MADE, notes=("resampled",))
    if stage == NORMALIZATION:
        tracks = tuple(a_track(name) for name in SEPARATE.tracks)
        return StageResult(loudness=LOUDNESS, tracks=tracks)
    return StageResult()


def after(job: Job, *stages: str, when: datetime = START, maker: str = "") -> Job:
    """The job when the given stages have been run and done, by a maker's code of today."""
    for stage in stages:
        spec = job.recipe.stages[job.recipe.position(stage)]
        result = replace(result_of(stage), made_by=maker_of(spec, maker=maker))
        job = job.start_stage(stage, at=when).complete_stage(stage, result, at=when)
    return job

"""The pipeline dialect: separation into nine tracks, for curl and browsers.

Field names, their order, the states' names and the form of times are fixed by
the published API; what clearstem adds comes after the published fields.
Times are UTC without a zone, to the microsecond.
"""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Final

from clearstem.facts import Track
from clearstem.job_table import Page
from clearstem.jobs import Job, JobState
from clearstem.part_uploads import PartPlan
from clearstem.receipts import receipt
from clearstem.recipes import SEPARATE, StageSpec
from clearstem.stage_runs import StageRun, StageState
from clearstem.track_store import PresignedUpload
from clearstem.uploads import Upload
from functions.dialects.pipeline_documents import (
    AudioDocument,
    CacheDocument,
    CostDocument,
    DenoisingDocument,
    EngineDocument,
    FailureDocument,
    HealthDocument,
    JobDocument,
    JobsDocument,
    LoudnessDocument,
    PartsDocument,
    SeparationDocument,
    StageCostDocument,
    StageDocument,
    TrackDocument,
    UploadDocument,
)

API_VERSION: Final = "1.0.0"

_JOB_STATUS: Final = {
    JobState.QUEUED: "processing",
    JobState.RUNNING: "processing",
    JobState.SUCCEEDED: "completed",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "failed",
}
_STAGE_STATUS: Final = {
    StageState.PENDING: "pending",
    StageState.RUNNING: "processing",
    StageState.SUCCEEDED: "completed",
    StageState.FAILED: "failed",
}
# Room for the name of a track and an extension within a file name's 255 bytes.
_STEM_BYTES: Final = 200


def health() -> HealthDocument:
    """The body of ``/health``."""
    return {
        "status": "healthy",
        "version": API_VERSION,
        "pipeline_stages": len(SEPARATE.stages),
    }


def job_document(job: Job) -> JobDocument:
    """A job as ``/process``, ``/job/{id}``, WebSocket and webhooks show it."""
    specs = job.recipe.stages
    return {
        "job_id": job.job_id,
        "status": _JOB_STATUS[job.state],
        "created_at": timestamp(job.created_at),
        "stages": [_stage(spec, run, job=job) for spec, run in zip(specs, job.stages, strict=True)],
        "outputs": outputs(job),
        "percent": job.percent,
        "file_name": job.source.file_name,
        "engine": engine_document(job),
        "loudness": _loudness(job),
        "audio": _audio(job),
        "separation": _separation(job),
        "recipe": job.recipe_name,
        "denoising": _denoising(job),
        "tracks": [_track(job, track) for track in finished_tracks(job)],
        "notes": list(job.remarks),
        "error": _failure(job),
        "attempt": job.attempt,
        "labels": dict(job.labels),
        "expires_at": timestamp(job.expires_at) if job.expires_at else None,
        "receipt": _receipt(job),
        "cache": cache_document(job.cached_from),
    }


def jobs_document(page: Page) -> JobsDocument:
    """A page of jobs."""
    return {"jobs": [job_document(job) for job in page.jobs], "next_cursor": page.cursor}


def upload_document(
    upload: Upload,
    links: PresignedUpload,
    *,
    parts: PartsDocument | None,
    max_bytes: int,
) -> UploadDocument:
    """An announced upload with its links."""
    return {
        "upload_id": upload.upload_id,
        "put": {"url": links.put_url, "headers": links.put_headers},
        "post": {"url": links.post_url, "fields": links.post_fields},
        "parts": parts,
        "expires_in_s": links.expires_in_s,
        "max_bytes": max_bytes,
    }


def parts_document(
    plan: PartPlan, *, stored: Iterable[int], links: Iterable[tuple[int, str]]
) -> PartsDocument:
    """How far an upload in parts is."""
    return {
        "part_bytes": plan.part_bytes,
        "count": plan.count,
        "stored": sorted(stored),
        "missing": [
            {"number": number, "size_bytes": plan.size_of(number), "url": url}
            for number, url in links
        ],
    }


def render(job: Job) -> str:
    """A job as one WebSocket text frame."""
    return json.dumps(job_document(job), ensure_ascii=False, separators=(",", ":"))


def timestamp(moment: datetime) -> str:
    """A time as this dialect writes it: ``2024-01-15T10:30:45.123456``, UTC."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")


def outputs(job: Job) -> dict[str, str]:
    """Download paths by track; empty until the job has completed."""
    return {track.name: track_path(job, track) for track in finished_tracks(job)}


def finished_tracks(job: Job) -> list[Track]:
    """The tracks of a completed job, in the recipe's order; none of any other, or if deleted."""
    if job.state is not JobState.SUCCEEDED or job.deleted_at is not None:
        return []
    order = job.track_names
    return sorted(job.tracks, key=lambda track: order.index(track.name))


def find_track(job: Job, name: str) -> Track | None:
    """The finished track of exactly that name, given with or without its extension."""
    for track in finished_tracks(job):
        if name in (track.name, f"{track.name}.{track.extension}"):
            return track
    return None


def track_path(job: Job, track: Track) -> str:
    """Where a track is downloaded, relative to the API's base URL."""
    return f"/download/{job.job_id}/{track.name}.{track.extension}"


def track_file_name(job: Job, track: Track) -> str:
    """What a downloaded track is called: the recording's name and the track's."""
    return f"{_stem(job)} - {track.name}.{track.extension}"


def archive_file_name(job: Job) -> str:
    """What the archive of all tracks is called."""
    return f"{_stem(job)} - tracks.zip"


def _stem(job: Job) -> str:
    stem = PurePosixPath(job.source.file_name).stem
    return stem.encode()[:_STEM_BYTES].decode(errors="ignore")


def _stage(spec: StageSpec, run: StageRun, *, job: Job) -> StageDocument:
    # The stage that a cancelled job was in is not being executed any more.
    stopped = job.state.is_final and run.state is StageState.RUNNING
    state = StageState.FAILED if stopped else run.state
    return {
        "name": spec.name,
        "processor_type": spec.processor_type,
        "status": _STAGE_STATUS[state],
        "started_at": timestamp(run.started_at) if run.started_at else None,
        "completed_at": timestamp(run.completed_at) if run.completed_at else None,
        "error": run.error,
        "duration_seconds": None if run.duration_s is None else round(run.duration_s, 3),
        "percent": round(100 * run.fraction, 1),
    }


def engine_document(job: Job) -> EngineDocument:
    """The engine that a job was promised."""
    return {
        "name": job.engine.name.value,
        "model": job.engine.model,
        "preview": job.engine.preview,
        "reason": job.engine.reason,
        "sha256": job.engine.sha256,
    }


def cache_document(made_by: str | None) -> CacheDocument:
    """Whether a stored result is the answer, by the id of the job that made it."""
    return {"hit": made_by is not None, "job_id": made_by}


def _loudness(job: Job) -> LoudnessDocument | None:
    measured = job.loudness
    if measured is None:
        return None
    return {
        "source_lufs": measured.source_lufs,
        "main_lufs": measured.main_lufs,
        "target_lufs": measured.target_lufs,
        "ceiling_dbtp": measured.ceiling_dbtp,
        "gain_db": measured.gain_db,
        "held_back_by": measured.held_back_by,
        "gain": measured.gain.value,
        "limited": measured.limited,
        "source_max_momentary_lufs": measured.source_max_momentary_lufs,
        "source_max_short_term_lufs": measured.source_max_short_term_lufs,
        "source_loudness_range_lu": measured.source_loudness_range_lu,
    }


def _audio(job: Job) -> AudioDocument | None:
    audio = job.audio
    if audio is None:
        return None
    return {
        "container": audio.container,
        "codec": audio.codec,
        "rate_hz": audio.rate_hz,
        "channels": audio.channels,
        "frames": audio.frames,
        "bit_depth": audio.bit_depth,
        "duration_s": round(audio.duration_s, 3),
    }


def _separation(job: Job) -> SeparationDocument | None:
    made = job.separation
    if made is None:
        return None
    return {
        "engine": made.engine.value,
        "model": made.model,
        "model_sha256": made.model_sha256,
        "device": made.device,
        "preview": made.preview,
        "residual_db": made.residual_db,
        "versions": dict(made.versions),
        "backend": made.backend,
        "precision": made.precision,
    }


def _denoising(job: Job) -> DenoisingDocument | None:
    made = job.denoising
    if made is None:
        return None
    return {
        "engine": made.engine.value,
        "model": made.model,
        "model_sha256": made.model_sha256,
        "strength": made.strength,
        "versions": dict(made.versions),
    }


def _receipt(job: Job) -> CostDocument:
    spent = receipt(job)
    stages: list[StageCostDocument] = [
        {
            "name": stage.name,
            "machine": stage.machine.value,
            "seconds": round(stage.seconds, 3),
            "dollars": round(stage.dollars, 6),
        }
        for stage in spent.stages
    ]
    return {
        "seconds": round(spent.seconds, 3),
        "dollars": round(spent.dollars, 6),
        "stages": stages,
    }


def _track(job: Job, track: Track) -> TrackDocument:
    return {
        "name": track.name,
        "url": track_path(job, track),
        "format": track.extension,
        "frames": track.frames,
        "size_bytes": track.size_bytes,
        "sha256": track.sha256,
        "true_peak_dbtp": track.true_peak_dbtp,
        "loudness_lufs": track.loudness_lufs,
        "max_momentary_lufs": track.max_momentary_lufs,
        "max_short_term_lufs": track.max_short_term_lufs,
        "loudness_range_lu": track.loudness_range_lu,
    }


def _failure(job: Job) -> FailureDocument | None:
    if job.state is JobState.CANCELLED:
        return {
            "stage": job.current_stage(),
            "name": "Clearstem.Cancelled",
            "message": "cancelled by its owner",
        }
    if job.failure is None:
        return None
    return {
        "stage": job.failure.stage,
        "name": job.failure.name,
        "message": job.failure.message,
    }

"""The Munsit dialect: noise removal for fetch, httpx and curl.

Jobs are records of a history, progress is a stream of events, and errors have
an ``errorCode``: the HTTP status and two digits that tell the causes apart.
Names and messages are those of the published API.
"""

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, Literal

from typing_extensions import TypedDict  # pydantic asks for this one below Python 3.12

from clearstem.errors import ClearstemError, JobNotFound, MissingFile, TooLarge, TooLong
from clearstem.jobs import Job, JobState
from clearstem.media import MEBIBYTE, VIDEO_INPUTS
from functions.dialects import audo

ORIGINALS: Final = "/api/v1/originals"
# A stream on which nothing happened for so long ends, as published.
IDLE_S: Final = 900.0

_STATUS: Final = {
    JobState.QUEUED: "pending",
    JobState.RUNNING: "pending",
    JobState.SUCCEEDED: "success",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "failed",
}
_BAD_REQUEST: Final = 400
# The published code is 400 and two digits that it leaves open.
_CODES: Final[Mapping[type[ClearstemError], str]] = {
    MissingFile: "40002",
    TooLarge: "40003",
    TooLong: "40004",
}


class ProcessingEvent(TypedDict):
    """The job waits or is worked on."""

    stage: Literal["processing"]
    pct: float
    message: str


class DoneEvent(TypedDict):
    """The result is there; the stream ends."""

    stage: Literal["done"]
    url: str
    denoiseId: str


class ErrorEvent(TypedDict):
    """There is no result, or none any more; the stream ends."""

    stage: Literal["error"]
    message: str


Event = ProcessingEvent | DoneEvent | ErrorEvent


class Record(TypedDict):
    """One job of the history."""

    id: str
    user_id: str
    transaction_id: str | None
    audio_url: str | None
    original_audio_url: str
    file_name: str
    audio_duration: float
    audio_size: int
    audio_format: str
    source_type: str
    status: str
    error: str | None
    created_at: str
    updated_at: str


def accepted(job: Job) -> Mapping[str, str]:
    """The answer to a recording that became a job."""
    return {"jobId": job.job_id, "denoiseId": job.job_id}


def event(job: Job, *, base_url: str) -> Event:
    """A job as the event that its watchers are sent.

    Parameters
    ----------
    base_url : str
        Where this host answers, without a slash at its end.
    """
    if not job.state.is_final:
        return {"stage": "processing", "pct": job.percent, "message": job.message}
    url = audio_url(job, base_url=base_url)
    if url is None:
        return {"stage": "error", "message": _error(job) or "the result is no longer there"}
    return {"stage": "done", "url": url, "denoiseId": job.job_id}


def event_text(job: Job, *, base_url: str) -> str:
    """The data of an event: one line of JSON."""
    return json.dumps(event(job, base_url=base_url), ensure_ascii=False, separators=(",", ":"))


def record(job: Job, *, base_url: str) -> Record:
    """A job as one record of the history."""
    return {
        "id": job.job_id,
        "user_id": job.owner,
        "transaction_id": None,
        "audio_url": audio_url(job, base_url=base_url),
        "original_audio_url": original_url(job, base_url=base_url),
        "file_name": job.source.file_name,
        # A number in every record, as published; 0 where it is not known yet.
        "audio_duration": round(job.duration_s or 0.0, 3),
        "audio_size": job.source.size_bytes,
        "audio_format": job.source.extension,
        "source_type": "video" if job.source.extension in VIDEO_INPUTS else "audio",
        "status": _STATUS[job.state],
        "error": _error(job),
        "created_at": _time(job.created_at),
        "updated_at": _time(job.updated_at),
    }


def record_text(job: Job, *, base_url: str) -> str:
    """A record as JSON."""
    return json.dumps(record(job, base_url=base_url), ensure_ascii=False)


def audio_url(job: Job, *, base_url: str) -> str | None:
    """Where the result lies, for anyone who knows the address; None where there is none."""
    path = audo.download_path(job)
    return None if path is None else f"{base_url}/v1{path}"


def original_url(job: Job, *, base_url: str) -> str:
    """Where the recording lies that was handed in, for anyone who knows the address."""
    if job.source.url is not None and not job.source.size_bytes:
        return job.source.url  # not fetched yet
    return f"{base_url}{ORIGINALS}/{job.source_token}/{job.job_id}.{job.source.extension}"


def is_original(path: str) -> bool:
    """Whether a path of the API is that of an `original_url`, which needs no key."""
    return path.startswith(f"{ORIGINALS}/")


def size_message(size_bytes: int, *, limit_bytes: int) -> str:
    """What is said of a file that is too large, in the published words."""
    limit = f"{limit_bytes / MEBIBYTE:g}MB"
    size = _upwards(size_bytes / MEBIBYTE)
    return f"File size exceeds the maximum limit of {limit}. File size: {size}MB"


def problem(error: ClearstemError) -> tuple[int, Mapping[str, str]]:
    """Status and body of an error."""
    if isinstance(error, JobNotFound):
        return error.http_status, {"message": "Denoising job not found"}
    # What is wrong with a recording is a 400 in this dialect, whatever it is.
    status = _BAD_REQUEST if isinstance(error, TooLarge) else error.http_status
    plain = plain_problem(status, _message(error))
    code = _CODES.get(type(error), plain["errorCode"])
    return status, {**plain, "errorCode": code}


def plain_problem(status: int, detail: str) -> Mapping[str, str]:
    """The body of a refusal that has no class: no such path, no such method."""
    return {"errorCode": f"{status}01", "errorMessage": detail}


def _message(error: ClearstemError) -> str:
    if isinstance(error, MissingFile):
        return "audio is required and must be a file"
    if isinstance(error, TooLong):
        minutes, limit = _upwards(error.duration_s / 60), f"{error.limit_s / 60:g}"
        return f"Duration exceeds the maximum limit of {limit} minutes. Duration: {minutes} minutes"
    return str(error)


def _error(job: Job) -> str | None:
    if job.state is JobState.CANCELLED:
        return "cancelled by its owner"
    return job.failure.message if job.failure is not None else None


def _upwards(value: float) -> str:
    """Two decimals, rounded up: what exceeds a limit never reads as the limit itself."""
    return f"{math.ceil(value * 100) / 100:.2f}"


def _time(moment: datetime) -> str:
    """UTC in ISO 8601, as JavaScript writes it."""
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00") + "Z"

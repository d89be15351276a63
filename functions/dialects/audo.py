"""The Audo dialect: noise removal for its Python client, curl and websocat.

Five states and nothing else: the client takes any other for a fault. Errors
are ``{"detail": …}``; the client takes every 400 for a lack of credits, so
what is wrong with a request is a 422.
"""

import json
from collections.abc import Mapping
from typing import Any, Final, TypedDict

from clearstem.errors import ClearstemError, InvalidOption, InvalidRequest
from clearstem.jobs import Job, JobState
from clearstem.options import AUTO_LEVEL_LUFS, DenoiseOptions

_UNPROCESSABLE: Final = 422
_FILE_PREFIX: Final = "audo_enhanced_"


class StateDocument(TypedDict, total=False):
    """The state of a job; which of the fields are there depends on it."""

    state: str
    jobsAhead: int
    percent: float
    downloadPath: str
    reason: str


def state_document(job: Job, ahead: int) -> StateDocument:
    """The body of ``…/status``, and a WebSocket frame.

    Parameters
    ----------
    ahead : int
        Jobs that leave the queue before this one.
    """
    match job.state:
        case JobState.QUEUED:
            return {"state": "queued", "jobsAhead": ahead}
        case JobState.RUNNING:
            return {"state": "in_progress", "percent": job.percent}
        case JobState.FAILED:
            reason = job.failure.message if job.failure else "the job failed"
            return {"state": "failed", "reason": reason}
        case JobState.CANCELLED:
            return {"state": "failed", "reason": "cancelled by its owner"}
        case JobState.SUCCEEDED:
            path = download_path(job)
            if path is None:
                return {"state": "failed", "reason": "the results were deleted"}
            return {"state": "succeeded", "downloadPath": path}


def render(job: Job, ahead: int) -> str:
    """A job as one WebSocket text frame."""
    return json.dumps(state_document(job, ahead), ensure_ascii=False)


def download_path(job: Job) -> str | None:
    """Where the result lies, relative to the dialect's base URL; None where there is none.

    It begins with a slash, since the client puts it behind its base URL, has no
    query and ends in the file's extension, which the client compares.
    """
    track = job.result
    if track is None or not job.download_token:
        return None
    return f"/dl/{job.download_token}/{_FILE_PREFIX}{job.job_id}.{track.extension}"


def job_of_file(file_name: str) -> str | None:
    """The job's id in the last part of a `download_path`; None where there is none."""
    stem = file_name.partition(".")[0]
    return stem.removeprefix(_FILE_PREFIX) if stem.startswith(_FILE_PREFIX) else None


def request_fields(body: bytes) -> Mapping[str, Any]:
    """The JSON object of a body, whatever its Content-Type; `InvalidRequest` if it is none."""
    try:
        fields = json.loads(body)
    except ValueError as exc:
        raise InvalidRequest(f"the body is not JSON: {exc}") from exc
    if not isinstance(fields, dict):
        raise InvalidRequest("the body is not a JSON object")
    return fields


def asked_input(fields: Mapping[str, Any]) -> str:
    """The id of the uploaded file, under either of its names.

    Raises
    ------
    InvalidRequest
        There is none, or a URL is given for input or output.
    """
    given = fields.get("input") or fields.get("fileId")
    if not isinstance(given, str):
        raise InvalidRequest("input: the fileId of an upload is needed")
    for name, value in (("input", given), ("output", fields.get("output"))):
        if value and (name == "output" or "://" in value):
            raise InvalidRequest(f"{name}: URLs are not taken yet; use /upload and downloadPath")
    return given


def options_of(fields: Mapping[str, Any]) -> DenoiseOptions:
    """What a request asks for; `InvalidOption` names what is out of range."""
    extension = fields.get("outputExtension")
    if extension is not None and not isinstance(extension, str):
        raise InvalidOption(f"outputExtension {extension!r} is not a text")
    amount = fields.get("noiseReductionAmount")
    return DenoiseOptions(
        strength=100.0 if amount is None else _number("noiseReductionAmount", amount),
        output_extension=extension.lower().removeprefix(".") if extension else None,
        auto_level_lufs=_level(fields.get("autoVolume")),
    )


def problem(error: ClearstemError) -> tuple[int, Mapping[str, str]]:
    """Status and body of an error."""
    wrong = isinstance(error, InvalidRequest)
    return (_UNPROCESSABLE if wrong else error.http_status), {"detail": str(error)}


def _level(asked: object) -> float | None:
    if asked is None or asked is False:
        return None
    return AUTO_LEVEL_LUFS if asked is True else _number("autoVolume", asked)


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidOption(f"{name} {value!r} is not a number")
    return float(value)

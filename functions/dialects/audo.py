"""The Audo dialect: noise removal for its Python client, curl and websocat.

Five states and nothing else: the client takes any other for a fault. Errors
are ``{"detail": …}``; the client takes every 400 for a lack of credits, so
what is wrong with a request is a 422.
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from typing_extensions import TypedDict  # pydantic asks for this one below Python 3.12

from clearstem.errors import (
    ClearstemError,
    InvalidOption,
    InvalidRequest,
    QuotaUsedUp,
    TrackNotFound,
)
from clearstem.facts import Track
from clearstem.jobs import Job, JobState
from clearstem.media import DENOISE_OUTPUTS
from clearstem.options import AUTO_LEVEL_LUFS, DenoiseOptions
from functions.attached import NOTHING, Attached, attached

_UNPROCESSABLE: Final = 422
_NO_CREDITS: Final = 400
_FILE_PREFIX: Final = "audo_enhanced_"
_SHOWN: Final = 40


class DownloadingState(TypedDict):
    """The recording is being fetched from its URL."""

    state: Literal["downloading"]


class QueuedState(TypedDict):
    """The job waits behind so many others."""

    state: Literal["queued"]
    jobsAhead: int


class InProgressState(TypedDict):
    """The job is worked on."""

    state: Literal["in_progress"]
    percent: float


class SucceededState(TypedDict):
    """The result is there, at a path that is put behind the dialect's base URL."""

    state: Literal["succeeded"]
    downloadPath: str


class FailedState(TypedDict):
    """There is no result, or none any more."""

    state: Literal["failed"]
    reason: str


StateDocument = DownloadingState | QueuedState | InProgressState | SucceededState | FailedState


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
        case JobState.RUNNING if job.downloading:
            return {"state": "downloading"}
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


def is_download(path: str) -> bool:
    """Whether a path of the API is a `download_path`, which needs no key.

    The published example has no slash in front: clients put one of their own
    before ours, or none.
    """
    return path.startswith(("/v1/dl/", "/v1//dl/"))


def job_of_file(file_name: str) -> str | None:
    """The job's id in the last part of a `download_path`; None where there is none."""
    stem = file_name.partition(".")[0]
    return stem.removeprefix(_FILE_PREFIX) if stem.startswith(_FILE_PREFIX) else None


def downloaded(job: Job, *, path: str) -> Track:
    """The track that lies at exactly that path, relative to the dialect's base URL.

    Raises
    ------
    TrackNotFound
        The job's result lies elsewhere, or there is none (any more).
    """
    track, known = job.result, download_path(job)
    # In constant time: the token is all that keeps strangers out.
    if track is None or known is None or not secrets.compare_digest(path.encode(), known.encode()):
        raise TrackNotFound("Track not found")
    return track


@dataclass(frozen=True, slots=True)
class Removal:
    """What a request to ``/remove-noise`` asks for.

    Attributes
    ----------
    source : str
        The id of an upload, or a URL.
    output_url : str or None
        Where the result is to be put as well.
    beside : Attached
        What the job bears besides; clearstem's own.
    """

    source: str
    output_url: str | None
    options: DenoiseOptions
    beside: Attached = NOTHING

    @property
    def is_remote(self) -> bool:
        """Whether the source is a URL."""
        return "://" in self.source


def removal(body: bytes) -> Removal:
    """Read a request, whatever its Content-Type says it is.

    Raises
    ------
    InvalidRequest, InvalidOption
        It is no JSON object, names no input, or a value is out of range.
    """
    fields = _object(body)
    output_url = _text("output", fields.get("output"))
    # The published examples name the input so with curl, and `input` in Python.
    source = _text("input", fields.get("input")) or _text("fileId", fields.get("fileId"))
    if source is None:
        raise InvalidRequest("input: the fileId of an upload or a URL is needed")
    return Removal(
        source,
        output_url,
        _options(fields, output_url=output_url),
        beside=attached(fields),
    )


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise InvalidRequest(f"the body is not JSON: {exc}") from exc
    if not isinstance(fields, dict):
        raise InvalidRequest("the body is not a JSON object")
    return fields


def _options(fields: Mapping[str, Any], *, output_url: str | None) -> DenoiseOptions:
    extension = _text("outputExtension", fields.get("outputExtension"))
    amount = fields.get("noiseReductionAmount")
    return DenoiseOptions(
        strength=100.0 if amount is None else _number("noiseReductionAmount", amount),
        output_extension=(
            extension.lower().removeprefix(".") if extension else _extension_of(output_url)
        ),
        auto_level_lufs=_level(fields.get("autoVolume")),
        cache=_flag("cache", fields.get("cache")),
    )


def _extension_of(output_url: str | None) -> str | None:
    """What the result is put as: a presigned address is signed for one Content-Type."""
    try:
        path = urlsplit(output_url or "").path
    except ValueError:
        return None  # whether it is an address at all is told where it is used
    suffix = PurePosixPath(path).suffix.lower().removeprefix(".")
    return suffix if suffix in DENOISE_OUTPUTS else None


def problem(error: ClearstemError) -> tuple[int, Mapping[str, str]]:
    """Status and body of an error."""
    if isinstance(error, InvalidRequest):
        return _UNPROCESSABLE, {"detail": str(error)}
    if isinstance(error, QuotaUsedUp):
        return _NO_CREDITS, {"detail": str(error)}
    return error.http_status, {"detail": str(error)}


def plain_problem(_: int, detail: str) -> Mapping[str, str]:
    """The body of a refusal that has no class: no such path, no such method."""
    return {"detail": detail}


def _level(asked: object) -> float | None:
    if asked is None or asked is False:
        return None
    return AUTO_LEVEL_LUFS if asked is True else _number("autoVolume", asked)


def _flag(name: str, value: object) -> bool:
    """What a client says, or true where he says nothing."""
    if value is None:
        return True
    if not isinstance(value, bool):
        raise InvalidOption(f"{name} {value!r} is not true or false")
    return value


def _text(name: str, value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise InvalidRequest(f"{name} {value!r} is not a text")
    return value or None


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidOption(f"{name} {value!r} is not a number")
    try:
        return float(value)
    except OverflowError as exc:
        raise InvalidOption(f"{name} {str(value)[:_SHOWN]}… is beyond every range") from exc

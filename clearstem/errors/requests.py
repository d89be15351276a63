"""What is wrong with a request: the caller can mend it."""

from collections.abc import Mapping

from clearstem.errors.root import ClearstemError


class RequestError(ClearstemError):
    """A request that cannot be served as it stands."""

    http_status = 400
    state_name = "Clearstem.RequestError"


class InvalidRequest(RequestError):
    """A request whose content is wrong."""


class MissingFile(InvalidRequest):
    """No file, or a file part without a name."""


class EmptyFile(InvalidRequest):
    """A file of no bytes."""


class UnsupportedFormat(InvalidRequest):
    """A file name whose extension no reader takes."""


class ContentMismatch(InvalidRequest):
    """Bytes that are not what the file name says."""


class InvalidOption(InvalidRequest):
    """An option outside its range; the message gives value and range."""


class TooLong(InvalidRequest):
    """A recording that lasts longer than is taken.

    Attributes
    ----------
    duration_s, limit_s : float
        What its header says it lasts, and what it may.
    """

    def __init__(self, *, duration_s: float, limit_s: float) -> None:
        super().__init__(
            f"the recording lasts {duration_s / 60:.2f} minutes; the limit is {limit_s / 60:g}",
            facts={"field": "duration_s", "value": duration_s, "accepted": {"maximum": limit_s}},
        )
        self.duration_s = duration_s
        self.limit_s = limit_s


class UrlRefused(InvalidRequest):
    """A user's address that is never called, for its form or for where it leads."""


class Unauthorized(RequestError):
    """No key, token or ticket, or one that is not good."""

    http_status = 401


class InsufficientScope(RequestError):
    """A caller who is known, and may not do this; the message names the scope it takes."""

    http_status = 403


class QuotaUsedUp(RequestError):
    """An owner beyond a quota that asking again does not mend; `facts` say which."""

    http_status = 403


class MinutesUsedUp(QuotaUsedUp):
    """The month's minutes of audio do not suffice for the recording."""


class StorageUsedUp(QuotaUsedUp):
    """The bytes that may be stored do not suffice for the recording."""


class NotFound(RequestError):
    """Something that is not there, or not the caller's."""

    http_status = 404


class JobNotFound(NotFound):
    """No such job for this owner."""


class TrackNotFound(NotFound):
    """The job has no output of that name, or not yet."""


class UploadNotFound(NotFound):
    """The upload was never made, or never finished."""


class KeyNotFound(NotFound):
    """No API key with that prefix."""


class WebhookNotFound(NotFound):
    """No such webhook of this owner."""


class DeliveryNotFound(NotFound):
    """No such event was sent to this webhook, or the log does not go back to it."""


class JobDeleted(RequestError):
    """A job that its owner, or its retention, has deleted; `facts` have the receipt."""

    http_status = 410


class Conflict(RequestError):
    """The request does not fit the state of things."""

    http_status = 409


class JobExists(Conflict):
    """A job with this id is already there."""


class IllegalTransition(Conflict):
    """A change that the job's state does not allow."""


class NotFinished(Conflict):
    """Results asked for before the job has any."""


class NotInParts(Conflict):
    """Parts asked for of an upload that has none."""


class PartsMissing(Conflict):
    """An upload in parts that was to be completed before all had come."""


class KeyReused(Conflict):
    """An idempotency key that stands for another request, or for one still under way.

    Attributes
    ----------
    retry_after_s : int or None
        Seconds after which the one under way may be over; None: this key stays taken.
    """

    def __init__(self, message: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class TooLarge(RequestError):
    """A body beyond the limit; the message gives size and limit."""

    http_status = 413


class RangeOutside(RequestError):
    """Bytes asked for that lie behind a file's end, which is at `size_bytes`."""

    http_status = 416

    def __init__(self, *, size_bytes: int) -> None:
        super().__init__(f"the track has {size_bytes} bytes", facts={"size_bytes": size_bytes})
        self.size_bytes = size_bytes


class TooManyRequests(RequestError):
    """A caller beyond his rate.

    Attributes
    ----------
    retry_after_s : int
        Seconds after which he may ask again, 1 or more.
    """

    http_status = 429

    def __init__(
        self, message: str, *, retry_after_s: int, facts: Mapping[str, object] | None = None
    ) -> None:
        super().__init__(message, facts=facts)
        self.retry_after_s = retry_after_s


class TooManyJobs(TooManyRequests):
    """An owner with as many unfinished jobs as he may have."""

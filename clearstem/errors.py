"""Every error clearstem raises, one class per cause.

Callers branch on the class, never on the text. ``http_status`` is what an HTTP
dialect answers; ``state_name`` is the name Step Functions retries or fails by.

    ClearstemError
    ├── RequestError                      the caller can mend it
    │   ├── InvalidRequest          400
    │   │   ├── MissingFile
    │   │   ├── EmptyFile
    │   │   ├── UnsupportedFormat
    │   │   ├── ContentMismatch
    │   │   ├── InvalidOption
    │   │   ├── TooLong
    │   │   └── UrlRefused
    │   ├── Unauthorized            401
    │   ├── InsufficientScope       403
    │   ├── QuotaUsedUp             403
    │   │   ├── MinutesUsedUp
    │   │   └── StorageUsedUp
    │   ├── NotFound                404
    │   │   ├── JobNotFound
    │   │   ├── TrackNotFound
    │   │   ├── UploadNotFound
    │   │   ├── KeyNotFound
    │   │   ├── WebhookNotFound
    │   │   └── DeliveryNotFound
    │   ├── JobDeleted              410
    │   ├── Conflict                409
    │   │   ├── JobExists
    │   │   ├── IllegalTransition
    │   │   ├── NotFinished
    │   │   ├── NotInParts
    │   │   ├── PartsMissing
    │   │   └── KeyReused
    │   ├── TooLarge                413
    │   ├── RangeOutside            416
    │   └── TooManyRequests         429
    │       └── TooManyJobs
    ├── NotOffered                  501   something this deployment has not
    ├── EngineUnavailable           503   a separator was asked for that is not there
    ├── Contention                  503   a record kept changing under a writer
    ├── IssuerUnavailable           503   tokens cannot be verified, for lack of keys
    ├── UrlFailed                   502   a user's address does not give or take what it should
    │   └── UrlUnreachable                it may, if it is asked again
    └── StageError                        a stage task cannot go on
        ├── PermanentStageError           the same input fails again
        │   ├── SourceNotFetched
        │   ├── UnreadableAudio
        │   ├── NoAudio
        │   ├── AudioOutOfRange
        │   ├── NonFiniteOutput
        │   ├── CeilingNotHeld
        │   ├── PictureNotHeld
        │   ├── LengthChanged
        │   ├── MissingWeights
        │   ├── WrongChecksum
        │   ├── UnsafeCheckpoint
        │   ├── UnusableCheckpoint
        │   ├── JobIsOver
        │   ├── TooLongForDisk
        │   └── StageCrashed
        └── RetryableStageError           another attempt may succeed
            ├── StageInterrupted
            ├── StorageUnavailable
            └── ScratchFull
"""

from collections.abc import Mapping
from typing import ClassVar


class ClearstemError(Exception):
    """The root: its message is fit to be shown, `facts` tell the same as JSON values by name."""

    http_status: ClassVar[int] = 500
    state_name: ClassVar[str] = "Clearstem.Error"

    def __init__(self, message: str, *, facts: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self.facts = dict(facts or {})


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


class NotOffered(ClearstemError):
    """Something that this deployment cannot do; the message says what can be done instead."""

    http_status = 501


class EngineUnavailable(ClearstemError):
    """The engine asked for cannot run here; the message says what is missing."""

    http_status = 503
    state_name = "Clearstem.EngineUnavailable"


class Contention(ClearstemError):
    """A record changed under every attempt to write it."""

    http_status = 503
    state_name = "Clearstem.Contention"


class IssuerUnavailable(ClearstemError):
    """The issuer of tokens does not give the keys that they are verified by."""

    http_status = 503
    state_name = "Clearstem.IssuerUnavailable"


class UrlFailed(ClearstemError):
    """A user's address answered, but not as it should; asking again would not help.

    The message says what it answered and never repeats the address, whose query
    may be a signature.
    """

    http_status = 502
    state_name = "Clearstem.UrlFailed"


class UrlUnreachable(UrlFailed):
    """A user's address did not answer, broke off, or said that it cannot now."""

    state_name = "Clearstem.UrlUnreachable"


class StageError(ClearstemError):
    """A stage task that cannot go on."""

    state_name = "Clearstem.StageError"
    exit_code: ClassVar[int] = 70


class PermanentStageError(StageError):
    """A failure that the same input meets again: never retried.

    Its exit code is ``EX_DATAERR`` of ``sysexits.h``.
    """

    state_name = "Clearstem.Permanent"
    exit_code = 65


class SourceNotFetched(PermanentStageError):
    """The address that the source is to come from gives no recording."""

    state_name = "Clearstem.SourceNotFetched"


class SourceChanged(PermanentStageError):
    """What lies where the source was is another recording than the stages before read."""

    state_name = "Clearstem.SourceChanged"


class UnreadableAudio(PermanentStageError):
    """The source does not decode."""

    state_name = "Clearstem.UnreadableAudio"


class NoAudio(PermanentStageError):
    """The source decodes to no sound: no stream, no channel or no frame."""

    state_name = "Clearstem.NoAudio"


class AudioOutOfRange(PermanentStageError):
    """Channels, rate or length beyond what a stage takes."""

    state_name = "Clearstem.AudioOutOfRange"


class NonFiniteOutput(PermanentStageError):
    """A model answered with NaN or infinite samples."""

    state_name = "Clearstem.NonFiniteOutput"


class CeilingNotHeld(PermanentStageError):
    """No gain was found with which every encoded track stays under the ceiling."""

    state_name = "Clearstem.CeilingNotHeld"


class PictureNotHeld(PermanentStageError):
    """A container cannot hold the video's pictures, and they cannot be encoded anew."""

    state_name = "Clearstem.PictureNotHeld"


class LengthChanged(PermanentStageError):
    """An output is not as long as its source."""

    state_name = "Clearstem.LengthChanged"


class MissingWeights(PermanentStageError):
    """The checkpoint file is not there; the message says where it was looked for."""

    state_name = "Clearstem.MissingWeights"


class WrongChecksum(PermanentStageError):
    """A checkpoint file whose sha256 is not the pinned one."""

    state_name = "Clearstem.WrongChecksum"


class UnsafeCheckpoint(PermanentStageError):
    """A checkpoint that asks to run code when it is unpickled."""

    state_name = "Clearstem.UnsafeCheckpoint"


class UnusableCheckpoint(PermanentStageError):
    """A file with the pinned checksum that holds no network this engine can run."""

    state_name = "Clearstem.UnusableCheckpoint"


class JobIsOver(PermanentStageError):
    """The job was cancelled or failed while the stage was working on it."""

    state_name = "Clearstem.JobIsOver"


class TooLongForDisk(PermanentStageError):
    """The disk of a Batch task is full: no other has more, so this is the end."""

    state_name = "Clearstem.TooLongForDisk"


class StageCrashed(PermanentStageError):
    """A fault of ours: the message names the exception, the log has its traceback."""

    state_name = "Clearstem.StageCrashed"


class RetryableStageError(StageError):
    """A failure that another attempt may not meet.

    Its exit code is ``EX_TEMPFAIL`` of ``sysexits.h``; the job definition
    retries on it.
    """

    state_name = "Clearstem.Retryable"
    exit_code = 75


class StageInterrupted(RetryableStageError):
    """The task was told to stop (SIGTERM) before it was done."""

    state_name = "Clearstem.StageInterrupted"


class StorageUnavailable(RetryableStageError):
    """S3 or DynamoDB did not answer, or refused for the moment."""

    state_name = "Clearstem.StorageUnavailable"


class ScratchFull(RetryableStageError):
    """A function's disk is full; in Batch there is more of it (see `TooLongForDisk`)."""

    state_name = "Clearstem.ScratchFull"

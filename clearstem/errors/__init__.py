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
    ├── BackendUnavailable          503   AWS gave no answer, or none that tells what was done
    ├── IssuerUnavailable           503   tokens cannot be verified, for lack of keys
    ├── UrlFailed                   502   a user's address does not give or take what it should
    │   └── UrlUnreachable                it may, if it is asked again
    └── StageError                        a stage task cannot go on
        ├── PermanentStageError           the same input fails again
        │   ├── SourceNotFetched
        │   ├── SourceChanged
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
            ├── ScratchFull
            ├── CardMissing
            └── CardOutOfMemory
"""

from clearstem.errors.requests import (
    Conflict,
    ContentMismatch,
    DeliveryNotFound,
    EmptyFile,
    IllegalTransition,
    InsufficientScope,
    InvalidOption,
    InvalidRequest,
    JobDeleted,
    JobExists,
    JobNotFound,
    KeyNotFound,
    KeyReused,
    MinutesUsedUp,
    MissingFile,
    NotFinished,
    NotFound,
    NotInParts,
    PartsMissing,
    QuotaUsedUp,
    RangeOutside,
    RequestError,
    StorageUsedUp,
    TooLarge,
    TooLong,
    TooManyJobs,
    TooManyRequests,
    TrackNotFound,
    Unauthorized,
    UnsupportedFormat,
    UploadNotFound,
    UrlRefused,
    WebhookNotFound,
)
from clearstem.errors.root import ClearstemError
from clearstem.errors.service import (
    BackendUnavailable,
    Contention,
    EngineUnavailable,
    IssuerUnavailable,
    NotOffered,
    UrlFailed,
    UrlUnreachable,
)
from clearstem.errors.stages import (
    AudioOutOfRange,
    CardMissing,
    CardOutOfMemory,
    CeilingNotHeld,
    JobIsOver,
    LengthChanged,
    MissingWeights,
    NoAudio,
    NonFiniteOutput,
    PermanentStageError,
    PictureNotHeld,
    RetryableStageError,
    ScratchFull,
    SourceChanged,
    SourceNotFetched,
    StageCrashed,
    StageError,
    StageInterrupted,
    StorageUnavailable,
    TooLongForDisk,
    UnreadableAudio,
    UnsafeCheckpoint,
    UnusableCheckpoint,
    WrongChecksum,
)

__all__ = [
    "AudioOutOfRange",
    "BackendUnavailable",
    "CardMissing",
    "CardOutOfMemory",
    "CeilingNotHeld",
    "ClearstemError",
    "Conflict",
    "ContentMismatch",
    "Contention",
    "DeliveryNotFound",
    "EmptyFile",
    "EngineUnavailable",
    "IllegalTransition",
    "InsufficientScope",
    "InvalidOption",
    "InvalidRequest",
    "IssuerUnavailable",
    "JobDeleted",
    "JobExists",
    "JobIsOver",
    "JobNotFound",
    "KeyNotFound",
    "KeyReused",
    "LengthChanged",
    "MinutesUsedUp",
    "MissingFile",
    "MissingWeights",
    "NoAudio",
    "NonFiniteOutput",
    "NotFinished",
    "NotFound",
    "NotInParts",
    "NotOffered",
    "PartsMissing",
    "PermanentStageError",
    "PictureNotHeld",
    "QuotaUsedUp",
    "RangeOutside",
    "RequestError",
    "RetryableStageError",
    "ScratchFull",
    "SourceChanged",
    "SourceNotFetched",
    "StageCrashed",
    "StageError",
    "StageInterrupted",
    "StorageUnavailable",
    "StorageUsedUp",
    "TooLarge",
    "TooLong",
    "TooLongForDisk",
    "TooManyJobs",
    "TooManyRequests",
    "TrackNotFound",
    "Unauthorized",
    "UnreadableAudio",
    "UnsafeCheckpoint",
    "UnsupportedFormat",
    "UnusableCheckpoint",
    "UploadNotFound",
    "UrlFailed",
    "UrlRefused",
    "UrlUnreachable",
    "WebhookNotFound",
    "WrongChecksum",
]

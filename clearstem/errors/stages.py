"""Why a stage task cannot go on; Step Functions and Batch retry by these names and exit codes."""

from typing import ClassVar

from clearstem.errors.root import ClearstemError


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


class CardMissing(RetryableStageError):
    """A network has to run on a CUDA card and this machine shows none; another one may."""

    state_name = "Clearstem.CardMissing"


class CardOutOfMemory(RetryableStageError):
    """A CUDA card has no room for a single segment; one that nobody else uses may."""

    state_name = "Clearstem.CardOutOfMemory"

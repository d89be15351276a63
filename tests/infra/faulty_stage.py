"""The stage entry with stages that do nothing but what a test asks of them.

It is the real entry, reporter and record: only the sound is missing, and with it the seconds.
What a stage is to do lies in the work bucket as ``faults/JOB/STAGE``, one word a line, a line an
attempt; a stage that nobody asked anything ends well.
"""

import errno
import os
import signal
import sys
import time
from dataclasses import replace

from clearstem.errors import StorageUnavailable, UnreadableAudio
from clearstem.facts import AudioFormat, StageResult, Track
from clearstem.receipts import SHORT_FRAMES
from clearstem.recipes import RECIPES
from containers import stage as entry
from containers.workspace import Workspace

_AUDIO = AudioFormat("wav", "pcm", 44100, 2, 1000, 16)


def run(space: Workspace, _progress: entry.Progress) -> StageResult:
    """What `containers.stages.*.run` is to the real entry."""
    word = _asked(space)
    _do(word)
    last = space.stage == space.job.recipe.stages[-1].name
    audio = replace(_AUDIO, frames=SHORT_FRAMES + 1) if word == "long" else _AUDIO
    return StageResult(audio=space.job.audio or audio, tracks=_tracks(space) if last else ())


def _asked(space: Workspace) -> str:
    """The first word that is left, taken off."""
    client, bucket = space.store.client, space.settings.work_bucket
    key = f"faults/{space.job.job_id}/{space.stage}"
    try:
        words = client.get_object(Bucket=bucket, Key=key)["Body"].read().decode().split()
    except client.exceptions.NoSuchKey:
        return ""
    client.put_object(Bucket=bucket, Key=key, Body="\n".join(words[1:]).encode())
    return words[0] if words else ""


def _do(word: str) -> None:
    match word:
        case "permanent":
            raise UnreadableAudio("the source does not decode")
        case "retryable":
            raise StorageUnavailable("storage did not answer")
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "hangs":
            time.sleep(600)
        case "hangs_as_function" if _is_function():
            time.sleep(20)
        case "slow":
            time.sleep(1)
        case "fills_the_functions_disk" if _is_function():
            raise OSError(errno.ENOSPC, "No space left on device")


def _is_function() -> bool:
    return "AWS_BATCH_JOB_ID" not in os.environ


def _tracks(space: Workspace) -> tuple[Track, ...]:
    return tuple(
        Track(name, space.job.destination, "wav", 1000, 4044, "0" * 64, -1.0, None)
        for name in space.job.track_names
    )


_STAGES = [spec.name for recipe in RECIPES.values() for spec in recipe.stages]
entry.MODULES = dict.fromkeys(_STAGES, __name__)
# The real module's function, over the stages above.
handler = entry.handler


if __name__ == "__main__":
    sys.exit(entry.main())

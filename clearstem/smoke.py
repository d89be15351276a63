"""Whether a deployment works: a short job through it, from outside, as a caller would.

Needs no engine and no array library: the sound is made here, two seconds of a
chord over a click, and what comes back is held against what the job says.
"""

import math
import struct
import tempfile
import time
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from clearstem.client import Client, JobDocument, SeparateOptions
from clearstem.errors import ClearstemError

_RATE_HZ: Final = 44_100
_SECONDS: Final = 2
_TRACK: Final = "vocals"
# What is stored from the smoke test before would tell nothing of the stages.
_WORKED_ON: Final[SeparateOptions] = {"cache": False}

Told = Callable[[str], None]


class SmokeFailed(ClearstemError):
    """The deployment did something else than it says; the message tells what."""


def smoke(client: Client, *, say: Told, clock: Callable[[], float] = time.monotonic) -> float:
    """Run one job through a server and check what comes back.

    Parameters
    ----------
    say : callable
        Told of each step as it is passed.
    clock : callable
        Seconds that only go forward.

    Returns
    -------
    float
        Seconds from the upload to the checked track.

    Raises
    ------
    SmokeFailed
        The job failed.
    ClientError
        A call was refused, for a wrong key say, or a track is not what the job says it is.
    """
    say(f"it answers; it would separate by {client.config()['separator']['engine']}")
    with tempfile.TemporaryDirectory(prefix="clearstem-smoke-") as folder:
        song, track = Path(folder) / "smoke.wav", Path(folder) / "track"
        write_song(song)
        begun = clock()
        job = _finished(client, client.separate(song, _WORKED_ON), say=say)
        client.download(job, _TRACK, to=track)
    lasted_s = clock() - begun
    say(f"{_TRACK} came back whole, {lasted_s:.1f} s after the upload began")
    return lasted_s


def write_song(path: Path) -> None:
    """Write two seconds of stereo: something with a pitch and something with a beat."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(_RATE_HZ)
        file.writeframes(b"".join(struct.pack("<hh", *frame) for frame in _frames()))


def _frames() -> Iterator[tuple[int, int]]:
    for n in range(_RATE_HZ * _SECONDS):
        at_s = n / _RATE_HZ
        chord = sum(math.sin(2 * math.pi * hz * at_s) for hz in (220.0, 277.2, 329.6)) / 3
        # Four clicks a second, each gone after a hundredth.
        click = math.exp(-400 * (at_s % 0.25)) * (1 if n % 2 else -1)
        yield round(9_000 * (chord + click)), round(9_000 * (chord - click))


def _finished(client: Client, job: JobDocument, *, say: Told) -> JobDocument:
    say(f"job {job['job_id']} was accepted")
    watch = client.watch(job["job_id"])
    *_, seen = watch
    if seen["status"] != "completed":
        raise SmokeFailed(f"the job ended {seen['status']}: {seen['error']}")
    why = "".join(f" ({reason})" for reason in watch.fallbacks)
    say(f"it completed, told by {watch.way.value}{why}")
    return seen

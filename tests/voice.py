"""What end-to-end tests of noise removal share: a twin, a key, recordings, a file server."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import pytest

from tests.neighbour import Neighbour, neighbour
from tests.signals import chirp, noise
from tests.stages.files import write_with_ffmpeg
from tests.stages.videos import write_video
from tests.twin import Launched

WEIGHTS = Path(__file__).resolve().parents[2] / "shared" / "weights"
SECONDS = 1.5
RATE_HZ = 48_000


@pytest.fixture(scope="session")
def voice_twin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    """A twin with the neural models, where they are."""
    state = tmp_path_factory.mktemp("voice") / "state"
    launched = Launched(state, "--models", str(WEIGHTS))
    yield launched
    launched.stop()


@pytest.fixture(scope="session")
def voice_key(voice_twin: Launched) -> str:
    """A key of one owner."""
    return made_key(voice_twin.state, "alice")


def made_key(state: Path, owner: str) -> str:
    command = [sys.executable, "-m", "clearstem.cli", "keys", "create", owner]
    done = subprocess.run(
        [*command, "--state", str(state)], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A noisy tone as sound and as video, by extension."""
    folder = tmp_path_factory.mktemp("recordings")
    frames = round(SECONDS * RATE_HZ)
    samples = chirp(frames, rate_hz=RATE_HZ, channels=2, top=0.05)
    samples = samples + noise(frames, channels=2, peak=0.05)
    video = {"seconds": SECONDS, "samples": samples}
    sound = {"muxer": "wav", "encoder": "pcm_s16le"}, {"muxer": "mp3", "encoder": "libmp3lame"}
    return {
        "wav": write_with_ffmpeg(folder / "my talk.wav", samples, **sound[0]),
        "mp3": write_with_ffmpeg(folder / "talk.mp3", samples, **sound[1]),
        "mp4": write_video(folder / "talk.mp4", muxer="mp4", picture="mpeg4", **video),
        "webm": write_video(
            folder / "talk.webm", muxer="webm", picture="libvpx", sound="libopus", **video
        ),
    }


@pytest.fixture(scope="session")
def file_server(recordings: dict[str, Path]) -> Iterator[Neighbour]:
    """A server of the recordings, which takes results too."""
    with neighbour(recordings["wav"].parent) as server:
        yield server


def streams(path: Path) -> list[str]:
    """The kinds of streams in a file, in order."""
    with av.open(str(path)) as file:
        return [stream.type for stream in file.streams]


def picture_codec(path: Path) -> str:
    """The codec of a video's pictures, of which the first can be decoded."""
    with av.open(str(path)) as file:
        next(file.decode(video=0))
        return str(file.streams.video[0].codec_context.name)


def seconds_of_sound(path: Path) -> float:
    """How long its sound is, decoded to the end."""
    with av.open(str(path)) as file:
        stream = file.streams.audio[0]
        return sum(frame.samples for frame in file.decode(stream)) / stream.rate

"""Media files for the stage tests, made on the spot."""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from containers.audio.stream import Recording, RecordingWriter
from tests.signals import Floats


def write_recording(path: Path, samples: Floats, *, rate_hz: int = 44_100) -> Path:
    """A scratch file of these samples."""
    channels, frames = samples.shape
    with RecordingWriter(path, rate_hz=rate_hz, channels=channels, frames=frames) as writer:
        writer.write(samples)
    return path


def samples_of(path: Path) -> Floats:
    """All of a scratch file."""
    with Recording.open(path) as recording:
        return recording.read(0, recording.frames)


def write_with_ffmpeg(
    path: Path, samples: Floats, *, muxer: str, encoder: str, rate_hz: int = 48_000
) -> Path:
    """A file as FFmpeg's command line would write it, with defaults throughout."""
    with av.open(str(path), "w", format=muxer) as file:
        stream = file.add_stream(encoder, rate=rate_hz)
        stream.layout = ("mono", "stereo")[len(samples) - 1]
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples.T).reshape(1, -1),
            format="flt",
            layout=stream.layout.name,
        )
        frame.sample_rate, frame.pts = rate_hz, 0
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def write_video_without_sound(path: Path) -> Path:
    """Ten black pictures in an mp4."""
    with av.open(str(path), "w", format="mp4") as file:
        stream = file.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for number in range(10):
            frame = av.VideoFrame.from_ndarray(np.zeros((96, 64), np.uint8), format="yuv420p")
            frame.pts = number
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


@contextlib.contextmanager
def umask_of_an_image() -> Iterator[None]:
    """What an image's build has, whatever this machine's is."""
    before = os.umask(0o022)
    try:
        yield
    finally:
        os.umask(before)


def shut_to_others(folder: Path) -> list[Path]:
    """What of a folder, and under it, another user than its maker cannot read."""
    wanted = {True: stat.S_IROTH | stat.S_IXOTH, False: stat.S_IROTH}
    every = (folder, *folder.rglob("*"))
    return [path for path in every if ~path.stat().st_mode & wanted[path.is_dir()]]

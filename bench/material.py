"""What benchmarks work on: our own song, as long as it takes."""

from pathlib import Path

import numpy as np
import soundfile

from containers.audio.song import RATE_HZ, song
from containers.audio.stream import RecordingWriter

_PIECE_S = 30.0


def write_song(path: Path, *, minutes: int) -> Path:
    """The song over and over as a 16-bit stereo file of the format that the name tells."""
    piece = song(_PIECE_S).T
    with soundfile.SoundFile(path, "w", RATE_HZ, 2, subtype=_subtype(path)) as file:
        for _ in range(round(60 * minutes / _PIECE_S)):
            # libsndfile's Vorbis encoder keeps a write on the stack.
            for start in range(0, len(piece), 65_536):
                file.write(piece[start : start + 65_536])
    return path


def write_scratch_song(path: Path, *, minutes: int) -> Path:
    """The same as a float32 scratch file."""
    piece = np.ascontiguousarray(song(_PIECE_S))
    with RecordingWriter(path, rate_hz=RATE_HZ, channels=2, frames=None) as writer:
        for _ in range(round(60 * minutes / _PIECE_S)):
            writer.write(piece)
    return path


def _subtype(path: Path) -> str | None:
    return "PCM_16" if path.suffix in (".wav", ".flac") else None

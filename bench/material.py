"""What benchmarks work on: our own song, as long as it takes."""

from pathlib import Path

import numpy as np
import soundfile

from containers.audio.song import RATE_HZ, Floats, song
from containers.audio.stream import RecordingWriter

_PIECE_S = 30.0


def write_song(path: Path, *, minutes: int) -> Path:
    """The song over and over as a 16-bit stereo file of the format that the name tells."""
    return _repeated(path, song(_PIECE_S), minutes=minutes)


def _repeated(path: Path, piece: Floats, *, minutes: int) -> Path:
    with soundfile.SoundFile(path, "w", RATE_HZ, 2, subtype=_subtype(path)) as file:
        for _ in range(round(60 * minutes / _PIECE_S)):
            # libsndfile's Vorbis encoder keeps a write on the stack.
            for start in range(0, piece.shape[1], 65_536):
                file.write(piece[:, start : start + 65_536].T)
    return path


def write_talk(path: Path, *, minutes: int) -> Path:
    """Voice-like tones with pauses, in steady hiss: what a denoiser has something to do on."""
    t = np.arange(round(_PIECE_S * RATE_HZ)) / RATE_HZ
    tone = 0.2 * np.sin(2 * np.pi * 220 * t) * ((t % 1) < 0.6)
    hiss = 0.02 * np.random.default_rng(0).standard_normal((2, len(t)))
    return _repeated(path, (tone + hiss).astype(np.float32), minutes=minutes)


def write_scratch_song(path: Path, *, minutes: int) -> Path:
    """The same as a float32 scratch file."""
    piece = np.ascontiguousarray(song(_PIECE_S))
    with RecordingWriter(path, rate_hz=RATE_HZ, channels=2, frames=None) as writer:
        for _ in range(round(60 * minutes / _PIECE_S)):
            writer.write(piece)
    return path


def _subtype(path: Path) -> str | None:
    return "PCM_16" if path.suffix in (".wav", ".flac") else None

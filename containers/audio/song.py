"""A short song of our own, for trying clearstem without a recording at hand.

``python -m containers.audio.song FILE [SECONDS]`` writes it as 16-bit stereo
at 44.1 kHz: kick, snare and hi-hat, a bass, chords panned to the sides, and a
voice-like lead in the centre. It is the same at every run.
"""

import sys
from pathlib import Path
from typing import Final

import numpy as np
import soundfile
from numpy.typing import NDArray

Floats = NDArray[np.float32]

RATE_HZ: Final = 44_100
_BEAT_S: Final = 0.5  # 120 beats per minute
_BAR_S: Final = 4 * _BEAT_S
# Roots of A minor, F, C, G as MIDI note numbers, and a tune over them.
_ROOTS: Final = (45, 41, 48, 43)
_TUNE: Final = ((69, 72, 76, 72), (69, 72, 77, 72), (67, 72, 76, 79), (67, 71, 74, 79))


def _hz(note: int) -> float:
    """Equal temperament, A4 = note 69 = 440 Hz."""
    return float(440.0 * 2.0 ** ((note - 69) / 12))


def _time(duration_s: float) -> NDArray[np.float64]:
    return np.arange(round(duration_s * RATE_HZ)) / RATE_HZ


def _decaying(wave: NDArray[np.float64], *, half_life_s: float) -> NDArray[np.float64]:
    return wave * 0.5 ** (np.arange(len(wave)) / RATE_HZ / half_life_s)


def _kick() -> NDArray[np.float64]:
    t = _time(0.25)
    sweep = 2 * np.pi * (50 * t + 60 * 0.04 * (1 - np.exp(-t / 0.04)))
    return 0.9 * _decaying(np.sin(sweep), half_life_s=0.05)


def _noise(duration_s: float, *, seed: int, half_life_s: float) -> NDArray[np.float64]:
    white = np.random.default_rng(seed).standard_normal(round(duration_s * RATE_HZ))
    return _decaying(np.diff(white, prepend=0.0), half_life_s=half_life_s)


def _bass(note: int) -> NDArray[np.float64]:
    t = _time(_BEAT_S)
    tone = np.sum([np.sin(2 * np.pi * k * _hz(note) * t) / k for k in (1, 2, 3)], axis=0)
    return 0.25 * _decaying(tone, half_life_s=0.3)


def _chord(root: int, *, detune: float) -> NDArray[np.float64]:
    t = _time(_BAR_S)
    swell = np.sin(np.pi * t / _BAR_S) ** 0.5
    notes = (root + 12, root + 15, root + 19)
    return np.asarray(0.06 * swell * sum(np.sin(2 * np.pi * detune * _hz(n) * t) for n in notes))


def _voice(note: int) -> NDArray[np.float64]:
    """A glottal-like spectrum with 5.5 Hz vibrato and formants of an open vowel."""
    t = _time(_BEAT_S)
    phase = 2 * np.pi * _hz(note) * t + 0.25 * np.sin(2 * np.pi * 5.5 * t)
    wave = np.zeros_like(t)
    for k in range(1, 16):
        frequency = k * _hz(note)
        formants = sum(np.exp(-(((frequency - f) / 250) ** 2)) for f in (730, 1090, 2440))
        wave += (0.15 + formants) / k * np.sin(k * phase)
    envelope = np.minimum(1, np.minimum(t, _BEAT_S - t) / 0.04)
    return np.asarray(0.16 * envelope * wave)


def song(duration_s: float = 16.0) -> Floats:
    """The song, as float32 of shape (2, frames), peak below full scale.

    Parameters
    ----------
    duration_s : float
        More than 0; it ends wherever that is.
    """
    frames = round(duration_s * RATE_HZ)
    mix = np.zeros((2, frames + round(_BAR_S * RATE_HZ)))

    def add(
        wave: NDArray[np.float64], at_s: float, *, left: float = 1.0, right: float = 1.0
    ) -> None:
        start = round(at_s * RATE_HZ)
        room = mix[:, start : start + len(wave)]
        room += np.outer((left, right), wave[: room.shape[1]])

    for bar in range(int(np.ceil(duration_s / _BAR_S))):
        root, tune, at = _ROOTS[bar % 4], _TUNE[bar % 4], bar * _BAR_S
        add(_chord(root, detune=0.998), at, right=0.2)
        add(_chord(root, detune=1.002), at, left=0.2)
        for beat in range(4):
            on = at + beat * _BEAT_S
            drum = _kick() if beat % 2 == 0 else 0.12 * _noise(0.2, seed=beat, half_life_s=0.04)
            add(drum, on)
            add(0.04 * _noise(0.06, seed=7, half_life_s=0.01), on + _BEAT_S / 2, left=0.6)
            add(_bass(root - 12 if beat % 2 else root), on)
            add(_voice(tune[beat]), on)
    mix *= 0.8 / np.max(np.abs(mix[:, :frames]))
    return mix[:, :frames].astype(np.float32)


def main() -> None:
    """Write the song to the file named on the command line."""
    path = Path(sys.argv[1])
    duration_s = float(sys.argv[2]) if len(sys.argv) > 2 else 16.0
    soundfile.write(path, song(duration_s).T, RATE_HZ, subtype="PCM_16")


if __name__ == "__main__":
    main()

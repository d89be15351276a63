"""How good the noise reduction is on real mixtures, by PESQ, ESTOI and SI-SDR.

Four speakers in three noises at 0, 5, 10 and 20 dB, and each speaker alone, for what is done
to clean speech. Rain and a room are recordings; the third noise is pink and drawn. The
recordings and the model files lie beside the repository; nothing of them is in it. Figures
are quality, not seconds, so they go to the table on standard error and no `Outcome` is made.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray
from pesq import pesq
from pystoi import stoi

from bench.measure import Outcome, note
from containers.audio.denoise import Model, ModelFile, denoise
from containers.audio.source import Source

Floats = NDArray[np.float32]

_SHARED = Path(__file__).parents[2] / "shared"
_RATE_HZ = 16_000
_SECONDS = 10
_SNRS_DB = (0, 5, 10, 20)
_SPEAKERS = ("libri1.ogg", "libri2.ogg", "jfk.flac", "dfn_clean_freesound_33711.wav")
_NOISES = ("dfn_noise_freesound_573577.wav", "rain.mp3")
_DTLN = ("dtln_model_1.onnx", "dtln_model_2.onnx")
Score = tuple[float, float, float]


class _Sound:
    """One channel in memory that reads like a Recording and takes what is written."""

    rate_hz = _RATE_HZ
    channels = 1

    def __init__(self, samples: Floats) -> None:
        self.samples = samples
        self.frames = len(samples)
        self.blocks: list[Floats] = []

    def read(self, start: int, stop: int) -> Floats:
        block = np.zeros((1, stop - start), np.float32)
        first, last = max(start, 0), min(stop, self.frames)
        block[0, first - start : max(first, last) - start] = self.samples[first:last]
        return block

    def write(self, block: Floats) -> None:
        self.blocks.append(block)


def measure() -> list[Outcome]:
    """Print the table; there are no seconds to report."""
    clean = {name: _load(name)[: _SECONDS * _RATE_HZ] for name in _SPEAKERS}
    noises = {name: _load(name) for name in _NOISES} | {"pink (drawn)": _pink()}
    ways = _ways()
    mixed: dict[str, list[Score]] = {way: [] for way in ways}
    alone: dict[str, list[Score]] = {way: [] for way in ways}
    for speaker, voice in clean.items():
        for way, reduce in ways.items():
            alone[way].append(_score(voice, reduce(voice)))
        note(f"{speaker} alone: PESQ " + _last(alone))
        for noise_name, noise in noises.items():
            for snr_db in _SNRS_DB:
                mixture, reference = _mix(voice, noise, snr_db)
                for way, reduce in ways.items():
                    mixed[way].append(_score(reference, reduce(mixture)))
                note(f"{speaker} in {noise_name} at {snr_db} dB: PESQ " + _last(mixed))
    _table(mixed, alone)
    return []


def _ways() -> dict[str, Callable[[Floats], Floats]]:
    files = [_SHARED / "weights" / name for name in _DTLN]
    dtln = Model(
        "dtln", tuple(ModelFile(f, hashlib.sha256(f.read_bytes()).hexdigest()) for f in files)
    )

    def through(engine: str) -> Callable[[Floats], Floats]:
        def reduce(samples: Floats) -> Floats:
            sound = _Sound(samples)
            if engine == "neural":
                denoise(sound, sound, engine="neural", model=dtln)
            else:
                denoise(sound, sound, engine="spectral")
            result: Floats = np.concatenate(sound.blocks, axis=1)[0]
            return result

        return reduce

    return {
        "noisy": lambda samples: samples,
        "spectral": through("spectral"),
        "neural": through("neural"),
    }


def _load(name: str) -> Floats:
    with Source(_SHARED / "audio" / name) as source:
        samples = np.concatenate(list(source.blocks(frames=65_536)), axis=1).mean(axis=0)
        converted: Floats = soxr.resample(samples, source.rate_hz, _RATE_HZ, "HQ")
    return converted.astype(np.float32)


def _pink() -> Floats:
    """Thirty seconds of noise whose power falls by 3 dB an octave."""
    count = 30 * _RATE_HZ
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(count))
    spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 1))
    return np.fft.irfft(spectrum, count).astype(np.float32)


def _mix(voice: Floats, noise: Floats, snr_db: int) -> tuple[Floats, Floats]:
    """The mixture and the voice in it, both below full scale."""
    noise = np.tile(noise, -(-len(voice) // len(noise)))[: len(voice)]
    gain = np.sqrt(np.vdot(voice, voice) / np.vdot(noise, noise) / 10 ** (snr_db / 10))
    mixture = voice + np.float32(gain) * noise
    scale = np.float32(min(1.0, 0.99 / np.abs(mixture).max()))
    return mixture * scale, voice * scale


def _score(reference: Floats, result: Floats) -> Score:
    """Wide-band PESQ, ESTOI and SI-SDR in dB (Le Roux et al., ICASSP 2019, without means)."""
    voice, heard = reference - reference.mean(), result - result.mean()
    target = voice * (np.vdot(voice, heard) / np.vdot(voice, voice))
    error = heard - target
    sisdr_db = 10 * np.log10(np.vdot(target, target) / max(np.vdot(error, error), 1e-12))
    quality = pesq(_RATE_HZ, reference, result, "wb")
    return quality, stoi(reference, result, _RATE_HZ, extended=True), float(sisdr_db)


def _last(scores: dict[str, list[Score]]) -> str:
    return ", ".join(f"{way} {values[-1][0]:.2f}" for way, values in scores.items())


def _table(mixed: dict[str, list[Score]], alone: dict[str, list[Score]]) -> None:
    noisy = np.mean(mixed["noisy"], axis=0)
    top = np.mean(alone["noisy"], axis=0)[0]
    note("| way | PESQ | over noisy | ESTOI | SI-SDRi dB | PESQ lost by clean speech |")
    note("|---|---|---|---|---|---|")
    for way, scores in mixed.items():
        mean = np.mean(scores, axis=0)
        lost = top - np.mean(alone[way], axis=0)[0]
        note(
            f"| {way} | {mean[0]:.2f} | {mean[0] - noisy[0]:+.2f} | {mean[1]:.3f} "
            f"| {mean[2] - noisy[2]:+.1f} | {lost:.2f} |"
        )

"""Separation of 60 s by a network of full size, against demucs's own `apply_model` in fp32.

Goal: 1.5 times as fast on a CPU (with OpenVINO), 1.3 times on a card; memory at 60 minutes
at most 1.2 times that at 3 minutes, with a network that does nothing.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from demucs.apply import apply_model

from bench.fresh import run_fresh
from bench.measure import Outcome, median, note
from bench.networks import random_network
from clearstem.recipes import STEMS
from containers.audio import openvino_core
from containers.audio.demucs_engine import demucs_stems
from containers.audio.network import Network, Precision, pick_device, stereo_network
from containers.audio.song import RATE_HZ, song
from containers.audio.stream import Recording, RecordingWriter

_GOALS = {"cpu": 1.5, "cuda": 1.3}
_MEMORY_GOAL = 1.2
_STUB = """
import sys
from pathlib import Path
from bench.separate import separate_without_network
separate_without_network(Path(sys.argv[1]), minutes=int(sys.argv[2]))
"""


def measure(*, seconds: float = 60.0, runs: int = 3, device: str = "cpu") -> list[Outcome]:
    """Peer and ours in turns on the same network, then the memory of a stub.

    On a card ours runs in each precision that it has; the peer always in fp32.
    """
    precisions = get_args(Precision) if device == "cuda" else ("fp32",)
    speeds = [_speed(seconds, runs, device, precision) for precision in precisions]
    return [*speeds, _memory()]


def _speed(seconds: float, runs: int, device: str, precision: Precision) -> Outcome:
    picked = pick_device(device)
    model = random_network().to(picked)
    network = _ours(picked, precision)
    mix = song(seconds)
    theirs, ours = [], []
    for _ in range(runs):
        theirs.append(_seconds(lambda: _demucs(model, mix, picked)))
        ours.append(_seconds(lambda: [block.shape for block in demucs_stems(_Held(mix), network)]))
        note(f"apply_model {theirs[-1]:.2f} s, clearstem {ours[-1]:.2f} s")
    peer, own = median(theirs), median(ours)
    name = f"separate:{picked.type}" + (f":{precision}" if precision != "fp32" else "")
    return Outcome(name, own, peer, peer / own, _GOALS[picked.type], None)


def _ours(device: torch.device, precision: Precision) -> Network:
    model = random_network()
    if device.type == "cuda" or not openvino_core.is_installed():
        note(f"backend torch, {precision}")
        return stereo_network(model, device=device, precision=precision)
    begun = time.perf_counter()
    network = openvino_core.openvino_network(model, sha256="random", cache_dir=None)
    note(f"backend openvino, converted in {time.perf_counter() - begun:.1f} s")
    return network


def _demucs(model: torch.nn.Module, mix: np.ndarray, device: torch.device) -> None:
    given = torch.from_numpy(mix)
    mono = given.mean(0)
    scaled = ((given - mono.mean()) / (mono.std() + 1e-8))[None]
    apply_model(model, scaled, shifts=0, overlap=0.25, device=device)  # type: ignore[arg-type] # any module of its kind


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


class _Held:
    """Samples in memory that read like a recording."""

    def __init__(self, samples: np.ndarray) -> None:
        self._samples = samples
        self.rate_hz, (self.channels, self.frames) = RATE_HZ, samples.shape

    def read(self, start: int, stop: int) -> np.ndarray:
        first, last = max(start, 0), min(stop, self.frames)
        return np.pad(self._samples[:, first:last], ((0, 0), (first - start, stop - last)))


def _memory() -> Outcome:
    """Peak resident set of fresh processes, source and stems on disk."""
    peaks = {}
    for minutes in (3, 60):
        with tempfile.TemporaryDirectory(prefix="clearstem-bench-") as folder:
            done = run_fresh(_STUB, folder, str(minutes))
            peaks[minutes] = done.peak_rss_mb
            note(f"{minutes} min: peak {done.peak_rss_mb:.0f} MB")
    growth = peaks[60] / peaks[3]
    name = "separate:memory, 60 min against 3"
    return Outcome(name, growth, None, None, _MEMORY_GOAL, peaks[60], unit="times")


def separate_without_network(folder: Path, *, minutes: int) -> None:
    """Separate so many minutes by a network that does nothing, from and to files."""
    from containers.audio.overlap import Segments, each

    path, piece = folder / "long.wav", song(30.0)
    with RecordingWriter(path, rate_hz=RATE_HZ, channels=2, frames=None) as writer:
        for _ in range(2 * minutes):
            writer.write(piece)
    stub = Network(
        STEMS,
        RATE_HZ,
        Segments(343_980),
        lambda _: 343_980,
        (each(lambda block: np.stack([block] * len(STEMS))),),
    )
    outs = [
        RecordingWriter(folder / f"{stem}.wav", rate_hz=RATE_HZ, channels=2, frames=None)
        for stem in STEMS
    ]
    with Recording.open(path) as source:
        for block in demucs_stems(source, stub):
            for out, samples in zip(outs, block, strict=True):
                out.write(samples)
    for out in outs:
        out.close()

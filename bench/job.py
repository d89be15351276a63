"""A whole job of 3 minutes into nine flac tracks, as its four stage processes.

The peer is what people chain by hand in one process: soundfile, demucs, librosa, pyloudnorm,
with the same random network of full size. Goal: 1.8 times as fast from file to tracks.
"""

import argparse
import tempfile
from pathlib import Path

import librosa
import numpy as np
import pyloudnorm
import soundfile
import torch
from demucs.apply import apply_model

from bench.fresh import run_fresh
from bench.measure import Outcome, note
from bench.networks import SOURCES, random_network, write_model
from bench.stages import run_stages, storage
from clearstem.options import SeparateOptions
from containers.audio.song import RATE_HZ, song

_SECONDS = 180.0
_GOAL = 1.8
_TARGET_LUFS = -14.0
_PEER = """
import sys
from pathlib import Path
from bench.job import chain
chain(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def measure(*, seconds: float = _SECONDS) -> list[Outcome]:
    """Peer and ours once each; a conversion of the network is kept beforehand."""
    with tempfile.TemporaryDirectory(prefix="clearstem-bench-") as name:
        folder = Path(name)
        models = folder / "models"
        path, short = folder / "song.wav", folder / "short.wav"
        soundfile.write(path, song(seconds).T, RATE_HZ, subtype="PCM_16")
        soundfile.write(short, song(1.0).T, RATE_HZ, subtype="PCM_16")
        model = write_model(models)
        peer = run_fresh(_PEER, str(path), str(folder))
        note(f"chained by hand: {peer.wall_s:.1f} s, peak {peer.peak_rss_mb:.0f} MB")
        options = SeparateOptions(output_format="flac")
        with storage(
            folder,
            models=models,
            models_dir=str(models),
            separator_model=model,
            cache_dir=str(folder / "cache"),
        ) as service:
            run_stages(service, short, options=options)
            ours = run_stages(service, path, options=options)
    seconds = sum(done.wall_s for done in ours.values())
    peak = max(done.peak_rss_mb for done in ours.values())
    return [
        Outcome("job:end to end", seconds, peer.wall_s, peer.wall_s / seconds, _GOAL, peak),
        _moved("read", sum(done.read_bytes for done in ours.values())),
        _moved("written", sum(done.written_bytes for done in ours.values())),
    ]


def _moved(how: str, size: int) -> Outcome:
    """What all stages had from storage or sent there; the peer keeps everything in memory."""
    name = f"job:{how} through storage"
    return Outcome(name, size / 1e6, None, None, None, None, unit="MB moved")


def chain(path: Path, folder: Path) -> None:
    """The nine tracks by the libraries that people take for them."""
    samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    main = samples.T
    mix = torch.from_numpy(np.ascontiguousarray(main))
    mean, deviation = mix.mean(0).mean(), mix.mean(0).std() + 1e-8
    with torch.no_grad():
        scaled = ((mix - mean) / deviation)[None]
        stems = apply_model(random_network(), scaled, shifts=0, overlap=0.25)[0]
    tracks = dict(zip(SOURCES, (stems * deviation + mean).numpy(), strict=True)) | {"main": main}
    for prefix, whole in (("main_", main), ("", main - tracks["vocals"])):
        parts = librosa.effects.hpss(whole)
        tracks |= {f"{prefix}harmonic": parts[0], f"{prefix}percussive": parts[1]}
    meter = pyloudnorm.Meter(rate_hz)
    gain = 10 ** ((_TARGET_LUFS - meter.integrated_loudness(main.T)) / 20)
    for name, track in tracks.items():
        # The loudness of every track is told in our result, so it is measured here too.
        meter.integrated_loudness(track.T)
        soundfile.write(folder / f"{name}.flac", gain * track.T, rate_hz, subtype="PCM_24")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="bench.job", description=__doc__)
    parser.add_argument("--seconds", type=float, default=_SECONDS)
    for outcome in measure(seconds=parser.parse_args().seconds):
        print(outcome.to_json())

"""A whole job of 3 minutes into nine flac tracks, as its four stage processes.

The peer is what people chain by hand in one process: soundfile, demucs, librosa, pyloudnorm,
with the same random network of full size. Goal: 1.8 times as fast from file to tracks.
"""

import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import librosa
import numpy as np
import pyloudnorm
import soundfile
import torch
from demucs.apply import apply_model

from bench.fresh import Fresh, run_fresh
from bench.measure import Outcome, note, run
from bench.networks import SOURCES, random_network, write_model
from clearstem.client import Client
from clearstem.facts import Location, Source
from clearstem.jobs import queued_job
from clearstem.models import choose_engine
from clearstem.options import SeparateOptions
from clearstem.recipes import SEPARATE
from clearstem.service import Service
from clearstem.twin import running_twin, twin
from containers.audio.song import RATE_HZ, song

_GOAL = 1.8
_TARGET_LUFS = -14.0
_PEER = """
import sys
from pathlib import Path
from bench.job import chain
chain(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def measure(*, seconds: float = 180.0) -> list[Outcome]:
    """Peer and ours once each; a conversion of the network is kept beforehand."""
    with tempfile.TemporaryDirectory(prefix="clearstem-bench-") as name:
        folder = Path(name)
        path, models = folder / "song.wav", folder / "models"
        soundfile.write(path, song(seconds).T, RATE_HZ, subtype="PCM_16")
        model = write_model(models)
        peer = run_fresh(_PEER, str(path), str(folder))
        note(f"chained by hand: {peer.wall_s:.1f} s, peak {peer.peak_rss_mb:.0f} MB")
        with twin(state=folder / "state", models=models) as url, Client(url):
            os.environ.update(running_twin(folder / "state").environment)
            os.environ["CLEARSTEM_MODELS_DIR"] = str(models)
            os.environ["CLEARSTEM_SEPARATOR_MODEL"] = model
            os.environ["CLEARSTEM_CACHE_DIR"] = str(folder / "cache")
            short = folder / "short.wav"
            soundfile.write(short, song(1.0).T, RATE_HZ, subtype="PCM_16")
            _stages(short, folder)
            ours = _stages(path, folder)
    ratio = peer.wall_s / ours.wall_s
    return [Outcome("job", ours.wall_s, peer.wall_s, ratio, _GOAL, ours.peak_rss_mb)]


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


def _stages(path: Path, folder: Path) -> Fresh:
    """Wall seconds of the four processes one after the other; the largest one's memory."""
    service = Service.from_env()
    job_id = _unstarted_job(service, path)
    total = peak = 0.0
    for spec in SEPARATE.stages:
        log = folder / f"{spec.name}.log"
        command = [sys.executable, "-m", "containers.stage", spec.name, "--job-id", job_id]
        done = run(command, env=dict(os.environ), log=log)
        if done.exit_code:
            raise RuntimeError(log.read_text()[-2000:])
        note(f"{spec.name}: {done.wall_s:.1f} s")
        total, peak = total + done.wall_s, max(peak, done.peak_rss_mb)
    made = service.jobs.get(job_id).separation
    backend = made.backend if made else "nothing"
    note(f"by {backend}; written to storage: {_stored_mb(service, job_id):.0f} MB")
    return Fresh(total, peak)


def _unstarted_job(service: Service, path: Path) -> str:
    """A job whose execution is never started: the stages are run by us."""
    settings, job_id = service.settings, service.new_id()
    location = Location(settings.uploads_bucket, f"uploads/bench/{job_id}/source.wav")
    service.store.put_file(path, to=location, content_type="audio/wav")
    options = replace(SeparateOptions(), output_format="flac")
    service.jobs.create(
        queued_job(
            job_id=job_id,
            owner="bench",
            recipe=SEPARATE,
            source=Source(location, path.name, "wav", path.stat().st_size),
            destination=Location(settings.tracks_bucket, f"jobs/{job_id}/"),
            options=options,
            engine=choose_engine(options.engine, settings=settings),
            at=service.now(),
        )
    )
    return job_id


def _stored_mb(service: Service, job_id: str) -> float:
    pages = service.store.client.get_paginator("list_objects_v2")
    buckets = (service.settings.work_bucket, service.settings.tracks_bucket)
    sizes = [
        found["Size"]
        for bucket in buckets
        for page in pages.paginate(Bucket=bucket, Prefix=f"jobs/{job_id}/")
        for found in page.get("Contents", [])
    ]
    return sum(sizes) / 1e6

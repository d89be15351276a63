"""Noise removal without a key: the command line and the pipeline dialect's routes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from clearstem.client import Client
from tests.twin import Launched
from tests.voice import SECONDS, seconds_of_sound, streams


def command(twin: Launched, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "clearstem.cli", *arguments]
    env = {**os.environ, "CLEARSTEM_URL": twin.url}
    return subprocess.run(program, capture_output=True, text=True, env=env, check=False)


def test_the_command_line_cleans_a_video_and_reports(
    voice_twin: Launched, recordings: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    options = ("-o", str(out), "--level", "-18", "--strength", "80")
    done = command(voice_twin, "denoise", str(recordings["mp4"]), *options)
    assert done.returncode == 0, done.stderr
    assert streams(out / "clean.mp4") == streams(recordings["mp4"])
    report = json.loads((out / "report.json").read_text())
    assert report["recipe"] == "denoise"
    assert [stage["status"] for stage in report["stages"]] == ["completed"] * 3
    assert report["denoising"]["strength"] == 80
    assert report["loudness"]["target_lufs"] == -18
    assert "noise removed by" in done.stdout and "1 track and report.json" in done.stdout


def test_an_uploaded_video_is_cleaned_by_the_recipe_of_the_job(
    voice_twin: Launched, recordings: dict[str, Path], tmp_path: Path
) -> None:
    room = {"file_name": "talk.webm", "recipe": "denoise"}
    links = httpx.post(f"{voice_twin.url}/uploads", json=room).json()
    data = recordings["webm"].read_bytes()
    httpx.put(links["put"]["url"], content=data, headers=links["put"]["headers"])
    body = {"upload_id": links["upload_id"], "recipe": "denoise", "format": "mp3"}
    job = httpx.post(f"{voice_twin.url}/jobs", json=body).json()
    with Client(voice_twin.url) as client:
        *_, done = client.watch(job["job_id"])
        client.download(done, "clean", to=tmp_path / "clean.mp3")
    assert seconds_of_sound(tmp_path / "clean.mp3") == pytest.approx(SECONDS, abs=0.05)

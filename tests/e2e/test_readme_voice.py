"""What the README tells a user of the two noise removal dialects to type, typed."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from tests.e2e.test_readme import blocks
from tests.twin import Launched
from tests.voice import seconds_of_sound


def test_the_audo_example_saves_a_clean_recording(
    voice_twin: Launched, voice_key: str, recordings: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copy(recordings["mp4"], tmp_path / "talk.mp4")
    example = next(b for b in blocks("python") if "NoiseRemovalClient" in b)
    program = f"api_key = {voice_key!r}\n" + example.replace(
        "http://localhost:8000", voice_twin.url
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert seconds_of_sound(tmp_path / "clean.mp3") > 1


def test_the_munsit_commands_send_watch_and_list(
    voice_twin: Launched, voice_key: str, recordings: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copy(recordings["wav"], tmp_path / "talk.wav")
    block = next(b for b in blocks("sh") if "/api/v1/denoise" in b)
    send, watch, listed = block.replace("http://localhost:8000", voice_twin.url).splitlines()
    script = f"""set -e
curl() {{ command curl --fail --silent --show-error "$@"; }}
ID=$({send} | tee sent.json | sed 's/.*"denoiseId":"\\([^"]*\\)".*/\\1/')
{watch} > events.txt
{listed} > records.json"""
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env={"KEY": voice_key, "PATH": "/usr/local/bin:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    denoise_id = json.loads((tmp_path / "sent.json").read_text())["denoiseId"]
    records = json.loads((tmp_path / "records.json").read_text())
    record = next(found for found in records if found["id"] == denoise_id)
    assert record["status"] == "success"
    assert record["audio_url"] in (tmp_path / "events.txt").read_text().splitlines()[-2]

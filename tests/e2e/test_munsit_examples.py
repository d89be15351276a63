"""Every example of the Munsit contract, run as printed but for host, key and id."""

import asyncio
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.twin import Launched
from tests.voice import SECONDS, made_key, seconds_of_sound

CONTRACT = Path(__file__).resolve().parents[3] / "shared" / "seeds"
HOST, KEY = "https://api.munsit.com", "YOUR_API_KEY"
ID = "5b1d2f7e-3f81-4c2a-9c5d-7a2e91b4c7a1"
LANGUAGES = ("JavaScript", "Python", "cURL")


def example(language: str) -> str:
    """The program that the contract prints for a language."""
    found = sorted(CONTRACT.glob("004_*.txt"))
    if not found:
        pytest.skip("../shared/seeds is not here")
    ends = r"^(?:Python \(httpx\)|cURL|Reconnecting:)"
    pattern = rf"^{language}[^\n]*\n\n(.*?)(?={ends})"
    # The last one: the page begins with a list of them.
    return re.findall(pattern, found[0].read_text(), re.MULTILINE | re.DOTALL)[-1].strip()


def command(language: str, *, url: str, key: str, denoise_id: str) -> list[str]:
    """What runs the example against a server of ours."""
    program = example(language)
    assert HOST in program and KEY in program and ID in program
    program = program.replace(HOST, url).replace(KEY, key).replace(ID, denoise_id)
    if language == "JavaScript":
        # It returns, which only a function can.
        return [node(), "-e", f"(async () => {{\n{program}\n}})()"]
    if language == "Python":
        return [sys.executable, "-c", program]
    return ["bash", "-c", program.replace("curl ", "curl --fail --silent --show-error ", 1)]


def node() -> str:
    found = shutil.which("node")
    if found is None:
        pytest.skip("there is no Node.js")
    return found


def record(url: str, key: str, denoise_id: str) -> dict[str, object]:
    answer = httpx.get(f"{url}/api/v1/denoise", headers={"x-api-key": key}).raise_for_status()
    return next(found for found in answer.json() if found["id"] == denoise_id)


def submitted(url: str, key: str, path: Path, **data: str) -> str:
    with path.open("rb") as stream:
        answer = httpx.post(
            f"{url}/api/v1/denoise",
            headers={"x-api-key": key},
            files={"audio": (path.name, stream)},
            data=data,
            timeout=60,
        )
    assert answer.status_code == 200, answer.text
    return str(answer.json()["denoiseId"])


def events(text: str) -> list[dict[str, object]]:
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]


@pytest.fixture(scope="module")
def watched(
    voice_twin: Launched, voice_key: str, recordings: dict[str, Path]
) -> tuple[str, dict[str, subprocess.CompletedProcess[str]]]:
    """A job, and what each example said that watched it from its beginning."""
    # Other tests send the same recording: what this one is told of is work.
    denoise_id = submitted(voice_twin.url, voice_key, recordings["wav"], cache="false")

    def run(language: str) -> subprocess.CompletedProcess[str]:
        asked = command(language, url=voice_twin.url, key=voice_key, denoise_id=denoise_id)
        return subprocess.run(asked, capture_output=True, text=True, check=False, timeout=120)

    async def all_at_once() -> list[subprocess.CompletedProcess[str]]:
        return await asyncio.gather(*(asyncio.to_thread(run, name) for name in LANGUAGES))

    return denoise_id, dict(zip(LANGUAGES, asyncio.run(all_at_once()), strict=True))


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_example_follows_a_job_to_its_end(
    voice_twin: Launched,
    voice_key: str,
    watched: tuple[str, dict[str, subprocess.CompletedProcess[str]]],
    language: str,
) -> None:
    denoise_id, said = watched
    done = said[language]
    assert done.returncode == 0, done.stderr
    audio_url = str(record(voice_twin.url, voice_key, denoise_id)["audio_url"])
    assert audio_url in done.stdout.splitlines()[-1 if language != "cURL" else -2]
    shown = [float(pct) for pct in re.findall(r'(?:Progress: |"pct":)([0-9.]+)', done.stdout)]
    assert shown and shown == sorted(shown)


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_example_that_comes_late_is_told_the_end(
    voice_twin: Launched,
    voice_key: str,
    watched: tuple[str, dict[str, subprocess.CompletedProcess[str]]],
    language: str,
) -> None:
    asked = command(language, url=voice_twin.url, key=voice_key, denoise_id=watched[0])
    done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "/v1/dl/" in done.stdout
    assert "rogress" not in done.stdout and "pct" not in done.stdout


def test_both_addresses_of_a_record_work_without_a_key(
    voice_twin: Launched,
    voice_key: str,
    watched: tuple[str, dict[str, subprocess.CompletedProcess[str]]],
    recordings: dict[str, Path],
    tmp_path: Path,
) -> None:
    found = record(voice_twin.url, voice_key, watched[0])
    saved = tmp_path / "clean.wav"
    saved.write_bytes(httpx.get(str(found["audio_url"])).raise_for_status().content)
    assert seconds_of_sound(saved) == pytest.approx(SECONDS, abs=0.001)
    original = httpx.get(str(found["original_audio_url"])).raise_for_status()
    assert original.content == recordings["wav"].read_bytes()
    assert found["audio_duration"] == pytest.approx(SECONDS, abs=0.001)
    assert found["file_name"] == recordings["wav"].name


def test_a_video_is_denoised_and_told_as_one(
    voice_twin: Launched, voice_key: str, recordings: dict[str, Path]
) -> None:
    denoise_id = submitted(voice_twin.url, voice_key, recordings["mp4"])
    headers = {"x-api-key": voice_key}
    url = f"{voice_twin.url}/api/v1/denoise/{denoise_id}/progress"
    last = events(httpx.get(url, headers=headers, timeout=120).text)[-1]
    assert last["stage"] == "done" and str(last["url"]).endswith(".mp4")
    assert record(voice_twin.url, voice_key, denoise_id)["source_type"] == "video"


def test_a_job_of_another_dialect_is_told_with_the_same_percentages(
    voice_twin: Launched, voice_key: str, recordings: dict[str, Path]
) -> None:
    headers, base = {"x-api-key": voice_key}, voice_twin.url
    with recordings["mp3"].open("rb") as stream:
        file_id = httpx.post(
            f"{base}/v1/upload", headers=headers, files={"file": ("talk.mp3", stream)}
        ).json()["fileId"]
    asked = httpx.post(f"{base}/v1/remove-noise", headers=headers, json={"input": file_id})
    job_id = asked.json()["jobId"]
    stream_url = f"{base}/api/v1/denoise/{job_id}/progress"
    last = events(httpx.get(stream_url, headers=headers, timeout=120).text)[-1]
    state = httpx.get(f"{base}/v1/remove-noise/{job_id}/status", headers=headers).json()
    assert last["url"] == f"{base}/v1{state['downloadPath']}"
    assert httpx.get(f"{base}/job/{job_id}", headers=headers).json()["percent"] == 100.0


def test_garbage_under_a_good_name_ends_in_an_error_event(
    voice_twin: Launched, voice_key: str, tmp_path: Path
) -> None:
    path = tmp_path / "broken.mp3"
    path.write_bytes(b"ID3\x04\x00\x00\x00\x00\x00\x00" + b"garbage " * 1000)
    denoise_id = submitted(voice_twin.url, voice_key, path)
    url = f"{voice_twin.url}/api/v1/denoise/{denoise_id}/progress"
    last = events(httpx.get(url, headers={"x-api-key": voice_key}, timeout=120).text)[-1]
    assert last["stage"] == "error" and last["message"]
    assert record(voice_twin.url, voice_key, denoise_id)["error"] == last["message"]


def test_a_job_of_one_owner_is_unknown_to_another(
    voice_twin: Launched,
    voice_key: str,
    watched: tuple[str, dict[str, subprocess.CompletedProcess[str]]],
) -> None:
    headers = {"x-api-key": made_key(voice_twin.state, "mallory")}
    url = f"{voice_twin.url}/api/v1/denoise"
    assert httpx.get(url, headers=headers).json() == []
    answer = httpx.get(f"{url}/{watched[0]}/progress", headers=headers)
    assert (answer.status_code, answer.json()) == (404, {"message": "Denoising job not found"})

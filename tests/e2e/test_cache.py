"""One recording sent again and again to a running twin, in all three dialects."""

import hashlib
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from audoai.noise_removal import NoiseRemovalClient

from clearstem.client import Client
from tests.twin import Launched
from tests.voice import made_key

_RATE_HZ = 16_000


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    """A recording that no other test sends."""
    hiss = np.random.default_rng(7).standard_normal(_RATE_HZ) * 0.05
    soundfile.write(tmp_path / "talk.wav", hiss, _RATE_HZ)
    return tmp_path / "talk.wav"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Sender:
    """An owner with a recording."""

    def __init__(self, url: str, key: str, talk: Path) -> None:
        self.url = url
        self.talk = talk
        self.headers = {"x-api-key": key}

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, headers=self.headers, timeout=60)

    def post(self, path: str, **body: Any) -> httpx.Response:
        return httpx.post(self.url + path, headers=self.headers, timeout=60, **body)

    def process(self, **fields: str) -> dict[str, Any]:
        files = {"file": ("talk.wav", self.talk.read_bytes())}
        answer = self.post("/process?recipe=denoise", files=files, data=fields)
        found: dict[str, Any] = answer.raise_for_status().json()
        return found

    def munsit(self) -> str:
        files = {"audio": ("talk.wav", self.talk.read_bytes())}
        answer = self.post("/api/v1/denoise", files=files)
        return str(answer.raise_for_status().json()["denoiseId"])

    def clean(self, job: dict[str, Any]) -> bytes:
        return self.get(job["outputs"]["clean"]).raise_for_status().content

    def is_worked_on(self, job: dict[str, Any]) -> bool:
        """Whether the job had to be begun; it is ended, since nobody wants it."""
        begun = job["status"] == "processing" and not job["cache"]["hit"]
        self.post(f"/job/{job['job_id']}/cancel")
        return begun


def test_the_same_again_is_there_at_once_in_every_dialect_and_outlives_what_made_it(
    voice_twin: Launched, voice_key: str, talk: Path
) -> None:
    alice = Sender(voice_twin.url, voice_key, talk)
    with Client(voice_twin.url, key=voice_key) as client:
        first = alice.munsit()
        *_, made = client.watch(first)
        assert (made["status"], made["cache"]["hit"]) == ("completed", False)
        digest = made["tracks"][0]["sha256"]
        assert sha256(alice.clean(made)) == digest

        again = alice.process()
        assert (again["status"], again["cache"]) == ("completed", {"hit": True, "job_id": first})
        assert sha256(alice.clean(again)) == digest

        munsit = alice.munsit()
        told = alice.get(f"/api/v1/denoise/{munsit}/progress").text
        assert told.count("data: ") == 1 and '"stage":"done"' in told

        states: list[dict[str, Any]] = []
        audo = NoiseRemovalClient(voice_key, f"{voice_twin.url}/v1")
        job_id = audo.create_job(audo.upload(str(talk)))
        result = audo.wait_for_job_id(job_id, states.append)
        assert [state["state"] for state in states] == ["succeeded"]
        result.save(str(talk.with_name("clean.wav")))
        assert sha256(talk.with_name("clean.wav").read_bytes()) == digest

        # Through storage without a sum: the first stage finds out.
        asked = {"file_name": "talk.wav", "recipe": "denoise"}
        room = alice.post("/uploads", json=asked).json()
        put = room["put"]
        httpx.put(put["url"], content=talk.read_bytes(), headers=put["headers"])
        body = {"upload_id": room["upload_id"], "recipe": "denoise"}
        *_, late = client.watch(alice.post("/jobs", json=body).json()["job_id"])
        assert (late["status"], late["cache"]["job_id"]) == ("completed", first)
        assert late["tracks"][0]["sha256"] == digest

        bob = Sender(voice_twin.url, made_key(voice_twin.state, "bob"), talk)
        assert bob.is_worked_on(bob.process())
        assert alice.is_worked_on(alice.process(cache="false"))
        assert alice.is_worked_on(alice.process(strength="50"))

        client.delete(first)
        assert alice.get(made["outputs"]["clean"]).status_code == 404
        assert sha256(alice.clean(again)) == digest == sha256(alice.clean(late))
        assert alice.is_worked_on(alice.process())

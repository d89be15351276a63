"""Webhooks of the running twin, to a receiver of the published library and to our own."""

import os
import subprocess
import sys
import time
from pathlib import Path

import httpx

from tests.emulator import until
from tests.receiver import HANG_UP, receiving
from tests.twin import Twin

TOLD = ["job.queued", "job.started", *["job.stage.completed"] * 3, "job.succeeded"]
_PATIENCE_S = 90


def sent(twin: Twin, song: Path, callback_url: str) -> str:
    """The id of a job that has its events sent to an address."""
    answer = httpx.post(
        f"{twin.url}/process?recipe=denoise",
        files={"file": ("song.wav", song.read_bytes())},
        data={"callback_url": callback_url, "engine": "spectral", "cache": "false"},
    )
    answer.raise_for_status()
    return str(answer.json()["job_id"])


def test_every_event_arrives_under_one_id_though_the_receiver_does_what_it_can_against_it(
    local_twin: Twin, song_file: Path
) -> None:
    with receiving() as receiver:
        receiver.slow_s = 0.3
        receiver.answers = [
            (500, {}),
            (302, {"Location": "http://169.254.169.254/"}),
            (HANG_UP, {}),
            (429, {"Retry-After": "6"}),
        ]
        faults = len(receiver.answers)
        secret = httpx.get(f"{local_twin.url}/webhooks/callbacks").json()["secret"]
        job_id = sent(local_twin, song_file, f"{receiver.url}/hook")
        ids = lambda: {message.event_id for message in receiver.messages}  # noqa: E731
        until(
            lambda: len(ids()) == len(TOLD) and len(receiver.messages) >= len(TOLD) + faults,
            timeout_s=_PATIENCE_S,
        )
        deliveries = httpx.get(f"{local_twin.url}/webhooks/cb_{job_id}/deliveries").json()
        kinds = {m.event_id: m.verified(secret)["type"] for m in receiver.messages}
    assert {message.path for message in receiver.messages} == {"/hook"}
    in_order = sorted(kinds, key=lambda event_id: int(event_id.rpartition("_")[2]))
    assert [kinds[event_id] for event_id in in_order] == TOLD
    assert all(event_id.startswith(f"evt_{job_id}_") for event_id in kinds)
    # However often it came, it was the same: a receiver may drop what it knows.
    assert len({(m.event_id, m.body) for m in receiver.messages}) == len(TOLD)
    failed = [t["status"] for d in deliveries["deliveries"] for t in d["tries"] if t["error"]]
    assert sorted(failed, key=str) == [302, 429, 500, None]


def test_a_secret_is_rotated_while_events_go_out_and_no_message_is_lost(
    local_twin: Twin, song_file: Path
) -> None:
    with receiving() as receiver:
        made = httpx.post(f"{local_twin.url}/webhooks", json={"url": receiver.url}).json()
        path = f"{local_twin.url}/webhooks/{made['webhook_id']}"
        try:
            sent(local_twin, song_file, f"{receiver.url}/callback")
            until(lambda: any(m.path == "/" for m in receiver.messages), timeout_s=_PATIENCE_S)
            rotated = httpx.post(f"{path}/rotate").json()["secret"]
            mine = lambda: [m for m in receiver.messages if m.path == "/"]  # noqa: E731
            until(lambda: len(mine()) == len(TOLD), timeout_s=_PATIENCE_S)
            deliveries = httpx.get(f"{path}/deliveries").json()["deliveries"]
        finally:
            httpx.delete(path)
        # The old secret verifies every message; the new one those after the rotation.
        assert sorted(m.verified(made["secret"])["type"] for m in mine()) == sorted(TOLD)
        # Messages overtake each other; the last event was certainly signed after the rotation.
        (last,) = [m for m in mine() if m.verified(made["secret"])["type"] == "job.succeeded"]
        assert last.verified(rotated)["data"]["status"] == "completed"
    assert sorted(delivery["type"] for delivery in deliveries) == sorted(TOLD)


def test_the_sample_receiver_prints_what_it_verified(local_twin: Twin, song_file: Path) -> None:
    secret = httpx.get(f"{local_twin.url}/webhooks/callbacks").json()["secret"]
    program = [sys.executable, "-m", "clearstem.cli", "webhooks", "verify", "--port", "0"]
    env = {**os.environ, "CLEARSTEM_WEBHOOK_SECRET": secret, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        program, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    try:
        address = process.stdout.readline().split()[1]
        assert httpx.post(address, content=b"{}").status_code == 401
        job_id = sent(local_twin, song_file, address)
        deadline = time.monotonic() + _PATIENCE_S
        said = ""
        while "job.succeeded" not in said and time.monotonic() < deadline:
            said += process.stdout.readline()
    finally:
        # Not as Ctrl-C does: who is started in the background may ignore that.
        process.terminate()
        process.communicate(timeout=10)
    assert f"job.succeeded {job_id} 100 %" in " ".join(said.split())
    assert "refused" in said

"""Kills at the worst moment: of the whole twin, and of one stage's process."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from clearstem.client import Client, Way, is_final
from tests.emulator import until as wait_for
from tests.twin import Launched, alive


def until(url: str, job_id: str, stop: Any, *, within_s: float) -> dict[str, Any]:
    """Ask for the job until `stop` holds of it."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        job: dict[str, Any] = httpx.get(f"{url}/job/{job_id}").json()
        if stop(job):
            return job
        time.sleep(0.1)
    raise AssertionError(f"after {within_s} s the job is {job['status']} at {job['percent']} %")


def is_running(job: dict[str, Any]) -> bool:
    return any(stage["status"] == "processing" for stage in job["stages"])


def test_a_twin_killed_and_started_again_has_lost_nothing(song_file: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    first = Launched(state)
    port = first.url.rpartition(":")[2]
    with Client(first.url) as client:
        finished = submitted(client, song_file)
        until(first.url, finished, is_final, within_s=60)
        running = submitted(client, song_file)
        until(first.url, running, is_running, within_s=20)
        # Accepted a moment before the kill: whoever got an answer must find the job again.
        accepted = submitted(client, song_file)
        watch = client.watch(accepted)
        assert next(watch)["status"] == "processing"
        emulator = first.emulator_pid
        first.kill()

        second = Launched(state, "--port", port)
        try:
            # It ended its jobs first, and let its successor wait for the state.
            wait_for(lambda: not alive(emulator))
            job = httpx.get(f"{second.url}/job/{finished}").json()
            assert job["status"] == "completed"
            for path in job["outputs"].values():
                assert httpx.get(second.url + path).content[:4] == b"RIFF"
            done = until(second.url, running, is_final, within_s=60)
            assert done["status"] == "completed" or done["error"], done
            # Whoever watched goes on where the server is again.
            *_, last = watch
        finally:
            second.stop()
    assert last["status"] == "completed", last["error"]
    assert watch.way is Way.WEBSOCKET


def submitted(client: Client, song: Path) -> str:
    """The id of a job that is worked on; of the recipe with fewer stages."""
    return str(client.denoise(song, {"cache": False})["job_id"])


def stage_processes(job_id: str) -> list[int]:
    """Processes of this machine that run a stage of the job."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if job_id.encode() in words and b"containers.stage" in words:
                found.append(int(entry.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc")
def test_a_killed_stage_is_started_again(local_twin: Any, song_file: Path) -> None:
    with Client(local_twin.url) as client:
        job_id = client.separate(song_file, {"cache": False})["job_id"]
    until(local_twin.url, job_id, is_running, within_s=20)
    victims = stage_processes(job_id)
    assert victims
    os.kill(victims[0], signal.SIGKILL)
    done = until(local_twin.url, job_id, is_final, within_s=60)
    assert done["status"] == "completed", done["error"]

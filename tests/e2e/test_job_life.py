"""A job cancelled, retried and deleted while real stages work on it."""

import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import soundfile

from clearstem.client import Client, is_final
from containers.audio.song import RATE_HZ, song
from tests.faults.test_kill import is_running, stage_processes, until
from tests.twin import Twin

# What the service promises: work stops this soon after a cancellation.
_STOPS_WITHIN_S = 5.0


@pytest.fixture(scope="module")
def long_song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A song whose first stage works for longer than a test waits."""
    path = tmp_path_factory.mktemp("songs") / "long.wav"
    soundfile.write(path, song(90).T, RATE_HZ, subtype="PCM_16")
    return path


def submitted(twin: Twin, song: Path) -> str:
    with Client(twin.url) as client:
        return str(client.separate(song, {"engine": "spectral", "cache": False})["job_id"])


def events(twin: Twin, job_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = httpx.get(f"{twin.url}/job/{job_id}/events").json()["events"]
    return found


def stored(twin: Twin, job_id: str) -> set[str]:
    """Everything of the job that lies in a bucket, its recording included."""
    s3, settings = twin.client("s3"), twin.settings
    return {
        entry["Key"]
        for bucket in (settings.work_bucket, settings.tracks_bucket)
        for entry in s3.list_objects_v2(Bucket=bucket, Prefix=f"jobs/{job_id}/").get("Contents", ())
    }


needs_proc = pytest.mark.skipif(
    not Path("/proc/self/cmdline").exists(), reason="finds processes by /proc"
)


@needs_proc
def test_work_stops_within_seconds_of_a_cancellation(local_twin: Twin, long_song: Path) -> None:
    job_id = submitted(local_twin, long_song)
    until(local_twin.url, job_id, lambda job: job["percent"] > 1, within_s=40)
    assert stage_processes(job_id)
    asked = time.monotonic()
    answer = httpx.post(f"{local_twin.url}/job/{job_id}/cancel")
    assert answer.json()["error"]["name"] == "Clearstem.Cancelled"
    while stage_processes(job_id):
        assert time.monotonic() - asked < _STOPS_WITHIN_S
        time.sleep(0.05)
    time.sleep(1.0)  # long enough for a stage to be started again, if anything did so
    assert not stage_processes(job_id)
    log = events(local_twin, job_id)
    assert log[-1]["type"] == "job.cancelled"
    assert httpx.post(f"{local_twin.url}/job/{job_id}/cancel").json() == answer.json()


def test_a_failed_job_goes_on_from_the_stage_that_failed(local_twin: Twin, song_file: Path) -> None:
    job_id = submitted(local_twin, song_file)
    first = "audio_separation"

    def second_stage_runs(job: dict[str, Any]) -> bool:
        return bool(job["stages"][1]["status"] == "processing")

    steps = local_twin.client("stepfunctions")
    before = until(local_twin.url, job_id, second_stage_runs, within_s=90)
    machine = local_twin.settings.separate_state_machine_arn
    execution = machine.replace(":stateMachine:", ":execution:") + f":{job_id}"
    steps.stop_execution(executionArn=execution, cause="an operator's mistake")
    failed = until(local_twin.url, job_id, is_final, within_s=20)
    assert failed["error"]["stage"] == "harmonic_percussive_separation"

    retried = httpx.post(f"{local_twin.url}/job/{job_id}/retry").json()
    assert (retried["attempt"], retried["stages"][1]["status"]) == (2, "pending")
    done = until(local_twin.url, job_id, is_final, within_s=120)
    assert done["status"] == "completed", done["error"]
    assert done["stages"][0] == before["stages"][0]
    kinds = [
        (event["type"], event["stage"], event["attempt"]) for event in events(local_twin, job_id)
    ]
    assert kinds.count(("job.stage.completed", first, 1)) == 1
    assert ("job.stage.completed", first, 2) not in kinds
    assert ("job.retried", "harmonic_percussive_separation", 2) in kinds
    assert kinds[-1] == ("job.succeeded", None, 2)
    assert [event["number"] for event in events(local_twin, job_id)] == list(
        range(1, len(kinds) + 1)
    )


@needs_proc
def test_a_job_deleted_while_it_runs_leaves_no_process_and_no_file(
    local_twin: Twin, long_song: Path
) -> None:
    job_id = submitted(local_twin, long_song)
    until(local_twin.url, job_id, is_running, within_s=40)
    receipt = httpx.delete(f"{local_twin.url}/job/{job_id}").json()
    assert (receipt["state"], receipt["files"] >= 1) == ("cancelled", True)
    deadline = time.monotonic() + _STOPS_WITHIN_S
    while stage_processes(job_id):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert stored(local_twin, job_id) == set()
    assert httpx.get(f"{local_twin.url}/job/{job_id}").status_code == 410


def test_a_stream_tells_the_log_of_a_job_that_is_then_deleted_to_its_last_file(
    local_twin: Twin, song_file: Path
) -> None:
    with Client(local_twin.url) as client:
        job_id = str(client.denoise(song_file, {"cache": False})["job_id"])
    headers = {"Accept": "text/event-stream"}
    with httpx.stream(
        "GET", f"{local_twin.url}/job/{job_id}/events", headers=headers, timeout=90
    ) as answer:
        told = [line.removeprefix("event: ") for line in answer.iter_lines() if "event: " in line]
    assert told[0] == "job.queued" and told[-1] == "job.succeeded"
    assert told == [event["type"] for event in events(local_twin, job_id)]

    done = httpx.get(f"{local_twin.url}/job/{job_id}").json()
    there = stored(local_twin, job_id)
    receipt = httpx.delete(f"{local_twin.url}/job/{job_id}").json()
    assert receipt["files"] == len(there) + 1  # and the recording
    assert receipt["size_bytes"] > sum(track["size_bytes"] for track in done["tracks"])
    assert stored(local_twin, job_id) == set()


def test_commands_follow_steer_and_delete_a_job(
    local_twin: Twin, finished_job: dict[str, Any], song_file: Path
) -> None:
    with Client(local_twin.url) as client:
        job = client.separate(song_file)  # over at once: the finished job answers it
    assert job["cache"] == {"hit": True, "job_id": finished_job["job_id"]}
    job_id = str(job["job_id"])
    watched = local_twin.command("watch", job_id)
    assert (watched.returncode, "9 tracks are ready" in watched.stdout) == (0, True)
    listed = local_twin.command("list", "--status", "completed", "--limit", "5")
    assert job_id[:8] in listed.stdout, listed
    told = local_twin.command("events", job_id).stdout
    assert "job.queued" in told and "job.succeeded" in told
    for command in ("cancel", "retry"):
        refused = local_twin.command(command, job_id)
        assert (refused.returncode, "succeeded" in refused.stderr) == (1, True)
    assert f"deleted {job_id}" in local_twin.command("delete", job_id).stdout.replace("\n", "")
    assert local_twin.command("watch", job_id).returncode == 1

"""A song in over HTTP, nine tracks out, through the template's own parts."""

import json
import time
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
import soundfile
from audoai.noise_removal import NoiseRemovalClient
from websockets.sync.client import connect

from clearstem.client import Client, is_final
from clearstem.recipes import SEPARATE
from tests.described import assert_described
from tests.faults.test_kill import is_running, until
from tests.twin import Twin
from tests.voice import made_key


def test_a_watcher_sees_the_whole_run(watched_job: list[dict[str, Any]]) -> None:
    job, *frames = watched_job
    assert job["status"] == "processing"
    assert [stage["status"] for stage in job["stages"]] == ["pending"] * 4
    for frame in frames:
        assert_described(("job",), frame)
    percents = [frame["percent"] for frame in frames]
    assert percents == sorted(percents)
    assert frames[-1]["status"] == "completed" and percents[-1] == 100
    running = {s["name"] for f in frames for s in f["stages"] if s["status"] == "processing"}
    assert len(running) >= 3  # each runs for seconds; a snapshot may skip the shortest
    # Work is told while it goes on, not only at the ends of stages.
    assert len(set(percents)) >= 6


def test_a_late_watcher_gets_the_end_at_once(
    local_twin: Twin, finished_job: dict[str, Any]
) -> None:
    with connect(local_twin.socket_url(f"/v1/wss/job/{finished_job['job_id']}")) as socket:
        assert json.loads(socket.recv(timeout=5))["status"] == "completed"


def test_one_socket_may_subscribe_by_message(
    local_twin: Twin, finished_job: dict[str, Any]
) -> None:
    with connect(local_twin.socket_url("/v1/wss")) as socket:
        socket.send(json.dumps({"action": "subscribe", "job_id": finished_job["job_id"]}))
        assert json.loads(socket.recv(timeout=5))["job_id"] == finished_job["job_id"]


def test_every_track_downloads_with_the_sources_form(
    local_twin: Twin, finished_job: dict[str, Any], song_file: Path
) -> None:
    source = soundfile.info(song_file)
    assert list(finished_job["outputs"]) == list(SEPARATE.tracks)
    for path in finished_job["outputs"].values():
        answer = httpx.get(local_twin.url + path)
        assert answer.headers["content-type"] == "audio/wav"
        track = soundfile.info(BytesIO(answer.content))
        assert (track.frames, track.samplerate, track.channels) == (
            source.frames,
            source.samplerate,
            source.channels,
        )


def test_all_tracks_come_in_one_archive(local_twin: Twin, finished_job: dict[str, Any]) -> None:
    answer = httpx.get(f"{local_twin.url}/download/{finished_job['job_id']}/all")
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        sounds = {Path(n).stem for n in archive.namelist() if n.endswith(".wav")}
    assert sounds == set(SEPARATE.tracks)


def test_a_job_through_api_gateway_and_mangum(local_twin: Twin, song_file: Path) -> None:
    gateway = local_twin.client("apigateway")
    api = gateway.get_rest_apis()["items"][0]["id"]
    stage = gateway.get_stages(restApiId=api)["item"][0]["stageName"]
    base = f"{local_twin.environment['AWS_ENDPOINT_URL']}/_aws/execute-api/{api}/{stage}"
    assert httpx.get(f"{base}/health").json()["status"] == "healthy"
    with song_file.open("rb") as stream:
        answer = httpx.post(
            f"{base}/process",
            files={"file": ("song.wav", stream)},
            data={"cache": "false"},
            timeout=30,
        )
    assert answer.status_code == 200, answer.text
    job_id = answer.json()["job_id"]
    assert httpx.get(f"{base}/job/{job_id}").json()["job_id"] == job_id
    # It is worked on; what the job becomes is the other tests' matter.
    until(local_twin.url, job_id, is_running, within_s=40)
    cancelled = httpx.post(f"{base}/job/{job_id}/cancel", timeout=30).json()
    assert cancelled["error"]["name"] == "Clearstem.Cancelled"


@pytest.mark.parametrize("way", ["put", "post"])
def test_a_presigned_upload_becomes_a_job(local_twin: Twin, song_file: Path, way: str) -> None:
    data = song_file.read_bytes()
    links = httpx.post(f"{local_twin.url}/uploads", json={"file_name": "song.wav"}).json()
    if way == "put":
        sent = httpx.put(links["put"]["url"], content=data, headers=links["put"]["headers"])
    else:
        form = links["post"]
        sent = httpx.post(form["url"], data=form["fields"], files={"file": ("song.wav", data)})
    assert sent.is_success, sent.text
    body = {"upload_id": links["upload_id"], "format": "flac", "cache": False}
    job = httpx.post(f"{local_twin.url}/jobs", json=body).json()
    listed = httpx.get(f"{local_twin.url}/jobs", params={"limit": 1}).json()
    assert listed["jobs"][0]["job_id"] == job["job_id"]
    # What the job becomes is the other tests' matter.
    local_twin.client("stepfunctions").stop_execution(
        executionArn=local_twin.settings.separate_state_machine_arn.replace(
            ":stateMachine:", ":execution:"
        )
        + f":{job['job_id']}"
    )
    assert local_twin.finished(job["job_id"])["status"] == "failed"


def test_an_object_dropped_in_the_bucket_comes_back_beside(
    local_twin: Twin, song_file: Path
) -> None:
    s3, bucket = local_twin.client("s3"), local_twin.settings.drop_bucket
    key = "drop/alice/Lied für Ümit.wav"
    s3.upload_file(
        str(song_file), bucket, key, ExtraArgs={"Metadata": {"clearstem-format": "flac"}}
    )
    found: list[str] = []
    deadline = time.monotonic() + 60
    while len(found) < len(SEPARATE.tracks) and time.monotonic() < deadline:
        time.sleep(0.5)
        listing = s3.list_objects_v2(Bucket=bucket, Prefix="done/alice/").get("Contents", [])
        found = [item["Key"] for item in listing if item["Key"].endswith(".flac")]
    assert {Path(k).stem for k in found} == set(SEPARATE.tracks)
    assert all(k.startswith("done/alice/Lied für Ümit.wav/") for k in found)


def test_a_dropped_file_that_is_no_sound_is_answered_beside(local_twin: Twin) -> None:
    s3, bucket = local_twin.client("s3"), local_twin.settings.drop_bucket
    s3.put_object(Bucket=bucket, Key="drop/alice/notes.wav", Body=b"dear diary, no sound here")
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        listing = s3.list_objects_v2(Bucket=bucket, Prefix="done/alice/notes").get("Contents", [])
        if listing:
            break
        time.sleep(0.2)
    told = s3.get_object(Bucket=bucket, Key=listing[0]["Key"])["Body"].read().decode()
    assert "not a readable audio file" in told


def test_a_failed_job_says_which_stage_and_why(local_twin: Twin, tmp_path: Path) -> None:
    path = tmp_path / "broken.mp3"
    path.write_bytes(b"ID3\x04\x00\x00\x00\x00\x00\x00" + bytes(4000))
    with Client(local_twin.url) as client:
        job = client.separate(path)
    done = local_twin.finished(job["job_id"])
    assert done["status"] == "failed"
    assert done["stages"][0]["status"] == "failed" and done["stages"][0]["error"]
    assert [stage["status"] for stage in done["stages"][1:]] == ["pending"] * 3
    assert is_final(done) and done["error"]


def test_the_command_line_separates_and_reports(
    local_twin: Twin, song_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = local_twin.command(
        "separate", str(song_file), "-o", str(out), "--format", "flac", "--no-cache"
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((out / "report.json").read_text())
    assert {f.stem for f in out.glob("*.flac")} == set(SEPARATE.tracks)
    assert report["engine"]["preview"] and "preview" in done.stdout
    status = local_twin.command("status", report["job_id"])
    assert json.loads(status.stdout)["status"] == "completed"


def test_the_command_line_tells_a_refusal_in_one_line(local_twin: Twin, tmp_path: Path) -> None:
    path = tmp_path / "text.wav"
    path.write_text("this is no sound")
    done = local_twin.command("separate", str(path))
    assert done.returncode == 1
    assert "not a readable audio file" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_recorded_event_can_be_invoked_by_hand(local_twin: Twin) -> None:
    done = local_twin.command(
        "invoke", "sweep", "events/schedule_sweep.json", "--state", str(local_twin.state)
    )
    assert done.returncode == 0, done.stderr


def test_a_separation_is_watched_and_saved_by_the_audo_client(
    local_twin: Twin, finished_job: dict[str, Any], tmp_path: Path
) -> None:
    key = made_key(local_twin.state, "local")
    client = NoiseRemovalClient(key, f"{local_twin.url}/v1")
    states: list[dict[str, Any]] = []
    result = client.wait_for_job_id(finished_job["job_id"], states.append)
    assert [state["state"] for state in states] == ["succeeded"]
    result.save(str(tmp_path / "vocals.wav"))
    vocals = httpx.get(local_twin.url + finished_job["outputs"]["vocals"])
    assert (tmp_path / "vocals.wav").read_bytes() == vocals.content

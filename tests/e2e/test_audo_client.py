"""The published Python client, unchanged but for its base URL, against a running twin."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
from audoai.common import InsufficientCredits, MalformedFile, NoiseRemovalFailed, Unauthorized
from audoai.noise_removal import NoiseRemovalClient
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.neighbour import Neighbour
from tests.twin import Launched
from tests.voice import SECONDS, made_key, picture_codec, seconds_of_sound, streams

# Every kind of recording, and each way in for sound and for video.
SENT = (("wav", "file"), ("mp3", "url"), ("mp4", "file"), ("webm", "url"))
LEGAL = {"downloading", "queued", "in_progress", "succeeded"}
BASE = "/v1"


@pytest.fixture(scope="module")
def client(voice_twin: Launched, voice_key: str) -> NoiseRemovalClient:
    return NoiseRemovalClient(voice_key, f"{voice_twin.url}{BASE}")


@pytest.fixture(scope="module")
def jobs(
    client: NoiseRemovalClient, recordings: dict[str, Path], file_server: Neighbour
) -> dict[tuple[str, str], str]:
    """The jobs of the recordings as they are sent, all under way at once."""
    started = {}
    for kind, way in SENT:
        path = recordings[kind]
        given = file_server.url(path.name) if way == "url" else client.upload(str(path))
        started[kind, way] = client.create_job(given)
    return started


def waited(client: NoiseRemovalClient, job_id: str) -> tuple[Any, list[dict[str, Any]]]:
    """The result, and every state on the way to it."""
    states: list[dict[str, Any]] = []
    return client.wait_for_job_id(job_id, states.append), states


def worked_on(client: NoiseRemovalClient, file_id: str) -> str:
    """A job that is not answered with what another one has made of the same recording."""
    answer = httpx.post(
        f"{client.base_url}/remove-noise",
        headers={"x-api-key": client.api_key},
        json={"input": file_id, "cache": False},
    )
    return str(answer.raise_for_status().json()["jobId"])


@pytest.mark.parametrize(("kind", "way"), SENT)
def test_a_recording_is_sent_watched_and_saved(
    client: NoiseRemovalClient,
    jobs: dict[tuple[str, str], str],
    recordings: dict[str, Path],
    tmp_path: Path,
    kind: str,
    way: str,
) -> None:
    result, states = waited(client, jobs[kind, way])
    assert {state["state"] for state in states} <= LEGAL
    percents = [state["percent"] for state in states if "percent" in state]
    assert percents == sorted(percents)
    saved = tmp_path / f"clean.{kind}"
    result.save(str(saved))
    assert streams(saved) == streams(recordings[kind])
    assert seconds_of_sound(saved) == pytest.approx(SECONDS, abs=0.05)


def test_a_late_socket_is_told_the_end_at_once(
    client: NoiseRemovalClient, jobs: dict[tuple[str, str], str]
) -> None:
    waited(client, jobs["wav", "file"])
    result, states = waited(client, jobs["wav", "file"])
    assert states == [client.get_status(result.job_id)]
    assert states[0]["state"] == "succeeded"
    assert result.url.endswith(states[0]["downloadPath"])


def test_a_whole_call_tells_its_progress_and_keeps_its_options(
    client: NoiseRemovalClient, recordings: dict[str, Path], tmp_path: Path
) -> None:
    states: list[dict[str, Any]] = []
    with recordings["mp3"].open("rb") as file:
        result = client.process(
            file,
            input_extension="mp3",
            output_extension=".flac",
            auto_volume=True,
            on_update=states.append,
        )
    names = [state["state"] for state in states]
    assert names[:2] == ["uploading", "creating_job"]
    # Work is told while it goes on, not only at its end.
    assert len({state["percent"] for state in states if "percent" in state}) >= 3
    assert names[-1] == "succeeded"
    result.save(str(tmp_path / "clean.flac"))
    assert (tmp_path / "clean.flac").read_bytes()[:4] == b"fLaC"
    with pytest.raises(ValueError, match="should end with"):
        result.save(str(tmp_path / "clean.wav"))


def test_a_recording_from_an_address_is_put_to_another(
    client: NoiseRemovalClient, recordings: dict[str, Path], file_server: Neighbour
) -> None:
    # A name with a space, as addresses have it.
    address = file_server.url(recordings["wav"].name.replace(" ", "%20"))
    output = file_server.url("results/clean.wav?signature=ABC")
    job_id = client.create_job(address, output=output)
    result, states = waited(client, job_id)
    put = file_server.puts["results/clean.wav"]
    assert put.headers["content-type"] == "audio/wav"
    assert int(put.headers["content-length"]) == len(put.body)
    # It says so only when the result is there, and keeps a copy.
    assert states[-1]["state"] == "succeeded"
    assert requests.get(result.url, timeout=30).content == put.body


def test_a_webm_may_be_asked_for_as_mp4(
    client: NoiseRemovalClient, recordings: dict[str, Path], tmp_path: Path
) -> None:
    result = client.process(str(recordings["webm"]), output_extension="mp4")
    result.save(str(tmp_path / "clean.mp4"))
    assert picture_codec(recordings["webm"]) == "vp8"
    assert picture_codec(tmp_path / "clean.mp4") == "h264"
    assert seconds_of_sound(tmp_path / "clean.mp4") == pytest.approx(SECONDS, abs=0.05)


def test_deleted_results_are_gone(
    client: NoiseRemovalClient, jobs: dict[tuple[str, str], str]
) -> None:
    result, _ = waited(client, jobs["webm", "url"])
    assert client.delete_results(result.job_id)
    assert requests.get(result.url, timeout=30).status_code == 404
    with pytest.raises(NoiseRemovalFailed, match="deleted"):
        client.wait_for_job_id(result.job_id, None)


def test_a_wrong_key_is_unauthorized(voice_twin: Launched, recordings: dict[str, Path]) -> None:
    stranger = NoiseRemovalClient("cs_wrong", f"{voice_twin.url}{BASE}")
    for call in (
        lambda: stranger.upload(str(recordings["wav"])),
        lambda: stranger.create_job("f"),
        lambda: stranger.get_status("0" * 8),
        lambda: stranger.delete_results("0" * 8),
    ):
        with pytest.raises(Unauthorized):
            call()


def test_a_socket_needs_the_key_of_the_jobs_owner(
    voice_twin: Launched, client: NoiseRemovalClient, jobs: dict[tuple[str, str], str]
) -> None:
    job_id = jobs["wav", "file"]
    bob = made_key(voice_twin.state, "bob")
    url = client.base_url.replace("http://", "ws://") + f"/wss/remove-noise/{job_id}/status"
    for key, status in (("cs_wrong", 401), ("", 401), (bob, 404)):
        headers = {"x-api-key": key} if key else {}
        with pytest.raises(InvalidStatus) as refused, connect(url, additional_headers=headers):
            pass
        assert refused.value.response.status_code == status
    assert httpx.get(
        f"{client.base_url}/remove-noise/{job_id}/status", headers={"x-api-key": bob}
    ).json() == {"detail": "Job not found"}


@pytest.mark.parametrize("content", [b"", b"this is no sound, it is text"])
def test_a_file_that_is_no_recording_is_malformed(
    client: NoiseRemovalClient, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "talk.wav"
    path.write_bytes(content)
    with pytest.raises(MalformedFile, match=r"talk\.wav"):
        client.upload(str(path))


def test_a_recording_that_does_not_decode_fails_with_a_reason(
    client: NoiseRemovalClient, tmp_path: Path
) -> None:
    path = tmp_path / "broken.mp3"
    path.write_bytes(b"ID3\x04\x00\x00\x00\x00\x00\x00" + bytes(4000))
    with pytest.raises(NoiseRemovalFailed, match=r"."):
        client.wait_for_job_id(client.create_job(client.upload(str(path))), None)


def test_an_address_without_a_recording_fails_with_a_reason(
    client: NoiseRemovalClient, file_server: Neighbour
) -> None:
    with pytest.raises(NoiseRemovalFailed, match="404"):
        client.wait_for_job_id(client.create_job(file_server.url("nothing.wav")), None)


@pytest.mark.parametrize(
    "options",
    [
        {"input": "http://169.254.169.254/latest"},
        {"input": "f", "output_extension": "exe"},
        {"input": "f", "auto_volume": 90},
    ],
)
def test_what_is_wrong_with_a_request_is_never_taken_for_a_lack_of_credits(
    client: NoiseRemovalClient, options: dict[str, Any]
) -> None:
    with pytest.raises(requests.HTTPError) as refused:
        client.create_job(**options)
    assert refused.value.response.status_code == 422
    assert not isinstance(refused.value, InsufficientCredits)


def test_a_socket_that_comes_back_is_told_the_rest_and_those_ahead_as_they_go(
    client: NoiseRemovalClient, recordings: dict[str, Path]
) -> None:
    file_id = client.upload(str(recordings["wav"]))
    queue = [worked_on(client, file_id) for _ in range(3)]
    first = client.connect_websocket(queue[-1])
    told = json.loads(first.recv())
    first.close()
    # The last one waits for those before it, and hears of each that goes.
    _, rest = waited(client, queue[-1])
    states = [told, *rest]
    assert {state["state"] for state in states} <= LEGAL
    ahead = [state["jobsAhead"] for state in states if state["state"] == "queued"]
    assert ahead == sorted(ahead, reverse=True)
    assert rest[-1]["state"] == "succeeded"

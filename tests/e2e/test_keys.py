"""A twin that asks for keys, and the commands that make and end them."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from clearstem.twin import running_twin
from infra.local.deploy import Target, stack_outputs
from tests.problems import refusal
from tests.twin import Launched


@pytest.fixture(scope="module")
def locked_twin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    launched = Launched(tmp_path_factory.mktemp("locked") / "state", "--require-key")
    yield launched
    launched.stop()


def keys(state: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "clearstem.cli", "keys", *arguments, "--state", str(state)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def listed(url: str, key: str) -> int:
    return httpx.get(f"{url}/jobs", headers={"x-api-key": key}).status_code


def test_without_a_key_only_what_is_open_answers(locked_twin: Launched, song_file: Path) -> None:
    assert httpx.get(f"{locked_twin.url}/health").status_code == 200
    assert httpx.get(f"{locked_twin.url}/config").status_code == 200
    with song_file.open("rb") as stream:
        answer = httpx.post(f"{locked_twin.url}/process", files={"file": stream})
    assert answer.status_code == 401
    assert answer.json()["detail"] == "Invalid or missing API key"


def test_a_key_works_until_it_is_revoked(locked_twin: Launched) -> None:
    key = keys(locked_twin.state, "create", "alice")
    assert key.startswith("cs_")
    assert listed(locked_twin.url, key) == 200
    assert key not in keys(locked_twin.state, "list")
    keys(locked_twin.state, "revoke", key[:11])
    assert listed(locked_twin.url, key) == 401


def test_a_job_is_invisible_to_everyone_but_its_owner(
    locked_twin: Launched, song_file: Path
) -> None:
    hers, his = (keys(locked_twin.state, "create", owner) for owner in ("carol", "dave"))
    with song_file.open("rb") as stream:
        headers, files = {"x-api-key": hers}, {"file": ("song.wav", stream)}
        job_id = httpx.post(f"{locked_twin.url}/process", headers=headers, files=files).json()[
            "job_id"
        ]
    for path in (f"/job/{job_id}", f"/job/{job_id}/outputs", f"/download/{job_id}/all"):
        answer = httpx.get(locked_twin.url + path, headers={"x-api-key": his})
        assert refusal(answer) == (404, "Job not found"), path
    socket = f"{locked_twin.url.replace('http', 'ws')}/v1/wss/job/{job_id}"
    with connect(socket, additional_headers={"x-api-key": hers}) as watching:
        assert json.loads(watching.recv(timeout=10))["job_id"] == job_id
    for refused in ({"x-api-key": his}, {}):
        with pytest.raises(InvalidStatus), connect(socket, additional_headers=refused):
            pass


def test_what_api_gateway_refuses_by_itself_is_a_problem_document_too(
    locked_twin: Launched,
) -> None:
    endpoint = running_twin(locked_twin.state).environment["AWS_ENDPOINT_URL"]
    api = stack_outputs(Target(endpoint))["RestApiId"]
    gateway = f"{endpoint}/_aws/execute-api/{api}/live"
    wrong = {"x-api-key": "cs_wrong"}
    for path in ("/jobs", "/v1/apiKey/test"):
        answer = httpx.get(gateway + path, headers=wrong)
        assert refusal(answer) == (401, "Invalid or missing API key")
        assert answer.json()["errorCode"] == "40101"

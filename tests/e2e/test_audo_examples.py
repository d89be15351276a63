"""Every example of the Audo contract, run as printed but for host, key and file."""

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.described import assert_described
from tests.neighbour import Neighbour
from tests.twin import Launched, Twin
from tests.voice import picture_codec

CONTRACT = Path(__file__).resolve().parents[3] / "shared" / "seeds"
PUBLISHED = "https://api.audo.ai"
# What websocat does here: it prints the frames of a socket until that is closed.
WEBSOCAT = f"""#!{sys.executable}
import sys
from websockets.sync.client import connect
url, flag, header = sys.argv[1:]
assert flag == "-H"
name, _, value = header.partition(": ")
with connect(url, additional_headers={{name: value}}) as socket:
    for frame in socket:
        print(frame)
"""


@pytest.fixture(scope="module")
def contract() -> str:
    found = sorted(CONTRACT.glob("000_*.txt"))
    if not found:
        pytest.skip("../shared/seeds is not here")
    return found[0].read_text()


@pytest.fixture
def shell(voice_twin: Launched, voice_key: str, recordings: dict[str, Path], tmp_path: Path):
    """Runs an example where its file lies and answers what it printed."""
    (tmp_path / "myaudio.wav").write_bytes(recordings["wav"].read_bytes())
    websocat = tmp_path / "bin" / "websocat"
    websocat.parent.mkdir()
    websocat.write_text(WEBSOCAT)
    websocat.chmod(websocat.stat().st_mode | stat.S_IEXEC)

    def run(example: str, **variables: str) -> str:
        example = example.replace(PUBLISHED, voice_twin.url)
        example = example.replace("wss://api.audo.ai", voice_twin.url.replace("http", "ws"))
        done = subprocess.run(
            ["bash", "-c", f"set -e\n{example}"],
            cwd=tmp_path,
            env={
                "PATH": f"{websocat.parent}:{os.environ['PATH']}",
                "AUDO_API_KEY": voice_key,
                "BACKEND_URL": f"{voice_twin.url}/v1",
                **variables,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (example, done.stderr)
        return done.stdout

    return run


def commands(contract: str, start: str) -> list[str]:
    return [line.strip() for line in contract.splitlines() if line.startswith(start)]


def test_an_upload_is_cleaned_watched_and_fetched_as_printed(
    contract: str, shell, tmp_path: Path
) -> None:
    uploads, removals, _, _, asks, *fetches = commands(contract, "curl ")
    file_id = json.loads(shell(uploads))["fileId"]
    job_id = json.loads(shell(removals, FILE_ID=file_id))["jobId"]
    (watch,) = commands(contract, "websocat ")
    frames = [json.loads(line) for line in shell(watch, JOB_ID=job_id).splitlines()]
    for frame in frames:
        assert_described(("audoStatus",), frame)
    assert {frame["state"] for frame in frames} <= {"queued", "in_progress", "succeeded"}
    percents = [frame["percent"] for frame in frames if "percent" in frame]
    assert percents == sorted(percents)
    state = json.loads(shell(asks, JOB_ID=job_id))
    assert state == frames[-1]
    # As it tells to: the published host and prefix before the path.
    assert len(fetches) == 2
    for fetch in fetches:
        printed = re.search(r"/v1/(\S+)", fetch)
        shell(fetch.replace(printed[1], state["downloadPath"]))
        name = state["downloadPath"].rpartition("/")[2]
        assert (tmp_path / name).read_bytes()[:4] == b"RIFF"
        (tmp_path / name).unlink()


def test_a_remote_video_is_taken_as_printed(
    contract: str, shell, recordings: dict[str, Path], file_server: Neighbour, tmp_path: Path
) -> None:
    assert picture_codec(recordings["webm"]) == "vp8"
    remote = commands(contract, "curl ")[2]
    answer = shell(remote, url=file_server.url(recordings["webm"].name))
    job_id = json.loads(answer)["jobId"]
    (watch,) = commands(contract, "websocat ")
    last = json.loads(shell(watch, JOB_ID=job_id).splitlines()[-1])
    assert last["downloadPath"].endswith(".mp4")
    shell(f"curl -sL -o clean.mp4 {PUBLISHED}/v1{last['downloadPath']}")
    assert picture_codec(tmp_path / "clean.mp4") == "h264"


def test_a_presigned_result_is_put_as_printed(
    contract: str, shell, recordings: dict[str, Path], file_server: Neighbour, tmp_path: Path
) -> None:
    presigned = commands(contract, "curl ")[3]
    output = file_server.url("audo-enhanced_foo.mp4?AWSAccessKeyId=ABC&content-type=video%2Fmp4")
    given = {"input": file_server.url(recordings["webm"].name), "output": output}
    job_id = json.loads(shell(presigned, **given))["jobId"]
    (watch,) = commands(contract, "websocat ")
    assert '"succeeded"' in shell(watch, JOB_ID=job_id)
    put = file_server.puts["audo-enhanced_foo.mp4"]
    assert put.headers["content-type"] == "video/mp4"
    (tmp_path / "put.mp4").write_bytes(put.body)
    assert picture_codec(tmp_path / "put.mp4") == "h264"


def test_the_python_example_with_presigned_addresses_runs_as_printed(
    contract: str, voice_twin: Launched, voice_key: str, recordings: dict[str, Path], tmp_path: Path
) -> None:
    twin = Twin(voice_twin.url, voice_twin.state)
    s3 = twin.client("s3")
    s3.create_bucket(Bucket="my-bucket")
    s3.upload_file(str(recordings["webm"]), "my-bucket", "my-input.webm")
    (example,) = re.findall(r"^```python\n(.*?)^```", contract, re.MULTILINE | re.DOTALL)
    program = example.replace("MY-AUDO-API-KEY", voice_key).replace(
        "api_key=audo_api_key", f"api_key=audo_api_key, base_url='{voice_twin.url}/v1'"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, **twin.environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Final result: {'state': 'succeeded'" in done.stdout
    put = s3.head_object(Bucket="my-bucket", Key="my-noise-removed-output.mp4")
    assert put["ContentType"] == "video/mp4"
    assert put["ContentLength"] > 0

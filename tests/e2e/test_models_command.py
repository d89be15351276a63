"""`clearstem models`, where the network is and where it is not."""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clearstem.client import Client
from tests.faults.test_kill import until
from tests.stages.tiny_checkpoint import SHORT, write_safetensors
from tests.twin import Launched

WEIGHTS = bytes(range(256)) * 5000


def models(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "clearstem.cli", "models", *arguments]
    env = {**os.environ, "CLEARSTEM_MODELS_DIR": str(folder), "COLUMNS": "300"}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


@pytest.fixture
def publisher(tmp_path: Path) -> Iterator[str]:
    """A host that publishes weights."""
    (tmp_path / "published").mkdir()
    (tmp_path / "published" / "net.th").write_bytes(WEIGHTS)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(tmp_path / "published"))  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/net.th"
        server.shutdown()


def listing(folder: Path, *, url: str, sha256: str) -> None:
    folder.mkdir(exist_ok=True)
    entry = {
        "name": "net",
        "file_name": "net.th",
        "url": url,
        "sha256": sha256,
        "size_bytes": len(WEIGHTS),
        "licence": "none",
    }
    (folder / "models.json").write_text(json.dumps([entry]))


def test_weights_are_fetched_checked_and_listed(tmp_path: Path, publisher: str) -> None:
    folder = tmp_path / "models"
    listing(folder, url=publisher, sha256=hashlib.sha256(WEIGHTS).hexdigest())
    done = models(folder, "fetch", "net")
    assert done.returncode == 0, done.stderr
    path = Path(models(folder, "path", "net").stdout.strip())
    assert path.read_bytes() == WEIGHTS
    (row,) = [line for line in models(folder, "list").stdout.splitlines() if " net " in line]
    assert "yes" in row


def test_weights_that_are_known_in_part_are_fetched_and_that_is_told(
    tmp_path: Path, publisher: str
) -> None:
    folder = tmp_path / "models"
    digits = hashlib.sha256(WEIGHTS).hexdigest()[:8]
    listing(folder, url=publisher, sha256=digits)
    done = models(folder, "fetch", "net")
    assert done.returncode == 0, done.stderr
    told = " ".join(done.stdout.split())
    assert f"has a sha256 that begins {digits}" in told
    assert "of net.th only the first digits of the sha256 are published" in told


def test_other_bytes_than_the_pinned_are_not_kept(tmp_path: Path, publisher: str) -> None:
    folder = tmp_path / "models"
    listing(folder, url=publisher, sha256="0" * 64)
    done = models(folder, "fetch", "net")
    assert done.returncode == 1
    assert hashlib.sha256(WEIGHTS).hexdigest() in done.stderr
    assert [p.name for p in folder.iterdir()] == ["models.json"]


def test_a_publisher_out_of_reach_is_named_with_the_way_around(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    listing(folder, url="http://127.0.0.1:9/net.th", sha256="0" * 64)
    done = models(folder, "fetch", "net")
    assert done.returncode == 1
    assert "127.0.0.1:9" in done.stderr and str(folder / "net.th") in done.stderr


def test_auto_takes_the_model_whose_weights_are_there(tmp_path: Path, song_file: Path) -> None:
    folder = tmp_path / "state" / "models"
    folder.mkdir(parents=True)
    checkpoint = write_safetensors(folder, segment=SHORT)
    entry = {
        "name": "tiny",
        "file_name": checkpoint.path.name,
        "url": "",
        "sha256": checkpoint.sha256,
        "size_bytes": checkpoint.path.stat().st_size,
        "licence": "made by this test",
    }
    (folder / "models.json").write_text(json.dumps([entry]))
    launched = Launched(tmp_path / "state", "--model", "tiny")
    try:
        with Client(launched.url) as client:
            assert client.config()["separator"]["model"] == "tiny"
            job = client.separate(song_file)
            assert (job["engine"]["name"], job["engine"]["preview"]) == ("demucs", False)
            assert "the weights of tiny are in the models folder" in job["engine"]["reason"]
            # The stages behind it know nothing of networks.
            done = until(launched.url, job["job_id"], first_stage_is_over, within_s=120)
            client.cancel(job["job_id"])
    finally:
        launched.stop()
    assert done["stages"][0]["status"] == "completed", done["error"]
    assert done["separation"]["model_sha256"] == checkpoint.sha256


def first_stage_is_over(job: dict[str, Any]) -> bool:
    return job["stages"][0]["status"] not in ("pending", "processing")


def test_denoisers_are_listed_and_looked_for_like_separators(tmp_path: Path) -> None:
    told = models(tmp_path, "path", "dtln").stdout.split()
    assert told == [str(tmp_path / name) for name in ("dtln_model_1.onnx", "dtln_model_2.onnx")]
    for path in told:
        Path(path).write_bytes(b"")
    rows = {line.split()[1]: line.split()[3] for line in _rows(models(tmp_path, "list").stdout)}
    assert rows == {"dtln": "yes", "gtcrn": "no", "htdemucs": "no", "htdemucs_ft": "no"}


def _rows(table: str) -> list[str]:
    return [line for line in table.splitlines() if line.startswith("│") and line[2] != " "]

"""The demo's server is the demo's: however that ends, it does not stay behind."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.emulator import until
from tests.submitted import wav
from tests.twin import alive


@pytest.fixture
def demo(tmp_path: Path) -> "Iterator[subprocess.Popen[bytes]]":
    """One whose temporary folder is in `tmp_path`, and whose server has come up."""
    (tmp_path / "song.wav").write_bytes(wav())
    command = [sys.executable, "-m", "clearstem.cli", "demo", str(tmp_path / "song.wav")]
    process = subprocess.Popen(
        [*command, "--output", str(tmp_path / "out")], env={**os.environ, "TMPDIR": str(tmp_path)}
    )
    until(lambda: [*tmp_path.glob("clearstem-demo-*/state/twin.json")], timeout_s=30)
    yield process
    if process.poll() is None:
        process.kill()
        process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_its_server_ends_with_it(
    demo: "subprocess.Popen[bytes]", tmp_path: Path, number: signal.Signals
) -> None:
    (folder,) = tmp_path.glob("clearstem-demo-*")
    pids = [
        json.loads((folder / "state" / name).read_text())["pid"]
        for name in ("twin.json", "emulator.json")
    ]
    assert all(map(alive, pids))
    demo.send_signal(number)
    assert demo.wait(30) in (-signal.SIGKILL, 128 + signal.SIGTERM)
    until(lambda: not any(map(alive, pids)), timeout_s=30)
    if number is signal.SIGTERM:
        assert not folder.exists()

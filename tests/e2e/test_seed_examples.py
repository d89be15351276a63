"""Every curl, Python and JavaScript example of the pipeline contract, run as printed."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.twin import Twin

CONTRACT = Path(__file__).resolve().parents[3] / "shared" / "seeds"


def contract_text() -> str:
    found = sorted(CONTRACT.glob("001_*.txt"))
    if not found:
        pytest.skip("../shared/seeds is not here")
    return found[0].read_text()


def curl_examples(text: str) -> list[str]:
    joined = text.replace("\\\n", " ")
    return [line.strip() for line in joined.splitlines() if line.startswith("curl ")]


def python_examples(text: str) -> list[str]:
    ends = r"^JavaScript:|^\d+\. |^[A-Z ]{4,}$"
    blocks = re.findall(rf"^Python:\n(.*?)(?={ends})", text, re.MULTILINE | re.DOTALL)
    return [block.strip() for block in blocks]


def javascript_examples(text: str) -> list[str]:
    blocks = re.findall(r"^JavaScript:\n(.*?)(?=^\d+\. )", text, re.MULTILINE | re.DOTALL)
    return [block.strip() for block in blocks]


# What a page has and Node.js has not: a file that was picked, and a link whose click saves.
_PAGE = """
const { readFileSync, writeFileSync } = require('node:fs');
const { File, resolveObjectURL } = require('node:buffer');
const fileInput = { files: [new File([readFileSync('song.wav')], 'song.wav')] };
const window = globalThis;
const saved = [];
const document = { createElement: () => ({ click() { saved.push(this); } }) };
const run = async () => { %s
  return typeof data === 'undefined' ? null : data;
};
run().then(async (data) => {
  for (const link of saved) {
    const bytes = await resolveObjectURL(link.href).arrayBuffer();
    writeFileSync(link.download, Buffer.from(bytes));
  }
  console.log(JSON.stringify(data));
});
"""


def made_real(example: str, *, url: str, job_id: str) -> str:
    """The example with this server's address and a job that exists."""
    example = example.replace("http://localhost:8000", url)
    example = example.replace("a1b2c3d4-e5f6-g7h8-i9j0-k1l2m3n4o5p6", job_id)
    return example.replace("a1b2c3d4...", job_id)


def test_curl_examples_run_as_printed(
    local_twin: Twin, finished_job: dict[str, Any], song_file: Path, tmp_path: Path
) -> None:
    shutil.copy(song_file, tmp_path / "song.wav")
    examples = curl_examples(contract_text())
    assert len(examples) == 7
    for example in examples:
        command = made_real(example, url=local_twin.url, job_id=finished_job["job_id"])
        done = subprocess.run(
            ["bash", "-c", f"set -e; {command.replace('curl ', 'curl --fail --silent ', 1)}"],
            cwd=tmp_path,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, (command, done.stderr)
    assert (tmp_path / "vocals.wav").read_bytes()[:4] == b"RIFF"
    assert (tmp_path / "tracks.zip").read_bytes()[:2] == b"PK"


def test_python_examples_run_as_printed(
    local_twin: Twin, finished_job: dict[str, Any], song_file: Path, tmp_path: Path
) -> None:
    shutil.copy(song_file, tmp_path / "song.wav")
    examples = python_examples(contract_text())
    assert len(examples) == 4
    for example in examples:
        program = "import requests\n" + made_real(
            example, url=local_twin.url, job_id=finished_job["job_id"]
        )
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, check=False
        )
        assert done.returncode == 0, (program, done.stderr)
    assert (tmp_path / "vocals.wav").read_bytes()[:4] == b"RIFF"
    assert (tmp_path / "tracks.zip").read_bytes()[:2] == b"PK"


def test_javascript_examples_run_as_printed(
    local_twin: Twin, finished_job: dict[str, Any], song_file: Path, tmp_path: Path
) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no Node.js")
    shutil.copy(song_file, tmp_path / "song.wav")
    examples = javascript_examples(contract_text())
    assert len(examples) == 2
    told = []
    for example in examples:
        program = made_real(example, url=local_twin.url, job_id=finished_job["job_id"])
        done = subprocess.run(
            [node, "-e", _PAGE % program], cwd=tmp_path, capture_output=True, check=False
        )
        assert done.returncode == 0, (program, done.stderr)
        told.append(json.loads(done.stdout))
    assert told[0]["status"] in ("processing", "completed")
    assert (tmp_path / "vocals.wav").read_bytes()[:4] == b"RIFF"

"""What a killed stage left on its disk, where the next one finds it."""

import tempfile
import types
from pathlib import Path

import pytest

from clearstem.facts import StageResult
from clearstem.recipes import SEPARATION
from clearstem.service import Service
from containers import stage
from containers.workspace import Workspace
from tests.submitted import submit


@pytest.mark.parametrize("runtime", ["127.0.0.1:9001", None], ids=["lambda", "elsewhere"])
def test_a_function_works_beside_no_other_jobs_files(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: str | None
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    if runtime:
        monkeypatch.setenv("AWS_LAMBDA_RUNTIME_API", runtime)
    seen: list[set[Path]] = []

    def look(space: Workspace, _progress: object) -> StageResult:
        (space.scratch / "source.wav").write_bytes(b"a job's own")
        seen.append(set(tmp_path.rglob("*.wav")) - set(space.scratch.iterdir()))
        return StageResult()

    monkeypatch.setattr(stage, "_service", lambda _job_id: service)
    monkeypatch.setattr(stage, "_module", lambda _stage: types.SimpleNamespace(run=look))
    kernels = tmp_path / "numba" / "kernel.nbi"
    kernels.parent.mkdir()
    kernels.touch()
    # As a kill in the middle of a stage leaves it: nobody came to remove it.
    left = Path(tempfile.mkdtemp(prefix=f"clearstem-{SEPARATION}-")) / "source.wav"
    left.write_bytes(b"of another owner")
    stage.handler({"stages": [SEPARATION], "job_id": submit(service).job_id}, None)
    # On one machine it may be the folder of a stage that runs.
    assert seen == [set() if runtime else {left}]
    assert kernels.exists()

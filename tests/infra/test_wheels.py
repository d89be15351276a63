"""The lock of the functions' wheels: it fits the project, and pip keeps to it."""

import base64
import hashlib
import json
import re
import subprocess
import zipfile
from pathlib import Path

import pytest

from bench import cold_start
from infra import synth, wheels
from tests.infra import reading

GOAL_MB = 20.0


def test_the_committed_lock_fits_the_dependencies_and_their_pins():
    assert wheels.problems() == []
    assert len(wheels.locked()) > len(wheels.requirements())


def test_the_lock_names_no_registry():
    text = (synth.ROOT / wheels.LOCK).read_text()
    assert "://" not in text and "index" not in text


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose functions need one package, with a wheel of it beside."""
    (tmp_path / "infra").mkdir()
    (tmp_path / "pyproject.toml").write_text('[project]\ndependencies = ["tiny>=1", "rich>=1"]\n')
    (tmp_path / "constraints.txt").write_text("tiny==1.0\n")
    _lock(tmp_path, "tiny==1.0", sha256=_wheel(tmp_path / "wheels"))
    return tmp_path


def _wheel(folder: Path) -> str:
    """Make a wheel of the package `tiny`; its sha256."""
    folder.mkdir()
    path, info = folder / "tiny-1.0-py3-none-any.whl", "tiny-1.0.dist-info"
    files = {
        "tiny.py": "",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = [f"{name},sha256={_urlsafe(text)},{len(text)}" for name, text in files.items()]
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
        archive.writestr(f"{info}/RECORD", "\n".join([*record, f"{info}/RECORD,,"]) + "\n")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _urlsafe(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _lock(root: Path, pin: str, *, sha256: str) -> None:
    text = f"{wheels._made_of(root)}\n{pin} --hash=sha256:{sha256}\n"
    (root / wheels.LOCK).write_text(text)


@pytest.mark.parametrize(
    ("file", "text", "problem"),
    [
        ("pyproject.toml", '[project]\ndependencies = ["tiny>=2"]\n', "dependencies have changed"),
        ("constraints.txt", "tiny==1.1\n", "tiny is locked to 1.0, pinned to 1.1"),
        ("constraints.txt", "", "tiny is locked to 1.0, pinned to nothing"),
    ],
)
def test_a_lock_that_no_longer_fits_is_told(project, file, text, problem):
    assert wheels.problems(project) == []
    (project / file).write_text(text)
    (told,) = wheels.problems(project)
    assert problem in told and "python -m infra.wheels" in told


@pytest.mark.parametrize("line", ["tiny==1.0", "tiny>=1 --hash=sha256:" + 64 * "0", "tiny @ file"])
def test_a_line_that_leaves_the_content_open_is_no_lock(project, line):
    (project / wheels.LOCK).write_text(line + "\n")
    with pytest.raises(ValueError, match="not one wheel by its hash"):
        wheels.locked(project)


@pytest.fixture
def offline(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same where pip finds nothing but that wheel."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(project / "wheels"))
    return project


def test_a_wheel_of_the_locked_content_is_installed(offline, tmp_path):
    wheels.install(tmp_path / "target", root=offline)
    assert (tmp_path / "target" / "tiny.py").is_file()


def test_a_wheel_of_another_content_is_refused(offline, tmp_path, capfd):
    _lock(offline, "tiny==1.0", sha256=64 * "0")
    with pytest.raises(subprocess.CalledProcessError):
        wheels.install(tmp_path / "target", root=offline)
    assert "DO NOT MATCH THE HASHES" in capfd.readouterr().err
    assert not (tmp_path / "target").exists()


def test_the_cold_start_of_every_zip_function_is_measured_and_listed():
    template = json.loads(synth.TEMPLATE_FILE.read_text())
    deployed = set(reading.functions(template))
    assert {"changes", "webhook", "publish"} <= deployed
    assert set(cold_start.handlers()) == deployed
    listed = (synth.ROOT / "docs" / "benchmarks.md").read_text()
    rows = set(re.findall(r"^\| cold_start:(\w+) \|", listed, re.MULTILINE))
    assert rows == {*deployed, "zip"}


def test_the_zip_stays_below_its_goal(capfd):
    """Its wheels come from a registry: where none answers, nothing can be said."""
    try:
        size_mb = cold_start.zip_mb()
    except subprocess.CalledProcessError:
        told = capfd.readouterr().err
        assert "DO NOT MATCH THE HASHES" not in told
        pytest.skip(f"no registry answers: {told.strip().splitlines()[-1]}")
    assert 5 < size_mb <= GOAL_MB

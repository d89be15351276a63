"""What make installs and with which Python, played by a shell script that notes its arguments."""

import subprocess
from pathlib import Path

import pytest

from infra import synth

# `-m venv FOLDER` puts the same Python into the folder, and fails where it is told to.
PYTHON = """#!/bin/sh
echo "$*" >> "{log}"
case "$*" in
  "-c "*) exit {unsuited} ;;
  "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && exit {without_venv} ;;
  "-m pip "*) exit {unsuited} ;;
esac
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_bytes((synth.ROOT / name).read_bytes())
    return tmp_path


def python(folder: Path, name: str, *, unsuited: int = 0, without_venv: int = 0) -> str:
    path, log = folder / name, folder / "log"
    path.write_text(PYTHON.format(log=log, unsuited=unsuited, without_venv=without_venv))
    path.chmod(0o755)
    return str(path)


def make(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["make", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )


def test_a_python_that_does_not_suit_is_said_to_and_leaves_no_venv(folder: Path) -> None:
    old = python(folder, "old", unsuited=1)
    done = make(folder, f"PYTHON={old}")
    assert done.returncode != 0
    assert f"{old} is not Python 3.11, 3.12 or 3.13" in done.stderr
    assert not (folder / ".venv").exists()


def test_a_venv_of_a_python_that_does_not_suit_is_made_anew(folder: Path) -> None:
    subprocess.run([python(folder, "old", unsuited=1), "-m", "venv", folder / ".venv"], check=True)
    done = make(folder, f"PYTHON={python(folder, 'good')}")
    assert done.returncode == 0, done.stderr
    assert (folder / ".venv/bin/python").read_bytes() == (folder / "good").read_bytes()


def test_a_venv_whose_making_failed_does_not_stay(folder: Path) -> None:
    assert make(folder, f"PYTHON={python(folder, 'bare', without_venv=1)}").returncode != 0
    assert not (folder / ".venv").exists()


def test_a_venv_that_suits_stays_whatever_python_is_named(folder: Path) -> None:
    assert make(folder, f"PYTHON={python(folder, 'good')}").returncode == 0
    (folder / "pyproject.toml").touch()
    (folder / ".venv/kept").touch()
    done = make(folder, f"PYTHON={python(folder, 'old', unsuited=1)}")
    assert done.returncode == 0, done.stderr
    assert (folder / ".venv/kept").exists()


def test_the_server_needs_nothing_of_what_developing_takes(folder: Path) -> None:
    good = python(folder, "good")
    assert make(folder, "up", f"PYTHON={good}").returncode != 0  # there is no clearstem to call
    assert installed(folder) == ["torch", ".[stages,local,openvino]"]
    assert make(folder, "setup").returncode == 0
    assert installed(folder) == ["torch", ".[stages,local,openvino]", ".[dev]"]
    make(folder, "setup")
    assert len(installed(folder)) == 3


def installed(folder: Path) -> list[str]:
    log = (folder / "log").read_text().splitlines()
    return [line.rpartition(" ")[2] for line in log if line.startswith("-m pip install")]

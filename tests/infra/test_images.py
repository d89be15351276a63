"""The images: nobody's root, pinned, and installing what the stages are tested with."""

import re
import subprocess
import sys

import pytest

from infra import synth

IMAGES = ("stage", "stage-cpu")


def dockerfile(name):
    return (synth.ROOT / "containers" / f"{name}.Dockerfile").read_text()


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_runs_the_stage_entry_as_nobody_in_particular(name):
    text = dockerfile(name)
    assert 'ENTRYPOINT ["python", "-m", "containers.stage"]' in text
    assert re.search(r"^USER [1-9]\d+$", text, re.MULTILINE)


@pytest.mark.parametrize("name", IMAGES)
def test_the_base_is_a_build_argument_pinned_to_a_release(name):
    assert re.search(r"^ARG PYTHON_IMAGE=python:3\.11\.\d+-", dockerfile(name), re.MULTILINE)
    assert "FROM ${PYTHON_IMAGE}" in dockerfile(name)


@pytest.mark.parametrize("name", IMAGES)
def test_every_install_keeps_to_the_constraints(name):
    installs = re.findall(r"pip install [^&\n]*", dockerfile(name))
    assert installs
    assert all("--constraint constraints.txt" in install for install in installs)


@pytest.mark.parametrize("name", IMAGES)
def test_the_requirements_are_the_projects_own(name):
    (program,) = re.findall(r'python -c "([^"]*)"', dockerfile(name))
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=synth.ROOT, capture_output=True, text=True, check=True
    )
    names = {re.split(r"[^\w-]", line, maxsplit=1)[0] for line in done.stdout.splitlines()}
    assert {"boto3", "torch", "demucs", "librosa", "soundfile"} <= names


@pytest.mark.parametrize("name", IMAGES)
def test_all_that_an_image_copies_is_in_its_context(name):
    allowed = (synth.ROOT / ".dockerignore").read_text().splitlines()
    copied = re.findall(r"^COPY (.+) \S+$", dockerfile(name), re.MULTILINE)
    wanted = {source for line in copied for source in line.split()}
    assert {f"!{source}" for source in wanted} <= set(allowed)

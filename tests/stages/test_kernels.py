"""Kernels that an image's build compiled are found by its tasks, on the processors they are for."""

import os
import subprocess
import sys

import numpy as np
import pytest

from clearstem.recipes import EXTRACTION
from containers import bake, kernels, stage
from containers.audio.median import median_along_rows
from tests.stages.files import shut_to_others, umask_of_an_image

V3, V4 = "x86-64-v3", "x86-64-v4"
PROCESSOR = ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES")
WIDTH = 3  # a small network: compiled within a second
CALL = f"""
import os
from containers.kernels import lay_out
lay_out(os.environ)
import numpy
from containers.audio.median import median_along_rows
median_along_rows(numpy.zeros((4, 32), numpy.float32), width={WIDTH})
"""


def cpuinfo(folder, flags):
    path = folder / "cpuinfo"
    path.write_text(f"processor\t: 0\nflags\t\t: fpu sse2 {' '.join(sorted(flags))}\nbugs\t\t:\n")
    return path


@pytest.fixture
def image(tmp_path):
    """The environment of an image's task, with something baked."""
    (tmp_path / "baked" / "audio_1").mkdir(parents=True)
    (tmp_path / "baked" / "audio_1" / "kernel.nbc").write_text("code")
    return {
        kernels.FOLDER: str(tmp_path / "baked"),
        "NUMBA_CACHE_DIR": str(tmp_path / "tmp" / "numba"),
    }


@pytest.fixture
def laid(tmp_path):
    (tmp_path / "tmp").mkdir()
    return tmp_path / "tmp" / "numba" / "audio_1" / "kernel.nbc"


@pytest.mark.parametrize("kind", [V3, V4])
def test_a_task_is_told_the_best_kind_that_its_processor_is(image, laid, tmp_path, kind):
    kernels.lay_out(image, cpuinfo=cpuinfo(tmp_path, kernels.KINDS[kind] | {"sha_ni"}))
    assert [image[name] for name in PROCESSOR] == [kind, ""]
    assert laid.read_text() == "code"
    assert [path.name for path in (tmp_path / "tmp").iterdir()] == ["numba"]


def test_what_a_warm_function_compiled_since_is_kept(image, laid, tmp_path):
    processor = cpuinfo(tmp_path, kernels.KINDS[V3])
    kernels.lay_out(image, cpuinfo=processor)
    laid.write_text("more")
    kernels.lay_out(image, cpuinfo=processor)
    assert laid.read_text() == "more"


@pytest.mark.parametrize("lacking", ["avx2", "fma"])
def test_an_older_processor_is_compiled_for_as_it_is(image, laid, tmp_path, lacking):
    before = dict(image)
    kernels.lay_out(image, cpuinfo=cpuinfo(tmp_path, kernels.KINDS[V4] - {lacking}))
    assert image == before and not laid.exists()


@pytest.mark.parametrize("missing", [kernels.FOLDER, "NUMBA_CACHE_DIR"])
def test_outside_of_images_numba_is_left_alone(image, laid, tmp_path, missing):
    del image[missing]
    before = dict(image)
    kernels.lay_out(image, cpuinfo=cpuinfo(tmp_path, kernels.KINDS[V4]))
    assert image == before and not laid.exists()


def test_a_stage_has_its_kernels_before_numba_is_there(image, laid, monkeypatch):
    told = [*image, *PROCESSOR]
    for name in told:  # and none of them after the test
        monkeypatch.setenv(name, image.get(name, "unlike any"))
    stage._module(EXTRACTION)
    assert laid.exists() and os.environ["NUMBA_CPU_NAME"] in kernels.KINDS
    code = "import sys, containers.stage, containers.smoke; assert 'numba' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_task_compiles_nothing_that_the_images_build_met(tmp_path, monkeypatch):
    median_along_rows(np.zeros((4, 32), np.float32), width=WIDTH)
    met = [k for k in bake._compiled() if k.made_with == (WIDTH,) and k.name == "_row_filter"]
    # One of the two takes half the time, and this machine can run no better one.
    kind = kernels._kind(kernels._CPUINFO)
    monkeypatch.setattr(bake, "KINDS", [kind])
    baked, laid = tmp_path / "baked", tmp_path / "numba"
    with umask_of_an_image():
        assert list(bake.bake(met, into=baked)) == [f"{kind}: 1 kernels"]
    # root bakes; who copies is the user that the image's tasks run as.
    assert shut_to_others(baked) == []
    told = {kernels.FOLDER: str(baked), "NUMBA_CACHE_DIR": str(laid)}
    subprocess.run([sys.executable, "-c", CALL], env={**os.environ, **told}, check=True)
    (kernel,) = baked.rglob("*.nbc")
    assert [path.name for path in laid.rglob("*.nbc")] == [kernel.name]

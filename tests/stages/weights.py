"""Model files for the tests that need them; they lie beside the repository, if at all."""

from pathlib import Path

import pytest

from containers.audio.denoise import Model, ModelFile

_FOLDER = Path(__file__).parents[3] / "shared" / "weights"
_FILES = {
    "dtln": (
        ("dtln_model_1.onnx", "22b91cae3855e5a0620e66a917ca6c82c58db0e842c770f58d86751c5e8d4ae3"),
        ("dtln_model_2.onnx", "e20c92f9233fccf29cddf86970d0d0161a03aebccc26d6f4d5639c4d5ec2e639"),
    ),
    "gtcrn": (
        ("gtcrn_simple.onnx", "b4718df6228e7bdf1a8a435cf98f838636eb2fd331acabf86ba87c5192ebcb87"),
    ),
}


def model_files(name: str) -> tuple[ModelFile, ...]:
    """The pinned files of a model; skips the test where they are not there."""
    files = tuple(ModelFile(_FOLDER / file, sha256) for file, sha256 in _FILES[name])
    if not all(file.path.is_file() for file in files):
        pytest.skip(f"no model files of {name}: {_FOLDER} does not hold them")
    return files


def model(name: str) -> Model:
    """A model as `denoise` takes it; skips the test where its files are not there."""
    return Model(name, model_files(name))

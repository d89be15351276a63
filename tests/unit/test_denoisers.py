"""Which denoiser a job gets, and what it is told of the reason."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from clearstem.denoisers import DTLN, GTCRN, choose_denoiser, engine_for, find_denoiser
from clearstem.errors import EngineUnavailable
from clearstem.options import DenoiseOptions, DenoiserChoice, SeparateOptions
from clearstem.recipes import EngineName
from clearstem.settings import Settings

WEIGHTS = Path(__file__).resolve().parents[3] / "shared" / "weights"
HERE = Settings("table", "uploads", "work", "tracks", "drop")
AUTO, NEURAL = DenoiserChoice.AUTO, DenoiserChoice.NEURAL


def with_files(folder: Path, *denoisers) -> Settings:
    for file in (file for denoiser in denoisers for file in denoiser.files):
        shutil.copy(WEIGHTS / file.file_name, folder)
    return replace(HERE, models_dir=folder)


@pytest.mark.parametrize(
    ("there", "taken"), [((DTLN, GTCRN), DTLN), ((GTCRN,), GTCRN), ((DTLN,), DTLN)]
)
def test_auto_takes_the_best_network_whose_files_are_there(tmp_path, there, taken):
    engine = choose_denoiser(AUTO, settings=with_files(tmp_path, *there))
    assert (engine.name, engine.model, engine.sha256) == (
        EngineName.NEURAL,
        taken.name,
        taken.sha256,
    )
    assert engine.reason == f"the files of {taken.name} are in the models folder"


def test_half_a_network_is_none(tmp_path):
    settings = with_files(tmp_path, DTLN)
    (tmp_path / "dtln_model_2.onnx").unlink()
    engine = choose_denoiser(AUTO, settings=settings)
    assert (engine.name, engine.sha256) == (EngineName.SPECTRAL, None)
    assert "dtln_model_2.onnx" in engine.reason and str(tmp_path) in engine.reason


def test_a_file_of_another_content_is_none(tmp_path):
    settings = with_files(tmp_path, GTCRN)
    (tmp_path / "gtcrn_simple.onnx").write_bytes(b"something else")
    assert choose_denoiser(AUTO, settings=settings).name is EngineName.SPECTRAL
    with pytest.raises(EngineUnavailable, match=r"gtcrn_simple\.onnx"):
        choose_denoiser(NEURAL, settings=settings)


def test_what_was_baked_into_the_image_is_taken_at_its_word():
    engine = choose_denoiser(AUTO, settings=replace(HERE, denoiser_model="gtcrn"))
    assert (engine.model, engine.reason) == (
        "gtcrn",
        "the files of gtcrn are part of the stage image",
    )


def test_the_gate_can_be_asked_for_where_there_are_networks(tmp_path):
    engine = choose_denoiser(DenoiserChoice.SPECTRAL, settings=with_files(tmp_path, DTLN))
    assert (engine.name, engine.reason) == (EngineName.SPECTRAL, "asked for by name")


def test_voice_needs_the_separation_network():
    with pytest.raises(EngineUnavailable, match="the weights of htdemucs"):
        choose_denoiser(DenoiserChoice.VOICE, settings=HERE)
    baked = choose_denoiser(
        DenoiserChoice.VOICE, settings=replace(HERE, separator_model="htdemucs")
    )
    assert (baked.name, baked.model) == (EngineName.VOICE, "htdemucs")


def test_each_recipe_is_given_an_engine_of_its_own():
    assert engine_for(SeparateOptions(), settings=HERE).model == "spectral-1"
    assert engine_for(DenoiseOptions(), settings=HERE).model == "gate-1"


def test_an_unknown_network_is_named():
    with pytest.raises(EngineUnavailable, match="'rnnoise' is not one of dtln, gtcrn"):
        find_denoiser("rnnoise")

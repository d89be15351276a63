"""Which engine a job is promised, and how weights come into the models folder."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from clearstem.errors import EngineUnavailable, WrongChecksum
from clearstem.models import (
    HTDEMUCS,
    HTDEMUCS_FT,
    MODELS,
    SPECTRAL_MODEL,
    Model,
    choose_engine,
    known_models,
    missing_weights,
)
from clearstem.options import EngineChoice
from clearstem.recipes import EngineName
from clearstem.settings import Settings
from clearstem.weights import ModelFile, check_weights, fetch, partly_known, weights_path

WEIGHTS = b"not a network, but bytes with a sum" * 1000
OWN = Model(
    name="own",
    file_name="own.safetensors",
    url="https://models.example/own.safetensors",
    sha256=hashlib.sha256(WEIGHTS).hexdigest(),
    size_bytes=len(WEIGHTS),
    licence="ours",
)
BARE = Settings("table", "uploads", "work", "tracks", "drop")


def looking_in(folder: Path, **settings: str) -> Settings:
    return replace(BARE, models_dir=folder, **settings)


def list_models(folder: Path, *models: Model) -> None:
    fields = [{name: getattr(m, name) for name in Model.__slots__} for m in models]
    (folder / "models.json").write_text(json.dumps(fields))


@pytest.fixture
def with_htdemucs(tmp_path: Path) -> Path:
    """A folder with a file where the weights belong; choosing an engine does not read it."""
    weights_path(HTDEMUCS, models_dir=tmp_path).write_bytes(b"weights")
    return tmp_path


def test_spectral_is_taken_when_asked_for_even_where_weights_are(with_htdemucs):
    engine = choose_engine(EngineChoice.SPECTRAL, settings=looking_in(with_htdemucs))
    assert (engine.name, engine.model) == (EngineName.SPECTRAL, SPECTRAL_MODEL)
    assert (engine.preview, engine.sha256) == (True, None)
    assert engine.reason == "asked for by name"


def test_auto_takes_demucs_where_its_weights_lie_in_the_folder(with_htdemucs):
    engine = choose_engine(EngineChoice.AUTO, settings=looking_in(with_htdemucs))
    assert (engine.name, engine.model) == (EngineName.DEMUCS, "htdemucs")
    assert (engine.preview, engine.sha256) == (False, HTDEMUCS.sha256)
    assert engine.reason == "the weights of htdemucs are in the models folder"


def test_demucs_is_taken_when_asked_for(with_htdemucs):
    engine = choose_engine(EngineChoice.DEMUCS, settings=looking_in(with_htdemucs))
    assert (engine.name, engine.reason) == (EngineName.DEMUCS, "asked for by name")


def test_where_no_folder_is_seen_the_setting_says_what_the_image_holds():
    baked = replace(BARE, separator_model="htdemucs")
    engine = choose_engine(EngineChoice.AUTO, settings=baked)
    assert (engine.name, engine.sha256) == (EngineName.DEMUCS, HTDEMUCS.sha256)
    assert engine.reason == "the weights of htdemucs are part of the stage image"


def test_a_folder_that_is_seen_is_believed_over_the_setting(tmp_path):
    empty = looking_in(tmp_path, separator_model="htdemucs")
    assert choose_engine(EngineChoice.AUTO, settings=empty).name is EngineName.SPECTRAL


def test_auto_without_weights_is_a_preview_and_says_what_is_missing_and_how_to_get_it(tmp_path):
    engine = choose_engine(EngineChoice.AUTO, settings=looking_in(tmp_path))
    assert (engine.name, engine.preview) == (EngineName.SPECTRAL, True)
    assert engine.reason == (
        "preview, because the weights of htdemucs (955717e8-8726e21a.th, 84 MB) are missing; "
        f"looked for in {tmp_path}; get them with: clearstem models fetch htdemucs"
    )


def test_demucs_without_weights_is_refused_and_never_exchanged(tmp_path):
    with pytest.raises(EngineUnavailable) as refused:
        choose_engine(EngineChoice.DEMUCS, settings=looking_in(tmp_path))
    assert str(refused.value) == missing_weights(HTDEMUCS, models_dir=tmp_path)
    with pytest.raises(EngineUnavailable, match="looked for nowhere, as no models folder is set"):
        choose_engine(EngineChoice.DEMUCS, settings=BARE)


def test_a_folder_where_the_file_should_be_is_no_weights(tmp_path):
    weights_path(HTDEMUCS, models_dir=tmp_path).mkdir()
    assert choose_engine(EngineChoice.AUTO, settings=looking_in(tmp_path)).preview


def test_an_own_checkpoint_is_taken_where_the_operator_lists_and_names_it(tmp_path):
    list_models(tmp_path, OWN)
    weights_path(OWN, models_dir=tmp_path).write_bytes(WEIGHTS)
    engine = choose_engine(EngineChoice.AUTO, settings=looking_in(tmp_path, separator_model="own"))
    assert (engine.model, engine.sha256) == ("own", OWN.sha256)


@pytest.mark.parametrize("choice", [EngineChoice.AUTO, EngineChoice.DEMUCS])
def test_a_configured_model_that_nobody_knows_is_refused_by_name(tmp_path, choice):
    settings = looking_in(tmp_path, separator_model="umx")
    with pytest.raises(EngineUnavailable, match="model 'umx' is not one of htdemucs"):
        choose_engine(choice, settings=settings)


def test_the_published_models_are_known_without_any_folder(tmp_path):
    assert known_models(None) == known_models(tmp_path) == MODELS


def test_own_models_stand_beside_the_published_ones(tmp_path):
    list_models(tmp_path, OWN)
    assert known_models(tmp_path) == {**MODELS, "own": OWN}


@pytest.mark.parametrize(
    "listing", ["", "not json", "5", "null", '{"name": "own"}', '[{"name": "own"}]', '["own"]']
)
def test_a_models_list_that_is_none_is_refused_and_named(tmp_path, listing):
    (tmp_path / "models.json").write_text(listing)
    with pytest.raises(EngineUnavailable, match=r"models\.json is not a list of models"):
        known_models(tmp_path)


def test_a_published_model_is_pinned_whole():
    assert HTDEMUCS.url.endswith(HTDEMUCS.file_name)
    # Its publisher names files by the beginning of their sha256.
    assert HTDEMUCS.file_name.split("-")[1].split(".")[0] == HTDEMUCS.sha256[:8]
    assert len(bytes.fromhex(HTDEMUCS.sha256)) == 32


def test_a_bag_whose_sums_are_published_in_part_is_known_by_those():
    assert [file.file_name for file in HTDEMUCS_FT.files] == [
        "f7e0c4bc-ba3fe64a.th",
        "d12395a8-e57c48e6.th",
        "92cfc3b6-ef3bcb9c.th",
        "04573f0d-f3cf25b2.th",
    ]
    for file in HTDEMUCS_FT.files:
        assert file.file_name.endswith(f"-{file.sha256}.th")
        assert file.url.endswith(file.file_name)
        assert not file.is_pinned
    told = partly_known(HTDEMUCS_FT)
    assert told.startswith("htdemucs_ft: of f7e0c4bc-ba3fe64a.th, d12395a8")
    assert told.endswith("only the first digits of the sha256 are published; those were compared")
    assert partly_known(HTDEMUCS) is None


@pytest.mark.parametrize("digits", [8, 20, 63])
def test_weights_pass_where_their_sum_begins_as_it_should(tmp_path, digits):
    file = tmp_path / "weights"
    file.write_bytes(WEIGHTS)
    check_weights(file, sha256=OWN.sha256[:digits])
    wrong = OWN.sha256[: digits - 1] + ("0" if OWN.sha256[digits - 1] != "0" else "1")
    with pytest.raises(WrongChecksum, match=OWN.sha256):
        check_weights(file, sha256=wrong)


@pytest.mark.parametrize("sum_", ["", "8726e21", "8726e21g", "0" * 65])
def test_too_little_of_a_sum_is_none(tmp_path, sum_):
    with pytest.raises(ValueError, match="8 to 64 hexadecimal digits"):
        ModelFile("file.th", "", sum_, 1)
    listed = {"name": "own", "licence": "ours", "file_name": "own.th", "sha256": sum_}
    (tmp_path / "models.json").write_text(json.dumps([listed]))
    with pytest.raises(EngineUnavailable, match=r"models\.json is not a list of models"):
        known_models(tmp_path)
    file = tmp_path / "weights"
    file.write_bytes(WEIGHTS)
    with pytest.raises(WrongChecksum):
        check_weights(file, sha256=sum_)


def test_weights_with_the_pinned_sum_pass(tmp_path):
    file = tmp_path / "weights"
    file.write_bytes(WEIGHTS)
    check_weights(file, sha256=OWN.sha256)


def test_weights_with_one_bit_changed_are_refused_with_both_sums(tmp_path):
    changed = WEIGHTS[:-1] + bytes((WEIGHTS[-1] ^ 1,))
    file = tmp_path / "weights"
    file.write_bytes(changed)
    with pytest.raises(WrongChecksum) as refused:
        check_weights(file, sha256=OWN.sha256)
    found = hashlib.sha256(changed).hexdigest()
    assert str(refused.value) == f"weights has sha256 {found}, not {OWN.sha256}"


def in_pieces(data: bytes) -> Iterator[bytes]:
    """The bytes in pieces of 10,000."""
    yield from (data[i : i + 10_000] for i in range(0, len(data), 10_000))


def test_a_fetched_file_lands_under_its_name_with_its_progress_told(tmp_path):
    folder, asked, told = tmp_path / "new" / "models", [], []

    def stream(url: str) -> Iterator[bytes]:
        asked.append(url)
        return in_pieces(WEIGHTS)

    (path,) = fetch(OWN, models_dir=folder, stream=stream, progress=lambda *done: told.append(done))
    assert path == folder / "own.safetensors"
    assert path.read_bytes() == WEIGHTS
    assert list(folder.iterdir()) == [path]
    assert asked == [OWN.url]
    assert told == [(n, 35_000) for n in (10_000, 20_000, 30_000, 35_000)]


def test_a_file_has_no_name_until_its_last_byte_was_checked(tmp_path):
    def look(_done: int, _total: int) -> None:
        assert not weights_path(OWN, models_dir=tmp_path).exists()

    fetch(OWN, models_dir=tmp_path, stream=lambda _: in_pieces(WEIGHTS), progress=look)


@pytest.mark.parametrize("wrong", [b"", WEIGHTS[:-1], WEIGHTS + b"!", b"<html>404</html>"])
def test_wrong_bytes_leave_nothing_behind(tmp_path, wrong):
    with pytest.raises(WrongChecksum):
        fetch(OWN, models_dir=tmp_path, stream=lambda _: in_pieces(wrong), progress=_nothing)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("reason", [ConnectionResetError, KeyboardInterrupt])
def test_an_interrupted_stream_leaves_nothing_behind(tmp_path, reason):
    def torn(_url: str) -> Iterator[bytes]:
        yield WEIGHTS[:10]
        raise reason

    with pytest.raises(reason):
        fetch(OWN, models_dir=tmp_path, stream=torn, progress=_nothing)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_fetch_leaves_the_good_file_that_was_there(tmp_path):
    there = weights_path(OWN, models_dir=tmp_path)
    there.write_bytes(WEIGHTS)
    with pytest.raises(WrongChecksum):
        fetch(OWN, models_dir=tmp_path, stream=lambda _: iter([b"no"]), progress=_nothing)
    assert there.read_bytes() == WEIGHTS


def _nothing(_done: int, _total: int) -> None:
    """A progress that nobody watches."""

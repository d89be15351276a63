"""The network's core in OpenVINO: as good as torch, kept once converted, chosen and told."""

import errno
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from clearstem.errors import EngineUnavailable
from clearstem.recipes import STEMS
from containers import convert
from containers.audio import backends, openvino_core
from containers.audio.backends import Settled, Wanted, load_network
from containers.audio.demucs_engine import demucs_stems
from containers.audio.separate import separate
from tests.stages.files import shut_to_others, umask_of_an_image
from tests.stages.memory import Sound, Tape, noise, song
from tests.stages.tiny_checkpoint import SHORT, tiny_model, write_safetensors

with_openvino = pytest.mark.skipif(
    not openvino_core.is_installed(), reason="the extra openvino is not installed"
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_safetensors(tmp_path_factory.mktemp("weights"), segment=SHORT)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache") / "networks"


@with_openvino
def test_openvino_is_taken_by_itself_told_and_within_80_db_of_torch(checkpoint, cache):
    sound = Sound(song(seconds=3))
    tapes = {stem: Tape() for stem in STEMS}
    report = separate(
        sound,
        tapes,
        engine="demucs",
        checkpoint=checkpoint,
        wanted=Wanted(device="cpu", cache_dir=cache),
    )
    assert (report.backend, report.device, report.precision) == ("openvino", "cpu", "fp32")
    assert "openvino" in report.versions
    by_torch, _ = load_network(checkpoint, Wanted(device="cpu", backend="torch"))
    expected = np.concatenate(list(demucs_stems(sound, by_torch)), axis=2)
    found = np.stack([tapes[stem].samples for stem in by_torch.stems])
    off = np.square(found - expected).sum() / np.square(expected).sum()
    assert 10 * np.log10(off) < -80


@with_openvino
def test_a_network_is_converted_once_for_its_checksum(checkpoint, cache, monkeypatch):
    wanted = Wanted(device="cpu", cache_dir=cache)
    block = noise(2, 44_100)
    first = next(load_network(checkpoint, wanted)[0].forwards[0](iter([block])))
    assert [path.name.split("-")[0] for path in cache.iterdir()] == [checkpoint.sha256]

    def refuse(_):
        raise AssertionError("converted again")

    monkeypatch.setattr(openvino_core, "_convert", refuse)
    again = next(load_network(checkpoint, wanted)[0].forwards[0](iter([block])))
    np.testing.assert_array_equal(again, first)


@with_openvino
def test_a_conversion_is_named_by_the_whole_sum_and_only_a_part_of_one_is_looked_up(
    checkpoint, tmp_path, monkeypatch
):
    read, named = [], []
    sum_of = backends.sha256_of
    monkeypatch.setattr(backends, "sha256_of", lambda path: read.append(path) or sum_of(path))
    monkeypatch.setattr(
        openvino_core, "converted", lambda _, *, sha256, cache_dir: named.append(sha256)
    )
    for known in (checkpoint.sha256, checkpoint.sha256.upper(), checkpoint.sha256[:8]):
        backends.keep_conversion(replace(checkpoint, sha256=known), cache_dir=tmp_path)
    assert (named, read) == ([checkpoint.sha256] * 3, [checkpoint.path])


@with_openvino
@pytest.mark.parametrize("refusal", [errno.EROFS, errno.EACCES])
def test_a_cache_that_cannot_be_written_to_costs_a_conversion_and_no_job(
    tmp_path, monkeypatch, refusal
):
    def refuse(*_args, **_options):
        raise OSError(refusal, "read-only")

    monkeypatch.setattr(openvino_core, "_convert", lambda _: "converted")
    monkeypatch.setattr(openvino_core.tempfile, "mkdtemp", refuse)
    found = openvino_core.converted(None, sha256="ab", cache_dir=tmp_path)
    assert (found, list(tmp_path.iterdir())) == ("converted", [])


@with_openvino
def test_an_images_conversions_are_those_that_a_task_looks_for(tmp_path, monkeypatch, capsys):
    import openvino
    from openvino import opset13

    def trivial(_model):
        given = opset13.parameter([1], np.float32)
        return openvino.Model([opset13.relu(given)], [given], "trivial")

    models, into = tmp_path / "models", tmp_path / "networks"
    models.mkdir()
    ours = write_safetensors(models)
    entry = {
        "name": "ours",
        "licence": "none",
        "file_name": ours.path.name,
        "sha256": ours.sha256,
        "size_bytes": ours.path.stat().st_size,
    }
    (models / "models.json").write_text(
        json.dumps([entry, entry | {"name": "no", "file_name": "x"}])
    )
    monkeypatch.setattr(openvino_core, "_convert", trivial)
    with umask_of_an_image():
        assert convert.main([str(models), str(into)]) == 0
    assert capsys.readouterr().out == f"{ours.path.name}: converted\n"
    # root converts; who reads is the user that the image's tasks run as.
    assert list(into.rglob("core.xml")) and shut_to_others(into) == []

    monkeypatch.setattr(openvino_core, "_convert", lambda _: pytest.fail("converted again"))
    read = openvino_core.converted(tiny_model(), sha256=ours.sha256, cache_dir=into)
    assert "Relu" in [node.get_type_name() for node in read.get_ordered_ops()]


@with_openvino
def test_a_network_that_openvino_does_not_run_is_left_to_torch_and_told(
    checkpoint, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(openvino_core, "can_run", lambda _: False)
    monkeypatch.setattr(convert, "checkpoints", lambda _: iter([checkpoint]))
    assert convert.main([str(tmp_path), str(tmp_path / "into")]) == 0
    assert "left to torch" in capsys.readouterr().out
    assert list((tmp_path / "into").iterdir()) == []


@with_openvino
def test_a_conversion_that_fails_leaves_nothing_in_the_cache(checkpoint, tmp_path, monkeypatch):
    import openvino

    def torn(_model, path, **_):
        path.write_text("half of it")
        raise OSError("disk full")

    monkeypatch.setattr(openvino, "save_model", torn)
    monkeypatch.setattr(openvino_core, "_convert", lambda _: None)
    with pytest.raises(OSError, match="disk full"):
        load_network(checkpoint, Wanted(device="cpu", cache_dir=tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_without_openvino_torch_is_taken_and_asking_for_it_is_refused(checkpoint, monkeypatch):
    monkeypatch.setattr(openvino_core, "is_installed", lambda: False)
    assert load_network(checkpoint, Wanted(device="cpu"))[1] == Settled("cpu", "torch", "fp32")
    with pytest.raises(EngineUnavailable, match=r"pip install 'clearstem\[openvino\]'"):
        load_network(checkpoint, Wanted(device="cpu", backend="openvino"))


def test_a_network_whose_core_cannot_be_told_is_left_to_torch():
    assert openvino_core.can_run(tiny_model())
    assert not openvino_core.can_run(tiny_model(cac=False))
    assert not openvino_core.can_run(tiny_model(use_train_segment=False))
    assert not openvino_core.can_run(torch.nn.Identity())


@pytest.mark.parametrize(
    ("wanted", "named"),
    [
        (Wanted(device="cpu", backend="onnx"), "onnx"),
        (Wanted(device="cpu", precision="int8"), "int8"),
        (Wanted(device="cpu", precision="fp16"), "fp16"),
    ],
)
def test_what_nobody_offers_is_refused_by_name(checkpoint, wanted, named):
    with pytest.raises(EngineUnavailable, match=named):
        load_network(checkpoint, wanted)

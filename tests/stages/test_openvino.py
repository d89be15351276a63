"""The network's core in OpenVINO: as good as torch, kept once converted, chosen and told."""

import numpy as np
import pytest
import torch

from clearstem.errors import EngineUnavailable
from clearstem.recipes import STEMS
from containers.audio import openvino_core
from containers.audio.backends import Settled, Wanted, load_network
from containers.audio.demucs_engine import demucs_stems
from containers.audio.openvino_core import keep_channels_last
from containers.audio.separate import separate
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
def test_what_keeps_channels_last_changes_no_bit_and_every_layer(monkeypatch):
    import openvino

    def run(converted):
        compiled = openvino.Core().compile_model(converted, "CPU")
        rng = np.random.default_rng(7)
        given = [
            rng.standard_normal(list(each.shape)).astype(np.float32) for each in compiled.inputs
        ]
        return [found.copy() for found in compiled(given).values()]

    def literal(converted):
        return sum(
            node.get_type_name() == "Transpose"
            and list(node.input_value(1).get_node().data) == [0, 2, 1, 3]
            and any(
                user.get_node().get_type_name() == "Reshape"
                for user in node.output(0).get_target_inputs()
            )
            for node in converted.get_ordered_ops()
        )

    said = []
    monkeypatch.setattr(openvino_core, "keep_channels_last", said.append)
    plain = openvino_core._convert(tiny_model(segment=SHORT, dconv_mode=3, dconv_comp=2))
    assert said == [plain]
    changed = plain.clone()
    keep_channels_last(changed)
    assert (literal(plain) > 0, literal(changed)) == (True, 0)
    for ours, theirs in zip(run(changed), run(plain), strict=True):
        np.testing.assert_array_equal(ours, theirs)


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

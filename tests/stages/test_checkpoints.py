import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from demucs.htdemucs import HTDemucs
from safetensors.torch import save_file

from clearstem.errors import (
    MissingWeights,
    PermanentStageError,
    UnsafeCheckpoint,
    UnusableCheckpoint,
    WrongChecksum,
)
from containers.audio.checkpoints import load_checkpoint
from tests.stages.tiny_checkpoint import (
    architecture,
    pinned,
    tiny_model,
    write_package,
    write_safetensors,
)


def load(checkpoint):
    return load_checkpoint(checkpoint.path, sha256=checkpoint.sha256, model=checkpoint.model)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*_):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.parametrize("write", [write_safetensors, write_package])
def test_both_formats_bring_back_the_network(write, tmp_path):
    network = load(write(tmp_path))
    assert isinstance(network, HTDemucs)
    assert not network.training
    expected = tiny_model().state_dict()
    for name, value in network.state_dict().items():
        assert value.dtype == torch.float32
        # A .th package holds half precision: eleven bits.
        torch.testing.assert_close(value, expected[name], rtol=2**-11, atol=1e-7)


def test_a_checksum_may_be_written_in_capitals(tmp_path):
    checkpoint = write_safetensors(tmp_path)
    assert load(replace(checkpoint, sha256=checkpoint.sha256.upper()))


def test_a_missing_file_is_named_with_the_command_that_fetches_it(tmp_path):
    with pytest.raises(MissingWeights) as caught:
        load_checkpoint(tmp_path / "htdemucs.th", sha256="0" * 64)
    assert str(tmp_path / "htdemucs.th") in str(caught.value)
    assert "clearstem models fetch htdemucs" in str(caught.value)


def test_no_configured_file_is_missing_weights():
    with pytest.raises(MissingWeights, match="no checkpoint file is configured"):
        load_checkpoint(None, sha256="0" * 64)


def test_another_file_than_the_pinned_one_is_refused_with_both_sums(tmp_path):
    checkpoint = write_package(tmp_path)
    other = "ab" * 32
    with pytest.raises(WrongChecksum) as caught:
        load(replace(checkpoint, sha256=other))
    assert other in str(caught.value)
    assert checkpoint.sha256 in str(caught.value)


def test_a_file_known_by_the_beginning_of_its_sum_is_compared_by_that(tmp_path):
    checkpoint = write_package(tmp_path)
    assert load(replace(checkpoint, sha256=checkpoint.sha256[:8]))
    other = ("0" if checkpoint.sha256[0] != "0" else "1") + checkpoint.sha256[1:8]
    for wrong in (other, checkpoint.sha256[:7], ""):
        with pytest.raises(WrongChecksum, match=checkpoint.sha256):
            load(replace(checkpoint, sha256=wrong))


class Malicious:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


def test_a_pickle_that_would_run_code_is_refused_and_runs_nothing(tmp_path):
    path, trace = tmp_path / "evil.th", tmp_path / "trace"
    torch.save({"klass": HTDemucs, "args": (), "kwargs": {}, "state": Malicious(trace)}, path)
    known = pinned(path)
    # The beginning of a sum withstands nobody who makes a file to match it; this does.
    for told in (known, replace(known, sha256=known.sha256[:8])):
        with pytest.raises(UnsafeCheckpoint):
            load(told)
    assert not trace.exists()


def test_a_file_that_is_no_archive_is_read_as_a_pickle_and_refused(tmp_path):
    text = tmp_path / "text.th"
    text.write_text("not a checkpoint")
    with pytest.raises(UnsafeCheckpoint):
        load(pinned(text))


def test_safetensors_metadata_that_names_other_code_is_refused_and_runs_nothing(tmp_path):
    # demucs.hf would import os and call mkdir.
    trace = tmp_path / "trace"
    checkpoint = write_safetensors(tmp_path, klass="os.mkdir", args=f'["{trace}"]', kwargs="{}")
    with pytest.raises(UnsafeCheckpoint, match=r"os\.mkdir"):
        load(checkpoint)
    assert not trace.exists()


def test_what_is_no_single_network_is_called_unusable(tmp_path):
    bag = tmp_path / "htdemucs_ft.yaml"
    bag.write_text("models: ['a', 'b']")
    plain = tmp_path / "plain.th"
    torch.save({"best": 1}, plain)
    cut = tmp_path / "cut.th"
    cut.write_bytes(write_package(tmp_path).path.read_bytes()[:5000])
    bare = tmp_path / "bare.safetensors"
    save_file({"weight": torch.zeros(1)}, bare)
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"\xff" * 100)
    other = tmp_path / "other.th"
    package = {"klass": HTDemucs, "args": (), "kwargs": architecture(), "state": {"x": 1}}
    torch.save(package, other)
    for path in (bag, plain, cut, bare, broken, other):
        with pytest.raises(UnusableCheckpoint, match=path.stem):
            load(pinned(path))


def test_quantized_weights_are_refused_by_name(tmp_path):
    with pytest.raises(UnusableCheckpoint, match="quantized"):
        load(write_safetensors(tmp_path, structure="{}"))


def test_no_failure_is_worth_a_retry():
    for kind in (MissingWeights, WrongChecksum, UnsafeCheckpoint, UnusableCheckpoint):
        assert issubclass(kind, PermanentStageError)

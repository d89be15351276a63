"""Bags of networks: equal to demucs, every file checked, restartable like one network."""

import hashlib
import json
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from demucs.apply import BagOfModels, apply_model

from clearstem.errors import UnusableCheckpoint, WrongChecksum
from clearstem.models import known_models
from containers.audio.backends import Wanted, load_network
from containers.audio.demucs_engine import Level, group_stems
from containers.audio.network import bag_of, stereo_network
from containers.audio.overlap import Segments
from containers.audio.weights import Bag
from tests.stages.memory import Sound, noise
from tests.stages.tiny_checkpoint import pinned, tiny_model, write_safetensors

CPU = torch.device("cpu")
# htdemucs_ft takes each stem from the network tuned for it; demucs's mdx bags mix them.
BY_STEM = tuple(tuple(float(i == j) for j in range(4)) for i in range(4))
MIXED = ((1.0, 0.3, 0.1, 2.0), (0.7, 0.0, 1 / 3, 1.0))


def models(count):
    # One second instead of 7.8: the same arithmetic in less time.
    return [tiny_model(seed=seed, segment=Fraction(1)) for seed in range(count)]


def reference(nets, weights, samples):
    """The stems as demucs computes them, and the level it normalised by."""
    mix = torch.from_numpy(samples)
    mean, deviation = mix.mean(0).mean(), mix.mean(0).std() + 1e-8
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        bag = BagOfModels(nets, [list(row) for row in weights])
        stems = apply_model(bag, ((mix - mean) / deviation)[None], shifts=0, overlap=0.25)[0]
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    level = Level(np.float32(mean.item()), np.float32(deviation.item()), silent=False)
    return (stems * deviation + mean).numpy(), level


@pytest.mark.parametrize("weights", [BY_STEM, MIXED], ids=["by stem", "mixed"])
def test_a_streamed_bag_equals_demucs_bit_by_bit(weights):
    nets = models(len(weights))
    samples = noise(2, round(1.9 * 44_100)) + np.float32(0.01)
    expected, level = reference(nets, weights, samples)
    bag = bag_of([stereo_network(net, device=CPU) for net in nets], weights)
    streamed = list(group_stems(Sound(samples), bag, (0, 1), level))
    np.testing.assert_array_equal(np.concatenate(streamed, axis=2), expected)


def write_bag(folder, weights=BY_STEM):
    parts = []
    for seed in range(len(weights)):
        (folder / str(seed)).mkdir(parents=True)
        parts.append(write_safetensors(folder / str(seed), seed=seed))
    return Bag("tiny_bag", tuple(parts), weights, "0" * 64)


def test_a_bag_is_loaded_from_files_that_are_each_checked(tmp_path):
    bag = write_bag(tmp_path)
    network, settled = load_network(bag, Wanted(device="cpu", backend="torch"))
    assert len(network.forwards) == 4
    assert network.weights == BY_STEM
    assert settled.backend == "torch"
    spoilt = replace(bag.parts[2], sha256="ab" * 32)
    with pytest.raises(WrongChecksum, match="ab" * 32):
        load_network(replace(bag, parts=(*bag.parts[:2], spoilt, bag.parts[3])), Wanted())


@pytest.mark.parametrize(
    "weights",
    [
        BY_STEM[:3],
        (*BY_STEM[:3], (0.0, 0.0, 1.0)),
        ((1.0, 1.0, 1.0, 0.0),) * 4,
    ],
    ids=["a row short", "a column short", "a stem nobody gives"],
)
def test_weights_that_do_not_fit_their_networks_are_refused(weights):
    network = stereo_network(tiny_model(), device=CPU)
    with pytest.raises(UnusableCheckpoint, match="must be 4 rows of 4"):
        bag_of([network] * 4, weights)


def test_networks_of_different_form_are_no_bag():
    network = stereo_network(tiny_model(), device=CPU)
    with pytest.raises(UnusableCheckpoint, match="one form"):
        bag_of([network, replace(network, segments=Segments(1000))], MIXED)


def list_bag(folder, bag, **changes):
    parts = [
        {
            "file_name": str(part.path.relative_to(folder)),
            "url": "",
            "sha256": part.sha256,
            "size_bytes": part.path.stat().st_size,
        }
        for part in bag.parts
    ]
    entry = {"name": "tiny_bag", "licence": "ours", "parts": parts, "weights": bag.weights}
    (folder / "models.json").write_text(json.dumps([entry | changes]))


def test_an_operator_lists_a_bag_by_its_parts(tmp_path):
    bag = write_bag(tmp_path)
    list_bag(tmp_path, bag)
    model = known_models(tmp_path)["tiny_bag"]
    assert [file.sha256 for file in model.files] == [part.sha256 for part in bag.parts]
    assert model.weights == BY_STEM
    assert model.size_bytes == sum(part.path.stat().st_size for part in bag.parts)


def test_the_sum_of_a_bag_stands_for_every_part_and_weight(tmp_path):
    bag = write_bag(tmp_path)
    sums = set()
    for changed in (
        bag,
        replace(bag, parts=bag.parts[::-1]),
        replace(bag, weights=BY_STEM[::-1]),
    ):
        list_bag(tmp_path, changed)
        sums.add(known_models(tmp_path)["tiny_bag"].sha256)
    assert len(sums) == 3
    assert all(len(bytes.fromhex(found)) == hashlib.sha256().digest_size for found in sums)


def test_a_part_may_be_a_package_in_half_precision(tmp_path):
    from tests.stages.tiny_checkpoint import write_package

    parts = (write_safetensors(tmp_path), pinned(write_package(tmp_path).path))
    network, _ = load_network(Bag("mixed", parts, MIXED, ""), Wanted(backend="torch"))
    assert len(network.forwards) == 2

"""Batches for a CUDA card: what of it can be run without one."""

import itertools
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from clearstem.errors import CardOutOfMemory, EngineUnavailable
from containers.audio import card
from containers.audio.demucs_engine import demucs_stems
from containers.audio.network import _on_card, stereo_network
from containers.audio.overlap import Segments
from tests.stages.memory import Sound, noise, song
from tests.stages.simulated_card import Card
from tests.stages.tiny_checkpoint import tiny_model

GIB = 1 << 30
on_a_card = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.mark.parametrize(
    ("free", "segment", "size"),
    [
        (16 * GIB, GIB, 11),
        (139 * GIB, GIB, card.MOST_IN_BATCH),
        (GIB, GIB, 1),
        (0, GIB, 1),
    ],
)
def test_a_batch_fits_what_is_free(free, segment, size):
    found = card.batch_size(free_bytes=free, segment_bytes=segment, most=card.MOST_IN_BATCH)
    assert found == size


def test_batches_keep_order_and_end_where_the_length_changes():
    segments = [np.full((2, 5), n, np.float32) for n in range(7)]
    segments.append(np.full((2, 3), 7, np.float32))
    sizes = itertools.chain([1, 3], itertools.repeat(3))
    found = list(card.batches(segments, lambda: next(sizes)))
    assert [batch.shape for batch in found] == [(1, 2, 5), (3, 2, 5), (3, 2, 5), (1, 2, 3)]
    assert [row[0, 0] for batch in found for row in batch] == list(range(8))


def test_nothing_in_gives_nothing_out():
    assert list(card.overlapped(card.batches([], lambda: 4), lambda _: list)) == []


def test_the_next_batch_is_started_before_the_last_one_is_awaited():
    told = []

    def start(batch):
        told.append(("start", batch[0]))
        return lambda: told.append(("await", batch[0])) or batch

    stacked = [np.array([float(n)]) for n in range(3)]
    assert [row.item() for row in card.overlapped(stacked, start)] == [0.0, 1.0, 2.0]
    assert told == [
        ("start", 0.0),
        ("start", 1.0),
        ("await", 0.0),
        ("start", 2.0),
        ("await", 1.0),
        ("await", 2.0),
    ]


def in_pairs(forward):
    """A stream that runs two segments at once, as a card does, one pair ahead."""

    def stream(segments):
        def start(batch):
            answer = forward(torch.from_numpy(batch))
            return lambda: answer.numpy()

        return card.overlapped(card.batches(segments, lambda: 2), start)

    return stream


@pytest.mark.parametrize("channels", [2, 4])
def test_batches_give_the_stems_that_single_segments_give(channels):
    model = tiny_model(segment=Fraction(1))
    one_by_one = stereo_network(model, device=torch.device("cpu"))

    def forward(batch):
        with torch.inference_mode():
            return model(batch)

    batched = replace(one_by_one, forwards=(in_pairs(forward),), ahead=4)
    # Another rate, so that two groups read the converted recording side by side.
    sound = Sound(noise(channels, 3 * 48_000), rate_hz=48_000)
    expected = np.concatenate(list(demucs_stems(sound, one_by_one)), axis=2)
    found = np.concatenate(list(demucs_stems(sound, batched)), axis=2)
    # A batched matrix product may add up in another order.
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_half_precision_is_refused_on_a_cpu_and_bf16_is_not_fp32():
    cpu = torch.device("cpu")
    with pytest.raises(EngineUnavailable, match="fp16"):
        stereo_network(tiny_model(), device=cpu, precision="fp16")
    block = noise(2, 44_100)
    model = tiny_model(segment=Fraction(1))
    answers = [
        next(stereo_network(model, device=cpu, precision=kind).forwards[0](iter([block])))
        for kind in ("fp32", "bf16")
    ]
    off = np.square(answers[1] - answers[0]).sum() / np.square(answers[0]).sum()
    # Eight bits of mantissa: not nothing, and not noise.
    assert 1e-12 < off < 0.1


def through_a_simulated_card(monkeypatch, segments, forward, **memory):
    simulated = Card(**memory)
    monkeypatch.setattr(card, "torch", simulated)
    stream = card.batched_on(torch.device("cpu"), simulated.running(forward), most=16)
    return np.stack(list(stream(iter(segments)))), simulated


def stretched(batch):
    return torch.stack([batch, 2 * batch, -batch, batch + 1], dim=1)


def test_a_card_s_streams_wait_for_each_other_wherever_one_reads_another_s(monkeypatch):
    segments = list(noise(22, 900).reshape(11, 2, 900))
    found, simulated = through_a_simulated_card(
        monkeypatch, segments, stretched, free_bytes=10 * GIB, segment_bytes=2 * GIB
    )
    # Nothing is done there before it is waited for, so a missing wait is poison in here.
    np.testing.assert_array_equal(found, stretched(torch.from_numpy(np.stack(segments))).numpy())
    # The first alone, to be measured; then as many as fit 0.7 of what is free.
    assert simulated.batches == [1, 3, 3, 3, 1]
    # In, and out again: memory that one stream made and another one read.
    assert len(simulated.crossings) == 2 * 4
    assert all(reader in memory.recorded for memory, reader in simulated.crossings)
    assert len({memory.made_on.name for memory, _ in simulated.crossings}) == 2


def test_a_card_with_room_for_one_segment_runs_one_at_a_time(monkeypatch):
    segments = list(noise(6, 50).reshape(3, 2, 50))
    found, simulated = through_a_simulated_card(
        monkeypatch, segments, stretched, free_bytes=GIB, segment_bytes=4 * GIB
    )
    assert simulated.batches == [1, 1, 1]
    np.testing.assert_array_equal(found[:, 0], np.stack(segments))


@pytest.mark.parametrize(
    ("room", "tried"),
    [
        # Foreseen are batches of three; from the third try on there is room for two, then one.
        (lambda n: 3 if n < 3 else 2, [1, 3, 3, 2, 1, 2, 2]),
        (lambda n: 3 if n < 3 else 1, [1, 3, 3, 2, 1, 1, 1, 1, 1, 1, 1]),
    ],
)
def test_batches_shrink_until_they_fit_and_no_answer_is_lost(monkeypatch, room, tried):
    segments = list(noise(22, 900).reshape(11, 2, 900))
    found, simulated = through_a_simulated_card(
        monkeypatch, segments, stretched, free_bytes=10 * GIB, segment_bytes=2 * GIB, room=room
    )
    np.testing.assert_array_equal(found, stretched(torch.from_numpy(np.stack(segments))).numpy())
    assert simulated.batches[: len(tried)] == tried
    assert all(count <= room(9) for count in simulated.batches[4:])


@pytest.mark.parametrize("first", [1, 4])
def test_a_card_without_room_for_one_segment_is_for_another_attempt_to_avoid(monkeypatch, first):
    segments = list(noise(22, 900).reshape(11, 2, 900))
    with pytest.raises(CardOutOfMemory, match="one segment of 900 frames") as ended:
        through_a_simulated_card(
            monkeypatch,
            segments,
            stretched,
            free_bytes=10 * GIB,
            segment_bytes=2 * GIB,
            room=lambda n: 3 if n < first else 0,
        )
    assert ended.value.exit_code == 75


def test_a_single_lack_of_memory_is_got_over(monkeypatch):
    segments = list(noise(6, 50).reshape(3, 2, 50))
    found, simulated = through_a_simulated_card(
        monkeypatch,
        segments,
        stretched,
        free_bytes=GIB,
        segment_bytes=4 * GIB,
        room=lambda n: 0 if n == 2 else 1,
    )
    np.testing.assert_array_equal(found[:, 0], np.stack(segments))
    assert simulated.batches == [1, 1, 1, 1]
    assert simulated.emptied


def test_a_card_never_computes_in_tf32_and_leaves_torch_as_it_was(monkeypatch):
    model = tiny_model(segment=Fraction(1))
    cpu = torch.device("cpu")
    flags = torch.backends
    seen = []
    model.register_forward_hook(
        lambda *_: seen.append((flags.cudnn.allow_tf32, flags.cuda.matmul.allow_tf32))
    )
    simulated = Card(free_bytes=4 * GIB, segment_bytes=GIB)
    queued = card.batched_on
    monkeypatch.setattr(
        card,
        "batched_on",
        lambda device, forward, most: queued(device, simulated.running(forward), most=most),
    )
    on_card = _on_card(stereo_network(model, device=cpu), model, cpu, "fp32")
    monkeypatch.setattr(card, "torch", simulated)
    before = flags.cudnn.allow_tf32, flags.cuda.matmul.allow_tf32
    assert before[0], "torch's own default, by which this test can fail"
    next(on_card.forwards[0](iter([noise(2, 44_100)])))
    assert seen == [(False, False)]
    assert (flags.cudnn.allow_tf32, flags.cuda.matmul.allow_tf32) == before


@pytest.mark.parametrize(("seconds", "most"), [(0.1, 16), (1.0, 16), (7.8, 2), (10, 2), (15, 1)])
def test_what_is_on_its_way_through_a_card_is_half_a_minute_at_most(seconds, most):
    segments = Segments(round(seconds * 44_100))
    assert card.most_in_batch(segments, rate_hz=44_100) == most
    assert 2 * most * segments.stride <= 30 * 44_100


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_a_card_runs_is_the_network_under_its_autocast(monkeypatch, precision):
    model = tiny_model(segment=Fraction(1))
    cpu = torch.device("cpu")
    one_by_one = stereo_network(model, device=cpu, precision=precision)
    simulated = Card(free_bytes=4 * GIB, segment_bytes=GIB)
    queued = card.batched_on
    # The simulation has to know what is run on it.
    monkeypatch.setattr(
        card,
        "batched_on",
        lambda device, forward, most: queued(device, simulated.running(forward), most=most),
    )
    on_card = _on_card(one_by_one, model, cpu, precision)
    monkeypatch.setattr(card, "torch", simulated)
    # Of such short segments as many as are ever run at once.
    assert on_card.ahead == 2 * card.MOST_IN_BATCH
    sound = Sound(noise(2, 4 * 44_100))
    expected = np.concatenate(list(demucs_stems(sound, one_by_one)), axis=2)
    found = np.concatenate(list(demucs_stems(sound, on_card)), axis=2)
    assert max(simulated.batches) == 2
    # Batches add up in another order: in eight bits of mantissa that is a percent.
    within = {"fp32": 1e-5, "bf16": 0.03}[precision]
    assert np.std(found - expected) < within * np.std(expected)
    if precision == "bf16":
        exact = stereo_network(model, device=cpu)
        plain = np.concatenate(list(demucs_stems(sound, exact)), axis=2)
        assert np.std(found - plain) > 1e-4 * np.std(plain)


@pytest.mark.gpu
@on_a_card
@pytest.mark.parametrize(("precision", "most"), [("fp32", 1e-9), ("bf16", 0.1), ("fp16", 0.01)])
def test_a_card_answers_like_the_cpu(precision, most):
    sound = Sound(song(seconds=40))
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    expected = np.concatenate(
        list(demucs_stems(sound, stereo_network(tiny_model(), device=cpu))), axis=2
    )
    network = stereo_network(tiny_model(), device=cuda, precision=precision)
    found = np.concatenate(list(demucs_stems(sound, network)), axis=2)
    # In fp32 sums differ in order alone; TF32's ten bits would make it 1e-7 or more.
    assert np.square(found - expected).sum() < most * np.square(expected).sum()

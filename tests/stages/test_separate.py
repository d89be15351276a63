import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from demucs.apply import apply_model

from clearstem.errors import (
    AudioOutOfRange,
    CardMissing,
    EngineUnavailable,
    MissingWeights,
    NonFiniteOutput,
    UnusableCheckpoint,
)
from clearstem.recipes import STEMS
from containers.audio.backends import Wanted
from containers.audio.channels import channel_groups
from containers.audio.demucs_engine import (
    Level,
    demucs_stems,
    group_stems,
    measure_levels,
)
from containers.audio.network import Network, pick_device, stereo_network
from containers.audio.overlap import Segments, each, overlap_add
from containers.audio.resample import ResampledReader
from containers.audio.separate import separate
from tests.stages.memory import Sound, Tape, noise, song
from tests.stages.tiny_checkpoint import tiny_model, write_package, write_safetensors

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def tiny():
    return tiny_model()


@pytest.fixture(scope="module")
def network(tiny):
    return stereo_network(tiny, device=CPU)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_safetensors(tmp_path_factory.mktemp("weights"))


def stub(forward, *, rate_hz=44_100, length=1000):
    """A network that is a plain function."""
    return Network(STEMS, rate_hz, Segments(length), lambda frames: frames, (each(forward),))


def quarters(block):
    """Stems that are a quarter of the mix each, plus something that differs."""
    return np.stack([block * np.float32(share) for share in (0.1, 0.2, 0.3, 0.4)])


def stems_of(sound, network):
    return np.concatenate(list(demucs_stems(sound, network)), axis=2)


def reference(model, samples):
    """The stems as demucs computes them, and the level it normalised by."""
    mix = torch.from_numpy(samples)
    mono = mix.mean(0)
    mean, deviation = mono.mean(), mono.std() + 1e-8
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        stems = apply_model(model, ((mix - mean) / deviation)[None], shifts=0, overlap=0.25)[0]
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    level = Level(np.float32(mean.item()), np.float32(deviation.item()), silent=False)
    return (stems * deviation + mean).numpy(), level


@pytest.mark.parametrize("seconds", [0.2, 7.8, 20, 31.4])
def test_a_streamed_separation_equals_demucs_bit_by_bit(tiny, network, seconds):
    samples = noise(2, round(seconds * 44_100)) + np.float32(0.01)
    expected, level = reference(tiny, samples)
    streamed = list(group_stems(Sound(samples), network, (0, 1), level))
    np.testing.assert_array_equal(np.concatenate(streamed, axis=2), expected)


def test_the_streamed_level_is_that_of_demucs(tiny):
    # demucs sums in float32 over the whole recording, this in float64 over blocks.
    samples = noise(2, 500_000) + np.float32(0.05)
    _, level = reference(tiny, samples)
    (streamed,) = measure_levels(Sound(samples), ((0, 1),))
    assert streamed.mean == pytest.approx(level.mean, abs=1e-6 * float(level.deviation))
    assert streamed.deviation == pytest.approx(level.deviation, rel=1e-6)


def test_the_whole_way_stays_within_the_level_s_tolerance(tiny, network):
    samples = song(seconds=10)
    expected, _ = reference(tiny, samples)
    difference = stems_of(Sound(samples), network) - expected
    # -100 dB: the level is known to 1e-6, and the network passes that on.
    assert np.square(difference).sum() < 1e-10 * np.square(expected).sum()


def test_segments_fade_into_each_other_without_a_seam():
    ramp = np.linspace(-1, 1, 10_000, dtype=np.float32)[np.newaxis]
    faded = overlap_add(
        Sound(ramp).read,
        10_000,
        segments=Segments(700),
        forward=each(lambda block: block[np.newaxis]),
    )
    # An identity comes back as itself, but for the rounding of weights that sum to their sum.
    np.testing.assert_allclose(np.concatenate(list(faded), axis=2)[0], ramp, rtol=0, atol=2e-7)


@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 48_000, 96_000, 192_000])
def test_other_rates_keep_their_length_and_place(rate_hz):
    # A sine well inside both bands must come back where it was, not a sample later.
    frames = rate_hz * 2 + 17
    t = np.arange(frames) / rate_hz
    samples = (0.5 * np.sin(2 * np.pi * 997 * t)).astype(np.float32)[np.newaxis]
    identity = Network(
        ("all",),
        44_100,
        Segments(44_100),
        lambda length: length,
        (each(lambda block: block[np.newaxis]),),
    )
    (back,) = stems_of(Sound(samples, rate_hz=rate_hz), identity)
    assert back.shape == (1, frames)
    inner = slice(frames // 10, -frames // 10)
    # A hundredth of a sample at 192 kHz would already be 1.6e-4.
    np.testing.assert_allclose(back[:, inner], samples[:, inner], rtol=0, atol=2e-5)


@pytest.mark.parametrize("frames", [1, 2, 7, 100, 1001])
@pytest.mark.parametrize("rate_hz", [8_000, 44_100, 48_000, 192_000])
def test_even_the_shortest_recording_keeps_its_length(rate_hz, frames):
    stems = stems_of(Sound(noise(2, frames), rate_hz=rate_hz), stub(quarters))
    assert stems.shape == (4, 2, frames)
    assert np.isfinite(stems).all()


def test_a_resampled_recording_reads_the_same_in_any_order():
    sound = Sound(noise(2, 100_000), rate_hz=48_000)
    reader = ResampledReader(sound, rate_hz=44_100)
    whole = reader.read(0, reader.frames)
    assert whole.shape == (2, 91_875)
    np.testing.assert_array_equal(reader.read(60_000, 60_500), whole[:, 60_000:60_500])
    np.testing.assert_array_equal(reader.read(500, 900), whole[:, 500:900])
    around = reader.read(-10, reader.frames + 10)
    np.testing.assert_array_equal(around[:, 10:-10], whole)
    assert not around[:, :10].any()
    assert not around[:, -10:].any()


def test_mono_comes_back_mono_as_the_mean_of_what_stereo_gives(network):
    samples = noise(1, 30_000)
    mono = stems_of(Sound(samples), network)
    stereo = stems_of(Sound(samples.repeat(2, axis=0)), network)
    assert mono.shape == (4, 1, 30_000)
    np.testing.assert_array_equal(mono, stereo.mean(axis=1, keepdims=True))


def test_six_channels_are_two_pairs_and_two_single_ones(network):
    samples = noise(6, 30_000) * np.arange(1, 7, dtype=np.float32)[:, np.newaxis] / 6
    stems = stems_of(Sound(samples), network)
    assert stems.shape == (4, 6, 30_000)
    for group in ([0, 1], [2], [3], [4, 5]):
        alone = stems_of(Sound(samples[group]), network)
        np.testing.assert_array_equal(stems[:, group], alone)


@pytest.mark.parametrize("channels", range(1, 13))
def test_every_channel_is_in_exactly_one_group_of_at_most_two(channels):
    groups = channel_groups(channels)
    assert [channel for group in groups for channel in group] == list(range(channels))
    assert all(1 <= len(group) <= 2 for group in groups)


def test_silence_stays_silence_without_asking_the_network():
    def refuse(_):
        raise AssertionError("the network was asked")

    stems = stems_of(Sound(np.zeros((2, 5000))), stub(refuse))
    assert stems.shape == (4, 2, 5000)
    assert not stems.any()


def test_a_constant_and_channels_that_cancel_give_finite_stems(network):
    constant = np.full((2, 9000), 0.25)
    cancelling = noise(1, 9000) * np.array([[1.0], [-1.0]])
    for samples in (constant, cancelling):
        assert np.isfinite(stems_of(Sound(samples), network)).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_source_that_is_not_finite_is_told_apart_from_a_bad_network(bad):
    samples = noise(2, 5000)
    samples[1, 3000] = bad
    with pytest.raises(AudioOutOfRange, match="NaN or infinite"):
        stems_of(Sound(samples), stub(quarters))


def test_a_network_that_answers_nan_fails_the_job_and_says_where(checkpoint, monkeypatch):
    from containers.audio import backends

    def half_broken(block):
        stems = quarters(block)
        stems[2, 0, 5] = np.nan
        return stems

    monkeypatch.setattr(
        backends, "stereo_network", lambda *_, **__: stub(half_broken, length=44_100)
    )
    with pytest.raises(NonFiniteOutput, match=r"between 0\.0 s and 0\.8 s"):
        run(noise(2, 44_100), checkpoint=checkpoint)


def run(samples, *, checkpoint, **options):
    tapes = {stem: Tape() for stem in STEMS}
    report = separate(
        Sound(samples),
        tapes,
        engine="demucs",
        checkpoint=checkpoint,
        wanted=Wanted(device="cpu", backend="torch"),
        **options,
    )
    return report, {stem: tape.samples for stem, tape in tapes.items()}


def test_a_separation_writes_each_stem_to_its_writer_and_reports_what_did_it(tiny, checkpoint):
    samples = song(seconds=9)
    done = []
    report, stems = run(samples, checkpoint=checkpoint, progress=lambda *place: done.append(place))
    expected, _ = reference(tiny, samples)
    for name, answer in zip(tiny.sources, expected, strict=True):
        np.testing.assert_allclose(stems[name], answer, atol=1e-5)
    assert (report.engine, report.model, report.preview) == ("demucs", "tiny", False)
    assert (report.device, report.backend, report.precision) == ("cpu", "torch", "fp32")
    assert report.model_sha256 == checkpoint.sha256
    assert set(report.versions) == {"demucs", "torch", "numpy", "soxr"}
    residual = samples - sum(stems.values())
    measured = 10 * np.log10(np.square(residual).sum() / np.square(samples).sum())
    assert report.residual_db == pytest.approx(measured, abs=0.01)
    assert done == sorted(done)
    assert done[-1] == (samples.shape[1], samples.shape[1])


def test_a_package_of_half_precision_separates_too(tmp_path):
    report, stems = run(noise(1, 8820), checkpoint=write_package(tmp_path))
    assert report.model == "tiny"
    assert all(stem.shape == (1, 8820) for stem in stems.values())


def test_the_report_of_silence_has_no_residual(checkpoint):
    report, stems = run(np.zeros((2, 8820)), checkpoint=checkpoint)
    assert report.residual_db is None
    assert not any(stem.any() for stem in stems.values())


def test_demucs_without_weights_never_becomes_another_engine():
    with pytest.raises(MissingWeights, match="clearstem models fetch htdemucs"):
        run(noise(2, 100), checkpoint=None)


def test_an_engine_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="'auto'"):
        separate(Sound(noise(2, 9)), {stem: Tape() for stem in STEMS}, engine="auto")


def test_writers_must_be_those_of_the_four_stems():
    with pytest.raises(ValueError, match="vocals, drums, bass, other"):
        separate(Sound(noise(2, 9)), {"vocals": Tape()}, engine="spectral")


def test_a_network_of_other_stems_is_refused(tmp_path):
    import json as metadata_json

    from tests.stages.tiny_checkpoint import safetensors_metadata

    arguments = metadata_json.loads(safetensors_metadata()["kwargs"])
    arguments["sources"] = ["drums", "bass", "other", "piano"]
    odd = write_safetensors(tmp_path, kwargs=metadata_json.dumps(arguments))
    with pytest.raises(UnusableCheckpoint, match="piano"):
        run(noise(2, 100), checkpoint=odd)


def test_a_device_is_picked_by_name_and_never_replaced():
    assert pick_device("cpu").type == "cpu"
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(EngineUnavailable, match="tpu"):
        pick_device("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(CardMissing, match="no CUDA device"):
            pick_device("cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_gpu_answers_like_the_cpu():
    samples = song(seconds=12)
    on_cpu = stems_of(Sound(samples), stereo_network(tiny_model(), device=CPU))
    on_gpu = stems_of(Sound(samples), stereo_network(tiny_model(), device=torch.device("cuda")))
    # Sums differ in order alone; TF32's ten bits of mantissa would make it 1e-7 or more.
    assert np.square(on_gpu - on_cpu).sum() < 1e-9 * np.square(on_cpu).sum()


_STREAMED = """
import json, sys
import numpy as np
from containers.audio.demucs_engine import demucs_stems
from containers.audio.network import Network
from containers.audio.overlap import Segments, each
from tests.stages.memory import EndlessNoise, peak_mb
stub = Network(("a", "b", "c", "d"), 44_100, Segments(343_980), lambda n: n,
               (each(lambda block: np.stack([block] * 4)),))
frames = 0
source = EndlessNoise(seconds=float(sys.argv[1]), rate_hz=int(sys.argv[2]))
for block in demucs_stems(source, stub):
    frames += block.shape[2]
assert frames == source.frames
print(json.dumps(peak_mb()))
"""


@pytest.mark.parametrize("rate_hz", [44_100, 48_000])
def test_memory_does_not_grow_with_the_recording(rate_hz):
    def peak_mb(seconds):
        command = [sys.executable, "-c", _STREAMED, str(seconds), str(rate_hz)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return json.loads(done.stdout)

    # The stems of so much more would be 300 MB.
    assert peak_mb(240) < peak_mb(30) + 60

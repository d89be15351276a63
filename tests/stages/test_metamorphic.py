"""What must follow from a changed input, engine by engine, where it is not beside their tests.

Here: the true peak, the limiter, the conversion of rates, the streaming around a separation
network, the preview engine, decomposition and loudness of what is put together, and the spectral
gate. Gains are powers of two where an engine is exact in them: those move exponents alone.
"""

import itertools
from fractions import Fraction

import numpy as np
import pytest
import soxr
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from containers.audio.decompose import HOP, N_FFT, decompose
from containers.audio.demucs_engine import Level, demucs_stems, group_stems
from containers.audio.limiter import LOOK_AHEAD_S, RELEASE_S, LimitedReader
from containers.audio.loudness import LoudnessMeter
from containers.audio.network import Network, stereo_network
from containers.audio.overlap import Segments, each
from containers.audio.resample import BlockResampler, ResampledReader, resampled_frames
from containers.audio.spectral_engine import spectral_stems
from containers.audio.spectral_gate import Shape, Stationary, gated, noise_threshold
from containers.audio.true_peak import TAPS, TruePeakMeter
from tests.stages.memory import Sound, Tape, noise, song
from tests.stages.tiny_checkpoint import tiny_model

RATE_HZ = 44_100
# float32 additions in another order.
ROUNDING = 5e-7


def gap(samples, frames):
    return np.zeros((len(samples), frames), np.float32)


def joined(*parts):
    return np.concatenate(parts, axis=1)


# Conversion of rates.


@pytest.mark.parametrize(
    ("from_hz", "to_hz"),
    [(48_000, 44_100), (44_100, 48_000), (8_000, 44_100), (192_000, 44_100), (44_100, 16_000)],
)
@pytest.mark.parametrize("frames", [1, 1_000, 100_003])
def test_a_streamed_conversion_equals_soxr_s_of_the_whole(from_hz, to_hz, frames):
    samples = noise(2, frames)
    expected = soxr.resample(samples.T, from_hz, to_hz, quality="HQ").T
    reader = ResampledReader(Sound(samples, rate_hz=from_hz), rate_hz=to_hz)
    found = reader.read(0, reader.frames)
    # soxr rounds the length, we cover the time: a frame more at the most.
    assert 0 <= reader.frames - expected.shape[1] <= 1
    assert reader.frames == resampled_frames(frames, from_hz=from_hz, to_hz=to_hz)
    np.testing.assert_allclose(found[:, : expected.shape[1]], expected, rtol=0, atol=ROUNDING)


def converted(samples, cuts=()):
    frames = resampled_frames(samples.shape[1], from_hz=48_000, to_hz=RATE_HZ)
    resampler = BlockResampler(from_hz=48_000, to_hz=RATE_HZ, channels=len(samples), frames=frames)
    places = [0, *sorted(set(cuts)), samples.shape[1]]
    parts = [
        resampler.convert(samples[:, a:b], last=b == samples.shape[1])
        for a, b in itertools.pairwise(places)
    ]
    return joined(*parts)


@given(cuts=st.lists(st.integers(1, 29_999), max_size=6))
@settings(max_examples=15, deadline=None)
def test_a_conversion_is_the_same_wherever_it_is_cut(cuts):
    samples = noise(2, 30_000)
    np.testing.assert_allclose(converted(samples, cuts), converted(samples), rtol=0, atol=ROUNDING)


def test_a_conversion_passes_gain_polarity_and_places():
    samples = noise(2, 30_000)
    straight = converted(samples)
    for factor in (-1.0, 0.25):
        scaled = converted(samples * np.float32(factor))
        np.testing.assert_array_equal(scaled, straight * np.float32(factor))
    np.testing.assert_array_equal(converted(samples[::-1])[::-1], straight)


# Levels.


def true_peak(samples):
    meter = TruePeakMeter(channels=len(samples))
    meter.push(np.ascontiguousarray(samples))
    return meter.true_peak_dbtp


def test_the_true_peak_of_what_is_put_together_is_the_highest_of_its_parts():
    parts = [noise(2, 5_000, seed=n, amplitude=0.1 * (n + 1)) for n in range(3)]
    pause = gap(parts[0], TAPS)
    for order in itertools.permutations(parts):
        whole = joined(*(piece for part in order for piece in (part, pause)))
        assert true_peak(whole) == max(true_peak(part) for part in parts)


@pytest.mark.parametrize("late", [1, 127, 128, 1_000])
def test_a_true_peak_that_comes_later_is_as_high(late):
    samples = noise(2, 5_000)
    assert true_peak(joined(gap(samples, late), samples)) == true_peak(samples)


def metered(samples):
    meter = LoudnessMeter(rate_hz=RATE_HZ, channels=len(samples))
    meter.push(samples)
    return meter


def test_loudness_of_a_recording_twice_over_is_its_own_and_of_two_lies_between():
    loud, soft = noise(2, 10 * RATE_HZ), noise(2, 10 * RATE_HZ, seed=1, amplitude=0.1)
    one, other = metered(loud).integrated_lufs, metered(soft).integrated_lufs
    # Blocks across the joint are of the same noise: what they differ by is the noise's own.
    assert metered(joined(loud, loud)).integrated_lufs == pytest.approx(one, abs=0.01)
    both = metered(joined(loud, soft)).integrated_lufs
    assert other < both < one
    # BS.1770-4, equation 5, of two stretches of one length that both pass the gates.
    mean = 10 * np.log10((10 ** (one / 10) + 10 ** (other / 10)) / 2)
    assert both == pytest.approx(mean, abs=0.05)


@pytest.mark.parametrize("steps", [1, 7, 300])
def test_loudness_of_windows_moves_with_the_sound(steps):
    # Windows go by 10 ms, short-term ones by 100 ms.
    samples = noise(2, 5 * RATE_HZ) * np.linspace(0.1, 1, 5 * RATE_HZ, dtype=np.float32)
    late = metered(joined(gap(samples, steps * RATE_HZ // 10), samples))
    assert late.max_momentary_lufs == metered(samples).max_momentary_lufs
    assert late.max_short_term_lufs == metered(samples).max_short_term_lufs


# The limiter.


def limited(samples):
    reader = LimitedReader(Sound(samples), gain=1.0, ceiling_dbtp=-6.0)
    return reader.read(0, reader.frames)


def test_a_limiter_passes_polarity_and_places():
    samples = noise(2, 50_000, amplitude=0.4)
    straight = limited(samples)
    assert np.abs(straight - samples).max() > 0.1
    np.testing.assert_array_equal(limited(-samples), -straight)
    np.testing.assert_array_equal(limited(samples[::-1])[::-1], straight)


def test_a_limiter_has_forgotten_a_peak_when_it_has_let_go():
    first, second = (noise(2, 20_000, seed=n, amplitude=0.4) for n in range(2))
    # Reduction falls from 1 to nothing, 1e-5, within 11.6 release times.
    pause = gap(first, round((11.6 * RELEASE_S + 2 * LOOK_AHEAD_S) * RATE_HZ) + 50)
    whole = limited(joined(first, pause, second))
    np.testing.assert_array_equal(whole[:, :20_000], limited(joined(first, pause))[:, :20_000])
    np.testing.assert_array_equal(whole[:, -20_000:], limited(second))


def test_a_limiter_does_later_what_it_does():
    samples = noise(2, 20_000, amplitude=0.4)
    np.testing.assert_array_equal(
        limited(joined(gap(samples, 777), samples))[:, 777:], limited(samples)
    )


# Decomposition.


def parts(samples):
    harmonic, percussive = Tape(), Tape()
    decompose(Sound(samples), harmonic, percussive)
    return harmonic.samples, percussive.samples


def test_recordings_far_enough_apart_are_decomposed_as_each_by_itself():
    # The medians look 15 frames ahead; within that reach of its end a recording by itself is
    # mirrored, where in company silence follows.
    reach = 15 * HOP + N_FFT
    first, second = song(seconds=2), noise(2, 60_000)
    # A whole number of hops, so that both are cut into the same frames.
    pause = gap(first, 40 * HOP - first.shape[1] % HOP)
    at = first.shape[1] + pause.shape[1]
    for whole, one, other in zip(
        parts(joined(first, pause, second)), parts(first), parts(second), strict=True
    ):
        inner = slice(0, first.shape[1] - reach)
        np.testing.assert_allclose(whole[:, inner], one[:, inner], rtol=0, atol=ROUNDING)
        np.testing.assert_allclose(whole[:, at + reach :], other[:, reach:], rtol=0, atol=ROUNDING)


# What streams a recording through a separation network.


LEVEL = Level(np.float32(0), np.float32(1), silent=False)


def pointwise(length=1000):
    """A network of four stems that looks at each sample by itself."""

    def forward(block):
        return np.stack([np.tanh(block * np.float32(k)) for k in (0.5, 1, 2, 3)])

    return Network(
        ("a", "b", "c", "d"), RATE_HZ, Segments(length), lambda frames: frames, (each(forward),)
    )


def pair_stems(samples, network):
    return np.concatenate(list(group_stems(Sound(samples), network, (0, 1), LEVEL)), axis=2)


@pytest.mark.parametrize("late", [1, 250, 750, 1_000])
def test_stems_come_later_with_the_sound(late):
    samples = noise(2, 5_000)
    straight = pair_stems(samples, pointwise())
    moved = pair_stems(joined(gap(samples, late), samples), pointwise())
    np.testing.assert_allclose(moved[:, :, late:], straight, rtol=0, atol=ROUNDING)


def test_stems_of_what_is_put_together_are_put_together():
    first, second = noise(2, 3_210), noise(2, 4_567, seed=1)
    whole = pair_stems(joined(first, second), pointwise())
    apart = [pair_stems(part, pointwise()) for part in (first, second)]
    np.testing.assert_allclose(whole, np.concatenate(apart, axis=2), rtol=0, atol=ROUNDING)


def test_stems_of_swapped_channels_are_swapped():
    samples = noise(6, 5_000) * np.arange(1, 7, dtype=np.float32)[:, np.newaxis] / 6
    straight = np.concatenate(list(demucs_stems(Sound(samples), pointwise())), axis=2)
    # Left for right in each pair of 5.1; centre and low frequencies stand alone.
    swap = [1, 0, 2, 3, 5, 4]
    swapped = np.concatenate(list(demucs_stems(Sound(samples[swap]), pointwise())), axis=2)
    np.testing.assert_allclose(swapped[:, swap], straight, rtol=0, atol=ROUNDING)


@pytest.fixture(scope="module")
def small_network():
    return stereo_network(tiny_model(segment=Fraction(1)), device=torch.device("cpu"))


@pytest.mark.parametrize("gain", [0.125, 0.3, 4.0])
def test_a_real_network_is_shown_the_same_whatever_the_gain(small_network, gain):
    samples = noise(2, 60_000)
    straight = np.concatenate(list(demucs_stems(Sound(samples), small_network)), axis=2)
    scaled = np.concatenate(
        list(demucs_stems(Sound(samples * np.float32(gain)), small_network)), axis=2
    )
    # Normalised by the deviation plus 1e-8, as demucs.api does: -100 dB.
    assert np.std(scaled / np.float32(gain) - straight) < 1e-5 * np.std(straight)


# The preview engine.


def preview(samples, rate_hz=8_000):
    return np.concatenate(list(spectral_stems(Sound(samples, rate_hz=rate_hz))), axis=2)


@pytest.mark.parametrize("gain", [0.125, 4.0])
def test_the_preview_passes_gain(gain):
    samples = song(seconds=3, rate_hz=8_000)
    np.testing.assert_allclose(
        preview(samples * np.float32(gain)) / np.float32(gain),
        preview(samples),
        rtol=0,
        atol=1e-5,
    )


def test_the_preview_of_what_comes_a_segment_later_is_as_late():
    # It listens to 20 s at a time, so only whole steps from one segment to the next move it.
    samples = song(seconds=22, rate_hz=8_000)
    stride = Segments(20 * 8_000).stride
    late = preview(joined(gap(samples, stride), samples))[:, :, stride:]
    straight = preview(samples)
    # The first segment now overlaps one that ends in it: past that nothing differs.
    inner = slice(20 * 8_000 - stride, None)
    np.testing.assert_allclose(late[:, :, inner], straight[:, :, inner], rtol=0, atol=1e-5)


# The spectral gate.


def test_the_gate_passes_polarity_places_and_gain():
    samples = noise(2, 40_000) * np.linspace(0.05, 1, 40_000, dtype=np.float32)
    shape = Shape()

    def through(given, pause):
        rule = Stationary(noise_threshold(pause, n_fft=shape.n_fft))
        return joined(*gated(Sound(given, rate_hz=16_000), rule=rule, shape=shape))

    straight = through(samples, samples[:, :4_000])
    assert np.std(straight) < 0.99 * np.std(samples)
    np.testing.assert_array_equal(through(-samples, samples[:, :4_000]), -straight)
    swapped = through(samples[::-1], samples[::-1, :4_000])
    np.testing.assert_array_equal(swapped[::-1], straight)
    louder = through(samples * np.float32(2), samples[:, :4_000] * np.float32(2))
    np.testing.assert_allclose(louder / 2, straight, rtol=0, atol=1e-6)

"""The limiter: what it lets through, what it keeps under the ceiling, and how it moves."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from containers.audio.limiter import LOOK_AHEAD_S, RELEASE_S, LimitedReader
from containers.audio.true_peak import TruePeakMeter
from tests.signals import amplitude, noise, silence, sine
from tests.stages.memory import EndlessNoise, Sound

RATE_HZ = 44_100


def limited(samples, *, gain=1.0, ceiling_dbtp=-1.0, rate_hz=RATE_HZ):
    """All of a limited recording, and its reader."""
    reader = LimitedReader(Sound(samples, rate_hz=rate_hz), gain=gain, ceiling_dbtp=ceiling_dbtp)
    return reader.read(0, reader.frames), reader


def true_peak_dbtp(samples):
    meter = TruePeakMeter(channels=len(samples))
    meter.push(np.ascontiguousarray(samples))
    return meter.true_peak_dbtp


def bursts(*, seconds=4.0, level_db=-20.0, peak=1.5):
    """Quiet noise with a burst of 10 ms at every second."""
    samples = noise(round(seconds * RATE_HZ), channels=2, peak=amplitude(level_db))
    for start in range(RATE_HZ // 2, samples.shape[1], RATE_HZ):
        samples[:, start : start + 441] = noise(441, channels=2, peak=peak, seed=start)
    return samples


@pytest.mark.parametrize("gain", [1.0, 0.5, 1.37])
def test_below_the_ceiling_no_bit_changes(gain):
    samples = noise(200_000, channels=2, peak=0.25)
    found, reader = limited(samples, gain=gain)
    np.testing.assert_array_equal(found, samples * np.float32(gain))
    assert reader.reduction_db == 0.0


def test_away_from_a_peak_no_bit_changes():
    samples = noise(2 * RATE_HZ, channels=2, peak=0.2)
    samples[0, RATE_HZ] = 1.6
    found, _ = limited(samples)
    changed = np.flatnonzero((found != samples).any(axis=0))
    # It starts at most the look-ahead (and the reach of the filters) before the peak, and a
    # reduction of a half falls to nothing, 1e-5, within ln(0.5 / 1e-5) = 10.8 release times.
    assert changed.min() >= RATE_HZ - LOOK_AHEAD_S * RATE_HZ - 20
    assert changed.max() <= RATE_HZ + 10.9 * RELEASE_S * RATE_HZ + LOOK_AHEAD_S * RATE_HZ + 20
    assert changed.size > RELEASE_S * RATE_HZ


@pytest.mark.parametrize("ceiling_dbtp", [-0.1, -1.0, -9.0])
@pytest.mark.parametrize(
    "samples",
    [
        bursts(),
        noise(RATE_HZ, channels=2, peak=2.0),
        # Between its samples a quarter of the rate peaks 3 dB higher than at them.
        sine(11_025, 1, channels=2, peak_dbfs=3.0, phase_deg=45),
        sine(50, 2, peak_dbfs=6.0),
        np.sign(sine(997, 1)),
        silence(1, channels=2) + 1.5,
    ],
    ids=["bursts", "noise", "between samples", "bass", "square", "one sample"],
)
def test_what_comes_out_keeps_the_ceiling(samples, ceiling_dbtp):
    found, reader = limited(samples, ceiling_dbtp=ceiling_dbtp)
    assert found.shape == samples.shape
    # The meter's own filters; a gain that moves shifts what lies between samples a little.
    assert true_peak_dbtp(found) <= ceiling_dbtp + 0.1
    assert true_peak_dbtp(found) >= ceiling_dbtp - 0.5
    assert reader.reduction_db > 0


def test_a_steady_tone_is_turned_down_and_not_bent():
    tone = sine(1000, 2, peak_dbfs=6.0)
    found, reader = limited(tone, ceiling_dbtp=-3.0)
    middle = slice(RATE_HZ // 2, 3 * RATE_HZ // 2)
    factor = found[0, middle] @ tone[0, middle] / (tone[0, middle] @ tone[0, middle])
    left = found[0, middle] - factor * tone[0, middle]
    # The release ripples between the tone's peaks, 0.5 ms apart: -50 dB.
    assert np.square(left).sum() < 1e-5 * np.square(found[0, middle]).sum()
    assert 20 * np.log10(factor) == pytest.approx(-9.0, abs=0.2)
    assert reader.reduction_db == pytest.approx(9.0, abs=0.1)


def test_channels_go_down_together():
    samples = noise(RATE_HZ, channels=2, peak=0.3)
    samples[0, 20_000:20_100] *= 8
    found, _ = limited(samples)
    ratio = found[:, 19_000:21_000].astype(np.float64) / samples[:, 19_000:21_000]
    np.testing.assert_allclose(ratio[0], ratio[1], rtol=1e-6)
    assert ratio.min() < 0.5


def test_the_gain_never_jumps():
    samples = silence(RATE_HZ, channels=1) + np.float32(0.1)
    samples[0, 20_000] = 2.0
    found, _ = limited(samples)
    gain = found[0].astype(np.float64) / samples[0]
    # A Hann window of 1 ms to either side: at most 1/45 of the way a frame.
    assert np.abs(np.diff(gain)).max() < 1.1 / 45


@given(cuts=st.lists(st.integers(1, 149_999), max_size=8), seed=st.integers(0, 50))
@settings(max_examples=20, deadline=None)
def test_reading_in_pieces_changes_nothing(cuts, seed):
    samples = noise(150_000, channels=2, peak=1.2, seed=seed)
    whole, _ = limited(samples)
    reader = LimitedReader(Sound(samples), gain=1.0, ceiling_dbtp=-1.0)
    places = [0, *sorted(set(cuts)), 150_000]
    pieces = [reader.read(a, b) for a, b in itertools.pairwise(places)]
    np.testing.assert_array_equal(np.concatenate(pieces, axis=1), whole)


def test_going_back_and_reading_outside():
    samples = noise(70_000, channels=1, peak=1.5)
    whole, reader = limited(samples)
    np.testing.assert_array_equal(reader.read(100, 200), whole[:, 100:200])
    around = reader.read(-5, 70_005)
    np.testing.assert_array_equal(around[:, 5:-5], whole)
    assert not around[:, :5].any() and not around[:, -5:].any()


def test_a_later_peak_changes_nothing_before_its_look_ahead():
    quiet = bursts()
    loud = quiet.copy()
    loud[:, 150_000:] *= 4
    before = 150_000 - round(LOOK_AHEAD_S * RATE_HZ) - 20
    np.testing.assert_array_equal(limited(loud)[0][:, :before], limited(quiet)[0][:, :before])


def test_silence_stays_silence():
    found, reader = limited(silence(100_000, channels=2), gain=100.0)
    assert not found.any()
    assert reader.reduction_db == 0.0


@pytest.mark.parametrize("rate_hz", [8_000, 96_000, 192_000])
def test_any_rate_keeps_the_ceiling(rate_hz):
    found, _ = limited(noise(rate_hz // 2, channels=2, peak=2.0), rate_hz=rate_hz)
    assert true_peak_dbtp(found) <= -0.9


def test_memory_does_not_grow_with_the_length():
    reader = LimitedReader(EndlessNoise(seconds=60), gain=10.0, ceiling_dbtp=-1.0)
    for start in range(0, reader.frames, 65_536):
        reader.read(start, min(start + 65_536, reader.frames))
        assert reader._kept.shape[1] <= 2 * 65_536

"""The gate against noisereduce, and where noisereduce has no answer."""

import warnings

import numpy as np
import pytest

from containers.audio.spectral_gate import (
    CHUNK_FRAMES,
    Moving,
    Shape,
    Stationary,
    gated,
    noise_threshold,
)
from tests.stages.memory import Sound, noise

# Decisions are float64 as theirs; float32 transforms leave about -138 dB.
EQUAL_DB = -120.0


def through(samples, *, rate_hz=16_000, rule, shape):
    blocks = list(gated(Sound(samples, rate_hz=rate_hz), rule=rule, shape=shape))
    return np.concatenate(blocks, axis=1)


def swelling(frames, *, channels=1):
    swell = np.sin(np.linspace(0, 12 * np.pi, frames)) ** 2
    return (noise(channels, frames) * (0.01 + swell)).astype(np.float32)


def theirs(samples, **options):
    import noisereduce

    with warnings.catch_warnings():
        # It divides by the mean of the silence that it pads with.
        warnings.simplefilter("ignore", RuntimeWarning)
        return noisereduce.reduce_noise(y=samples, **options)


def error_db(ours, reference):
    off = ours.astype(np.float64) - reference
    return 10 * np.log10(np.square(off).sum() / np.square(reference, dtype=np.float64).sum())


@pytest.mark.parametrize(
    ("frames", "rate_hz", "n_fft"),
    [(CHUNK_FRAMES + 77_777, 48_000, 1024), (40_000, 8_000, 1024), (90_001, 192_000, 2048)],
)
def test_a_learnt_threshold_gates_as_noisereduce(frames, rate_hz, n_fft):
    samples = swelling(frames)
    pause = samples[:, :12_345]
    expected = theirs(
        samples[0], sr=rate_hz, stationary=True, y_noise=pause[0], prop_decrease=0.8, n_fft=n_fft
    )
    rule = Stationary(noise_threshold(pause, n_fft=n_fft))
    ours = through(samples, rate_hz=rate_hz, rule=rule, shape=Shape(n_fft=n_fft, decrease=0.8))
    assert error_db(ours[0], expected) <= EQUAL_DB


@pytest.mark.parametrize(
    ("frames", "rate_hz"), [(CHUNK_FRAMES + 77_777, 48_000), (40_000, 8_000), (90_001, 192_000)]
)
def test_a_moving_mean_gates_as_noisereduce(frames, rate_hz):
    samples = swelling(frames)
    expected = theirs(samples[0], sr=rate_hz, prop_decrease=0.9)
    ours = through(samples, rate_hz=rate_hz, rule=Moving(), shape=Shape(decrease=0.9))
    assert error_db(ours[0], expected) <= EQUAL_DB


def test_digital_silence_stays_silent_where_noisereduce_answers_nan():
    samples = np.zeros((1, 50_000), np.float32)
    assert np.isnan(theirs(samples[0], sr=16_000)).any()
    assert not through(samples, rule=Moving(), shape=Shape()).any()


def test_a_silent_gap_of_40_s_stays_silent_and_its_ends_sound():
    samples = noise(1, 52 * 8_000)
    samples[:, 6 * 8_000 : 46 * 8_000] = 0
    for rule in (Moving(), Stationary(np.full(513, -60.0))):
        result = through(samples, rate_hz=8_000, rule=rule, shape=Shape())
        assert np.isfinite(result).all()
        assert not result[:, 7 * 8_000 : 45 * 8_000].any()
        assert result[:, : 5 * 8_000].any()


def test_an_open_gate_with_mirrored_edges_changes_nothing():
    samples = noise(2, 30_000)
    rule = Stationary(np.full(513, -400.0))
    result = through(samples, rule=rule, shape=Shape(edges="mirrored"))
    np.testing.assert_allclose(result, samples, rtol=0, atol=1e-6)


def test_channels_share_one_mask():
    samples = swelling(60_000)
    rule = Stationary(noise_threshold(samples[:, :9000], n_fft=1024))
    both = through(np.concatenate([samples, -0.5 * samples]), rule=rule, shape=Shape())
    np.testing.assert_allclose(both[1], -0.5 * both[0], rtol=0, atol=1e-6)


def test_a_smoothing_narrower_than_a_bin_is_refused_with_its_figures():
    with pytest.raises(ValueError, match="smooth_hz 10"):
        through(noise(1, 100), rule=Moving(), shape=Shape(smooth_hz=10))

"""The meter against the standard's own signals and against other people's meters."""

import numpy as np
import pyebur128
import pyloudnorm
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from containers.audio.loudness import Meter, k_weighting
from tests.signals import amplitude, chirp, click_train, noise, silence, sine
from tests.stages.real_audio import real_audio


def metered(samples, *, rate_hz=48_000, cuts=()):
    """A meter that got these samples, cut at these places."""
    meter = Meter(rate_hz=rate_hz, channels=samples.shape[0])
    for piece in np.split(samples, sorted(cuts), axis=1):
        meter.push(piece)
    return meter


def tapered(samples, *, frames=4800):
    """Faded in and out: a sine that starts at once really has higher peaks between samples."""
    ramp = np.minimum(1, np.arange(samples.shape[1], dtype=np.float32) / frames)
    return samples * ramp * ramp[::-1]


def test_coefficients_at_48_khz_are_those_of_the_standard():
    # BS.1770-4, tables 1 and 2.
    printed = [
        (1.53512485958697, -2.69169618940638, 1.19839281085285),
        (-1.69065929318241, 0.73248077421585),
        (1.0, -2.0, 1.0),
        (-1.99004745483398, 0.99007225036621),
    ]
    np.testing.assert_allclose(k_weighting(48_000).ravel(), np.concatenate(printed), atol=1e-11)


@pytest.mark.parametrize(
    ("channels", "expected"),
    # BS.1770-4, annex 1: 0 dBFS at 997 Hz in one front channel is -3.01 LKFS.
    [(1, -3.01), (2, 0.0), (3, 1.76)],
)
def test_a_sine_of_full_scale_reads_as_the_standard_says(channels, expected):
    meter = metered(sine(997, 5, rate_hz=48_000, channels=channels))
    assert meter.integrated_lufs == pytest.approx(expected, abs=0.01)


def sequence(*parts, channels=2):
    """1 kHz sines one after the other, each of a level and a duration (EBU Tech 3341)."""
    tones = [sine(1000, s, rate_hz=48_000, channels=channels, peak_dbfs=db) for db, s in parts]
    return np.concatenate(tones, axis=1)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([(-23, 20)], -23),
        ([(-33, 20)], -33),
        ([(-36, 10), (-23, 60), (-36, 10)], -23),
        ([(-72, 10), (-36, 10), (-23, 60), (-36, 10), (-72, 10)], -23),
        ([(-26, 20), (-20, 20.1), (-26, 20)], -23),
    ],
)
def test_ebu_tech_3341_cases_1_to_5(parts, expected):
    assert metered(sequence(*parts)).integrated_lufs == pytest.approx(expected, abs=0.1)


def test_ebu_tech_3341_case_6_of_five_channels():
    levels = [-28, -28, -24, -30, -30]  # L R C Ls Rs
    channels = [sine(1000, 20, rate_hz=48_000, peak_dbfs=level) for level in levels]
    assert metered(np.concatenate(channels)).integrated_lufs == pytest.approx(-23, abs=0.1)


def test_the_itu_file_for_the_relative_gate_reads_minus_10():
    samples, rate_hz = soundfile.read(
        real_audio("1770-2_Comp_RelGateTest.wav"), dtype="float32", always_2d=True
    )
    # BS.2217: -10 LKFS, 0.1 LU either way.
    assert metered(samples.T, rate_hz=rate_hz).integrated_lufs == pytest.approx(-10, abs=0.1)


@given(
    rate_hz=st.sampled_from([8_000, 11_025, 22_050, 44_100, 48_000, 96_000, 192_000]),
    channels=st.sampled_from([1, 2, 3, 5]),
    seconds=st.floats(0.4, 4),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=40, deadline=None)
def test_loudness_equals_pyloudnorm(rate_hz, channels, seconds, seed):
    frames = int(np.ceil(seconds * rate_hz))
    # Loud and quiet stretches, so that both gates close.
    envelope = 10 ** np.random.default_rng(seed).uniform(-4, 0, 12).repeat(frames // 12 + 1)
    samples = noise(frames, channels=channels, seed=seed) * envelope[:frames].astype(np.float32)
    theirs = pyloudnorm.Meter(rate_hz, filter_class="DeMan").integrated_loudness(
        samples.T.astype(np.float64)
    )
    ours = metered(samples, rate_hz=rate_hz).integrated_lufs
    # Sums in another order and nothing else.
    assert ours == pytest.approx(theirs, abs=1e-9)


@given(
    cuts=st.lists(st.integers(0, 30_000), max_size=12),
    channels=st.integers(1, 8),
    seed=st.integers(0, 100),
)
@settings(max_examples=60, deadline=None)
def test_cutting_a_recording_into_blocks_changes_nothing(cuts, channels, seed):
    samples = noise(30_000, channels=channels, seed=seed)
    whole, cut = metered(samples, rate_hz=22_050), metered(samples, rate_hz=22_050, cuts=cuts)
    assert cut.integrated_lufs == whole.integrated_lufs
    assert cut.true_peak_dbtp == whole.true_peak_dbtp


def test_asking_in_between_changes_nothing():
    samples = noise(48_000, channels=2)
    meter = Meter(rate_hz=48_000, channels=2)
    for start in range(0, 48_000, 1_000):
        meter.push(samples[:, start : start + 1_000])
        assert meter.true_peak_dbtp is not None
        assert (meter.integrated_lufs is None) == (start + 1_000 < 19_200)
    assert meter.integrated_lufs == metered(samples).integrated_lufs
    assert meter.true_peak_dbtp == metered(samples).true_peak_dbtp


def test_silence_has_no_level():
    meter = metered(silence(48_000, channels=2))
    assert meter.integrated_lufs is None
    assert meter.true_peak_dbtp is None


def test_nothing_has_no_level():
    meter = Meter(rate_hz=48_000, channels=1)
    assert (meter.integrated_lufs, meter.true_peak_dbtp) == (None, None)


def test_below_the_absolute_gate_there_is_a_peak_but_no_loudness():
    meter = metered(sine(997, 2, rate_hz=48_000, peak_dbfs=-80))
    assert meter.integrated_lufs is None
    assert meter.true_peak_dbtp == pytest.approx(-80, abs=0.1)


@pytest.mark.parametrize("rate_hz", [8_000, 44_100, 48_000])
def test_loudness_needs_400_ms(rate_hz):
    frames = round(0.4 * rate_hz)
    assert metered(noise(frames - 1), rate_hz=rate_hz).integrated_lufs is None
    assert metered(noise(frames), rate_hz=rate_hz).integrated_lufs is not None


@pytest.mark.parametrize(
    ("channels", "position", "gain_lu"),
    # BS.1770-4, table 4: +1.5 dB to the sides; layouts as in the module.
    [
        (4, 2, 1.5),
        (5, 2, 0.0),
        (5, 4, 1.5),
        (6, 4, 1.5),
        (7, 4, 0.0),
        (7, 6, 1.5),
        (8, 4, 0.0),
        (8, 7, 1.5),
    ],
)
def test_channels_weigh_by_where_they_stand(channels, position, gain_lu):
    samples = silence(96_000, channels=channels)
    samples[0] = noise(96_000)[0]
    front = metered(samples).integrated_lufs
    moved = metered(np.roll(samples, position, axis=0)).integrated_lufs
    assert moved - front == pytest.approx(gain_lu, abs=0.01)


@pytest.mark.parametrize("channels", [6, 7, 8])
def test_the_low_frequency_channel_has_peaks_but_no_loudness(channels):
    samples = silence(48_000, channels=channels)
    samples[3] = sine(60, 1, rate_hz=48_000)[0]
    meter = metered(samples)
    assert meter.integrated_lufs is None
    assert meter.true_peak_dbtp == pytest.approx(0, abs=0.1)


def test_gain_and_polarity_and_swapped_channels():
    samples = noise(48_000, channels=2)
    before = metered(samples)
    louder = metered(samples * np.float32(-2))
    assert louder.integrated_lufs - before.integrated_lufs == pytest.approx(20 * np.log10(2))
    assert louder.true_peak_dbtp - before.true_peak_dbtp == pytest.approx(20 * np.log10(2))
    swapped = metered(samples[::-1])
    assert swapped.integrated_lufs == pytest.approx(before.integrated_lufs, abs=1e-12)
    assert swapped.true_peak_dbtp == before.true_peak_dbtp


@pytest.mark.parametrize(
    ("hz", "phase_deg", "peak", "expected"),
    [
        (12_000, 0, 0.5, -6.0),
        (12_000, 45, 0.5, -6.0),
        (8_000, 60, 0.5, -6.0),
        (6_000, 67.5, 0.5, -6.0),
        (12_000, 45, 1.41, 3.0),
    ],
)
def test_ebu_tech_3341_cases_15_to_19(hz, phase_deg, peak, expected):
    tone = sine(
        hz, 1, rate_hz=48_000, channels=2, peak_dbfs=20 * np.log10(peak), phase_deg=phase_deg
    )
    measured = metered(tapered(tone)).true_peak_dbtp
    assert expected - 0.4 <= measured <= expected + 0.2  # the tolerance of Tech 3341


@pytest.mark.parametrize("frame", [0, 1, 12, 127, 128, 65_535, 69_999])
def test_a_peak_is_found_wherever_it_is(frame):
    samples = noise(70_000, channels=2, peak=0.01)
    samples[1, frame] = 0.9
    meter = metered(samples, cuts=[65_536])
    # One sample by itself is not exceeded between the samples.
    assert meter.true_peak_dbtp == pytest.approx(20 * np.log10(0.9), abs=0.1)
    assert meter.true_peak_dbtp >= 20 * np.log10(np.float32(0.9)) - 1e-6


def test_a_peak_between_the_last_sample_and_the_end_is_found():
    # The highest point of this is after the last sample of the block.
    samples = np.array([[0, 0, 0, -0.5, 0.9, 0.9]], np.float32)
    assert metered(samples).true_peak_dbtp > 20 * np.log10(0.95)
    assert metered(samples, cuts=[1, 3, 5]).true_peak_dbtp == metered(samples).true_peak_dbtp


def test_clicks_peak_where_they_are():
    clicks = click_train(48_000, period=4_800, peak=0.5)
    assert metered(clicks).true_peak_dbtp == pytest.approx(20 * np.log10(0.5), abs=1e-6)


@pytest.mark.parametrize(
    "name", ["demucs_test.mp3", "letsgofishin.ogg", "vibeace.ogg", "jfk.flac", "pln_piano.wav"]
)
def test_music_reads_as_in_libebur128(name):
    samples, rate_hz = soundfile.read(real_audio(name), dtype="float32", always_2d=True)
    samples = samples[: 30 * rate_hz]
    mode = pyebur128.MeasurementMode.MODE_I | pyebur128.MeasurementMode.MODE_TRUE_PEAK
    state = pyebur128.R128State(samples.shape[1], rate_hz, mode)
    state.add_frames(samples.reshape(-1), len(samples))
    meter = metered(samples.T, rate_hz=rate_hz)
    assert meter.integrated_lufs == pytest.approx(pyebur128.get_loudness_global(state), abs=0.02)
    theirs = max(pyebur128.get_true_peak(state, channel) for channel in range(samples.shape[1]))
    # Two interpolation filters of 48 taps; measured 0.01 apart at most.
    assert meter.true_peak_dbtp == pytest.approx(20 * np.log10(theirs), abs=0.03)


def test_the_true_peak_of_a_chirp_is_that_of_a_much_finer_grid():
    samples = tapered(chirp(48_000, rate_hz=48_000, peak=amplitude(-3), top=0.4))
    finer = soxr.resample(samples[0], 48_000, 16 * 48_000, "VHQ")
    expected = 20 * np.log10(np.abs(finer).max())
    # Four positions per sample miss 0.2 dB of a peak at 0.2 of the rate (BS.1770-4, annex 2,
    # attachment 1).
    assert metered(samples).true_peak_dbtp == pytest.approx(expected, abs=0.2)


def test_a_meter_refuses_what_it_has_no_weights_for():
    with pytest.raises(ValueError, match="9 channels; a meter takes 1 to 8"):
        Meter(rate_hz=48_000, channels=9)
    with pytest.raises(ValueError, match="2000 Hz; a meter takes 4000 Hz and more"):
        Meter(rate_hz=2_000, channels=1)
    with pytest.raises(ValueError, match=r"this meter takes \(2, frames\)"):
        Meter(rate_hz=48_000, channels=2).push(silence(2, channels=100))

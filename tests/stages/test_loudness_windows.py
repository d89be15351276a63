"""Momentary and short-term loudness, loudness range, and the true peaks between samples.

The numbered cases are those of EBU Tech 3341 (table 1) and Tech 3342 (table 1), made by
their formulas; 7 and 8 of the one and 5 and 6 of the other are recordings of EBU's and not
among them.
"""

import numpy as np
import pyebur128
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from pyebur128 import MeasurementMode as Mode

from containers.audio.loudness import LoudnessMeter, Meter
from tests.signals import noise, silence, sine
from tests.stages.real_audio import real_audio

RATE_HZ = 48_000
# Tech 3341, table 1: for loudness 0.1 LU either way, for true peaks +0.2 and -0.4 dB. Tech
# 3342, table 1: 1 LU either way.
LUFS_TOLERANCE = 0.1
RANGE_TOLERANCE = 1.0


def tones(*parts):
    """Stereo sines of 1 kHz, each of a level in dBFS (None: silence) and a duration in s."""
    return np.concatenate(
        [
            silence(round(seconds * RATE_HZ), channels=2)
            if level is None
            else sine(1000, seconds, rate_hz=RATE_HZ, channels=2, peak_dbfs=level)
            for level, seconds in parts
        ],
        axis=1,
    )


def readings(samples, *, every_s):
    """A meter's momentary and short-term loudness each so many seconds, as it goes."""
    meter = LoudnessMeter(rate_hz=RATE_HZ, channels=len(samples))
    step = round(every_s * RATE_HZ)
    for start in range(0, samples.shape[1], step):
        meter.push(samples[:, start : start + step])
        yield meter.momentary_lufs, meter.short_term_lufs


def metered(samples, *, rate_hz=RATE_HZ):
    meter = LoudnessMeter(rate_hz=rate_hz, channels=len(samples))
    meter.push(samples)
    return meter


@pytest.mark.parametrize("level", [-23, -33])
def test_tech_3341_cases_1_and_2_all_three_read_the_same(level):
    samples = tones((level, 20))
    read = list(readings(samples, every_s=0.1))
    momentary, short = [m for m, _ in read][4:], [s for _, s in read][30:]
    np.testing.assert_allclose([*momentary, *short], level, atol=LUFS_TOLERANCE)
    meter = metered(samples)
    for found in (meter.integrated_lufs, meter.max_momentary_lufs, meter.max_short_term_lufs):
        assert found == pytest.approx(level, abs=LUFS_TOLERANCE)


def test_tech_3341_case_9_short_term_is_constant():
    samples = tones(*[(-20, 1.34), (-30, 1.66)] * 5)
    found = [short for _, short in readings(samples, every_s=0.1)][30:]
    assert len(found) == 120
    np.testing.assert_allclose(found, -23, atol=LUFS_TOLERANCE)


@pytest.mark.parametrize("number", range(20))
def test_tech_3341_case_10_the_highest_short_term_of_any_offset(number):
    meter = metered(tones((None, 0.15 * number), (-23, 3), (None, 1)))
    assert meter.max_short_term_lufs == pytest.approx(-23, abs=LUFS_TOLERANCE)


def test_tech_3341_case_11_the_highest_short_term_of_20_tones():
    meter = LoudnessMeter(rate_hz=RATE_HZ, channels=2)
    for number in range(20):
        meter.push(tones((None, 0.15 * number), (-38 + number, 3), (None, 3 - 0.15 * number)))
        assert meter.max_short_term_lufs == pytest.approx(-38 + number, abs=LUFS_TOLERANCE)


def test_tech_3341_case_12_momentary_is_constant():
    samples = tones(*[(-20, 0.18), (-30, 0.22)] * 25)
    found = [momentary for momentary, _ in readings(samples, every_s=0.01)][100:]
    assert len(found) == 900
    np.testing.assert_allclose(found, -23, atol=LUFS_TOLERANCE)


@pytest.mark.parametrize("number", range(20))
def test_tech_3341_case_13_the_highest_momentary_of_any_offset(number):
    meter = metered(tones((None, 0.02 * number), (-23, 0.4), (None, 1)))
    assert meter.max_momentary_lufs == pytest.approx(-23, abs=LUFS_TOLERANCE)


def test_tech_3341_case_14_the_highest_momentary_of_20_tones():
    meter = LoudnessMeter(rate_hz=RATE_HZ, channels=2)
    for number in range(20):
        meter.push(tones((None, 0.02 * number), (-38 + number, 0.4), (None, 0.4 - 0.02 * number)))
        assert meter.max_momentary_lufs == pytest.approx(-38 + number, abs=LUFS_TOLERANCE)


@pytest.mark.parametrize("offset", range(4))
def test_tech_3341_cases_20_to_23_a_peak_at_every_position_between_samples(offset):
    # A sine of a sixth of the rate at 0.5 of full scale, one cycle of it at full scale, made
    # at four times the rate, limited to the band and brought down from each of four places.
    fine = 0.5 * np.sin(2 * np.pi * np.arange(4 * 24_000) / 24)
    fine[48_000:48_024] *= 2
    fine *= np.clip(np.minimum(np.arange(96_000), np.arange(96_000)[::-1]) / 9600, 0, 1)
    band_limited = soxr.resample(fine[offset:], 4, 1, "VHQ").astype(np.float32)
    # The cycle's steps in level have sound beyond the band; what is left peaks here:
    expected = 20 * np.log10(np.abs(soxr.resample(band_limited, 1, 32, "VHQ")).max())
    assert expected == pytest.approx(0.0, abs=0.5)
    meter = Meter(rate_hz=RATE_HZ, channels=2)
    meter.push(np.stack([band_limited, band_limited]))
    assert expected - 0.4 <= meter.true_peak_dbtp <= expected + 0.2


@pytest.mark.parametrize(
    ("levels", "expected"),
    [((-20, -30), 10), ((-20, -15), 5), ((-40, -20), 20), ((-50, -35, -20, -35, -50), 15)],
)
def test_tech_3342_cases_1_to_4(levels, expected):
    meter = metered(tones(*((level, 20) for level in levels)))
    assert meter.loudness_range_lu == pytest.approx(expected, abs=RANGE_TOLERANCE)
    # 1 LU is what the standard lets pass; what is read is far nearer.
    assert meter.loudness_range_lu == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize("name", ["demucs_test.mp3", "letsgofishin.ogg", "jfk.flac"])
def test_music_reads_as_in_libebur128(name):
    samples, rate_hz = soundfile.read(real_audio(name), dtype="float32", always_2d=True)
    samples = samples[: 60 * rate_hz]
    theirs = pyebur128.R128State(
        samples.shape[1], rate_hz, Mode.MODE_M | Mode.MODE_S | Mode.MODE_LRA
    )
    ours = LoudnessMeter(rate_hz=rate_hz, channels=samples.shape[1])
    step = rate_hz // 10
    highest = -np.inf
    for start in range(0, len(samples) - step + 1, step):
        piece = samples[start : start + step]
        theirs.add_frames(piece.reshape(-1), len(piece))
        ours.push(piece.T)
        if start + step >= 3 * rate_hz:
            short_term = pyebur128.get_loudness_shortterm(theirs)
            highest = max(highest, short_term)
            # The same window; libebur128's coefficients are rounded elsewhere.
            assert ours.short_term_lufs == pytest.approx(short_term, abs=0.002)
            momentary = pyebur128.get_loudness_momentary(theirs)
            assert ours.momentary_lufs == pytest.approx(momentary, abs=0.002)
    assert ours.max_short_term_lufs == pytest.approx(highest, abs=0.002)
    theirs_lu = pyebur128.get_loudness_range(theirs)
    assert ours.loudness_range_lu == pytest.approx(theirs_lu, abs=0.002)


@given(cuts=st.lists(st.integers(0, 90_000), max_size=8), channels=st.integers(1, 8))
@settings(max_examples=30, deadline=None)
def test_cutting_a_recording_into_blocks_changes_nothing(cuts, channels):
    samples = noise(90_000, channels=channels) * np.linspace(0.1, 1, 90_000, dtype=np.float32)
    whole = metered(samples, rate_hz=22_050)
    cut = LoudnessMeter(rate_hz=22_050, channels=channels)
    for piece in np.split(samples, sorted(cuts), axis=1):
        cut.push(piece)
    for reading in (
        "momentary_lufs",
        "max_momentary_lufs",
        "short_term_lufs",
        "max_short_term_lufs",
        "loudness_range_lu",
    ):
        assert getattr(cut, reading) == getattr(whole, reading) is not None


def test_gain_moves_the_windows_and_not_the_range():
    samples = tones((-20, 4), (-30, 4), (-24, 4))
    before, louder = metered(samples), metered(samples * np.float32(2))
    by = 20 * np.log10(2)
    assert louder.max_momentary_lufs - before.max_momentary_lufs == pytest.approx(by)
    assert louder.max_short_term_lufs - before.max_short_term_lufs == pytest.approx(by)
    assert louder.loudness_range_lu == pytest.approx(before.loudness_range_lu, abs=1e-9)


def test_silence_has_no_reading():
    meter = metered(silence(5 * RATE_HZ, channels=2))
    assert meter.momentary_lufs is meter.max_momentary_lufs is None
    assert meter.short_term_lufs is meter.max_short_term_lufs is None
    assert meter.loudness_range_lu is None


def test_silence_after_sound_ends_the_running_readings_and_not_the_highest():
    meter = metered(tones((-20, 4)))
    meter.push(silence(60 * RATE_HZ, channels=2))
    assert meter.momentary_lufs is None
    assert meter.short_term_lufs is None
    assert meter.max_momentary_lufs == pytest.approx(-20, abs=0.1)


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 44_100, 192_000])
def test_a_window_is_read_once_it_is_full(rate_hz):
    frames = -(-4 * rate_hz // 10)
    assert metered(noise(frames - 1), rate_hz=rate_hz).momentary_lufs is None
    assert metered(noise(frames), rate_hz=rate_hz).momentary_lufs is not None
    assert metered(noise(3 * rate_hz - 1), rate_hz=rate_hz).short_term_lufs is None
    full = metered(noise(3 * rate_hz), rate_hz=rate_hz)
    assert full.short_term_lufs == full.max_short_term_lufs is not None
    assert full.loudness_range_lu == 0.0


def test_what_is_kept_grows_by_a_few_megabytes_an_hour():
    meter = LoudnessMeter(rate_hz=8_000, channels=2)
    block = noise(600 * 8_000, channels=2, peak=0.1)
    for _ in range(6):
        meter.push(block)
    kept = sum(value.nbytes for value in vars(meter).values() if isinstance(value, np.ndarray))
    # An hour: 360,000 sums of 8 bytes and as many edges, doubled as they grow.
    assert kept < 12e6
    assert meter.loudness_range_lu == pytest.approx(0.0, abs=0.1)

import itertools
import json
import subprocess
import sys
import warnings

import numpy as np
import pytest
import scipy.ndimage
import soundfile

from containers.audio.decompose import BINS, HOP, N_FFT, decompose
from containers.audio.median import (
    lane_columns,
    median_along_columns,
    median_along_rows,
    median_of_rows,
    selection_network,
    sorting_network,
)
from containers.audio.stft import hann
from tests.stages.memory import Sound, Tape, noise, song
from tests.stages.real_audio import real_audio

# Both transform in float64 and mask in float32, but librosa goes back in float64 and this in
# float32. The largest difference met is 3e-7; the promise is 1e-6 of full scale.
LIBROSA = 1e-6
# The same frames transformed in batches of another size are rounded differently.
ROUNDING = 5e-7


def parts(samples, **options):
    harmonic, percussive = Tape(), Tape()
    decompose(Sound(samples), harmonic, percussive, **options)
    return harmonic.samples, percussive.samples


def librosa_parts(samples, **options):
    import librosa

    with warnings.catch_warnings():
        # It warns about recordings shorter than a frame, which are meant here.
        warnings.simplefilter("ignore", UserWarning)
        return librosa.effects.hpss(samples, **options)


def assert_close(ours, theirs, *, within):
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.shape == other.shape
        np.testing.assert_allclose(mine, other, rtol=0, atol=within)


@pytest.mark.parametrize("frames", [1, 100, 511, 2048, 8820, 44_100, 100_001, 512 * 300 + 511])
def test_each_channel_equals_librosa_on_noise_of_odd_lengths(frames):
    samples = noise(2, frames).clip(-1, 1)
    assert_close(parts(samples), librosa_parts(samples), within=LIBROSA)


def test_music_equals_librosa_across_blocks():
    with soundfile.SoundFile(real_audio("letsgofishin.ogg")) as file:
        # Around 73 s a transform in float32 alone would be 4e-6 off.
        file.seek(66 * file.samplerate)
        samples = file.read(12 * file.samplerate, dtype="float32").T
    assert_close(parts(samples), librosa_parts(samples), within=LIBROSA)


@pytest.mark.parametrize(
    "options",
    [{"kernel": 17}, {"power": 1.0}, {"margin": 2.0}, {"kernel": 5, "margin": 3.0, "power": 0.5}],
    ids=str,
)
def test_options_mean_what_they_mean_in_librosa(options):
    samples = song(seconds=4)
    theirs = {("kernel_size" if key == "kernel" else key): options[key] for key in options}
    assert_close(parts(samples, **options), librosa_parts(samples, **theirs), within=LIBROSA)


@pytest.mark.parametrize("frames", [512, 700, 1024])
def test_recordings_of_two_or_three_frames_follow_the_definition(frames):
    # scipy's rank filter reads past such short rows, so librosa answers with garbage here:
    # the definition itself is computed instead, in float64.
    samples = noise(1, frames)
    padded = np.pad(samples[0].astype(np.float64), N_FFT // 2)
    window = hann(N_FFT).astype(np.float64)
    count = 1 + frames // HOP
    spectrum = np.fft.rfft([padded[i * HOP : i * HOP + N_FFT] * window for i in range(count)])
    size = np.abs(spectrum)

    def median(axis):
        reach = [(15, 15) if a == axis else (0, 0) for a in range(2)]
        mirrored = np.pad(size, reach, mode="symmetric")
        return np.median(np.lib.stride_tricks.sliding_window_view(mirrored, 31, axis), axis=-1)

    steady, sudden = median(0) ** 2, median(1) ** 2
    frames_back = np.fft.irfft(spectrum * steady / (steady + sudden), N_FFT) * window
    total, weight = np.zeros(len(padded)), np.zeros(len(padded))
    for i, frame in enumerate(frames_back):
        stop = min(i * HOP + N_FFT, len(padded))
        total[i * HOP : stop] += frame[: stop - i * HOP]
        weight[i * HOP : stop] += (window**2)[: stop - i * HOP]
    expected = (total / np.maximum(weight, 1e-30))[N_FFT // 2 : N_FFT // 2 + frames]
    np.testing.assert_allclose(parts(samples)[0][0], expected, rtol=0, atol=LIBROSA)


def test_the_parts_add_up_to_the_source():
    samples = song(seconds=5)
    harmonic, percussive = parts(samples)
    # One rounding of the larger part: half a unit in the last place of a value below 2.
    assert np.abs(harmonic + percussive - samples).max() <= 2**-24


def test_a_chord_is_harmonic_and_a_click_is_percussive():
    t = np.arange(44_100 * 3) / 44_100
    chord = np.sin(2 * np.pi * 440 * t)[np.newaxis] / 4
    clicks = np.zeros_like(chord)
    clicks[:, ::11_025] = 0.5
    inner = slice(44_100, 88_200)
    harmonic, percussive = parts(chord + clicks)
    assert np.square((harmonic - chord)[:, inner]).sum() < 0.02 * np.square(chord[:, inner]).sum()
    assert (
        np.square((percussive - clicks)[:, inner]).sum() < 0.5 * np.square(clicks[:, inner]).sum()
    )


@pytest.mark.parametrize("block", [1, 2, 3, 7, 64, 1000])
def test_the_result_does_not_depend_on_the_block_size(block):
    samples = noise(1, 60_000)
    assert_close(parts(samples, block=block), parts(samples), within=ROUNDING)


def test_swapped_channels_give_swapped_parts():
    samples = song(seconds=3)
    for swapped, straight in zip(parts(samples[::-1]), parts(samples), strict=True):
        np.testing.assert_array_equal(swapped[::-1], straight)


@pytest.mark.parametrize("gain", [-1.0, 0.125, 4.0])
def test_gain_and_polarity_pass_through_exactly(gain):
    # Powers of two only move exponents, so every rounding is the same.
    samples = song(seconds=3)
    for scaled, straight in zip(parts(samples * np.float32(gain)), parts(samples), strict=True):
        np.testing.assert_array_equal(scaled, straight * np.float32(gain))


def test_later_by_a_hop_is_the_same_only_later():
    samples = noise(1, 40_000)
    later = np.pad(samples, ((0, 0), (HOP, 0)))
    reach = 16 * HOP + N_FFT
    for moved, straight in zip(parts(later), parts(samples), strict=True):
        np.testing.assert_allclose(
            moved[:, HOP + reach :], straight[:, reach:], rtol=0, atol=ROUNDING
        )


@pytest.mark.parametrize("frames", [1, 8820, 50_000])
def test_silence_stays_silence(frames):
    for part in parts(np.zeros((2, frames), np.float32)):
        assert part.shape == (2, frames)
        assert not part.any()


def test_six_channels_are_six_recordings():
    samples = noise(6, 20_000)
    together = parts(samples)
    for channel in range(6):
        alone = parts(samples[channel : channel + 1])
        for all_six, one in zip(together, alone, strict=True):
            np.testing.assert_array_equal(all_six[channel], one[0])


def test_progress_counts_the_frames_written_up_to_all_of_them():
    reports = []
    decompose(
        Sound(noise(1, 300_000)),
        Tape(),
        Tape(),
        block=100,
        progress=lambda done, total: reports.append((done, total)),
    )
    assert reports == sorted(reports)
    assert reports[-1] == (300_000, 300_000)


@pytest.mark.parametrize(
    "options",
    [
        {"kernel": 30},
        {"kernel": 1},
        {"kernel": 257},
        {"margin": 0.5},
        {"margin": np.nan},
        {"power": 0.0},
        {"power": np.inf},
        {"block": 0},
    ],
    ids=str,
)
def test_options_out_of_range_are_refused_with_their_value(options):
    with pytest.raises(ValueError, match=str(next(iter(options.values())))):
        parts(noise(1, 10), **options)


def test_every_network_sorts():
    # The 0-1 principle: what sorts all rows of zeros and ones sorts everything.
    for size in range(1, 11):
        rows = np.array(list(itertools.product((0, 1), repeat=size)))
        for low, high in sorting_network(size):
            pair = rows[:, [low, high]]
            rows[:, low], rows[:, high] = pair.min(axis=1), pair.max(axis=1)
        assert (np.diff(rows, axis=1) >= 0).all()


def test_a_pruned_network_still_finds_what_it_was_asked_for():
    rows = np.random.default_rng(0).random((500, 30))
    ordered = np.sort(rows, axis=1)
    network = selection_network(30, frozenset({14, 15}))
    assert len(network) < len(sorting_network(30))
    for step in network:
        pair = rows[:, [step.low, step.high]]
        if step.keeps_low:
            rows[:, step.low] = pair.min(axis=1)
        if step.keeps_high:
            rows[:, step.high] = pair.max(axis=1)
    np.testing.assert_array_equal(rows[:, 14:16], ordered[:, 14:16])


@pytest.mark.parametrize("width", [3, 5, 17, 31])
@pytest.mark.parametrize(("rows", "columns"), [(1, 40), (37, 65), (64, BINS)])
def test_both_medians_equal_scipy_bit_by_bit(width, rows, columns):
    values = np.abs(noise(rows, columns))
    padded = np.zeros((rows, lane_columns(columns)), np.float32)
    padded[:, :columns] = values
    context = np.pad(padded, ((width // 2, width // 2), (0, 0)), mode="symmetric")
    down = median_along_rows(context, width=width)[:, :columns]
    along = median_along_columns(padded, columns=columns, width=width)[:, :columns]
    reference = scipy.ndimage.median_filter
    np.testing.assert_array_equal(down, reference(values, size=(width, 1), mode="reflect"))
    np.testing.assert_array_equal(along, reference(values, size=(1, width), mode="reflect"))


def test_the_median_of_chosen_rows_is_numpy_s():
    values = noise(20, 64)
    chosen = np.random.default_rng(1).integers(0, 20, (9, 7))
    expected = np.median(values[chosen], axis=1)
    np.testing.assert_array_equal(median_of_rows(values, chosen), expected)


def test_shapes_that_would_read_out_of_bounds_are_refused():
    with pytest.raises(ValueError, match="multiple of 32"):
        median_along_rows(np.zeros((40, 33), np.float32), width=31)
    with pytest.raises(ValueError, match="no window of 31"):
        median_along_rows(np.zeros((30, 32), np.float32), width=31)
    with pytest.raises(ValueError, match="33 columns"):
        median_along_columns(np.zeros((4, 32), np.float32), columns=33, width=31)
    with pytest.raises(ValueError, match="rows 0 to 4"):
        median_of_rows(np.zeros((4, 32), np.float32), np.array([[0, 1, 4]]))


_COLD = """
import json, sys
from containers.audio.decompose import decompose
from containers.audio import median
from tests.stages.memory import Bin, EndlessNoise, peak_mb
decompose(EndlessNoise(seconds=float(sys.argv[1])), Bin(), Bin())
stats = median._row_filter(31).stats
print(json.dumps({
    "misses": sum(stats.cache_misses.values()),
    "hits": sum(stats.cache_hits.values()),
    "heavy": sorted({"torch", "librosa"} & set(sys.modules)),
    "peak_mb": peak_mb(),
}))
"""


def run_cold(seconds):
    done = subprocess.run(
        [sys.executable, "-c", _COLD, str(seconds)], check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout)


def test_a_fresh_process_compiles_nothing_and_holds_no_recording():
    run_cold(1)
    short, long = run_cold(30), run_cold(240)
    assert (short["hits"], short["misses"]) == (1, 0)
    assert short["heavy"] == []
    # Either part of so much more would be 74 MB; what differs is how the allocator's pages fell.
    assert long["peak_mb"] < short["peak_mb"] + 40

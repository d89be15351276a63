"""What both engines promise: length, silence, clean speech, image, files by checksum."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from clearstem.errors import AudioOutOfRange, MissingWeights, WrongChecksum
from containers.audio.denoise import Model, ModelFile, denoise
from containers.audio.noise_floor import (
    measure_levels,
    noisiness,
    noisiness_by_answer,
    quiet_segments,
)
from tests.stages.memory import Sound, Tape, noise
from tests.stages.real_audio import real_audio
from tests.stages.weights import model


def reduced(samples, *, rate_hz=16_000, **options):
    tape = Tape()
    options = {"engine": "spectral", **options}
    report = denoise(Sound(samples, rate_hz=rate_hz), tape, **options)
    return tape.samples, report


def engines():
    return [{"engine": "spectral"}, {"engine": "neural", "model": "dtln"}]


def asked(engine):
    return {**engine, "model": model(engine["model"])} if "model" in engine else engine


def talk(*, seconds, rate_hz=16_000, channels=1, hiss=0.02):
    """Half-second tones with pauses of as long, in steady noise: 20 dB of range or less."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    tone = 0.2 * np.sin(2 * np.pi * 440 * t) * ((t % 1) < 0.5)
    return (tone + noise(channels, len(t), amplitude=hiss)).astype(np.float32)


@pytest.mark.parametrize("engine", engines(), ids=lambda e: e["engine"])
@pytest.mark.parametrize(
    ("frames", "channels", "rate_hz"),
    [
        (1, 1, 16_000),
        (1, 8, 192_000),
        (800, 1, 8_000),
        (4_800, 2, 48_000),
        (44_100, 6, 44_100),
        (96_001, 2, 192_000),
    ],
)
def test_length_and_channels_are_the_source_s(engine, frames, channels, rate_hz):
    samples = noise(channels, frames)
    result, _ = reduced(samples, rate_hz=rate_hz, **asked(engine))
    assert result.shape == samples.shape
    assert np.isfinite(result).all()


@pytest.mark.parametrize("engine", engines(), ids=lambda e: e["engine"])
def test_digital_silence_stays_silent(engine):
    result, report = reduced(np.zeros((2, 30_000), np.float32), **asked(engine))
    assert not result.any()
    assert report.noisy_share == 0


@pytest.mark.parametrize("engine", engines(), ids=lambda e: e["engine"])
def test_a_silent_gap_of_40_s_hides_no_noise_from_the_profile(engine):
    samples = talk(seconds=52, rate_hz=8_000)
    samples[:, 6 * 8_000 : 46 * 8_000] = 0
    result, _ = reduced(samples, rate_hz=8_000, **asked(engine))
    assert np.isfinite(result).all()
    assert np.abs(result[:, 8 * 8_000 : 44 * 8_000]).max() < 1e-3
    pause = slice(round(50.6 * 8_000), round(50.9 * 8_000))
    assert np.std(result[:, pause]) < 0.6 * np.std(samples[:, pause])


@pytest.mark.parametrize("engine", engines(), ids=lambda e: e["engine"])
def test_less_strength_leaves_more_noise(engine):
    samples = talk(seconds=5)
    pause = slice(round(3.6 * 16_000), round(3.9 * 16_000))
    options = asked(engine)
    left = [np.std(reduced(samples, **options, strength=s)[0][:, pause]) for s in (100, 50, 1)]
    assert left[0] < 0.5 * np.std(samples[:, pause])
    assert left[0] < left[1] < left[2]


@pytest.mark.parametrize("engine", engines(), ids=lambda e: e["engine"])
def test_a_clean_recording_is_left_alone(engine):
    samples = talk(seconds=5, hiss=0.0005)
    result, report = reduced(samples, **asked(engine))
    np.testing.assert_array_equal(result, samples)
    assert report.noisy_share == 0


@pytest.mark.parametrize("engine", engines(), ids=lambda e: e["engine"])
@pytest.mark.parametrize("gain", [-1.0, 0.25, 2.0])
def test_gain_and_polarity_pass_through(engine, gain):
    samples = talk(seconds=3)
    options = asked(engine)
    straight, _ = reduced(samples, **options)
    scaled, _ = reduced(samples * np.float32(gain), **options)
    if engine["engine"] == "neural" and gain < 0:
        # A trained network is odd only nearly.
        assert np.std(scaled + straight) < 0.3 * np.std(straight)
    else:
        np.testing.assert_allclose(scaled / np.float32(gain), straight, rtol=0, atol=1e-5)


@pytest.mark.parametrize("silence_s", [0.4, 1.6, 2.0])
def test_silence_around_a_recording_changes_nothing_in_it(silence_s):
    # Whole segments of levels and whole hops: the same noise is found at the same places.
    samples = talk(seconds=4)
    silent = round(silence_s * 16_000)
    straight, told = reduced(samples)
    late, told_late = reduced(np.pad(samples, ((0, 0), (silent, silent))))
    np.testing.assert_array_equal(late[:, silent:-silent], straight)
    assert not late[:, : silent - 1024].any() and not late[:, 1024 - silent :].any()
    assert told.noisy_share == told_late.noisy_share == 1


@pytest.mark.parametrize("silence_s", [0.016, 0.4, 1.6])
def test_a_network_that_has_heard_silence_takes_a_voice_as_before(silence_s):
    samples, rate_hz = soundfile.read(real_audio("libri1.ogg"), frames=8 * 16_000, dtype="float32")
    assert rate_hz == 16_000
    noisy = samples[np.newaxis] + noise(1, len(samples), amplitude=0.02)
    silent = round(silence_s * 16_000)
    options = asked({"engine": "neural", "model": "dtln"})
    straight, _ = reduced(noisy, **options)
    late, _ = reduced(np.pad(noisy, ((0, 0), (silent, 0))), **options)
    # Its memory was not empty: a thousandth of the power is where that shows.
    assert np.std(late[:, silent:] - straight) < 10 ** (-30 / 20) * np.std(straight)


@pytest.mark.parametrize("engine", engines(), ids=lambda e: e["engine"])
def test_a_voice_in_the_centre_stays_there(engine):
    centre = np.repeat(talk(seconds=3, rate_hz=48_000), 2, axis=0)
    result, _ = reduced(centre, rate_hz=48_000, **asked(engine))
    np.testing.assert_array_equal(result[0], result[1])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_refused(bad):
    # A decoded Recording never holds any: decoding has put zeros there.
    samples = noise(1, 20_000)
    samples[0, 12_345] = bad
    with pytest.raises(AudioOutOfRange, match="NaN"):
        reduced(samples)


def test_a_missing_model_is_told(tmp_path):
    nowhere = Model("gtcrn", (ModelFile(tmp_path / "gone.onnx", "0" * 64),))
    for given in (None, nowhere):
        with pytest.raises(MissingWeights):
            reduced(noise(1, 100), engine="neural", model=given)


def test_a_model_of_another_checksum_is_not_loaded(tmp_path):
    path = tmp_path / "other.onnx"
    path.write_bytes(b"something else")
    with pytest.raises(WrongChecksum, match="other"):
        reduced(noise(1, 100), engine="neural", model=Model("gtcrn", (ModelFile(path, "0" * 64),)))


@pytest.mark.parametrize("options", [{"strength": 0.5}, {"strength": 101}, {"engine": "best"}])
def test_options_outside_their_range_are_refused(options):
    with pytest.raises(ValueError, match="must be"):
        reduced(noise(1, 100), **options)


def test_the_report_names_what_ran():
    given = model("gtcrn")
    _, report = reduced(talk(seconds=1), engine="neural", model=given)
    assert (report.engine, report.model, report.device) == ("neural", "gtcrn", "cpu")
    assert report.model_sha256 == (given.files[0].sha256,)
    assert "onnxruntime" in report.versions
    assert dataclasses.asdict(report)["noisy_share"] > 0


def test_pauses_are_found_and_gaps_are_not_taken_for_them():
    samples = talk(seconds=10)
    samples[:, :32_000] = 0
    levels = measure_levels(Sound(samples, rate_hz=16_000))
    at_s = quiet_segments(levels, most=60) * 0.2
    assert (at_s >= 2).all()
    assert (at_s % 1 >= 0.39).all()


def test_a_clean_half_does_not_vouch_for_a_noisy_one():
    samples = np.concatenate([talk(seconds=40, hiss=1e-4), talk(seconds=40)], axis=1)
    shares = noisiness(measure_levels(Sound(samples, rate_hz=16_000)))
    assert not shares[: len(shares) // 4].any()
    assert (shares[-len(shares) // 4 :] == 1).all()


_MEASURED = """
import json, sys
from containers.audio import neural_denoise
from containers.audio.denoise import Model, denoise
from tests.stages.memory import Bin, EndlessNoise
from tests.stages.test_neural_denoise import Untouched

neural_denoise.load_network = lambda name, files: Untouched
engine, seconds = sys.argv[1], float(sys.argv[2])
written = Bin()
source = EndlessNoise(seconds=seconds, channels=1, rate_hz=8_000)
denoise(source, written, engine=engine, model=Model("dtln", ()))
assert written.frames_written == source.frames
status = open("/proc/self/status").read().split("VmHWM:")[1]
print(json.dumps(int(status.split()[0]) / 1024))
"""


def peak_mb(engine, *, seconds):
    """Largest resident set of a process that denoises so many seconds."""
    command = [sys.executable, "-c", _MEASURED, engine, str(seconds)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize(("engine", "seconds"), [("spectral", 3600), ("neural", 1200)])
def test_memory_does_not_grow_with_the_length(engine, seconds):
    # Of the whole recording only a level for each fifth of a second is kept: 0.1 MB for 1 h,
    # and a few times that while it is filtered. 1 h of these samples is 115 MB, 20 min are 38.
    short, long = peak_mb(engine, seconds=120), peak_mb(engine, seconds=seconds)
    assert long < short + 30
    assert long < 400


def levels_of(samples):
    return measure_levels(Sound(samples, rate_hz=16_000))


def test_noise_that_comes_and_goes_is_found_by_what_the_network_removed():
    t = np.arange(10 * 16_000) / 16_000
    voice = (0.2 * np.sin(2 * np.pi * 440 * t) * ((t % 1) < 0.5))[np.newaxis]
    bursts = noise(1, len(t), amplitude=0.05) * ((t % 1 > 0.6) & (t % 1 < 0.8))
    before, after = levels_of(voice + bursts), levels_of(voice + 0.01 * bursts)
    assert not noisiness(before).any()  # the rest of each pause is silent
    assert (noisiness_by_answer(before, after) == 1).all()


@pytest.mark.parametrize("left", [0.1, 1.0])
def test_where_the_loud_moments_went_or_nothing_did_the_answer_tells_nothing(left):
    samples = talk(seconds=10, hiss=1e-4)
    before, after = levels_of(samples), levels_of(samples * np.float32(left))
    np.testing.assert_array_equal(noisiness_by_answer(before, after), noisiness(before))
    assert not noisiness(before).any()

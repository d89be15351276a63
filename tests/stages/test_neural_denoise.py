"""The streamed networks: alignment, memory across blocks, the band above."""

import numpy as np
import pytest

from clearstem.errors import NonFiniteOutput, UnusableCheckpoint
from containers.audio.neural_denoise import Enhancer, enhanced, load_network
from containers.audio.stream import Recording, decode
from tests.stages.memory import Sound, noise, song
from tests.stages.real_audio import real_audio
from tests.stages.weights import model_files


class Untouched:
    """A network that gives its input back: frames of 512 add up 4 times, so a quarter of it."""

    hop = 128

    def frames(self, frames):
        return frames / np.float32(4)


class Silent(Untouched):
    def frames(self, frames):
        return np.zeros_like(frames)


class Broken(Untouched):
    def frames(self, frames):
        return np.full_like(frames, np.nan)


def through(samples, make, *, rate_hz):
    source = Sound(samples, rate_hz=rate_hz)
    return np.concatenate(list(enhanced(source, make, loud_power=0.01)), axis=1)


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100, 192_000])
@pytest.mark.parametrize("frames", [1, 800, 150_001])
def test_a_network_that_changes_nothing_leaves_every_sample_in_its_place(rate_hz, frames):
    samples = noise(2, frames)
    result = through(samples, Untouched, rate_hz=rate_hz)
    # What 16 kHz cannot hold is kept by the band above, with a gain of 1 but for rounding.
    np.testing.assert_allclose(result, samples, rtol=0, atol=2e-5)


def test_the_band_above_falls_with_the_network():
    t = np.arange(96_000) / 48_000
    high = 0.1 * np.sin(2 * np.pi * 12_000 * t)[np.newaxis].astype(np.float32)
    hiss = noise(1, 96_000, amplitude=0.02)
    result = through(high + hiss, Silent, rate_hz=48_000)
    inner = slice(9_600, 86_400)
    level = np.std(result[:, inner]) / np.std((high + hiss)[:, inner])
    assert 0.08 < level < 0.11


def test_an_answer_that_is_no_number_is_refused():
    with pytest.raises(NonFiniteOutput, match="NaN"):
        through(noise(1, 5_000), Broken, rate_hz=16_000)


@pytest.mark.parametrize("name", ["dtln", "gtcrn"])
def test_memory_is_carried_across_blocks_of_any_size(name):
    make = load_network(name, [f.path.read_bytes() for f in model_files(name)])
    samples = song(seconds=1.2, rate_hz=16_000)[0]
    whole, split = Enhancer(make()), Enhancer(make())
    expected = np.concatenate([whole.feed(samples), whole.finish()])
    parts = [split.feed(part) for part in np.split(samples, [1, 2, 100, 5_000, 5_700])]
    result = np.concatenate([*parts, split.finish()])
    assert len(result) == len(samples)
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["dtln", "gtcrn"])
def test_a_voice_comes_back_on_the_sample_it_went_in(name, tmp_path):
    make = load_network(name, [f.path.read_bytes() for f in model_files(name)])
    decode(real_audio("libri2.ogg"), tmp_path / "voice.wav")
    with Recording.open(tmp_path / "voice.wav") as voice:
        assert voice.rate_hz == 16_000
        samples = voice.read(0, 64_000)[0]
    enhancer = Enhancer(make())
    result = np.concatenate([enhancer.feed(samples), enhancer.finish()])
    lags = range(-8, 9)
    likeness = [np.vdot(np.roll(samples, lag), result) for lag in lags]
    assert lags[int(np.argmax(likeness))] == 0


def test_files_that_are_no_models_are_refused():
    with pytest.raises(UnusableCheckpoint, match="2 model files, not 1"):
        load_network("dtln", [b""])
    with pytest.raises(UnusableCheckpoint, match="no ONNX model"):
        load_network("gtcrn", [b"nothing of the kind"])

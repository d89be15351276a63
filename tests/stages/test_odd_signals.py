"""Silence, one sample, a constant, clipping, samples that are no numbers: through every engine.

What each engine promises for them stands in its docstring. Streams, meters and encoders have
tests of their own for most of it, and what is not among those is here.
"""

from fractions import Fraction

import numpy as np
import pyloudnorm
import pytest
import soundfile
import torch

from clearstem.errors import AudioOutOfRange, NonFiniteOutput
from clearstem.recipes import STEMS
from containers.audio.decompose import decompose
from containers.audio.demucs_engine import demucs_stems
from containers.audio.denoise import denoise
from containers.audio.encode import encode
from containers.audio.limiter import LimitedReader
from containers.audio.loudness import Meter
from containers.audio.measure import measure
from containers.audio.network import stereo_network
from containers.audio.separate import separate
from containers.audio.stream import decode
from containers.audio.true_peak import interpolation_phases
from tests.signals import silence, sine
from tests.stages.files import samples_of, write_recording
from tests.stages.memory import Sound, Tape, noise, song

RATE_HZ = 44_100
CONSTANT = np.float32(0.25)


def decomposed(samples):
    harmonic, percussive = Tape(), Tape()
    decompose(Sound(samples), harmonic, percussive)
    return [harmonic.samples, percussive.samples]


def previewed(samples):
    tapes = {stem: Tape() for stem in STEMS}
    separate(Sound(samples), tapes, engine="spectral")
    return [tapes[stem].samples for stem in STEMS]


def separated(samples):
    model = tiny_network()
    return list(np.concatenate(list(demucs_stems(Sound(samples), model)), axis=2))


def tiny_network():
    from tests.stages.tiny_checkpoint import tiny_model

    return stereo_network(tiny_model(segment=Fraction(1)), device=torch.device("cpu"))


def denoised(samples):
    tape = Tape()
    denoise(Sound(samples), tape, engine="spectral")
    return [tape.samples]


def limited(samples):
    reader = LimitedReader(Sound(samples), gain=1.0, ceiling_dbtp=-1.0)
    return [reader.read(0, reader.frames)]


ENGINES = {
    "decomposition": decomposed,
    "preview": previewed,
    "network": separated,
    "noise reduction": denoised,
    "limiter": limited,
}


def clipped():
    return np.clip(6 * song(seconds=1), -1, 1)


ODD = {
    "one sample": np.array([[0.5], [-0.25]], np.float32),
    "two samples": np.array([[0.5, -1.0], [0.0, 1.0]], np.float32),
    "a constant": np.full((2, RATE_HZ), CONSTANT),
    "clipped": clipped(),
    "beyond full scale": 6 * song(seconds=1),
    "hardly anything": np.full((2, 5_000), np.float32(1e-38)),
    "one loud sample": np.eye(1, 30_000, 15_000, dtype=np.float32).repeat(2, axis=0),
}


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
@pytest.mark.parametrize("samples", ODD.values(), ids=ODD)
def test_whatever_comes_has_its_length_and_is_finite_afterwards(engine, samples):
    for part in engine(samples):
        assert part.shape == samples.shape
        assert np.isfinite(part).all()


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
@pytest.mark.parametrize("frames", [1, 9_000])
def test_silence_stays_silence(engine, frames):
    for part in engine(silence(frames, channels=2)):
        assert part.shape == (2, frames)
        assert not part.any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("engine", [*list(ENGINES)[:4]])
def test_samples_that_are_no_numbers_are_refused_with_their_place(engine, bad):
    # Decoding puts zeros there, so that none comes this far but by a fault.
    samples = noise(2, 2 * RATE_HZ)
    samples[1, RATE_HZ] = bad
    with pytest.raises(AudioOutOfRange, match=r"NaN or infinite samples after [01]\.\d s"):
        ENGINES[engine](samples)


def test_samples_that_are_no_numbers_are_never_encoded_or_measured(tmp_path):
    samples = noise(2, 3 * 65_536)
    samples[0, 70_000] = np.nan
    with pytest.raises(NonFiniteOutput, match=r"t\.flac: NaN or infinite samples at 1\.5 s"):
        encode(Sound(samples), tmp_path / "t.flac", format="flac")
    with pytest.raises(NonFiniteOutput, match=r"NaN or infinite samples at 1\.5 s"):
        measure(write_recording(tmp_path / "m.wav", samples))


def test_a_constant_is_harmonic_and_plays_bass():
    samples = np.full((2, 3 * RATE_HZ), CONSTANT)
    inner = slice(RATE_HZ, 2 * RATE_HZ)
    harmonic, percussive = decomposed(samples)
    np.testing.assert_allclose(harmonic[:, inner], CONSTANT, rtol=0, atol=1e-3)
    np.testing.assert_allclose(harmonic + percussive, samples, rtol=0, atol=2**-24)
    stems = dict(zip(STEMS, previewed(samples), strict=True))
    np.testing.assert_allclose(stems["bass"][:, inner], CONSTANT, rtol=0, atol=0.01)
    np.testing.assert_allclose(sum(stems.values()), samples, rtol=0, atol=1e-6)


def test_a_constant_is_not_loud_once_it_stands_and_peaks_where_it_is():
    samples = np.full((2, 10 * RATE_HZ), CONSTANT)
    meter = Meter(rate_hz=RATE_HZ, channels=2)
    meter.push(samples)
    # The K-weighting is a high-pass: only the step at the beginning is heard.
    assert meter.momentary_lufs is None or meter.momentary_lufs < -120
    assert meter.short_term_lufs is None or meter.short_term_lufs < -120
    theirs = pyloudnorm.Meter(RATE_HZ, filter_class="DeMan").integrated_loudness(
        samples.T.astype(np.float64)
    )
    assert meter.integrated_lufs == pytest.approx(theirs, abs=1e-9)
    # Its two steps overshoot between the samples (Gibbs), by what part of a filter reaches.
    phases = interpolation_phases().astype(np.float64)
    reached = max(phases.cumsum(axis=1).max(), phases[:, ::-1].cumsum(axis=1).max())
    assert meter.true_peak_dbtp == pytest.approx(20 * np.log10(CONSTANT * reached), abs=1e-4)
    assert 1 < reached < 1.13


def test_a_steady_level_is_noise_to_a_denoiser_and_never_gets_louder():
    (left,) = denoised(np.full((2, RATE_HZ), CONSTANT))
    assert np.abs(left).max() <= CONSTANT * 1.05
    assert np.std(left[:, 10_000:-10_000]) < 0.01


@pytest.mark.parametrize("format", ["wav", "flac", "aiff", "ogg", "mp3", "m4a"])
def test_a_constant_is_written_as_it_is(tmp_path, format):
    samples = np.full((2, RATE_HZ), CONSTANT)
    file = encode(Sound(samples), tmp_path / f"t.{format}", format=format)
    decode(file.path, tmp_path / "heard.wav")
    inner = slice(4_096, -4_096)
    heard = samples_of(tmp_path / "heard.wav")
    assert heard.shape == samples.shape
    # LAME has a high-pass of its own, which is for what loudspeakers cannot move anyway.
    if format != "mp3":
        np.testing.assert_allclose(heard[:, inner], CONSTANT, rtol=0, atol=0.01)


@pytest.mark.parametrize("seconds", [0.3, 0.8, 20])
def test_an_mp3_of_a_constant_is_not_taken_for_a_film(tmp_path, seconds):
    # All its packets are alike, and their bytes look like those of an MPEG program stream.
    frames = round(seconds * 48_000)
    samples = np.full((2, frames), 0.01, np.float32)
    file = encode(Sound(samples, rate_hz=48_000), tmp_path / "t.mp3", format="mp3")
    decoded = decode(file.path, tmp_path / "heard.wav")
    assert (decoded.format.container, decoded.format.frames) == ("mp3", frames)
    assert decoded.warnings == ()
    without_tag = tmp_path / "without.mp3"
    content = file.path.read_bytes()
    without_tag.write_bytes(content[content.index(b"\xff\xfb") :])
    assert decode(without_tag, tmp_path / "heard.wav").format.frames == frames


def test_what_was_clipped_is_told_apart_like_anything_else():
    samples = clipped()
    harmonic, percussive = decomposed(samples)
    np.testing.assert_allclose(harmonic + percussive, samples, rtol=0, atol=2**-23)
    np.testing.assert_allclose(sum(previewed(samples)), samples, rtol=0, atol=1e-5)
    # Parts of clipped sound reach beyond full scale: they are kept, not clipped again.
    assert max(np.abs(part).max() for part in (harmonic, percussive)) > 1


def test_a_square_peaks_higher_between_its_samples_than_at_them():
    square = np.sign(sine(1_001, 1, channels=2)).astype(np.float32)
    meter = Meter(rate_hz=RATE_HZ, channels=2)
    meter.push(square)
    assert 0.5 < meter.true_peak_dbtp < 3


def test_full_scale_survives_a_file_of_integers_and_decoding(tmp_path):
    samples = clipped()
    soundfile.write(tmp_path / "in.wav", samples.T, RATE_HZ, subtype="PCM_16")
    decode(tmp_path / "in.wav", tmp_path / "out.wav")
    heard = samples_of(tmp_path / "out.wav")
    assert heard.max() == 1 - 2**-15 and heard.min() == -1
    np.testing.assert_allclose(heard, samples, rtol=0, atol=2**-15)

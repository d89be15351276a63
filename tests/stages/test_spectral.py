import json
import subprocess
import sys

import av
import numpy as np
import pytest

from clearstem.errors import AudioOutOfRange
from clearstem.recipes import STEMS
from containers.audio.separate import separate
from containers.audio.spectral_engine import SEGMENT_S
from tests.stages.memory import Sound, Tape, noise, song
from tests.stages.real_audio import real_audio


def run(samples, *, rate_hz=44_100):
    tapes = {stem: Tape() for stem in STEMS}
    report = separate(Sound(samples, rate_hz=rate_hz), tapes, engine="spectral")
    return report, {stem: tape.samples for stem, tape in tapes.items()}


def energy(samples):
    return np.square(samples, dtype=np.float64).sum()


def sdr_db(true, estimate):
    """Signal to distortion, over all channels and frames (Mitsufuji et al., MDX 2021, eq. 1)."""
    return 10 * np.log10(energy(true) / energy(true - estimate))


def stem_streams(path):
    """The mix and its four true stems; the stems in the order drums, bass, other, vocals."""
    with av.open(path) as container:
        count = len(container.streams.audio)
    tracks = []
    for number in range(count):
        with av.open(path) as container:
            frames = [frame.to_ndarray() for frame in container.decode(audio=number)]
            tracks.append(np.concatenate(frames, axis=1))
    return tracks


def test_a_real_song_is_told_apart_better_than_by_sharing_it_out():
    mix, *true = stem_streams(real_audio("musicdelta_80srock.stem.mp4"))
    _, stems = run(mix)
    names = ("drums", "bass", "other", "vocals")
    ours = [sdr_db(part, stems[name]) for name, part in zip(names, true, strict=True)]
    shared_out = [sdr_db(part, mix / 4) for part in true]
    # 2.9 dB was measured; sharing the mix out evenly gives 1.0 dB.
    assert np.mean(ours) > 2.5
    assert np.mean(ours) > np.mean(shared_out) + 1.5


def test_the_preview_says_that_it_is_one():
    report, _ = run(song(seconds=1))
    assert report.preview
    assert (report.engine, report.model, report.model_sha256) == ("spectral", None, None)
    assert report.device == "cpu"


def test_the_stems_add_up_to_the_source():
    samples = song(seconds=SEGMENT_S * 2.1)
    report, stems = run(samples)
    residual = samples - sum(stems.values())
    assert energy(residual) < 1e-10 * energy(samples)
    assert report.residual_db < -120


def test_clicks_go_to_the_drums_and_low_notes_to_the_bass():
    t = np.arange(44_100 * 6) / 44_100
    low = np.tile(np.sin(2 * np.pi * 82.4 * t) / 3, (2, 1))
    clicks = np.zeros_like(low)
    clicks[:, ::22_050] = 0.9
    _, stems = run(low + clicks)
    assert energy(stems["bass"] - low) < 0.05 * energy(low)
    # A click is as strong below 200 Hz as above, where the bass has its share of it.
    assert energy(stems["drums"] - clicks) < 0.7 * energy(clicks)


def test_a_voice_in_the_centre_stays_out_of_the_sides():
    # Something that never repeats, once in the middle and once to one side only.
    t = np.arange(44_100 * 8) / 44_100
    glide = np.sin(2 * np.pi * (300 * t + 60 * t**2)) / 3
    backing = sum(np.sin(2 * np.pi * f * t) for f in (196.0, 247.0, 1175.0)) / 20
    centre = run(np.stack([glide + backing, glide + backing]))[1]["vocals"]
    side = run(np.stack([glide + backing, backing]))[1]["vocals"]
    assert energy(centre) > 0.3 * energy(np.stack([glide, glide]))
    assert energy(side) < 0.05 * energy(glide)


@pytest.mark.parametrize("channels", [1, 2, 3, 6])
@pytest.mark.parametrize("frames", [1, 2, 8820])
def test_any_channel_count_and_length_comes_back_as_it_went_in(channels, frames):
    samples = noise(channels, frames)
    for stem in run(samples)[1].values():
        assert stem.shape == samples.shape
        assert np.isfinite(stem).all()


@pytest.mark.parametrize("rate_hz", [8_000, 48_000, 192_000])
def test_any_rate_comes_back_with_its_length(rate_hz):
    samples = song(seconds=2.3, rate_hz=rate_hz)
    _, stems = run(samples, rate_hz=rate_hz)
    assert {stem.shape for stem in stems.values()} == {samples.shape}
    assert energy(samples - sum(stems.values())) < 1e-10 * energy(samples)


@pytest.mark.parametrize("frames", [1, 100_000])
def test_silence_stays_silence(frames):
    report, stems = run(np.zeros((2, frames)))
    assert not any(stem.any() for stem in stems.values())
    assert report.residual_db is None


def test_swapped_channels_give_swapped_stems_and_polarity_passes_through():
    samples = song(seconds=3)
    straight, swapped, turned = (run(x)[1] for x in (samples, samples[::-1], -samples))
    for name in STEMS:
        # The masks are made of sums over the channels, whose order rounds differently.
        np.testing.assert_allclose(swapped[name][::-1], straight[name], atol=1e-5)
        np.testing.assert_array_equal(turned[name], -straight[name])


def test_a_source_that_is_not_finite_is_refused():
    samples = noise(2, 5000)
    samples[0, 17] = np.inf
    with pytest.raises(AudioOutOfRange, match="NaN or infinite"):
        run(samples)


_STREAMED = """
import json, sys
from containers.audio.spectral_engine import spectral_stems
from tests.stages.memory import EndlessNoise, peak_mb
source = EndlessNoise(seconds=float(sys.argv[1]), rate_hz=22_050)
assert sum(block.shape[2] for block in spectral_stems(source)) == source.frames
heavy = sorted({"torch", "librosa"} & set(sys.modules))
print(json.dumps([peak_mb(), heavy]))
"""


def test_memory_does_not_grow_with_the_recording_and_torch_is_not_needed():
    def measured(seconds):
        command = [sys.executable, "-c", _STREAMED, str(seconds)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return json.loads(done.stdout)

    (short, heavy), (long, _) = measured(30), measured(240)
    assert heavy == []
    # The stems of so much more would be 148 MB.
    assert long < short + 60

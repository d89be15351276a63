"""Pauses that a file tells by its times alone: what follows stays with its pictures."""

from fractions import Fraction

import av
import numpy as np
import pytest

from containers.audio.gaps import Gaps
from containers.audio.stream import Recording, decode
from tests.signals import noise

RATE_HZ = 48_000


PACKET = 4_800


def write_with_pauses(path, *, muxer, codec, samples, pauses):
    """Packets of PACKET samples (a codec with its own length takes that), some of them late.

    `pauses` are pairs: from which sample on, and how many samples later.
    """
    with av.open(str(path), "w", format=muxer) as file:
        stream = file.add_stream(codec, rate=RATE_HZ)
        stream.codec_context.layout = "stereo"
        packets = []
        for at in range(0, samples.shape[1], PACKET):
            part = np.ascontiguousarray(samples[:, at : at + PACKET].T).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(part, format="flt", layout="stereo")
            frame.sample_rate, frame.time_base, frame.pts = RATE_HZ, Fraction(1, RATE_HZ), at
            packets += stream.encode(frame)
        for packet in packets + stream.encode(None):
            late = sum(pause for begin, pause in pauses if packet.pts >= begin)
            packet.pts = packet.dts = packet.pts + late
            file.mux(packet)


def decoded(path, folder):
    told = decode(path, folder / "out.wav")
    with Recording.open(folder / "out.wav") as recording:
        return recording.read(0, recording.frames), told.warnings


def test_what_follows_a_pause_comes_at_its_time(tmp_path):
    samples = noise(30 * PACKET, channels=2)
    pauses = [(10 * PACKET, 36_000), (20 * PACKET, 96_000)]
    path = tmp_path / "in.mkv"
    write_with_pauses(path, muxer="matroska", codec="pcm_f32le", samples=samples, pauses=pauses)
    heard, warnings = decoded(path, tmp_path)
    ms = RATE_HZ // 1000  # what Matroska counts in
    expected = np.zeros((2, samples.shape[1] + 132_000), np.float32)
    for part, at in zip(np.array_split(samples, 3, axis=1), (0, 84_000, 228_000), strict=True):
        expected[:, at : at + part.shape[1]] = part
    assert abs(heard.shape[1] - expected.shape[1]) <= ms
    for first, last in ((0, 48_000), (84_000, 132_000), (228_000, 276_000)):
        part = expected[:, first:last]
        places = range(max(0, first - ms), min(first + ms + 1, heard.shape[1] - part.shape[1] + 1))
        assert any(np.array_equal(heard[:, at : at + last - first], part) for at in places)
    (warning,) = warnings
    assert warning.startswith("source's sound pauses 2 times, 2.750 s in all, first at 1.000 s")


@pytest.mark.parametrize(("muxer", "codec"), [("mp4", "aac"), ("webm", "libopus")])
def test_sound_after_a_pause_is_heard_when_a_player_plays_it(tmp_path, muxer, codec):
    # A beep that ends in time and one that a pause of 1.5 s makes late.
    t = np.arange(4 * RATE_HZ) / RATE_HZ
    beeps = ((t > 0.5) & (t < 0.8)) | ((t > 2.5) & (t < 2.8))
    samples = np.tile((0.5 * np.sin(2 * np.pi * 1000 * t) * beeps).astype(np.float32), (2, 1))
    path = tmp_path / "in"
    write_with_pauses(
        path, muxer=muxer, codec=codec, samples=samples, pauses=[(round(1.5 * RATE_HZ), 72_000)]
    )
    heard, warnings = decoded(path, tmp_path)
    loud = np.flatnonzero(np.abs(heard[0]) > 0.25) / RATE_HZ
    first, second = loud[loud < 1.5], loud[loud > 1.5]
    assert first.min() == pytest.approx(0.5, abs=0.002)
    assert second.min() == pytest.approx(4.0, abs=0.002)
    assert second.max() == pytest.approx(4.3, abs=0.002)
    assert warnings[0].startswith("source's sound pauses once, 1.500 s in all")


def frame(at_s, *, samples=960):
    made = av.AudioFrame(format="flt", layout="mono", samples=samples)
    made.sample_rate, made.time_base, made.pts = RATE_HZ, Fraction(1, 1000), round(at_s * 1000)
    return made


def filled(times_s):
    """Silence before each of some frames of 20 ms, in frames."""
    gaps, position, found = Gaps(RATE_HZ), 0, []
    for at_s in times_s:
        found.append(gaps.before(frame(at_s), position=position))
        position += found[-1] + 960
    return found, gaps.warnings()


def test_a_late_begin_is_no_pause():
    assert filled([7.0, 7.02, 7.04]) == ([0, 0, 0], [])


def test_a_clock_that_drifts_is_no_pause():
    # 100 ppm over an hour and a half is half a second.
    assert not any(filled(n * 0.020002 for n in range(270_000))[0])


def test_times_that_wobble_are_no_pause():
    wobble = np.random.default_rng(0).uniform(-0.045, 0.045, 5000)
    assert not any(filled(1 + n * 0.02 + wobble[n] for n in range(5000))[0])


def test_a_jump_back_and_forth_is_filled_once():
    found, _ = filled([0.0, 0.5, 0.02, 0.54])
    assert found == [0, 23_040, 0, 0]


def test_a_broken_time_does_not_become_days_of_silence():
    found, warnings = filled([0.0, 100_000.0, 100_000.02, 100_001.02])
    assert found == [0, 0, 0, 47_040]
    assert "left out, 3600 s is the most" in warnings[1]


def test_frames_without_a_time_follow_at_once():
    untimed = av.AudioFrame(format="flt", layout="mono", samples=960)
    assert Gaps(RATE_HZ).before(untimed, position=480_000) == 0

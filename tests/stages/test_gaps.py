"""Pauses that a file tells by its times alone: what follows stays with its pictures."""

from fractions import Fraction

import av
import numpy as np
import pytest

from containers.audio.gaps import Begin, Gaps
from containers.audio.stream import Recording, decode
from tests.signals import noise
from tests.stages.videos import write_video

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


@pytest.mark.parametrize(
    ("muxer", "picture", "sound"),
    [
        ("mp4", "libx264", "aac"),
        ("mov", "mpeg4", "pcm_s16le"),
        ("matroska", "mpeg4", "aac"),
        ("webm", "libvpx", "libopus"),
        ("flv", "flv", "aac"),
        ("mpegts", "libx264", "aac"),
    ],
)
@pytest.mark.parametrize("begin_s", [0.0, 1.5])
def test_a_film_s_sound_lies_against_its_pictures(tmp_path, muxer, picture, sound, begin_s):
    beep = np.zeros((2, 2 * RATE_HZ), np.float32)
    beep[:, RATE_HZ : RATE_HZ + 12_000] = 0.5 * np.sin(np.arange(12_000) * 0.15)
    path = tmp_path / "film"
    write_video(
        path,
        muxer=muxer,
        picture=picture,
        sound=sound,
        begin_s=begin_s,
        b_frames=2 * (picture == "libx264"),
        samples=beep,
    )
    alone = decode(path, tmp_path / "alone.wav")
    told = decode(path, tmp_path / "out.wav", begin=Begin.PICTURES)
    with Recording.open(tmp_path / "out.wav") as recording:
        heard = recording.read(0, recording.frames)
    assert told.format.frames == heard.shape[1]
    # FLV and MPEG-TS do not tell their encoder's delay, of 21 ms at most.
    loud = np.flatnonzero(np.abs(heard[0]) > 0.25)
    assert loud[0] / RATE_HZ == pytest.approx(begin_s + 1, abs=0.025)
    if begin_s:
        (warning,) = told.warnings
        assert warning.startswith("source's sound begins 1.")
        assert warning.endswith(" s after its pictures: silence")
        assert told.format.frames > alone.format.frames
    else:
        assert told == alone


def test_a_late_begin_without_pictures_is_nobody_s(tmp_path):
    film = write_video(tmp_path / "film.mp4", muxer="mp4", begin_s=1.5)
    with av.open(str(film)) as source, av.open(str(tmp_path / "in.m4a"), "w") as file:
        stream = file.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(audio=0):
            if packet.dts is not None:
                packet.stream = stream
                file.mux(packet)
    alone = decode(tmp_path / "in.m4a", tmp_path / "alone.wav")
    assert decode(tmp_path / "in.m4a", tmp_path / "out.wav", begin=Begin.PICTURES) == alone
    assert alone.warnings == ()


@pytest.mark.parametrize(
    ("at_s", "behind_s", "expected"),
    [(0.0, 0.0, 0), (0.5, 0.08, 20_160), (0.04, 0.0, 0), (1.0, 2.0, 0), (4000.0, 0.0, 0)],
)
def test_how_late_a_sound_begins(at_s, behind_s, expected):
    gaps = Gaps(RATE_HZ)
    assert gaps.late(frame(at_s), behind_s=behind_s) == expected
    assert len(gaps.warnings()) == (at_s - behind_s > 0.1)

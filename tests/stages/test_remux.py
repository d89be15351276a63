"""Pictures and everything else of a video go through untouched, with another sound beside them."""

from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest

from containers.audio.encode import encode
from containers.audio.packets import Trimming
from containers.audio.remux import remux
from containers.audio.stream import Recording, decode
from tests.signals import chirp
from tests.stages.files import samples_of, write_recording
from tests.stages.real_audio import real_audio
from tests.stages.videos import (
    RATE_HZ,
    delay,
    picture_packets,
    sound_begin_s,
    trim,
    write_video,
)


def with_own_sound(folder, original, container):
    """The video with its own sound, decoded and encoded again; the notes; both sounds."""
    decode(original, folder / "sound.wav")
    result = folder / f"result.{container}"
    with Recording.open(folder / "sound.wav") as recording:
        sound = encode(recording, folder / f"sound.{container}", format=container)
    notes = remux(original, sound.path, result, container=container)
    decoded = decode(result, folder / "heard.wav")
    assert decoded.warnings == ()
    assert decoded.format.frames == sound.frames
    return result, notes, (samples_of(folder / "sound.wav"), samples_of(folder / "heard.wav"))


def assert_same_pictures(original, result, *, tolerance_s=0.0):
    before, after = picture_packets(original), picture_packets(result)
    assert len(before) > 10
    assert [digest for digest, _ in after] == [digest for digest, _ in before]
    shifts = [abs(now - then) for (_, now), (_, then) in zip(after, before, strict=True)]
    assert max(shifts) <= tolerance_s


@pytest.mark.parametrize(
    ("name", "container"),
    [
        ("chaplin.mp4", "mp4"),
        ("chaplin.mp4", "mov"),
        ("chaplin.mp4", "m4v"),
        ("chaplin.mp4", "mkv"),
        ("bbb_0_30.webm", "mkv"),
    ],
)
def test_a_real_video_keeps_every_packet_and_its_sound_in_place(tmp_path, name, container):
    original = real_audio(name)
    result, notes, (before, after) = with_own_sound(tmp_path, original, container)
    assert notes == ()
    assert_same_pictures(original, result)
    assert after.shape == before.shape
    assert delay(before, after) == 0


def test_a_real_webm_keeps_its_length_at_the_rate_of_opus(tmp_path):
    original = real_audio("bbb_0_30.webm")
    result, notes, (before, after) = with_own_sound(tmp_path, original, "webm")
    assert notes == ()
    assert_same_pictures(original, result)
    assert after.shape[1] == -(-before.shape[1] * 48_000 // 44_100)
    # Both at 300 Hz: the rates' greatest common divisor times 3, so that frames can be compared.
    coarse = before[:, :: 441 * 2], after[:, :: 480 * 2]
    assert delay(*coarse) == 0


@pytest.mark.parametrize(
    ("name", "muxer", "picture", "sound", "container"),
    [
        ("film.mp4", "mp4", "libx264", "aac", "mp4"),
        ("film.mov", "mov", "mpeg4", "aac", "mov"),
        ("film.m4v", "mp4", "mpeg4", "aac", "m4v"),
        ("film.mkv", "matroska", "libx264", "aac", "mkv"),
        ("film.webm", "webm", "libvpx", "libopus", "webm"),
        ("film.avi", "avi", "mpeg4", "libmp3lame", "mkv"),
        ("film.flv", "flv", "libx264", "aac", "mkv"),
        ("film.flv", "flv", "flv", "aac", "wmv"),
        ("film.wmv", "asf", "wmv2", "wmav2", "wmv"),
        ("film.avi", "avi", "wmv2", "pcm_s16le", "wmv"),
        ("film.mpg", "mpeg", "mpeg2video", "mp2", "mkv"),
    ],
)
def test_every_container_that_is_read_gives_its_pictures_back(
    tmp_path, name, muxer, picture, sound, container
):
    original = write_video(tmp_path / name, muxer=muxer, picture=picture, sound=sound)
    result, notes, (before, after) = with_own_sound(tmp_path, original, container)
    assert notes == ()
    if muxer == "mpeg":
        # A program stream begins at some time; the result begins at 0.
        digests = [[digest for digest, _ in picture_packets(p)] for p in (original, result)]
        assert digests[0] == digests[1]
        assert picture_packets(result)[0][1] < 0.1
    else:
        assert_same_pictures(original, result)
    assert after.shape == before.shape
    assert delay(before, after) == 0


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_pictures_out_of_order_keep_their_times(tmp_path, container):
    original = write_video(tmp_path / "film.mp4", muxer="mp4", picture="libx264", b_frames=3)
    result, _, _ = with_own_sound(tmp_path, original, container)
    assert_same_pictures(original, result)


def shown_times(path):
    """When each picture is shown, in s."""
    with av.open(str(path)) as file:
        return [frame.pts * frame.time_base for frame in file.decode(video=0)]


@pytest.mark.parametrize("b_frames", [0, 2])
@pytest.mark.parametrize("container", ["mp4", "mov"])
def test_what_was_trimmed_away_stays_away(tmp_path, container, b_frames):
    whole = write_video(
        tmp_path / "film.mp4", muxer="mp4", picture="libx264", seconds=6.0, b_frames=b_frames
    )
    # From the 31st picture on: most of the group's beginning is needed and hidden.
    original = trim(whole, tmp_path / "cut.mp4", start_s=1.2, seconds=2.0)
    before = picture_packets(original)
    assert len(before) == 150 and len(shown_times(original)) == 50
    result, notes, (sound, heard) = with_own_sound(tmp_path, original, container)
    after = picture_packets(result)
    assert before[: len(after)] == after
    # In the order of decoding a picture after the cut stands before others that show with it.
    extra = len(shown_times(result)) - 50
    assert shown_times(result)[:50] == shown_times(original)
    assert len(after) == 80 + extra and extra <= bool(b_frames)
    told = f"pictures cut off in the original shown after all, since others need them: {extra}"
    assert notes == ((told,) if extra else ())
    assert sound_begin_s(result) == 0
    assert heard.shape == sound.shape == (2, 2 * RATE_HZ)
    assert delay(sound, heard) == 0


def test_pictures_before_the_cut_are_told_where_they_show_and_the_sound_stays_in_sync(tmp_path):
    whole = write_video(tmp_path / "film.mp4", muxer="mp4", picture="libx264", seconds=4.0)
    original = trim(whole, tmp_path / "cut.mp4", start_s=1.2, seconds=2.0)
    result, notes, (sound, heard) = with_own_sound(tmp_path, original, "mkv")
    assert notes == (
        "pictures cut off in the original shown after all, since others need them: 30",
    )
    # The file begins with them, and with the cut begins the sound.
    assert [digest for digest, _ in picture_packets(result)] == [
        digest for digest, _ in picture_packets(original)[:80]
    ]
    assert picture_packets(result)[30][1] == pytest.approx(1.2)
    assert sound_begin_s(result) == pytest.approx(1.2, abs=0.001)
    assert delay(sound, heard) == 0


def test_pictures_of_a_trimmed_film_that_are_encoded_anew_are_those_that_show(tmp_path):
    whole = write_video(tmp_path / "film.mp4", muxer="mp4", picture="libx264", seconds=4.0)
    original = trim(whole, tmp_path / "cut.mp4", start_s=1.2, seconds=2.0)
    result, notes, _ = with_own_sound(tmp_path, original, "webm")
    assert notes == ("pictures encoded anew: webm holds no h264; vp9, crf 24",)
    assert shown_times(result) == pytest.approx(list(shown_times(original)), abs=0.001)


@pytest.mark.parametrize("container", ["mp4", "mov", "mkv", "wmv"])
def test_a_sound_that_begins_late_begins_as_late(tmp_path, container):
    # A sound whose encoder has no delay, at a time that both of its clocks can tell.
    begin_s = 0.5
    original = write_video(
        tmp_path / "film.mkv", muxer="matroska", sound="pcm_s16le", begin_s=begin_s
    )
    result, _, (before, after) = with_own_sound(tmp_path, original, container)
    assert sound_begin_s(original) == sound_begin_s(result) == begin_s
    assert delay(before, after) == 0
    assert_same_pictures(original, result)


def test_tags_chapters_languages_and_further_sounds_go_along(tmp_path):
    original = write_video(
        tmp_path / "film.mp4", muxer="mp4", further_sound=True, subtitles="mov_text", labelled=True
    )
    result, notes, _ = with_own_sound(tmp_path, original, "mp4")
    assert notes == ()
    with av.open(str(original)) as before, av.open(str(result)) as after:
        kinds = [stream.type for stream in before.streams]
        assert [stream.type for stream in after.streams] == kinds
        assert "subtitle" in kinds and kinds.count("audio") == 2
        assert after.metadata["title"] == "Bars" and after.metadata["artist"] == "Nobody"
        assert after.streams.video[0].metadata["language"] == "swe"
        told = [(c["start"] * c["time_base"], c["metadata"]) for c in after.chapters()]
        assert told == [(c["start"] * c["time_base"], c["metadata"]) for c in before.chapters()]
        assert len(told) == 2
    for kind in ("subtitles", "audio"):
        packets = [contents(path, kind) for path in (original, result)]
        assert packets[0] == packets[1] and packets[0]


def contents(path, kind):
    """Packets of the last stream of a kind."""
    with av.open(str(path)) as file:
        stream = getattr(file.streams, kind)[-1]
        # Of timed text every pause is an empty packet of 2 bytes, which muxers write anew.
        return [(bytes(p), p.pts * p.time_base) for p in file.demux(stream) if p.size > 2]


def test_a_further_sound_moves_nothing_in_matroska(tmp_path):
    original = write_video(tmp_path / "film.mp4", muxer="mp4", further_sound=True)
    result, notes, (before, after) = with_own_sound(tmp_path, original, "mkv")
    assert notes == ()
    assert_same_pictures(original, result)
    assert sound_begin_s(result) == 0
    assert delay(before, after) == 0


def test_what_a_container_does_not_hold_is_left_out_and_told(tmp_path):
    original = write_video(tmp_path / "film.mp4", muxer="mp4", subtitles="mov_text")
    _, notes, _ = with_own_sound(tmp_path, original, "mkv")
    assert notes == ("subtitle stream 2 (mov_text) left out: mkv holds none",)


def test_a_font_goes_along_in_matroska_and_is_told_of_elsewhere(tmp_path):
    original = write_video(tmp_path / "film.mkv", muxer="matroska", font=b"letters" * 50)
    result, notes, _ = with_own_sound(tmp_path, original, "mkv")
    assert notes == ()
    with av.open(str(result)) as file:
        (font,) = [stream for stream in file.streams if stream.type == "attachment"]
        assert font.metadata["filename"] == "letters.ttf"
        assert font.data == b"letters" * 50
    _, notes, _ = with_own_sound(tmp_path, original, "mp4")
    assert len(notes) == 1
    assert notes[0].startswith("attachment stream 2") and notes[0].endswith("mp4 holds none")


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_a_cover_goes_along(tmp_path, container):
    original = real_audio("musicdelta_80srock.stem.mp4")
    result, notes, _ = with_own_sound(tmp_path, original, container)
    assert notes == ()
    covers = [decode(path, tmp_path / "any.wav").cover for path in (original, result)]
    assert covers[0] == covers[1] and covers[0]


def test_a_turned_video_stays_turned(tmp_path):
    original = write_video(tmp_path / "film.mp4", muxer="mp4")
    data = bytearray(original.read_bytes())
    # The matrix of the first track's header (ISO/IEC 14496-12, 8.3.2), as a phone held upright
    # writes it: 16.16 fixed point, but for the third column.
    at = data.index(b"tkhd") + 44
    unity = b"".join(n.to_bytes(4, "big") for n in (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30))
    turned = b"".join(
        n.to_bytes(4, "big", signed=True)
        for n in (0, 1 << 16, 0, -(1 << 16), 0, 0, 48 << 16, 0, 1 << 30)
    )
    assert data[at : at + 36] == unity
    data[at : at + 36] = turned
    original.write_bytes(data)
    result, _, _ = with_own_sound(tmp_path, original, "mp4")
    assert rotation(result) == rotation(original) != 0


def rotation(path):
    with av.open(str(path)) as file:
        return next(file.decode(video=0)).rotation


@pytest.mark.parametrize("frames", [1, 47, 960, 5_000, 20_000])
@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("container", ["mp4", "mov", "m4v", "mkv", "webm", "wmv"])
def test_sound_alone_keeps_its_length_in_every_container(tmp_path, container, channels, frames):
    samples = chirp(frames, rate_hz=RATE_HZ, channels=channels, top=0.1)
    scratch = write_recording(tmp_path / "scratch.wav", samples, rate_hz=RATE_HZ)
    with Recording.open(scratch) as recording:
        file = encode(recording, tmp_path / f"sound.{container}", format=container)
    decoded = decode(file.path, tmp_path / "heard.wav")
    heard = samples_of(tmp_path / "heard.wav")
    expected = max(frames, 960) if container == "webm" else frames
    assert (heard.shape, file.frames) == ((channels, expected), expected)
    assert (file.conversions != ()) == (expected > frames)
    assert decoded.format.rate_hz == RATE_HZ
    if frames == 20_000:
        assert delay(samples, heard) == 0
        off, whole = heard - samples, samples
        if channels == 6:  # the fourth holds basses alone
            off, whole = np.delete(off, 3, axis=0), np.delete(whole, 3, axis=0)
        assert np.sqrt(np.mean(off**2) / np.mean(whole**2)) < 0.15


def hidden_and_shown(told, *, kind="video", size=1):
    """Packets by letter: h hidden, s shown; upper case for a key."""
    return [
        SimpleNamespace(
            stream_index=0,
            stream=SimpleNamespace(type=kind),
            is_discard=letter in "hH",
            is_keyframe=letter.isupper(),
            size=size,
            pts=at,
            time_base=Fraction(1),
        )
        for at, letter in enumerate(told)
    ]


@pytest.mark.parametrize(
    ("told", "kind", "kept"),
    [
        ("HhhsshhhHh", "video", [0, 1, 2, 3, 4]),
        ("HhhsshhHhss", "video", [0, 1, 2, 3, 4, 7, 8, 9, 10]),
        ("HhhsshhSs", "video", [0, 1, 2, 3, 4, 5, 6, 7, 8]),
        ("HHSSHH", "audio", [0, 1, 2, 3]),
    ],
)
def test_hidden_packets_stay_where_something_shown_needs_them(told, kind, kept):
    trimming = Trimming()
    found = trimming(iter(hidden_and_shown(told, kind=kind)))
    assert [packet.pts for packet in found] == kept
    hidden = [at for at in kept if told[at] in "hH" and kind == "video"]
    assert trimming.kept_s.get(0, []) == hidden


def test_more_hidden_packets_than_memory_is_spent_on_go_along():
    held = hidden_and_shown("Hhhh", size=30 * 1024 * 1024)
    assert [packet.pts for packet in Trimming()(iter(held))] == [0, 1, 2]

"""Pictures that a container does not hold are encoded anew: as many, as close, at their times."""

from fractions import Fraction

import av
import numpy as np
import pytest

from clearstem.errors import PictureNotHeld
from containers.audio.encode import encode
from containers.audio.pictures import holders, pictures_of
from containers.audio.recoding import check_decodable
from containers.audio.remux import remux
from containers.audio.stream import Recording, decode
from tests.signals import chirp
from tests.stages.files import samples_of
from tests.stages.real_audio import real_audio
from tests.stages.videos import RATE_HZ, delay, picture_packets, sound_begin_s, write_video

MS = Fraction(1, 1000)
EVERY_40_MS = tuple(range(0, 1200, 40))
UNEVEN = (0, 40, 41, 200, 233, 700, 1100, 1101, 1500, 1999)


def write_film(
    path,
    *,
    muxer="webm",
    picture="libvpx",
    sound="libopus",
    size=(96, 64),
    times_ms=EVERY_40_MS,
    form="yuv420p",
    shape=None,
    colours=(),
    turned=0,
    options=None,
):
    """A soft pattern that wanders, shown at the given times, with a chirp."""
    options = options or {}
    with av.open(str(path), "w", format=muxer) as file:
        shown = file.add_stream(picture, rate=25, options=options)
        shown.width, shown.height, shown.pix_fmt = *size, form
        shown.codec_context.time_base = MS if muxer != "avi" else Fraction(1, 25)
        if picture == "libvpx":
            shown.codec_context.bit_rate = 2_000_000
        if shape:
            shown.codec_context.sample_aspect_ratio = shape
        for name, told in colours:
            setattr(shown.codec_context, name, told)
        if turned:
            shown.set_display_rotation(turned)
        heard = file.add_stream(sound, rate=RATE_HZ)
        heard.codec_context.layout = "stereo"
        packets = []
        for number, time_ms in enumerate(times_ms):
            frame = pattern(number, time_ms, size, form)
            for name, told in colours:
                setattr(frame, name, told)
            packets += shown.encode(frame)
        packets += shown.encode(None)
        samples = chirp(2 * RATE_HZ, rate_hz=RATE_HZ, channels=2, top=0.1)
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples.T).reshape(1, -1), format="flt", layout="stereo"
        )
        frame.sample_rate, frame.time_base, frame.pts = RATE_HZ, Fraction(1, RATE_HZ), 0
        packets += heard.encode(frame) + heard.encode(None)
        for packet in sorted(packets, key=lambda p: p.dts * p.time_base):
            file.mux(packet)
    return path


def pattern(number, time_ms, size, form):
    x, y = np.meshgrid(np.linspace(0, 6, size[0]), np.linspace(0, 6, size[1]))
    waves = [np.sin(x + y + number / 8 + 2 * colour) for colour in range(3)]
    rgb = np.stack(waves, axis=-1) * 90 + 128
    frame = av.VideoFrame.from_ndarray(rgb.astype(np.uint8), format="rgb24").reformat(format=form)
    frame.pts, frame.time_base = time_ms, MS
    return frame


def encoded_anew(folder, original, container, **told):
    """The film with its own sound, in a container that does not hold its pictures; the notes."""
    decode(original, folder / "sound.wav")
    result = folder / f"result.{container}"
    with Recording.open(folder / "sound.wav") as recording:
        sound = encode(recording, folder / f"sound.{container}", format=container)
    notes = remux(original, sound.path, result, container=container, **told)
    decode(result, folder / "heard.wav")
    before, after = (samples_of(folder / f"{name}.wav") for name in ("sound", "heard"))
    assert after.shape == before.shape
    assert delay(before, after) == 0
    return result, notes


def pictures(path, *, most=10_000):
    """The first pictures and their times in s."""
    with av.open(str(path), options={"fflags": "+genpts"}) as file:
        frames = (frame for frame in file.decode(video=0))
        return [(f.pts * f.time_base, f) for f, _ in zip(frames, range(most), strict=False)]


def closeness_db(one, other):
    """PSNR of two pictures in 8 bits."""
    a, b = (frame.to_ndarray(format="yuv420p").astype(float) for frame in (one, other))
    return 10 * np.log10(255**2 / max(np.mean((a - b) ** 2), 1e-9))


def assert_alike(original, result, *, least_db=35.0, most=10_000):
    before, after = pictures(original, most=most), pictures(result, most=most)
    assert [time for time, _ in after] == [time for time, _ in before]
    assert len(before) > 5
    assert min(closeness_db(a, b) for (_, a), (_, b) in zip(before, after, strict=True)) > least_db


@pytest.mark.parametrize(
    ("muxer", "picture", "sound", "container", "note"),
    [
        ("webm", "libvpx", "libopus", "mp4", "mp4 holds no vp8; h264, crf 20"),
        ("webm", "libvpx", "libopus", "m4v", "m4v holds no vp8; h264, crf 20"),
        ("flv", "flv", "aac", "mov", "mov holds no flv; h264, crf 20"),
        ("flv", "flv", "aac", "mkv", "mkv holds no flv; h264, crf 20"),
        ("mp4", "libx265", "aac", "wmv", "wmv holds no hevc; wmv2, quantiser 2"),
        ("mp4", "libx264", "aac", "webm", "webm holds no h264; vp9, crf 24"),
    ],
)
def test_pictures_come_out_alike_at_their_times(tmp_path, muxer, picture, sound, container, note):
    options = {"x265-params": "log-level=none"} if picture == "libx265" else {}
    original = write_film(
        tmp_path / "film", muxer=muxer, picture=picture, sound=sound, options=options
    )
    assert container not in holders(pictures_of(original))
    check_decodable(original, container=container)
    result, notes = encoded_anew(tmp_path, original, container)
    assert notes == (f"pictures encoded anew: {note}",)
    assert_alike(original, result)


def test_a_real_webm_comes_out_as_mp4(tmp_path):
    original = real_audio("bbb_0_30.webm")
    short = tmp_path / "short.webm"
    with av.open(str(original)) as source, av.open(str(short), "w") as file:
        streams = [file.add_stream_from_template(s, opaque=True) for s in source.streams]
        for packet in source.demux():
            if packet.pts is not None and packet.pts < 4000:
                packet.stream = streams[packet.stream_index]
                file.mux(packet)
    result, notes = encoded_anew(tmp_path, short, "mp4")
    assert notes == ("pictures encoded anew: mp4 holds no vp8; h264, crf 20",)
    assert len(pictures(result)) == 96
    assert_alike(short, result, least_db=38, most=48)


@pytest.mark.parametrize("container", ["mp4", "mov", "wmv"])
def test_uneven_times_stay_as_they_are(tmp_path, container):
    picture, muxer, sound = (
        ("libx265", "mp4", "aac") if container == "wmv" else ("flv", "flv", "aac")
    )
    original = write_film(
        tmp_path / "film", muxer=muxer, picture=picture, sound=sound, times_ms=UNEVEN
    )
    result, _ = encoded_anew(tmp_path, original, container)
    times = [time for time, _ in pictures(original)]
    assert [time - times[0] for time in times] == [t * MS for t in UNEVEN]
    assert [time for time, _ in pictures(result)] == times


# BT.2020's primaries, PQ and its matrix (ITU-T H.273), narrow range.
WIDE = (("color_primaries", 9), ("color_trc", 16), ("colorspace", 9), ("color_range", 1))


def of_first(path, *names):
    with av.open(str(path)) as file:
        frame = next(file.decode(video=0))
        return [getattr(frame, name) for name in names]


def shape_of(path):
    with av.open(str(path)) as file:
        return file.streams.video[0].sample_aspect_ratio


def write_prores(path, **told):
    return write_film(
        path, muxer="mov", picture="prores_ks", sound="aac", form="yuv422p10le", **told
    )


@pytest.mark.parametrize("turned", [90, 180])
def test_size_shape_turn_and_colours_stay(tmp_path, turned):
    shape = Fraction(4, 3)
    original = write_prores(tmp_path / "film", shape=shape, turned=turned, colours=WIDE)
    result, (note,) = encoded_anew(tmp_path, original, "mp4")
    assert note == "pictures encoded anew: mp4 holds no prores; h264, crf 20; 8 bits of 10"
    assert shape_of(original) == shape_of(result) == shape
    names = "width", "height", "rotation", *(name for name, _ in WIDE)
    stays = [96, 64, of_first(original, "rotation")[0], *(told for _, told in WIDE)]
    assert of_first(original, *names) == of_first(result, *names) == stays
    assert abs(stays[2]) == turned
    assert_alike(original, result)


def test_a_webm_keeps_turn_and_colours_and_gets_square_pixels(tmp_path):
    original = write_film(
        tmp_path / "film", muxer="mp4", picture="libx264", sound="aac",
        shape=Fraction(4, 3), turned=90, colours=WIDE,
    )  # fmt: skip
    result, (note,) = encoded_anew(tmp_path, original, "webm")
    assert note.endswith("vp9, crf 24; 128x64 instead of 96x64")
    names = "rotation", *(name for name, _ in WIDE)
    assert of_first(original, *names) == of_first(result, *names)
    assert of_first(result, "width", "height") == [128, 64]


def test_a_turn_that_the_container_cannot_tell_is_told(tmp_path):
    original = write_film(
        tmp_path / "film", muxer="mp4", picture="libx265", sound="aac", turned=90,
        shape=Fraction(4, 3), options={"x265-params": "log-level=none"},
    )  # fmt: skip
    result, (note,) = encoded_anew(tmp_path, original, "wmv")
    assert note.endswith("not turned by 90 degrees")
    assert shape_of(result) == Fraction(4, 3)


def test_odd_sizes_become_even_and_are_told(tmp_path):
    original = write_film(tmp_path / "film", size=(97, 65))
    result, (note,) = encoded_anew(tmp_path, original, "mp4")
    assert note.endswith("h264, crf 20; 98x66 instead of 97x65")
    assert of_first(result, "width", "height") == [98, 66]
    assert [time for time, _ in pictures(result)] == [time for time, _ in pictures(original)]


@pytest.mark.parametrize(("picture", "form"), [("qtrle", "rgb24"), ("ffv1", "yuv444p")])
def test_pictures_of_other_kinds_of_colour_keep_them(tmp_path, picture, form):
    muxer, container = ("mov", "mp4") if picture == "qtrle" else ("matroska", "mov")
    original = write_film(tmp_path / "film", muxer=muxer, picture=picture, sound="aac", form=form)
    result, _ = encoded_anew(tmp_path, original, container)
    assert_alike(original, result, least_db=33)


def test_pictures_in_fields_stay_in_fields(tmp_path):
    original = write_film(
        tmp_path / "film", muxer="mov", picture="dvvideo", sound="pcm_s16le", size=(720, 576)
    )
    with av.open(str(original)) as file:
        assert next(file.decode(video=0)).interlaced_frame
    result, _ = encoded_anew(tmp_path, original, "mp4")
    assert of_first(result, "interlaced_frame", "width", "height") == [True, 720, 576]
    assert_alike(original, result)


def test_pictures_of_changing_size_come_out_at_that_of_the_first(tmp_path):
    original = write_two_sizes(tmp_path / "film.webm")
    result, _ = encoded_anew(tmp_path, original, "mp4")
    shown = pictures(result)
    assert {(frame.width, frame.height) for _, frame in shown} == {(96, 64)}
    assert [time for time, _ in shown] == [time for time, _ in pictures(original)]


def write_two_sizes(path):
    """A film whose second half is of another size, as calls over the network have them."""
    half = len(EVERY_40_MS) // 2
    first = write_film(path.with_name("first.webm"), times_ms=EVERY_40_MS[:half])
    second = write_film(path.with_name("second.webm"), times_ms=EVERY_40_MS[half:], size=(128, 96))
    with av.open(str(first)) as one, av.open(str(second)) as two, av.open(str(path), "w") as file:
        streams = [file.add_stream_from_template(s, opaque=True) for s in one.streams]
        found = [*one.demux(), *two.demux(video=0)]
        for packet in sorted((p for p in found if p.size), key=lambda p: p.dts):
            packet.stream = streams[packet.stream_index]
            file.mux(packet)
    return path


def spoiled(path, into, *, which):
    """The film with some packets of its pictures filled with noise."""
    noise = np.random.default_rng(0)
    with (
        av.open(str(path)) as source,
        av.open(str(into), "w", format=source.format.name.split(",")[0]) as file,
    ):
        streams = [file.add_stream_from_template(s, opaque=True) for s in source.streams]
        count = 0
        for packet in source.demux():
            if not packet.size:
                continue
            fresh = packet
            if packet.stream.type == "video":
                if count in which:
                    fresh = av.Packet(noise.bytes(packet.size))
                    fresh.pts, fresh.dts, fresh.time_base = packet.pts, packet.dts, packet.time_base
                count += 1
            fresh.stream = streams[packet.stream_index]
            file.mux(fresh)
    return into


def test_damaged_pictures_are_left_out_and_counted(tmp_path):
    whole = write_prores(tmp_path / "film")
    original = spoiled(whole, tmp_path / "spoiled", which=(3, 4, 11))
    result, notes = encoded_anew(tmp_path, original, "mp4")
    assert notes[1:] == ("damaged or doubled pictures left out: 3",)
    kept = [time for number, (time, _) in enumerate(pictures(whole)) if number not in (3, 4, 11)]
    assert [time for time, _ in pictures(result)] == kept


def test_pictures_that_cannot_be_decoded_are_refused(tmp_path):
    whole = write_prores(tmp_path / "film")
    original = spoiled(whole, tmp_path / "spoiled", which=range(len(EVERY_40_MS)))
    with pytest.raises(PictureNotHeld, match="mp4 holds no prores video, and this one cannot be"):
        check_decodable(original, container="mp4")
    check_decodable(original, container="mov")


class Stopped(Exception):
    """The process ends in the middle of the work."""


def test_a_run_that_was_stopped_is_made_up_for_by_the_next(tmp_path):
    original = write_film(tmp_path / "film")

    def stop(done, whole):
        if done > whole / 2:
            raise Stopped

    with pytest.raises(Stopped):
        encoded_anew(tmp_path, original, "mp4", progress=stop)
    result, _ = encoded_anew(tmp_path, original, "mp4")
    assert_alike(original, result)


def test_a_file_that_ends_early_gives_what_is_there(tmp_path):
    whole = write_film(tmp_path / "film")
    original = tmp_path / "torn"
    original.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 5])
    result, _ = encoded_anew(tmp_path, original, "mp4")
    shown = [time for time, _ in pictures(result)]
    assert shown == [time for time, _ in pictures(original)]
    assert 5 < len(shown) < len(EVERY_40_MS)


def test_progress_follows_the_work_and_ends(tmp_path):
    original = write_film(tmp_path / "film")
    told = []
    encoded_anew(tmp_path, original, "mp4", progress=lambda done, whole: told.append(done / whole))
    assert told == sorted(told) and told[-1] == 1
    assert len(set(told)) > 20


def test_pictures_that_the_container_holds_are_never_decoded(tmp_path):
    # AV1's decoder has another name than the codec.
    original = write_film(
        tmp_path / "film", picture="libsvtav1", muxer="mp4", sound="aac", options={"preset": "12"}
    )
    result, notes = encoded_anew(tmp_path, original, "webm")
    assert notes == ()
    assert [p for p, _ in picture_packets(result)] == [p for p, _ in picture_packets(original)]


@pytest.mark.parametrize("begin_s", [0.003, 0.02, 0.25])
@pytest.mark.parametrize("container", ["mp4", "mov", "m4v"])
def test_a_sound_that_begins_a_little_late_is_as_long_and_as_late(tmp_path, container, begin_s):
    original = write_video(
        tmp_path / "film.mkv", muxer="matroska", sound="pcm_s16le", begin_s=begin_s
    )
    result, notes = encoded_anew(tmp_path, original, container)
    assert notes == ()
    assert sound_begin_s(result) == begin_s

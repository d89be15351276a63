"""Tables of MP4 and QuickTime files that promise more samples than there can be."""

import struct
import tempfile
import zlib
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearstem.errors import UnreadableAudio
from containers.audio.pictures import pictures_of
from containers.audio.sample_tables import check_samples
from containers.audio.stream import decode
from tests.signals import noise

MANY = 20_000_000


def box(kind, *parts):
    content = b"".join(parts)
    return struct.pack(">I4s", 8 + len(content), kind) + content


def table(kind, *numbers):
    """A box of 32-bit numbers, behind its version and flags."""
    return box(kind, struct.pack(f">{1 + len(numbers)}I", 0, *numbers))


def sound_file(
    samples,
    *,
    form=b"alac",
    ticks=4096,
    chunks=1,
    edits=1,
    further=b"",
    fragments=(),
    inside=b"",
):
    """An MP4 of some hundred bytes with one track of as many samples, and what says so."""
    described = bytes(6) + struct.pack(">H8xHHHHI", 1, 1, 16, 0, 0, 44_100 << 16) + inside
    tables = box(
        b"stbl",
        box(b"stsd", struct.pack(">II", 0, 1), box(form, described)),
        table(b"stts", 1, samples, ticks),
        table(b"stsc", 1, 1, samples, 1),
        table(b"stsz", 1, samples),
        table(b"stco", chunks, *[32] * chunks),
        further,
    )
    media = box(
        b"mdia",
        table(b"mdhd", 0, 0, 44_100, 1 << 31, 0x55C4_0000),
        box(b"hdlr", bytes(8), b"soun", bytes(13)),
        box(b"minf", tables),
    )
    shown = table(b"elst", edits, *[0x7FFF_FFFF, 0, 0x1_0000] * edits)
    track = box(b"trak", table(b"tkhd", 0, 0, 1, *[0] * 17), box(b"edts", shown), media)
    extends = box(b"mvex", table(b"trex", 1, 1, 1, 1, 0)) if fragments else b""
    runs = [table(b"trun", count) for count in fragments]
    pieces = box(b"moof", box(b"traf", *runs)) if runs else b""
    movie = box(b"moov", table(b"mvhd", 0, 0, 1000, 1000, *[0] * 20), track, extends)
    return box(b"ftyp", b"M4A \0\0\0\0M4A mp42") + movie + pieces + box(b"mdat", bytes(64))


def packed(content):
    """The same with a compressed movie box."""
    begin, end = content.index(b"moov") - 4, content.index(b"mdat") - 4
    movie = content[begin:end]
    data = box(b"cmvd", struct.pack(">I", len(movie)), zlib.compress(movie))
    movie = box(b"moov", box(b"cmov", box(b"dcom", b"zlib"), data))
    return content[:begin] + movie + content[end:]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (sound_file(MANY), "promise 20000000 samples; 16777216 are accepted"),
        (packed(sound_file(MANY)), "promise 20000000 samples"),
        (packed(sound_file(1)) * 2, "more than one compressed movie"),
        (packed(packed(sound_file(1))), "more than one compressed movie"),
        (sound_file(MANY).replace(b"moov", b"free"), "promise 20000000 samples"),
        (sound_file(MANY // 10, edits=10), "promise 20000000 samples"),
        (sound_file(1, fragments=[MANY]), "promise 20000001 samples"),
        (sound_file(1, fragments=[MANY // 4] * 4), "promise 20000001 samples"),
        (sound_file(2**28, form=b"sowt", ticks=1, chunks=60), "promise 18619[0-9]{3} samples"),
        (sound_file(2**28, form=b"agsm", ticks=1, chunks=12), "promise 2013[0-9]{4} samples"),
        (
            sound_file(MANY, form=b"sowt", ticks=1, further=table(b"ctts", 1, MANY, 0)),
            "promise 20000000 samples",
        ),
        (sound_file(1, inside=table(b"stsz", 1, MANY)), "a table stsz in a sample description"),
    ],
    ids=[
        "samples",
        "packed",
        "packed_twice",
        "packed_inside",
        "free",
        "edits",
        "fragment",
        "fragments",
        "pcm",
        "gsm",
        "offsets",
        "hidden",
    ],
)
def test_a_promise_of_too_much_is_told(tmp_path, content, told):
    path = tmp_path / "song.m4a"
    path.write_bytes(content)
    with pytest.raises(UnreadableAudio, match=rf"^song\.m4a: .*{told}"):
        decode(path, tmp_path / "out.wav")
    with pytest.raises(UnreadableAudio, match=told):
        pictures_of(path)


def test_boxes_without_number_are_told(tmp_path):
    path = tmp_path / "song.m4a"
    path.write_bytes(box(b"moov") * 2_000_001)
    with pytest.raises(UnreadableAudio, match=r"song\.m4a: it has more than 2000000 boxes"):
        check_samples(path)


def test_a_sample_description_without_end_is_told(tmp_path):
    path = tmp_path / "song.m4a"
    path.write_bytes(sound_file(1, inside=bytes(2**24)))
    with pytest.raises(UnreadableAudio, match="a sample description of 16777260 bytes"):
        check_samples(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        bytes(100),
        b"RIFF\x10\0\0\0WAVE",
        sound_file(16_777_216),
        sound_file(8_000_000, edits=2),
        # Ten hours of PCM at 192 kHz, told by frame, and of GSM.
        sound_file(36_000 * 192_000 // 2, form=b"sowt", ticks=1, chunks=2),
        sound_file(36_000 * 44_100 // 2, form=b"agsm", ticks=1, chunks=2),
    ],
    ids=["empty", "zeros", "wav", "most", "edits", "pcm", "gsm"],
)
def test_what_a_recording_can_promise_passes(tmp_path, content):
    path = tmp_path / "song"
    path.write_bytes(content)
    check_samples(path)


def test_samples_that_read_like_boxes_without_number_are_samples(tmp_path):
    # Quiet ones of 32 bits: 8, 8, 8 and so on. No box is called so.
    song = tmp_path / "song.aiff"
    samples = struct.pack(">II", 8, 8) * 2_000_001
    song.write_bytes(b"FORM" + struct.pack(">I", len(samples) + 4) + b"AIFF" + samples)
    check_samples(song)


@pytest.mark.parametrize(
    ("options", "kind", "count_at"),
    [
        ({}, b"stsz", 12),
        ({"movflags": "+faststart"}, b"stsz", 12),
        ({"movflags": "+frag_keyframe+empty_moov", "frag_duration": "200000"}, b"trun", 8),
    ],
    ids=["behind", "in_front", "fragments"],
)
def test_counts_are_found_where_ffmpeg_writes_them(tmp_path, options, kind, count_at):
    path = tmp_path / "song.m4a"
    with av.open(str(path), "w", format="mp4", container_options=options) as file:
        stream = file.add_stream("aac", rate=44_100)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(noise(44_100), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 44_100, 0
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    assert decode(path, tmp_path / "out.wav").format.frames >= 44_100
    content = bytearray(path.read_bytes())
    at = content.index(kind) + count_at
    content[at : at + 4] = struct.pack(">I", MANY)
    path.write_bytes(content)
    with pytest.raises(UnreadableAudio, match=r"promise 2000[0-9]{4} samples"):
        decode(path, tmp_path / "out.wav")


@given(
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=8))),
    st.floats(0, 1),
)
def test_broken_tables_end_in_nothing_but_our_error(changes, kept):
    content = np.frombuffer(sound_file(1000, chunks=4, fragments=[10]), np.uint8).copy()
    for place, new in changes:
        part = content[int(place * len(content)) :][: len(new)]
        part[:] = np.frombuffer(new, np.uint8)[: len(part)]
    with tempfile.NamedTemporaryFile() as file, suppress(UnreadableAudio):
        file.write(content[: round(kept * len(content))].tobytes())
        file.flush()
        check_samples(Path(file.name))

"""Names and bytes given by strangers."""

import struct
import unicodedata
from io import BytesIO
from pathlib import PurePosixPath
from wave import open as open_wave

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearstem.errors import ContentMismatch, EmptyFile, MissingFile, UnsupportedFormat
from clearstem.media import (
    DENOISE_INPUTS,
    HEAD_BYTES,
    SEPARATE_INPUTS,
    SEPARATE_OUTPUTS,
    check_head,
    content_type,
    extension,
    file_name,
)


@pytest.mark.parametrize(
    ("given_name", "stored"),
    [
        ("song.wav", "song.wav"),
        ("../../etc/passwd.wav", "passwd.wav"),
        ("..\\..\\windows\\system32\\song.wav", "song.wav"),
        ("/srv/../song.wav", "song.wav"),
        ("a/b\\c/../d\\song.wav", "song.wav"),
        ("C:\\Users\\Ada\\song.wav", "song.wav"),
        ("so\x00ng.wav", "song.wav"),
        ("song\r\nSet-Cookie: a=b.wav", "songSet-Cookie: a=b.wav"),
        ("so\x1b[31mng\x7f.wav", "so[31mng.wav"),
        ("gnp\u202egnos.wav", "gnpgnos.wav"),
        ("song.wav   ", "song.wav"),
        ("song.wav...", "song.wav"),
        ("song.wav . .", "song.wav"),
        ("song.wav\u00a0.", "song.wav"),
        ("song.wav\u3000", "song.wav"),
        ("  song.wav", "song.wav"),
        ("my\u202fsong.wav", "my song.wav"),
        ("Cafe\u0301.wav", "Caf\u00e9.wav"),
        ("песня.wav", "песня.wav"),
        ("歌.flac", "歌.flac"),
        ("أغنية.mp3", "أغنية.mp3"),
        ("🎵.ogg", "🎵.ogg"),
        ("lone\ud800surrogate.wav", "lonesurrogate.wav"),
        (".wav", ".wav"),
        ("song", "song"),
    ],
)
def test_of_a_name_stays_its_last_component_as_it_can_be_shown(given_name, stored):
    assert file_name(given_name) == stored


@pytest.mark.parametrize(
    "nothing", [None, "", "   ", ".", "..", "...", ". .", "a/", "a\\", "../..", "\x00", "\u200b"]
)
def test_a_name_of_which_nothing_is_left_is_no_name(nothing):
    with pytest.raises(MissingFile, match="No filename provided"):
        file_name(nothing)


@pytest.mark.parametrize("letter", ["a", "ж", "歌", "🎵"])
def test_a_name_of_300_bytes_and_more_keeps_its_extension(letter):
    name = file_name(letter * 300 + ".flac")
    assert len(name.encode()) in range(255 - 3, 256)
    assert name == letter * ((255 - 5) // len(letter.encode())) + ".flac"


def test_a_dot_early_in_a_long_name_makes_no_long_extension():
    name = file_name("a." + "b" * 300)
    assert name == "a." + "b" * 253


NAMES = st.one_of(
    st.text(st.characters(), max_size=400),
    st.text(st.sampled_from("ab./\\ \t\u00a0\u3000\u0301é歌\x00\u200b"), max_size=400),
    st.builds(str.__add__, st.text(min_size=200, max_size=400), st.sampled_from((".wav", ".m4a"))),
)


@given(NAMES)
@settings(max_examples=300, deadline=None)
def test_any_name_becomes_one_path_component_of_at_most_255_bytes(given_name):
    try:
        name = file_name(given_name)
    except MissingFile:
        return
    assert 1 <= len(name.encode()) <= 255
    assert name not in (".", "..")
    assert PurePosixPath(name).name == name
    assert "\\" not in name
    assert not {unicodedata.category(c) for c in name} & {"Cc", "Cf", "Cs", "Co"}
    assert name == name.strip().rstrip(".")


@given(NAMES)
@settings(max_examples=200, deadline=None)
def test_a_name_that_was_mended_needs_no_mending(given_name):
    try:
        name = file_name(given_name)
    except MissingFile:
        return
    assert file_name(name) == name
    assert unicodedata.is_normalized("NFC", name)


@pytest.mark.parametrize(
    ("name", "found"),
    [("song.wav", "wav"), ("SONG.MP3", "mp3"), ("a.b.Flac", "flac"), ("歌.ogg", "ogg")],
)
def test_an_accepted_extension_is_told_in_lower_case(name, found):
    assert extension(name, accepted=SEPARATE_INPUTS) == found


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("song.aac", ".aac"),
        ("song.AAC", ".aac"),
        ("song.wav.exe", ".exe"),
        ("song", "(no extension)"),
        (".wav", "(no extension)"),
        ("wav", "(no extension)"),
    ],
)
def test_another_extension_is_refused_with_those_that_are_accepted(name, told):
    with pytest.raises(UnsupportedFormat) as refused:
        extension(name, accepted=SEPARATE_INPUTS)
    assert str(refused.value) == (
        f"Unsupported audio format: {told} (accepted: .wav, .mp3, .flac, .ogg)"
    )


def test_every_format_has_its_registered_media_type():
    types = {e: content_type(e) for e in {*SEPARATE_INPUTS, *SEPARATE_OUTPUTS, "zip", "json"}}
    assert types == {
        "wav": "audio/wav",
        "mp3": "audio/mpeg",
        "flac": "audio/flac",
        "ogg": "audio/ogg",
        "m4a": "audio/mp4",
        "opus": "audio/opus",
        "aiff": "audio/aiff",
        "zip": "application/zip",
        "json": "application/json",
    }
    assert content_type("exe") == "application/octet-stream"


def wav() -> bytes:
    """One 16 bit stereo frame."""
    file = BytesIO()
    with open_wave(file, "wb") as writer:
        writer.setparams((2, 2, 44_100, 0, "NONE", ""))
        writer.writeframes(bytes(4))
    return file.getvalue()


def rf64(mark: bytes) -> bytes:
    """The same with 64 bit sizes (EBU Tech 3306: sizes of -1, then a ds64 chunk)."""
    ds64 = b"ds64" + struct.pack("<IQQQI", 28, 72, 4, 1, 0)
    return mark + b"\xff\xff\xff\xffWAVE" + ds64 + wav()[12:]


def flac() -> bytes:
    """Marker and a STREAMINFO block (RFC 9639, 8.2), 44.1 kHz, 2 channels, 16 bit, no samples."""
    sizes = struct.pack(">HH", 4096, 4096) + bytes(6)
    packed = (44_100 << 44) | (1 << 41) | (15 << 36)
    return b"fLaC" + b"\x80\x00\x00\x22" + sizes + struct.pack(">Q", packed) + bytes(16)


def ogg() -> bytes:
    """A first page with a Vorbis identification header (RFC 3533; Vorbis I, 4.2.2)."""
    header = b"\x01vorbis" + struct.pack("<IBIiiiBB", 0, 2, 44_100, 0, 128_000, 0, 0xB8, 1)
    return b"OggS\x00\x02" + bytes(8) + struct.pack("<IIIBB", 1, 0, 0, 1, len(header)) + header


def mp3() -> bytes:
    """One MPEG-1 Layer III frame, 128 kbit/s at 44.1 kHz: 417 bytes, all silence."""
    return b"\xff\xfb\x90\x00" + bytes(413)


def mp3_tagged() -> bytes:
    """The same behind an ID3v2.3 tag with a title."""
    frame = b"TIT2" + struct.pack(">IH", 5, 0) + b"\x00Song"
    return b"ID3\x03\x00\x00" + bytes((0, 0, 0, len(frame))) + frame + mp3()


def aiff(kind: bytes) -> bytes:
    """A COMM chunk: 1 channel, 0 frames, 16 bit, 44.1 kHz as an 80 bit float."""
    rate = b"\x40\x0e\xac\x44" + bytes(6)
    comm = b"COMM" + struct.pack(">IhIh", 18, 1, 0, 16) + rate
    return b"FORM" + struct.pack(">I", 4 + len(comm)) + kind + comm


def mp4(brand: bytes) -> bytes:
    """A file type box (ISO/IEC 14496-12, 4.3)."""
    return struct.pack(">I", 20) + b"ftyp" + brand + bytes(4) + b"isom"


def webm() -> bytes:
    """An EBML header that names its document type (RFC 8794, 11.2)."""
    return b"\x1a\x45\xdf\xa3\x87" + b"\x42\x82\x84webm"


def box(kind: bytes, size: int = 8) -> bytes:
    """A box of ISO media or an atom of QuickTime, of which nothing follows."""
    return struct.pack(">I", size) + kind + bytes(24)


def transport_stream(*, before: bytes = b"") -> bytes:
    """Three packets with the sync byte (ISO/IEC 13818-1, 2.4.3.2), of the table of programs."""
    return (before + b"G\x40\x00\x10" + b"\xff" * 184) * 3


SOUNDS = {
    "wav": wav(),
    "rf64": rf64(b"RF64"),
    "bw64": rf64(b"BW64"),
    "flac": flac(),
    "ogg": ogg(),
    "mp3": mp3(),
    "mp3 with ID3": mp3_tagged(),
    "mpeg-2 layer III": b"\xff\xf3\x40\xc4" + bytes(60),
    "aiff": aiff(b"AIFF"),
    "aifc": aiff(b"AIFC"),
    "m4a": mp4(b"M4A "),
    "mp4": mp4(b"isom"),
    "webm": webm(),
    "rifx": b"RIFX" + wav()[4:],
    "wave64": b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00",
    "caf": b"caff\x00\x01\x00\x00desc",
    "sun audio": b".snd\x00\x00\x00\x18",
    "wavpack": b"wvpk\x00\x10\x00\x00",
    "monkey's audio": b"MAC \x96\x0f\x00\x00",
    "ac-3": b"\x0b\x77\x00\x00",
    "quicktime that begins with its samples": box(b"mdat", 0x7000_0000),
    **{
        f"quicktime that begins with {kind.decode()}": box(kind)
        for kind in (b"moov", b"wide", b"skip", b"free", b"pnot")
    },
}

NO_SOUNDS = {
    "text": b"This is not a song.\n",
    "text in UTF-16": "This is not a song.\n".encode("utf-16"),
    "html": b"<!doctype html><html><body>404 Not Found</body></html>",
    "json": b'{"detail":"Not Found"}',
    "zip": b"PK\x03\x04" + bytes(26),
    "png": b"\x89PNG\r\n\x1a\n" + bytes(20),
    "pdf": b"%PDF-1.7\n",
    "executable": b"\x7fELF\x02\x01\x01" + bytes(9),
    "avi": b"RIFF\x00\x00\x00\x00AVI LIST",
    "iff picture": b"FORM\x00\x00\x00\x04ILBM",
    "nothing but zeros": bytes(HEAD_BYTES),
    "a RIFF mark alone": b"RIFF",
    "one byte": b"\xff",
    "text with the name of a box": b"The free encyclopedia, and no movie at all\n",
    "lines with the name of a box": b"\r\n\r\nfree encyclopedia\n",
}


@pytest.mark.parametrize("kind", SOUNDS)
def test_the_first_bytes_of_every_sound_file_are_let_in(kind):
    check_head(SOUNDS[kind][:HEAD_BYTES], name="song.wav")


@pytest.mark.parametrize("kind", NO_SOUNDS)
def test_what_is_plainly_no_sound_is_refused_whatever_its_name(kind):
    head = NO_SOUNDS[kind][:HEAD_BYTES]
    with pytest.raises(ContentMismatch) as refused:
        check_head(head, name="song.wav")
    assert str(refused.value).startswith(
        f"song.wav is not a readable audio file: it begins with {head[:8]!r}"
    )


@pytest.mark.parametrize(
    "head",
    [
        NO_SOUNDS["avi"],
        bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"),
        b"FLV\x01\x05",
        b"#!AMR\n",
        b"\x00\x00\x01\xba\x44",
        transport_stream(),
        transport_stream(before=bytes(4)),
    ],
)
def test_what_only_noise_removal_reads_is_let_in_there_alone(head):
    check_head(head, name="talk.avi", accepted=DENOISE_INPUTS)
    with pytest.raises(ContentMismatch):
        check_head(head, name="talk.avi")


@pytest.mark.parametrize(
    "head", [b"GIF89a" + bytes(58), NO_SOUNDS["png"], NO_SOUNDS["text"], b"G" * 256]
)
def test_a_picture_renamed_to_a_video_is_refused(head):
    with pytest.raises(ContentMismatch, match="AVI, ASF, FLV, AMR, MPEG, MP4 or WebM"):
        check_head(head, name="talk.mp4", accepted=DENOISE_INPUTS)


# How a recording of a broadcast begins, and files of some programs.
NO_BEGINNINGS = {
    "zeros": bytes(HEAD_BYTES),
    "one zero": b"\x00" + mp3(),
    "the middle of a frame": bytes(range(7, 255)),
    "a line of a server": b"ICY 200 OK\r\n\r\n" + mp3(),
    "an empty line": b"\r\n" + mp3(),
}


@pytest.mark.parametrize("beginning", NO_BEGINNINGS)
def test_where_decoders_look_for_the_sound_it_need_not_stand_first(beginning):
    head = NO_BEGINNINGS[beginning][:HEAD_BYTES]
    check_head(head, name="Song.MP3")
    for name in ("talk.aac", "talk.mpg", "talk.mpeg"):
        check_head(head, name=name, accepted=DENOISE_INPUTS)
    with pytest.raises(ContentMismatch):
        check_head(head, name="song.flac")


@pytest.mark.parametrize(
    "kind", ["text", "text in UTF-16", "html", "json", "zip", "png", "pdf", "executable"]
)
def test_what_is_plainly_something_else_is_refused_there_too(kind):
    with pytest.raises(ContentMismatch):
        check_head(NO_SOUNDS[kind][:HEAD_BYTES], name="song.mp3")


def test_an_empty_file_is_refused_as_empty():
    with pytest.raises(EmptyFile, match=r"^song\.wav is empty \(0 bytes\)$"):
        check_head(b"", name="song.wav")


@given(st.binary(min_size=1, max_size=HEAD_BYTES))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_let_in_or_refused(head):
    try:
        check_head(head, name="song.wav")
    except ContentMismatch as refusal:
        assert len(str(refusal)) < 200

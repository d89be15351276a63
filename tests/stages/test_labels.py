"""Tags and covers of what is encoded: they survive, or are told to stay behind."""

import struct
import zlib

import numpy as np
import pytest
import soundfile

from clearstem.errors import UnreadableAudio
from containers.audio.demuxing import tags_in
from containers.audio.id3_chunk import append_tag
from containers.audio.ogg_comments import set_comments
from containers.audio.riff import FLOAT_HEADER_BYTES, float_header
from containers.audio.stream import decode
from tests.signals import noise
from tests.stages.real_audio import real_audio
from tests.stages.test_encode import LOSSLESS, LOSSY, encoded, heard


@pytest.mark.parametrize("format", (*LOSSLESS, *LOSSY, "opus"))
def test_tags_survive_or_are_reported(tmp_path, format):
    tags = {
        "title": "Lied Nº 3 — 漢字", "artist": "Ångström", "album": "A", "genre": "Jazz",
        "album_artist": "B", "composer": "C", "comment": "so = far", "date": "1999",
        "track": "3", "disc": "1", "copyright": "D", "isrc": "DEX010000001",
    }  # fmt: skip
    file = encoded(tmp_path, noise(10_000), rate_hz=48_000, format=format, tags=tags)
    found = heard(tmp_path, file)[1].tags
    kept = {key: value for key, value in tags.items() if key in found}
    assert {key: found[key] for key in kept} == kept
    lost = ", ".join(sorted(tags.keys() - kept.keys()))
    told = (f"tags left out: {lost}; our {format} files hold none such",)
    assert file.conversions == (told if lost else ())
    assert {"title", "artist", "album", "genre", "date", "track", "comment"} <= kept.keys()
    assert not lost or format == "m4a"


@pytest.mark.parametrize("format", ["wav", "aiff", "flac", "mp3", "ogg", "opus"])
def test_tags_that_a_format_has_no_name_for_go_along_under_their_own(tmp_path, format):
    tags = {
        "conductor": "Karajan", "label": "DG", "musicbrainz_albumid": "0ab1", "remixer": "R",
        "compilation": "1", "artist-sort": "Angstrom", "publisher": "P", "catalog number": "7",
    }  # fmt: skip
    file = encoded(tmp_path, noise(10_000), rate_hz=48_000, format=format, tags=tags)
    assert heard(tmp_path, file)[1].tags == tags
    assert file.conversions == ()


def test_a_tag_and_a_cover_that_stay_behind_are_told(tmp_path):
    tags = {"title": "T", "time_reference": "9"}
    file = encoded(tmp_path, noise(100), format="flac", tags=tags)
    told = decode(file.path, tmp_path / "heard.wav")
    assert told.tags == {"title": "T"}
    assert told.warnings == ("source's tags left out: time_reference",)
    file = encoded(tmp_path, noise(100), format="m4a", cover=png(17 * 2**20))
    told = decode(file.path, tmp_path / "heard.wav")
    assert told.cover is None
    assert told.warnings == ("cover art left out: 17.0 MiB, up to 16 MiB go along",)


@pytest.mark.parametrize("name", ["vibeace.ogg", "musicdelta_80srock.stem.mp4"])
@pytest.mark.parametrize("format", (*LOSSLESS, *LOSSY, "opus"))
def test_cover_art_survives(tmp_path, format, name):
    cover = decode(real_audio(name), tmp_path / "out.wav").cover
    file = encoded(tmp_path, noise(10_000), rate_hz=48_000, format=format, cover=cover)
    found = heard(tmp_path, file)[1].cover
    assert (found, file.conversions) == (cover, ())


def test_a_cover_that_is_no_picture_is_left_out_and_reported(tmp_path):
    file = encoded(tmp_path, noise(10_000), format="mp3", cover=b"\xff\xd8\xff no picture")
    assert file.conversions == ("cover art left out: it is no picture of up to 37748736 pixels",)
    assert heard(tmp_path, file)[1].cover is None


@pytest.mark.parametrize("format", ["ogg", "opus"])
@pytest.mark.parametrize("size", [10, 60_000, 200_000])
def test_a_cover_of_any_size_moves_no_sound_in_an_ogg_file(tmp_path, format, size):
    cover = png(size)
    samples = noise(200_000, channels=2, peak=0.3)
    bare = heard(tmp_path, encoded(tmp_path, samples, rate_hz=48_000, format=format))[0]
    file = encoded(tmp_path, samples, rate_hz=48_000, format=format, cover=cover)
    back, decoded = heard(tmp_path, file)
    assert decoded.cover == cover
    np.testing.assert_array_equal(back, bare)
    pages = list(pages_of(file.path.read_bytes()))
    for page in (pages[0], pages[-1]):
        assert ogg_checksum(page) == int.from_bytes(page[22:26], "little")
    assert soundfile.info(file.path).frames == 200_000  # libogg leaves out damaged pages


def png(extra_bytes):
    """A picture of 2 x 1, and so many bytes behind what is shown of it."""

    def chunk(name, body):
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    head = struct.pack(">IIBBBBB", 2, 1, 8, 2, 0, 0, 0)
    shown = zlib.compress(bytes(7))
    filling = np.random.default_rng(0).bytes(extra_bytes)
    parts = (b"IHDR", head), (b"tEXt", filling), (b"IDAT", shown), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def pages_of(content):
    """Ogg pages, in order and without a gap (RFC 3533, section 6)."""
    at = number = 0
    while at < len(content):
        segments = content[at + 26]
        end = at + 27 + segments + sum(content[at + 27 : at + 27 + segments])
        assert content[at : at + 4] == b"OggS"
        assert int.from_bytes(content[at + 18 : at + 22], "little") == number
        yield content[at:end]
        at, number = end, number + 1


def ogg_checksum(page):
    """Bit by bit, as RFC 3533 has it: the polynomial 0x04c11db7 from 0, its own field being 0."""
    remainder = 0
    for byte in page[:22] + bytes(4) + page[26:]:
        remainder ^= byte << 24
        for _ in range(8):
            remainder = (remainder << 1) ^ (0x104C11DB7 if remainder >> 31 else 0)
    return remainder


def test_what_is_no_ogg_file_gets_no_comments(tmp_path):
    path = tmp_path / "track.ogg"
    path.write_bytes(b"OggS" + bytes(100))
    with pytest.raises(UnreadableAudio, match=r"track\.ogg"):
        set_comments(path, tags={"title": "x"}, cover=None)
    assert [file.name for file in tmp_path.iterdir()] == ["track.ogg"]


@pytest.mark.parametrize("format", ["wav", "aiff"])
@pytest.mark.parametrize("frames", [1, 10_000, 10_001])
def test_a_tag_behind_the_sound_moves_none_of_it(tmp_path, format, frames):
    # 24 bits in one channel: every other length ends on an odd byte.
    samples = noise(frames)
    cover = png(1_001)
    file = encoded(tmp_path, samples, format=format, cover=cover, tags={"composer": "C"})
    back, decoded = heard(tmp_path, file)
    np.testing.assert_allclose(back, samples, rtol=0, atol=2.0**-24)
    assert (decoded.cover, decoded.tags) == (cover, {"composer": "C"})
    others, _ = soundfile.read(file.path, dtype="float32")
    np.testing.assert_array_equal(others, back[0])
    content = file.path.read_bytes()
    order = "<I" if format == "wav" else ">I"
    assert struct.unpack(order, content[4:8])[0] == len(content) - 8


def with_lyrics(path, **languages):
    """Put a tag with lyrics before the sound of an mp3 file that has none."""
    # USLT (ID3v2.4, section 4.8): encoding UTF-8, language, no description, the words.
    words = [b"\x03" + code.encode() + b"\0" + text.encode() for code, text in languages.items()]
    frames = b"".join(b"USLT" + bytes([0, 0, 0, len(w), 0, 0]) + w for w in words)
    path.write_bytes(b"ID3\x04\0\0" + bytes([0, 0, *divmod(len(frames), 128)]) + frames)
    return path


@pytest.mark.parametrize("format", ["wav", "aiff", "flac", "ogg"])
def test_lyrics_of_any_language_go_along(tmp_path, format):
    song = with_lyrics(tmp_path / "song.mp3", eng="La la\nlä", deu="Trala")
    sound = encoded(tmp_path, noise(20_000, peak=0.3), format="mp3")
    song.write_bytes(song.read_bytes() + sound.path.read_bytes())
    tags = decode(song, tmp_path / "song.wav").tags
    assert tags == {"lyrics": "La la\nlä"}
    file = encoded(tmp_path, noise(20_000), format=format, tags=tags)
    assert file.conversions == ()
    assert tags_in(file.path) == tags


def sparse(path, *, frames):
    """A float WAV of so much silence, RF64 where it must be, that takes no room on the disk."""
    with path.open("wb") as file:
        file.write(float_header(rate_hz=44_100, channels=2, frames=frames))
        file.truncate(FLOAT_HEADER_BYTES + 8 * frames)
    return path


def test_a_tag_behind_4_gib_of_sound_is_found_and_none_is_put_where_sizes_end(tmp_path):
    frames = 5 * 2**30 // 8
    long = sparse(tmp_path / "long.wav", frames=frames)
    assert append_tag(long, tags={"title": "x", "isrc": "y"}, cover=None)
    assert soundfile.info(long).frames == frames
    assert tags_in(long) == {"title": "x", "isrc": "y"}
    # Less than the tag is left of what 32 bits can tell.
    full = sparse(tmp_path / "full.wav", frames=(2**32 - 120) // 8)
    before = full.stat().st_size
    assert not append_tag(full, tags={"title": 100 * "x"}, cover=None)
    assert full.stat().st_size == before

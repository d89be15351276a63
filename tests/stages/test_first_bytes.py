"""What decodes is never refused by its first bytes."""

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile

from clearstem.media import DENOISE_INPUTS, HEAD_BYTES, SEPARATE_INPUTS, check_head
from containers.audio.stream import decode
from tests.signals import noise
from tests.stages.files import write_with_ffmpeg
from tests.stages.videos import write_video

RATE_HZ = 44_100
SAMPLES = noise(RATE_HZ, channels=2)


def lets_in(content: bytes, name: str) -> None:
    """Fails where a file of that name would be refused."""
    accepted = SEPARATE_INPUTS if name.endswith(SEPARATE_INPUTS) else DENOISE_INPUTS
    check_head(content[:HEAD_BYTES], name=name, accepted=accepted)


@pytest.fixture
def decoded(tmp_path: Path):
    def frames(content: bytes) -> int:
        path = tmp_path / "source"
        path.write_bytes(content)
        return decode(path, tmp_path / "out.wav").format.frames

    return frames


def encoded(folder: Path, muxer: str, encoder: str) -> bytes:
    path = folder / "encoded"
    write_with_ffmpeg(path, SAMPLES, muxer=muxer, encoder=encoder, rate_hz=RATE_HZ)
    return path.read_bytes()


def boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The first boxes of a movie, by their kinds."""
    while content:
        size = int.from_bytes(content[:4], "big")
        yield content[4:8], content[:size]
        content = content[size:]


def moved(movie: bytes, *, by: int) -> bytes:
    """A movie box whose samples lie that many bytes further on (stco, ISO/IEC 14496-12, 8.7.5)."""
    at = movie.index(b"stco") + 8
    (count,) = struct.unpack_from(">I", movie, at)
    places = struct.unpack_from(f">{count}I", movie, at + 4)
    changed = struct.pack(f">{count}I", *(place + by for place in places))
    return movie[: at + 4] + changed + movie[at + 4 + len(changed) :]


@pytest.mark.parametrize("first", [b"moov", b"mdat", b"wide", b"skip", b"free", b"pnot"])
@pytest.mark.parametrize(("muxer", "encoder"), [("mov", "pcm_s16le"), ("ipod", "aac")])
def test_a_movie_without_a_file_type_is_let_in(tmp_path, decoded, first, muxer, encoder):
    whole = encoded(tmp_path, muxer, encoder)
    parts = dict(boxes(whole))
    movie, samples = parts[b"moov"], parts[b"mdat"]
    lead = b"" if first in (b"moov", b"mdat") else struct.pack(">I", 8) + first
    before = len(lead) + (len(movie) if first == b"moov" else 0)
    movie = moved(movie, by=before - whole.index(samples))
    content = lead + (movie + samples if first == b"moov" else samples + movie)
    assert content[4:8] == first
    assert decoded(content) == decoded(whole) >= RATE_HZ
    lets_in(content, "clip.mov")


@pytest.mark.parametrize("zeros", [1, 3, 100, 700, 70_000])
def test_an_mp3_behind_zeros_is_let_in(tmp_path, decoded, zeros):
    content = bytes(zeros) + encoded(tmp_path, "mp3", "libmp3lame")
    assert decoded(content) >= RATE_HZ
    lets_in(content, "song.mp3")


@pytest.mark.parametrize(
    ("muxer", "encoder", "name"), [("mp3", "libmp3lame", "song.mp3"), ("adts", "aac", "talk.aac")]
)
def test_what_was_cut_out_of_a_broadcast_is_let_in(tmp_path, decoded, muxer, encoder, name):
    content = encoded(tmp_path, muxer, encoder)[700:]
    assert decoded(content) > RATE_HZ * 0.9
    lets_in(content, name)


@pytest.mark.parametrize("cut", [0, 100, 188 * 3])
def test_a_transport_stream_is_let_in(tmp_path, decoded, cut):
    path = write_video(tmp_path / "clip", muxer="mpegts", picture="mpeg2video", sound="mp2")
    content = path.read_bytes()[cut:]
    assert decoded(content) > 0
    for name in ("clip.mpg", "clip.mpeg"):
        lets_in(content, name)
    if not cut:
        lets_in(content, "clip.mp4")


@pytest.mark.parametrize("code", [b"\x00\x00\x01\xbb", b"\x00\x00\x01\xe0", b"\x00\x00\x01\xc0"])
def test_a_program_stream_from_some_packet_on_is_let_in(tmp_path, decoded, code):
    path = write_video(tmp_path / "clip", muxer="mpeg", picture="mpeg1video", sound="mp2")
    content = path.read_bytes()
    content = content[content.index(code) :]
    assert decoded(content) > 0
    lets_in(content, "clip.mpg")


def test_a_program_stream_behind_a_piece_of_sound_is_no_mp3(tmp_path, decoded):
    path = write_video(tmp_path / "clip", muxer="mpeg", picture="mpeg1video", sound="mp2")
    whole = path.read_bytes()
    assert decoded(b"\xff\xfd\x90\x00" * 20 + whole) == decoded(whole) > 0


@pytest.mark.parametrize(
    "format", ["WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "FLAC", "OGG", "MP3"]
)
def test_what_libsndfile_writes_is_let_in(tmp_path, decoded, format):
    path = tmp_path / "written"
    soundfile.write(path, SAMPLES.T, RATE_HZ, format=format)
    assert decoded(path.read_bytes()) == RATE_HZ
    lets_in(path.read_bytes(), "song.wav")


def test_a_wav_with_its_numbers_the_other_way_round_is_let_in(tmp_path, decoded):
    path = tmp_path / "written"
    soundfile.write(path, SAMPLES.T, RATE_HZ, format="WAV", subtype="PCM_16", endian="BIG")
    content = path.read_bytes()
    assert content[:4] == b"RIFX"
    assert decoded(content) == RATE_HZ
    lets_in(content, "song.wav")


@pytest.mark.parametrize(
    ("muxer", "encoder"),
    [("adts", "aac"), ("ac3", "ac3"), ("wv", "wavpack"), ("matroska", "flac"), ("mp2", "mp2")],
)
def test_what_ffmpeg_writes_is_let_in(tmp_path, decoded, muxer, encoder):
    content = encoded(tmp_path, muxer, encoder)
    assert decoded(content) >= RATE_HZ
    lets_in(content, "song.wav")


@pytest.mark.parametrize(("muxer", "encoder"), [("adts", "aac"), ("flac", "flac")])
def test_a_tag_in_front_hides_nothing(tmp_path, decoded, muxer, encoder):
    title = b"TIT2" + struct.pack(">IH", 5, 0) + b"\x00Song"
    tag = b"ID3\x03\x00\x00" + bytes((0, 0, 0, len(title))) + title
    content = tag + encoded(tmp_path, muxer, encoder)
    assert decoded(content) >= RATE_HZ
    lets_in(content, "song.wav")

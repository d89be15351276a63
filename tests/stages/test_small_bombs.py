"""Small files that would be gigabytes in memory: told or left out, and never taken apart."""

import json
import struct
import subprocess
import sys
import zlib
from fractions import Fraction
from pathlib import Path

import av
import pytest

from clearstem.errors import UnreadableAudio
from containers.audio.muxing import picture_size
from containers.audio.remux import remux
from tests.stages.videos import picture_packets, write_video

# What the libraries take alone, and room for one picture of 100 MB; the bombs are of 500 and more.
MOST_MB = 200
HUGE = (8000, 8000)
LARGE = (3600, 3600)

_CHILD = """
import json, sys
from pathlib import Path
from tests.stages.memory import peak_mb
{setup}
try:
    told = {call}
except Exception as error:
    told = [type(error).__name__, str(error)]
print(json.dumps([told, peak_mb()]))
"""


def in_a_child(path, setup, call):
    """What a call tells of a file at `path`, and the peak of a process that does nothing else."""
    code = _CHILD.format(setup=setup, call=call)
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout)


def png(width, height):
    """A picture of eight bytes a pixel, all 0."""
    row = bytes(1 + width * 8)
    squeeze = zlib.compressobj()
    lines = b"".join([*(squeeze.compress(row) for _ in range(height)), squeeze.flush()])
    head = struct.pack(">IIBBBBB", width, height, 16, 6, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", lines), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


def write_film(path, size, *, streams=1, cover=False):
    """Streams of one PNG each, and a second of silence."""
    with av.open(str(path), "w") as file:
        shown = [file.add_stream("png", rate=25) for _ in range(streams)]
        for stream in shown:
            stream.width, stream.height, stream.pix_fmt = *size, "rgb24"
        if cover:
            shown[-1].disposition = av.stream.Disposition.attached_pic
        heard = file.add_stream("flac" if path.suffix == ".flac" else "pcm_s16le", rate=8000)
        heard.layout = "mono"
        silence = av.AudioFrame(format="s16", layout="mono", samples=8000)
        silence.planes[0].update(bytes(16_000))
        silence.sample_rate, silence.pts = 8000, 0
        file.start_encoding()
        picture = png(*size)
        for stream in shown:
            packet = av.Packet(picture)
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, 25), True
            packet.pts = packet.dts = 0
            file.mux(packet)
        for packet in heard.encode(silence) + heard.encode(None):
            file.mux(packet)
    return path


DECODE = (
    "from containers.audio.stream import decode",
    "decode(Path(sys.argv[1]), Path(sys.argv[1] + '.wav')).format.frames",
)
CHECK = (
    "from containers.audio.recoding import check_decodable",
    "check_decodable(Path(sys.argv[1]), container='webm')",
)
REMUX = (
    "from containers.audio.remux import remux",
    "remux(*(Path(sys.argv[1] + end) for end in ('', '.sound', '.new')), container='mp4')",
)
NAMES = (
    "from containers.audio.pictures import holders, pictures_of",
    "holders(pictures_of(Path(sys.argv[1])))",
)


@pytest.mark.parametrize(("size", "streams"), [(HUGE, 1), (LARGE, 6)])
def test_pictures_are_not_decoded_to_hear_the_sound(tmp_path, size, streams):
    film = write_film(tmp_path / "film.mov", size, streams=streams)
    frames, peak = in_a_child(film, *DECODE)
    assert frames == 8000
    assert peak < MOST_MB


@pytest.mark.parametrize(
    ("size", "streams", "most"), [(HUGE, 1, 37_748_736), (LARGE, 6, 12_582_912)]
)
def test_pictures_too_large_to_be_encoded_anew_are_told(tmp_path, size, streams, most):
    film = write_film(tmp_path / "film.mov", size, streams=streams)
    (name, message), peak = in_a_child(film, *CHECK)
    assert name == "PictureNotHeld"
    assert f"cannot be decoded: it is broken or has more than {most} pixels" in message
    assert peak < MOST_MB


def test_no_container_takes_pictures_above_the_limit_as_they_are(tmp_path):
    film = write_film(tmp_path / "film.mov", HUGE)
    holders, peak = in_a_child(film, *NAMES)
    assert holders == []
    assert peak < MOST_MB


def test_a_cover_above_the_limit_costs_neither_memory_nor_the_sound(tmp_path):
    song = write_film(tmp_path / "song.flac", HUGE, cover=True)
    frames, peak = in_a_child(song, *DECODE)
    assert frames == 8000
    assert peak < MOST_MB


def test_a_cover_above_the_limit_has_no_size(tmp_path):
    cover = tmp_path / "cover.png"
    cover.write_bytes(png(*HUGE))
    size, peak = in_a_child(
        cover,
        "from containers.audio.muxing import picture_size",
        "picture_size(Path(sys.argv[1]).read_bytes())",
    )
    assert size is None
    assert peak < MOST_MB


def test_a_large_cover_keeps_its_size(tmp_path):
    assert picture_size(png(*LARGE)) == LARGE


def test_a_film_s_cover_above_the_limit_is_left_out_with_a_note(tmp_path):
    plain = write_video(tmp_path / "film.mp4.sound", muxer="mp4", seconds=0.5)
    film = with_cover(plain, tmp_path / "film.mp4", png(*HUGE))
    notes, peak = in_a_child(film, *REMUX)
    assert notes == ["cover art left out: it is broken or has more than 37748736 pixels"]
    assert peak < MOST_MB
    assert picture_packets(Path(f"{film}.new")) == picture_packets(plain)


def with_cover(plain, path, cover):
    """A film with a picture attached."""
    with av.open(str(plain)) as source, av.open(str(path), "w", format="mp4") as file:
        copies = [file.add_stream_from_template(stream) for stream in source.streams]
        shown = file.add_stream("png")
        shown.width, shown.height, shown.pix_fmt = 64, 64, "rgb24"
        shown.disposition = av.stream.Disposition.attached_pic
        file.start_encoding()
        picture = av.Packet(cover)
        picture.stream, picture.time_base = shown, Fraction(1, 25)
        picture.pts = picture.dts = 0
        file.mux(picture)
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = copies[packet.stream_index]
                file.mux(packet)
    return path


def test_a_flood_of_subtitles_is_refused(tmp_path):
    plain = write_video(tmp_path / "plain.mkv", muxer="matroska", seconds=0.5)
    film = tmp_path / "film.mkv"
    with av.open(str(plain)) as source, av.open(str(film), "w") as file:
        copies = [file.add_stream_from_template(stream) for stream in source.streams]
        texts = file.add_mux_stream("subrip")
        texts.time_base = Fraction(1, 1000)
        file.start_encoding()
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = copies[packet.stream_index]
                file.mux(packet)
        for number in range(10_001):
            text = av.Packet(b"-")
            text.stream, text.time_base = texts, Fraction(1, 1000)
            text.pts = text.dts = 500 + number // 50
            file.mux(text)
    with pytest.raises(UnreadableAudio, match="more than 10000 packets within a second, at 0 s"):
        remux(film, plain, tmp_path / "new.mkv", container="mkv")

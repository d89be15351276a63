"""What headers say of a recording's length, and what they are not believed."""

import io
import struct
import time

import av
import numpy as np
import pytest

from clearstem.durations import BlockReader, header_duration_s, stored_duration_s
from clearstem.facts import Location
from clearstem.service import Service
from tests.recipes import SHARED_AUDIO
from tests.submitted import long_wav, wav

_BLOCK_BYTES = 256 * 1024
_MUXERS = {"m4a": "mp4", "aac": "adts", "opus": "ogg", "mkv": "matroska"}


def duration_s(content: bytes) -> float | None:
    return header_duration_s(reader_of(content)[0])


def reader_of(content: bytes) -> tuple[BlockReader, list[int]]:
    """A reader of the bytes, and the blocks that it has asked for."""
    asked: list[int] = []

    def block(index: int) -> bytes:
        asked.append(index)
        return content[index * _BLOCK_BYTES : (index + 1) * _BLOCK_BYTES]

    return BlockReader(block, size_bytes=len(content)), asked


def made(extension: str, codec: str, *, rate_hz: int = 44_100, **options: str) -> bytes:
    """Three seconds of noise in a format."""
    target = io.BytesIO()
    noise = np.random.default_rng(7).standard_normal(3 * rate_hz) * 3000
    frame = av.AudioFrame.from_ndarray(noise.astype("<i2")[None], format="s16", layout="mono")
    frame.rate = rate_hz
    muxer = _MUXERS.get(extension, extension)
    with av.open(target, "w", format=muxer, options=options) as container:
        stream = container.add_stream(codec, rate=rate_hz)
        stream.layout = "mono"
        context = stream.codec_context
        convert = av.AudioResampler(context.format, "mono", rate_hz, context.frame_size or 0)
        for piece in [*convert.resample(frame), *convert.resample(None), None]:
            container.mux(stream.encode(piece))
    return target.getvalue()


@pytest.mark.parametrize(
    ("extension", "codec", "rate_hz", "padding_s"),
    [
        ("wav", "pcm_s16le", 44_100, 0.0),
        ("wav", "pcm_f32le", 8000, 0.0),
        ("aiff", "pcm_s16be", 44_100, 0.0),
        ("flac", "flac", 44_100, 0.0),
        ("mp3", "libmp3lame", 44_100, 0.08),
        ("opus", "libopus", 48_000, 0.02),
        ("m4a", "aac", 44_100, 0.08),
        ("mov", "aac", 44_100, 0.08),
    ],
)
def test_headers_tell_the_length(
    extension: str, codec: str, rate_hz: int, padding_s: float
) -> None:
    told = duration_s(made(extension, codec, rate_hz=rate_hz))
    assert told is not None
    assert 3.0 - 1e-3 <= told <= 3.0 + padding_s + 1e-3


@pytest.mark.parametrize(
    ("extension", "codec", "options"),
    [
        ("mp3", "libmp3lame", {"write_xing": "0"}),
        ("aac", "aac", {}),
        ("mkv", "aac", {}),
        ("webm", "libopus", {}),
        ("avi", "pcm_s16le", {}),
    ],
)
def test_what_no_header_tells_is_not_guessed(
    extension: str, codec: str, options: dict[str, str]
) -> None:
    rate_hz = 48_000 if codec == "libopus" else 44_100
    assert duration_s(made(extension, codec, rate_hz=rate_hz, **options)) is None


@pytest.mark.parametrize(
    "name", ["letsgofishin.ogg", "jfk.flac", "demucs_test.mp3", "chaplin.mp4", "rain.mp3"]
)
def test_real_recordings_are_as_long_as_a_decoder_says(name: str) -> None:
    path = SHARED_AUDIO / name
    if not path.exists():
        pytest.skip("../shared/audio is not here")
    with av.open(str(path)) as container:
        expected = container.duration / av.time_base
    assert duration_s(path.read_bytes()) == pytest.approx(expected, abs=0.1)


def streamed(content: bytes, size: int) -> bytes:
    """The recording as a recorder leaves it that never went back to its header."""
    at = content.index(b"data") + 4
    return content[:at] + struct.pack("<I", size) + content[at + 4 :]


def test_a_header_never_written_to_its_end_is_taken_by_the_files_size() -> None:
    told = duration_s(streamed(wav(8000), 0xFFFF_FFFF))
    assert told == pytest.approx(1.0, abs=0.01)


def test_a_header_that_says_nothing_yet_is_not_believed() -> None:
    assert duration_s(streamed(wav(8000), 0)) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"OggS",
        b"OggS" * 2_000_000,
        b"RIFF1234WAVE",
        b"RIFF1234WAVE" + bytes(5_000_000),
        b"\xff\xfb\x90" + b"\xff\xf0" * 3_000_000,
        b"\0\0\0\x08ftyp" * 1_000_000,
        b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + bytes(1000),
        b"fLaC\xff\xff\xff\xff" + bytes(1000),
        b"FORM\0\0\0\0AIFFCOMM\xff\xff\xff\xff",
    ],
    ids=lambda content: repr(content[:12]),
)
def test_hostile_headers_cost_little_and_tell_nothing(content: bytes) -> None:
    begun = time.process_time()
    assert duration_s(content) is None
    assert time.process_time() - begun < 2.0


def test_a_large_file_is_read_at_its_ends_alone() -> None:
    reader, asked = reader_of(long_wav(20_000))
    assert header_duration_s(reader) == 20_000
    assert set(asked) == {0}


def test_an_object_in_storage_tells_its_length(service: Service) -> None:
    location = Location(service.settings.uploads_bucket, "long.wav")
    with service.store.writer(location, content_type="audio/wav", max_bytes=1 << 30) as writer:
        writer.write(long_wav(901.5))
    assert stored_duration_s(service.store, location) == 901.5

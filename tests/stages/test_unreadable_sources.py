"""What holds no sound, or none that is taken, and how it is told."""

import struct
from contextlib import suppress

import numpy as np
import pytest
import soundfile

from clearstem.errors import AudioOutOfRange, NoAudio, UnreadableAudio
from containers.audio.stream import DecodeLimits, decode
from tests.signals import noise
from tests.stages.files import (
    samples_of,
    write_video_without_sound,
    write_with_ffmpeg,
)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"hello, this is text\n" * 100, "plain text"),
        ("naïve café\n".encode() * 10, "plain text"),
        (b"", "an empty file"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "a PNG image"),
        (b"%PDF-1.7\n" + bytes(100), "a PDF document"),
        (b"PK\x03\x04" + bytes(100), "a ZIP archive"),
        (bytes(200_000), "data that starts with 00 00 00 00"),
        (bytes(range(7, 107)) * 50, "data that starts with 07 08 09 0a"),
    ],
)
def test_what_is_no_audio_is_named(tmp_path, content, found):
    path = tmp_path / "song.wav"
    path.write_bytes(content)
    with pytest.raises(UnreadableAudio, match=f"song.wav is {found}, not audio"):
        decode(path, tmp_path / "out.wav")
    assert not (tmp_path / "out.wav").exists()


def test_random_bytes_named_mp3_are_no_audio(tmp_path):
    path = tmp_path / "song.mp3"
    path.write_bytes(np.random.default_rng(0).bytes(200_000))
    with pytest.raises(UnreadableAudio, match=r"song\.mp3"):
        decode(path, tmp_path / "out.wav")


@pytest.mark.parametrize(
    "playlist",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile {}\n",
    ],
)
def test_a_playlist_never_opens_the_file_it_names(tmp_path, playlist):
    secret = tmp_path / "secret.wav"
    soundfile.write(secret, noise(1000).T, 44_100)
    path = tmp_path / "song.wav"
    path.write_text(playlist.format(secret))
    with pytest.raises(UnreadableAudio, match="plain text"):
        decode(path, tmp_path / "out.wav")


def test_an_unknown_codec_is_told_as_such(tmp_path):
    path = tmp_path / "odd.wav"
    soundfile.write(path, noise(1000).T, 44_100)
    content = bytearray(path.read_bytes())
    content[20:22] = b"\x34\x12"  # the format tag of the fmt chunk
    path.write_bytes(content)
    with pytest.raises(UnreadableAudio, match=r"odd\.wav: there is no decoder"):
        decode(path, tmp_path / "out.wav")


@pytest.mark.parametrize(("format_tag", "frames"), [(0x55, 0), (7, 10_000)])
def test_compressed_wav_without_a_frame_size_promises_nothing(tmp_path, format_tag, frames):
    path = tmp_path / "odd.wav"
    sound = bytes(10_000) if frames else mp3(tmp_path)
    fmt = struct.pack("<HHIIHH", format_tag, 1, 8000, 8000, 0, 0)
    chunks = b"fmt " + struct.pack("<I", len(fmt)) + fmt + b"data" + struct.pack("<I", len(sound))
    path.write_bytes(b"RIFF" + struct.pack("<I", len(chunks) + len(sound) + 4) + b"WAVE")
    with path.open("ab") as file:
        file.write(chunks + sound)
    decoded = decode(path, tmp_path / "out.wav")
    assert decoded.format.frames >= (frames or 8000)


def mp3(folder):
    """A second of noise."""
    path = write_with_ffmpeg(
        folder / "sound.mp3", noise(8000), muxer="mp3", encoder="libmp3lame", rate_hz=8000
    )
    return path.read_bytes()


def test_flipped_bytes_never_end_in_anything_but_our_errors(tmp_path):
    whole = encoded_sources(tmp_path)
    draw = np.random.default_rng(1)
    for number in range(60):
        damaged = bytearray(whole[number % len(whole)])
        for place in draw.integers(0, len(damaged), 20):
            damaged[place] = draw.integers(0, 256)
        path = tmp_path / "damaged"
        path.write_bytes(damaged)
        with suppress(UnreadableAudio, NoAudio, AudioOutOfRange):
            assert decode(path, tmp_path / "out.wav").format.frames > 0
            assert np.isfinite(samples_of(tmp_path / "out.wav")).all()


def encoded_sources(folder):
    """One short file of each kind, as bytes."""
    samples = noise(20_000, channels=2)
    for suffix in ("wav", "flac", "ogg"):
        soundfile.write(folder / f"in.{suffix}", samples.T, 48_000)
    made = [(folder / f"in.{suffix}").read_bytes() for suffix in ("wav", "flac", "ogg")]
    for muxer, encoder in (("mp3", "libmp3lame"), ("mp4", "aac"), ("webm", "libopus")):
        path = write_with_ffmpeg(folder / "in", samples, muxer=muxer, encoder=encoder)
        made.append(path.read_bytes())
    return made


def test_a_video_without_sound_is_told_as_such(tmp_path):
    path = write_video_without_sound(tmp_path / "silent.mp4")
    with pytest.raises(NoAudio, match="with video streams only"):
        decode(path, tmp_path / "out.wav")


def test_zero_channels_are_no_audio(tmp_path):
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 0, 44_100, 0, 0, 16)
    body = b"WAVE" + fmt + struct.pack("<4sI", b"data", 8) + bytes(8)
    path = tmp_path / "none.wav"
    path.write_bytes(struct.pack("<4sI", b"RIFF", len(body)) + body)
    with pytest.raises(NoAudio, match="declares 0 channels"):
        decode(path, tmp_path / "out.wav")


@pytest.mark.parametrize("suffix", ["wav", "flac", "aiff"])
def test_zero_frames_are_no_audio(tmp_path, suffix):
    path = tmp_path / f"empty.{suffix}"
    soundfile.write(path, np.zeros((0, 2)), 44_100)
    with pytest.raises((NoAudio, UnreadableAudio), match=f"empty.{suffix}"):
        decode(path, tmp_path / "out.wav")


@pytest.mark.parametrize(
    ("channels", "rate_hz", "message"),
    [
        (9, 44_100, "9 channels; 1 to 8 are accepted"),
        (1, 7_999, "7999 Hz; 8000 to 192000 Hz are accepted"),
        (1, 192_001, "192001 Hz; 8000 to 192000 Hz are accepted"),
    ],
)
def test_channels_and_rates_out_of_range_are_refused(tmp_path, channels, rate_hz, message):
    path = tmp_path / "odd.wav"
    soundfile.write(path, noise(100, channels=channels).T, rate_hz)
    with pytest.raises(AudioOutOfRange, match=message):
        decode(path, tmp_path / "out.wav")


def test_a_recording_that_is_too_long_is_refused(tmp_path):
    path = tmp_path / "long.wav"
    soundfile.write(path, noise(20_000).T, 8_000)
    limits = DecodeLimits(max_seconds=2.5)
    assert decode(path, tmp_path / "out.wav", limits=limits).format.frames == 20_000
    with pytest.raises(AudioOutOfRange, match=r"longer than 2\.4 s"):
        decode(path, tmp_path / "out.wav", limits=DecodeLimits(max_seconds=2.4))
    assert not (tmp_path / "out.wav").exists()

"""Scratch files, and decoding of everything that people send."""

import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from clearstem.errors import AudioOutOfRange, LengthChanged, NoAudio, UnreadableAudio
from containers.audio.headers import promised_by_wav
from containers.audio.riff import FLOAT_HEADER_BYTES, float_header
from containers.audio.stream import DecodeLimits, Recording, RecordingWriter, decode
from tests.signals import chirp, noise, sine
from tests.stages.files import (
    samples_of,
    write_recording,
    write_video_without_sound,
    write_with_ffmpeg,
)
from tests.stages.real_audio import real_audio


@given(start=st.integers(-50, 150), length=st.integers(0, 200))
@settings(max_examples=50, deadline=None)
def test_reading_outside_a_recording_gives_zeros(tmp_path_factory, start, length):
    path = tmp_path_factory.getbasetemp() / "outside.wav"
    samples = noise(100, channels=2)
    write_recording(path, samples)
    padded = np.pad(samples, ((0, 0), (50, 350)))
    with Recording.open(path) as recording:
        read = recording.read(start, start + length)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, padded[:, start + 50 : start + 50 + length])


@pytest.mark.parametrize("channels", [1, 2, 6, 8])
def test_blocks_in_order_are_the_recording(tmp_path, channels):
    samples = noise(1000, channels=channels)
    path = tmp_path / "scratch.wav"
    with RecordingWriter(path, rate_hz=8000, channels=channels, frames=1000) as writer:
        for start in range(0, 1000, 333):
            writer.write(samples[:, start : start + 333])
    with Recording.open(path) as recording:
        assert (recording.rate_hz, recording.channels, recording.frames) == (8000, channels, 1000)
        blocks = list(recording.blocks(frames=300))
    assert [block.shape[1] for block in blocks] == [300, 300, 300, 100]
    np.testing.assert_array_equal(np.concatenate(blocks, axis=1), samples)


def test_other_programs_read_a_scratch_file(tmp_path):
    samples = noise(1000, channels=2, peak=3.0)
    read, rate_hz = soundfile.read(
        write_recording(tmp_path / "scratch.wav", samples, rate_hz=96_000), dtype="float32"
    )
    assert rate_hz == 96_000
    np.testing.assert_array_equal(read.T, samples)


@pytest.mark.parametrize("gibibytes", [3, 5])
def test_a_scratch_file_is_rf64_where_riff_is_too_small(tmp_path, gibibytes):
    frames = gibibytes * 2**30 // 8
    path = tmp_path / "long.wav"
    with path.open("wb") as file:  # sparse: takes no room on the disk
        file.write(float_header(rate_hz=44_100, channels=2, frames=frames))
        file.truncate(FLOAT_HEADER_BYTES + (frames - 1) * 8)
        file.seek(0, 2)
        file.write(struct.pack("<2f", 0.25, -0.5))
    with path.open("rb") as file:
        assert file.read(4) == (b"RIFF" if gibibytes < 4 else b"RF64")
    assert soundfile.info(path).frames == frames
    with Recording.open(path) as recording:
        assert recording.frames == frames
        np.testing.assert_array_equal(recording.read(frames - 1, frames + 1)[0], [0.25, 0])
    assert promised_by_wav(path) == frames


def test_a_writer_that_got_another_length_than_announced_says_so(tmp_path):
    writer = RecordingWriter(tmp_path / "short.wav", rate_hz=44_100, channels=1, frames=10)
    writer.write(noise(9))
    with pytest.raises(LengthChanged, match="9 frames written, 10 announced"):
        writer.close()
    writer.close()


def test_a_scratch_file_whose_writing_failed_is_no_recording(tmp_path):
    path = tmp_path / "failed.wav"
    with (
        pytest.raises(RuntimeError, match="disk"),
        RecordingWriter(path, rate_hz=44_100, channels=1, frames=10),
    ):
        raise RuntimeError("disk")
    with pytest.raises(UnreadableAudio):
        Recording.open(path)


def test_a_transposed_block_is_refused(tmp_path):
    with (
        RecordingWriter(tmp_path / "x.wav", rate_hz=8000, channels=2, frames=None) as writer,
        pytest.raises(ValueError, match=r"shape \(100, 2\); .* \(2, frames\)"),
    ):
        writer.write(noise(2, channels=100))


def test_a_cut_off_scratch_file_is_refused(tmp_path):
    path = write_recording(tmp_path / "cut.wav", noise(1000))
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(UnreadableAudio, match="3996 bytes of samples, 4000 promised"):
        Recording.open(path)


@pytest.mark.parametrize(
    ("suffix", "subtype", "bit_depth", "is_float"),
    [
        ("WAV", "PCM_U8", 8, False),
        ("WAV", "PCM_16", 16, False),
        ("WAV", "PCM_24", 24, False),
        ("WAV", "PCM_32", 32, False),
        ("WAV", "FLOAT", 32, True),
        ("WAV", "DOUBLE", 64, True),
        ("WAVEX", "PCM_24", 24, False),
        ("RF64", "PCM_24", 24, False),
        ("W64", "PCM_16", 16, False),
        ("AIFF", "PCM_24", 24, False),
        ("FLAC", "PCM_16", 16, False),
        ("FLAC", "PCM_24", 24, False),
    ],
)
def test_lossless_files_decode_to_their_very_samples(
    tmp_path, suffix, subtype, bit_depth, is_float
):
    path, into = tmp_path / "in.bin", tmp_path / "out.wav"
    soundfile.write(path, noise(70_001, channels=2).T, 44_100, format=suffix, subtype=subtype)
    decoded = decode(path, into)
    expected = soundfile.read(path, dtype="float32")[0].T
    np.testing.assert_array_equal(samples_of(into), expected)
    assert decoded.warnings == ()
    assert (decoded.format.bit_depth, decoded.format.is_float) == (bit_depth, is_float)
    assert (decoded.format.rate_hz, decoded.format.channels) == (44_100, 2)


@pytest.mark.parametrize(
    ("muxer", "encoder", "rate_hz"),
    [
        ("mp3", "libmp3lame", 44_100),
        ("mp4", "aac", 44_100),
        ("adts", "aac", 44_100),
        ("opus", "libopus", 48_000),
        ("webm", "libopus", 48_000),
        ("matroska", "aac", 48_000),
        ("mp4", "libopus", 48_000),
        ("mov", "pcm_s16le", 44_100),
        ("avi", "libmp3lame", 44_100),
    ],
)
def test_lossy_files_decode_in_time(tmp_path, muxer, encoder, rate_hz):
    frames = 100_000
    samples = chirp(frames, rate_hz=rate_hz, channels=2, top=0.1)
    path = write_with_ffmpeg(
        tmp_path / "in", samples, muxer=muxer, encoder=encoder, rate_hz=rate_hz
    )
    decode(path, tmp_path / "out.wav")
    heard = samples_of(tmp_path / "out.wav")
    # Raw ADTS and AVI have no place to tell the encoder's delay and padding.
    delay = {"adts": 1024, "avi": 1105}.get(muxer, 0)
    assert heard.shape[1] == frames or muxer in ("adts", "avi", "matroska")
    middle = slice(10_000, 90_000)
    error = heard[:, delay:][:, middle] - samples[:, middle]
    # The encoders' own error at 128 kbit/s is up to 0.08 of this chirp; one sample of shift
    # would make it 0.37.
    assert np.sqrt(np.mean(error**2)) < 0.12 * np.sqrt(np.mean(samples**2))


@pytest.mark.parametrize(
    ("name", "frames", "rate_hz", "channels"),
    [
        ("demucs_test.mp3", 882_000, 44_100, 2),
        ("rain.mp3", 2_666_305, 44_100, 2),
        ("letsgofishin.ogg", 5_864_815, 44_100, 2),
        ("libri1.ogg", 222_561, 16_000, 1),
        ("jfk.flac", 485_100, 44_100, 2),
        ("pln_piano.wav", 441_000, 44_100, 2),
        ("chaplin.mp4", 423_983, 44_100, 2),
        ("bbb_0_30.webm", 1_323_840, 44_100, 2),
        ("musicdelta_80srock.stem.mp4", 299_891, 44_100, 2),
    ],
)
def test_real_recordings_decode_to_their_length(tmp_path, name, frames, rate_hz, channels):
    decoded = decode(real_audio(name), tmp_path / "out.wav")
    assert decoded.warnings == ()
    found = decoded.format
    assert (found.frames, found.rate_hz, found.channels) == (frames, rate_hz, channels)


def test_tags_and_cover_are_found(tmp_path):
    decoded = decode(real_audio("vibeace.ogg"), tmp_path / "out.wav")
    assert decoded.tags["title"] == "Vibe Ace"
    assert decoded.tags["artist"] == "Kevin MacLeod"
    assert decoded.cover is not None
    assert decoded.cover.startswith(b"\xff\xd8\xff")


def test_surround_vorbis_comes_in_the_order_of_wav(tmp_path):
    # Vorbis stores L C R Lb Rb LFE; a tone tells which channel is which.
    tones = [1000, 300, 2000, 400, 500, 60]
    stored = np.concatenate([sine(hz, 1, peak_dbfs=-12) for hz in tones])
    soundfile.write(tmp_path / "in.ogg", stored.T, 44_100)
    decode(tmp_path / "in.ogg", tmp_path / "out.wav")
    spectrum = np.abs(np.fft.rfft(samples_of(tmp_path / "out.wav")[:, :44_100]))
    assert spectrum.argmax(axis=1).tolist() == [1000, 2000, 300, 60, 400, 500]


def test_chained_ogg_files_are_read_to_their_end(tmp_path):
    soundfile.write(tmp_path / "a.ogg", noise(100_000).T, 44_100)
    soundfile.write(tmp_path / "b.ogg", noise(50_000).T, 44_100)
    both = tmp_path / "both.ogg"
    both.write_bytes((tmp_path / "a.ogg").read_bytes() + (tmp_path / "b.ogg").read_bytes())
    frames = decode(both, tmp_path / "out.wav").format.frames
    assert abs(frames - 150_000) <= 2048  # FFmpeg is a block off at the joint


def test_the_second_of_two_joined_mp3s_is_not_taken_for_padding(tmp_path):
    one = write_with_ffmpeg(
        tmp_path / "one.mp3", noise(50_000), muxer="mp3", encoder="libmp3lame", rate_hz=44_100
    )
    two = tmp_path / "two.mp3"
    two.write_bytes(one.read_bytes() * 2)
    decoded = decode(two, tmp_path / "out.wav")
    assert decoded.format.frames >= 100_000
    assert any("header promises 50000 frames" in warning for warning in decoded.warnings)


@pytest.mark.parametrize("peak", [1.0, 4.0])
def test_samples_beyond_full_scale_are_kept(tmp_path, peak):
    samples = noise(1000, peak=peak)
    soundfile.write(tmp_path / "in.wav", samples.T, 44_100, subtype="FLOAT")
    decode(tmp_path / "in.wav", tmp_path / "out.wav")
    np.testing.assert_array_equal(samples_of(tmp_path / "out.wav"), samples)


def test_one_sample_is_a_recording(tmp_path):
    soundfile.write(tmp_path / "in.wav", np.array([0.5]), 44_100)
    assert decode(tmp_path / "in.wav", tmp_path / "out.wav").format.frames == 1
    np.testing.assert_array_equal(samples_of(tmp_path / "out.wav"), [[0.5]])


def test_progress_ends_at_the_length(tmp_path):
    soundfile.write(tmp_path / "in.flac", noise(300_000).T, 44_100)
    told: list[tuple[int, int]] = []
    decode(
        tmp_path / "in.flac",
        tmp_path / "out.wav",
        progress=lambda done, total: told.append((done, total)),
    )
    assert told == sorted(told)
    assert told[-1] == (300_000, 300_000)
    assert len(told) > 3


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"hello, this is text\n" * 100, "plain text"),
        ("naïve café\n".encode() * 10, "plain text"),
        (b"", "an empty file"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "a PNG image"),
        (b"%PDF-1.7\n" + bytes(100), "a PDF document"),
        (b"PK\x03\x04" + bytes(100), "a ZIP archive"),
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


@pytest.mark.parametrize("suffix", ["wav", "aiff", "flac"])
def test_a_cut_off_file_gives_what_it_holds_and_says_so(tmp_path, suffix):
    whole, cut = tmp_path / f"whole.{suffix}", tmp_path / f"cut.{suffix}"
    samples = noise(100_000, channels=2)
    soundfile.write(whole, samples.T, 44_100)
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    decoded = decode(cut, tmp_path / "out.wav")
    frames = decoded.format.frames
    assert 40_000 < frames < 51_000
    assert decoded.warnings[-1] == (
        f"source is truncated: header promises 100000 frames, {frames} decoded"
    )
    np.testing.assert_allclose(samples_of(tmp_path / "out.wav"), samples[:, :frames], atol=2**-15)


def test_a_cut_off_mp3_gives_what_it_holds_and_says_so(tmp_path):
    whole = real_audio("demucs_test.mp3").read_bytes()
    (tmp_path / "cut.mp3").write_bytes(whole[: len(whole) // 2])
    decoded = decode(tmp_path / "cut.mp3", tmp_path / "out.wav")
    assert decoded.format.frames == 440_111
    assert decoded.warnings == (
        "source is truncated: header promises 882000 frames, 440111 decoded",
    )


def test_a_cut_off_ogg_says_so(tmp_path):
    whole = real_audio("libri1.ogg").read_bytes()
    (tmp_path / "cut.ogg").write_bytes(whole[: len(whole) // 2])
    assert "source is truncated" in decode(tmp_path / "cut.ogg", tmp_path / "out.wav").warnings[0]


def test_damage_in_the_middle_does_not_end_the_recording(tmp_path):
    damaged = bytearray(real_audio("demucs_test.mp3").read_bytes())
    damaged[300_000:302_000] = bytes(2000)
    (tmp_path / "damaged.mp3").write_bytes(damaged)
    decoded = decode(tmp_path / "damaged.mp3", tmp_path / "out.wav")
    assert decoded.format.frames > 880_000
    assert decoded.warnings[0].startswith("source is damaged")


def test_samples_that_are_no_numbers_become_silence_and_are_reported(tmp_path):
    samples = noise(100_000, channels=2)
    broken = samples.copy()
    broken[1, 44_100] = np.nan
    broken[0, 50_000:50_003] = np.inf, -np.inf, np.nan
    soundfile.write(tmp_path / "in.wav", broken.T, 44_100, subtype="FLOAT")
    decoded = decode(tmp_path / "in.wav", tmp_path / "out.wav")
    assert decoded.warnings == (
        "4 samples are NaN or infinite and were set to 0, the first at 1.000000 s in channel 2",
    )
    samples[1, 44_100] = 0
    samples[0, 50_000:50_003] = 0
    np.testing.assert_array_equal(samples_of(tmp_path / "out.wav"), samples)


_DECODE_AND_MEASURE = """
import sys
from contextlib import suppress
from pathlib import Path
from containers.audio.measure import measure
from containers.audio.stream import decode
decode(Path(sys.argv[1]), Path(sys.argv[2]))
print(measure(Path(sys.argv[2])).frames)
# Not ru_maxrss: that one starts at what the parent used when it forked.
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def test_memory_does_not_grow_with_the_length(tmp_path: Path):
    peaks_kib = {}
    for minutes in (1, 20):
        path = tmp_path / f"{minutes}.wav"
        with soundfile.SoundFile(path, "w", 16_000, 1, "PCM_16") as file:
            for minute in range(minutes):
                file.write(noise(60 * 16_000, seed=minute).T)
        run = subprocess.run(
            [sys.executable, "-c", _DECODE_AND_MEASURE, path, tmp_path / "out.wav"],
            capture_output=True,
            text=True,
            check=True,
        )
        frames, peak_kib = map(int, run.stdout.split())
        assert frames == minutes * 60 * 16_000
        peaks_kib[minutes] = peak_kib
    # 19 minutes more are 73 MB as float32. The meter's sums of 10 ms are 1 MB of it, doubled as
    # they grow, and reading it makes a few arrays as long.
    assert peaks_kib[20] - peaks_kib[1] < 16 * 1024

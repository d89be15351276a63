"""Decoding of everything that people send."""

import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from containers.audio.stream import decode
from tests.signals import chirp, noise, sine
from tests.stages.files import (
    samples_of,
    write_with_ffmpeg,
)
from tests.stages.real_audio import real_audio


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


def with_gain(packet):
    """An AC-3 frame in mono whose first block says that it is to be played 6 dB quieter.

    The gain is in bit 67 and the eight after it (ETSI TS 102 366, 4.3: 65 bits of a mono header
    without options, block switch, dither); room for it is taken from the filling at the end.
    """
    bits = f"{int.from_bytes(bytes(packet), 'big'):0{8 * packet.size}b}"
    assert bits[67] == "0" and bits[-26:-18] == "0" * 8
    told = bits[:67] + "1" + "11100000" + bits[68:-26] + bits[-18:]
    return av.Packet(int(told, 2).to_bytes(packet.size, "big"))


def test_the_dynamics_of_dolby_digital_are_those_that_went_in(tmp_path):
    samples = sine(440, 1, rate_hz=48_000, peak_dbfs=-6)
    with av.open(str(tmp_path / "in.mkv"), "w") as file:
        stream = file.add_stream("ac3", rate=48_000, layout="mono")
        stream.codec_context.bit_rate = 384_000
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 48_000, 0
        for packet in stream.encode(frame) + stream.encode(None):
            quieter = with_gain(packet)
            quieter.stream, quieter.time_base = stream, packet.time_base
            quieter.pts, quieter.dts = packet.pts, packet.dts
            file.mux(quieter)
    decode(tmp_path / "in.mkv", tmp_path / "out.wav")
    middle = samples_of(tmp_path / "out.wav")[0, 8_000:40_000]
    assert np.abs(middle).max() == pytest.approx(0.5, abs=0.005)

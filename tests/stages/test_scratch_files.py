"""Scratch files: blocks by position, in a form that other programs read."""

import struct

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from clearstem.errors import LengthChanged, UnreadableAudio
from containers.audio.headers import promised_by_wav
from containers.audio.riff import FLOAT_HEADER_BYTES, float_header
from containers.audio.stream import Recording, RecordingWriter
from tests.signals import noise
from tests.stages.files import (
    write_recording,
)


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

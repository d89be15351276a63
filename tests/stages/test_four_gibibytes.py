"""WAV files past 4 GiB, where the sizes of RIFF end and RF64 (EBU Tech 3306) begins."""

import shutil
import struct

import numpy as np
import pytest
import soundfile

from containers.audio.encode import encode
from containers.audio.source import Source

RATE_HZ = 192_000
CHANNELS = 8
END = np.linspace(-1, 1, CHANNELS).astype(np.float32)


def test_the_sound_of_a_source_past_4_gib_is_all_read(tmp_path):
    # 64-bit samples: the fewest that fill so much. Sparse, it takes no room on the disk.
    frame_bytes = 8 * CHANNELS
    frames = 2**32 // frame_bytes + 1000
    data = frames * frame_bytes
    path = tmp_path / "long.wav"
    with path.open("wb") as file:
        file.write(struct.pack("<4sI4s", b"RF64", 2**32 - 1, b"WAVE"))
        file.write(struct.pack("<4sIQQQI", b"ds64", 28, data + 72, data, frames, 0))
        rates = (RATE_HZ, RATE_HZ * frame_bytes, frame_bytes, 64)
        file.write(struct.pack("<4sIHHIIHH", b"fmt ", 16, 3, CHANNELS, *rates))
        file.write(struct.pack("<4sI", b"data", 2**32 - 1))
        file.seek(data - frame_bytes, 1)
        file.write(END.astype("<f8").tobytes())
    source = Source(path)
    try:
        read = 0
        for block in source.blocks(frames=1 << 18):
            read += block.shape[1]
        assert source.promised_frames() == frames
    finally:
        source.close()
    assert read == frames
    np.testing.assert_array_equal(block[:, -1], END)
    assert source.warnings == []


class Silence:
    """A recording that is silent up to its last frame."""

    rate_hz = RATE_HZ
    channels = CHANNELS

    def __init__(self, frames):
        self.frames = frames

    def read(self, start, stop):
        block = np.zeros((CHANNELS, stop - start), np.float32)
        if start < self.frames <= stop:
            block[:, self.frames - 1 - start] = END
        return block


def test_an_encoded_file_past_4_gib_is_rf64(tmp_path):
    if shutil.disk_usage(tmp_path).free < 6 * 2**30:
        pytest.skip("needs 6 GiB on the disk")
    frames = 2**32 // (4 * CHANNELS) + 1000
    path = tmp_path / "long.wav"
    encode(Silence(frames), path, format="wav", bit_depth=32)
    try:
        with path.open("rb") as file:
            assert file.read(4) == b"RF64"
        with soundfile.SoundFile(path) as file:
            assert (file.frames, file.subtype) == (frames, "FLOAT")
            file.seek(frames - 1)
            np.testing.assert_array_equal(file.read(1, dtype="float32")[0], END)
    finally:
        path.unlink()

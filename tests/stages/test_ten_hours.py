"""Ten hours: positions that pass 31 and 32 bits, and sums that do not drift.

By counts, stubs and sparse files, since ten hours of anything take longer than a test may. What
was measured on a real one stands in docs/decisions.md.
"""

import struct

import numpy as np
import pytest

from clearstem.errors import AudioOutOfRange
from clearstem.recipes import STEMS
from containers.audio.decompose import decompose
from containers.audio.demucs_engine import demucs_stems
from containers.audio.encode import check_output
from containers.audio.limiter import LimitedReader
from containers.audio.loudness import Meter
from containers.audio.network import Network
from containers.audio.overlap import Segments, each, overlap_add
from containers.audio.resample import resampled_frames
from containers.audio.riff import FLOAT_HEADER_BYTES, float_header
from containers.audio.source import Source
from containers.audio.stream import DecodeLimits, Recording
from tests.signals import sine
from tests.stages.memory import Bin, EndlessNoise, Floats

TEN_HOURS_S = 36_000


@pytest.mark.parametrize(("rate_hz", "channels"), [(44_100, 2), (192_000, 8)])
def test_a_scratch_file_of_ten_hours_is_read_to_its_last_frame(tmp_path, rate_hz, channels):
    frames = TEN_HOURS_S * rate_hz
    path = tmp_path / "long.wav"
    last = np.linspace(-1, 1, channels).astype("<f4")
    with path.open("wb") as file:  # sparse: takes no room on the disk
        file.write(float_header(rate_hz=rate_hz, channels=channels, frames=frames))
        file.truncate(FLOAT_HEADER_BYTES + (frames - 1) * 4 * channels)
        file.seek(0, 2)
        file.write(last.tobytes())
    with Recording.open(path) as recording:
        assert (recording.frames, recording.duration_s) == (frames, TEN_HOURS_S)
        np.testing.assert_array_equal(recording.read(frames - 1, frames + 1)[:, 0], last)


def test_a_recording_of_ten_hours_is_within_what_is_decoded(tmp_path):
    assert DecodeLimits().max_seconds >= TEN_HOURS_S
    frames, path = TEN_HOURS_S * 8_000, tmp_path / "long.wav"
    with path.open("wb") as file:  # sparse
        fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 8_000, 16_000, 2, 16)
        head = struct.pack("<4sI4s", b"RIFF", 36 + 2 * frames, b"WAVE")
        file.write(head + fmt + struct.pack("<4sI", b"data", 2 * frames))
        file.truncate(44 + 2 * frames)
    with Source(path) as source:
        assert source.expected_frames == source.promised_frames() == frames
        first = next(source.blocks(frames=65_536))
    assert not first.any()


def test_loudness_of_ten_hours_is_that_of_ten_minutes_of_them():
    # A tone of a level that float32 rounds, 60 times 10 minutes of it; sums go by time, so that a
    # low rate has as many of them.
    block = sine(440.1, 600, rate_hz=4_000, peak_dbfs=-23.0)
    short = Meter(rate_hz=4_000, channels=1)
    short.push(block)
    long = Meter(rate_hz=4_000, channels=1)
    for _ in range(60):
        long.push(block)
    assert long.frames == TEN_HOURS_S * 4_000
    # The tone's phase jumps every ten minutes, in 60 of 360,000 blocks.
    assert long.integrated_lufs == pytest.approx(short.integrated_lufs, abs=1e-4)
    assert long.true_peak_dbtp == pytest.approx(short.true_peak_dbtp, abs=0.01)
    assert long.loudness_range_lu == pytest.approx(0, abs=0.01)
    kept = sum(value.nbytes for value in vars(long).values() if isinstance(value, np.ndarray))
    # 3.6 million sums of 10 ms and as many edges, doubled as they grow.
    assert kept < 2 * 2 * 8 * 3.7e6


class Far:
    """Ten hours at 192 kHz of which only what is asked for is made, a number at each frame."""

    rate_hz = 192_000
    channels = 1
    frames = TEN_HOURS_S * rate_hz

    @staticmethod
    def at(places: np.ndarray) -> Floats:
        return (places % 8191 / 8192).astype(np.float32)

    def read(self, start: int, stop: int) -> Floats:
        places = np.arange(start, stop)
        return (self.at(places) * ((places >= 0) & (places < self.frames)))[np.newaxis]


def test_segments_at_the_end_of_ten_hours_are_where_they_belong():
    segments = Segments(1_000_000)
    blocks = -(-Far.frames // segments.stride)
    # It may begin at any block, as after a restart.
    first = blocks - 3
    faded = overlap_add(
        Far().read,
        Far.frames,
        segments=segments,
        forward=each(lambda block: block[np.newaxis]),
        first=first,
    )
    end = np.concatenate(list(faded), axis=2)[0]
    places = np.arange(first * segments.stride, Far.frames)
    assert end.shape == (1, len(places))
    np.testing.assert_allclose(end[0], Far.at(places), rtol=0, atol=2e-7)


@pytest.mark.parametrize("to_hz", [8_000, 44_100, 48_000])
def test_ten_hours_convert_to_ten_hours(to_hz):
    assert resampled_frames(Far.frames, from_hz=Far.rate_hz, to_hz=to_hz) == TEN_HOURS_S * to_hz
    odd = Far.frames + 1
    assert resampled_frames(odd, from_hz=Far.rate_hz, to_hz=to_hz) == TEN_HOURS_S * to_hz + 1


# A slower clock has as many seconds and fewer samples: every count but the samples' is real.
SLOW_HZ = 100


def test_ten_hours_through_a_network_and_the_decomposition_are_counted_to_the_frame():
    source = EndlessNoise(seconds=TEN_HOURS_S + 0.37, channels=1, rate_hz=SLOW_HZ)
    stub = Network(
        STEMS, SLOW_HZ, Segments(780), lambda _: 780, (each(lambda block: np.stack([block] * 4)),)
    )
    assert sum(block.shape[2] for block in demucs_stems(source, stub)) == source.frames
    harmonic, percussive = Bin(), Bin()
    decompose(source, harmonic, percussive)
    assert harmonic.frames_written == percussive.frames_written == source.frames
    reader = LimitedReader(source, gain=20.0, ceiling_dbtp=-1.0)
    for start in range(0, reader.frames, 65_536):
        stop = min(start + 65_536, reader.frames)
        assert reader.read(start, stop).shape == (1, stop - start)
    assert reader.reduction_db > 0


def test_ten_hours_are_written_in_every_format_but_the_one_with_short_sizes():
    for format in ("wav", "flac", "ogg"):
        check_output(format, channels=8, frames=Far.frames)
    with pytest.raises(AudioOutOfRange, match="aiff holds"):
        check_output("aiff", channels=8, frames=Far.frames)

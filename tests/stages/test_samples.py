"""Decoded frames of every type, taken out as blocks."""

import av
import numpy as np
import pytest
import soundfile

from containers.audio.headers import fits_one_ogg_page
from containers.audio.layouts import LAYOUTS
from containers.audio.loudness import LoudnessMeter
from containers.audio.samples import FrameQueue, interleaved, silence
from containers.audio.stream import decode
from tests.signals import noise
from tests.stages.files import samples_of

DTYPES = {"u8": "u1", "s16": "i2", "s32": "i4", "flt": "f4", "dbl": "f8"}
# Half a step of eight bits; everything finer than float32 is exact to its rounding.
TOLERANCE = {"u8": 2.0**-8, "s16": 2.0**-16}


def frame_of(samples, sample_format):
    """A frame of FFmpeg's with these samples, packed or planar."""
    packed = sample_format.removesuffix("p")
    dtype = np.dtype(DTYPES[packed])
    values = samples.astype(np.float64)
    if dtype.kind != "f":
        full = 2.0 ** (8 * dtype.itemsize - 1)
        values = np.rint(values * full) + (full if dtype.kind == "u" else 0)
    stored = values.astype(dtype)
    channels, frames = samples.shape
    frame = av.AudioFrame(format=sample_format, layout=LAYOUTS[channels - 1], samples=frames)
    frame.sample_rate = 44_100
    if sample_format == packed:
        frame.planes[0].update(np.ascontiguousarray(stored.T).tobytes())
    else:
        for plane, row in zip(frame.planes, stored, strict=False):
            plane.update(row.tobytes())
    return frame


@pytest.mark.parametrize("sample_format", [*DTYPES, *(f"{name}p" for name in DTYPES)])
@pytest.mark.parametrize("channels", [1, 2, 7, 8])
def test_frames_of_any_length_come_out_as_blocks_in_order(sample_format, channels):
    samples = noise(5_000, channels=channels, peak=0.9)
    queue, blocks, start = FrameQueue(), [], 0
    for length in (1, 1152, 47, 2048, 1752):
        queue.put(frame_of(samples[:, start : start + length], sample_format))
        start += length
        while queue.frames >= 1000:
            blocks.append(queue.get(1000))
    assert [block.shape for block in blocks] == [(channels, 1000)] * 5
    assert all(block.dtype == np.float32 for block in blocks)
    tolerance = TOLERANCE.get(sample_format.removesuffix("p"), 2.0**-24)
    np.testing.assert_allclose(np.concatenate(blocks, axis=1), samples, rtol=0, atol=tolerance)


@pytest.mark.parametrize("sample_format", ["u8", "u8p", "s16", "fltp"])
@pytest.mark.parametrize("channels", [1, 8])
def test_silence_is_silent_in_every_type(sample_format, channels):
    like = frame_of(noise(100, channels=channels), sample_format)
    queue = FrameQueue()
    queue.put(like)
    queue.put(silence(300, like=like))
    queue.get(100)
    np.testing.assert_array_equal(queue.get(300), np.zeros((channels, 300)))


def test_interleaving_copies_only_what_lies_by_channel():
    block = noise(1000, channels=3)
    turned = interleaved(block)
    np.testing.assert_array_equal(turned, block.T)
    assert turned.flags.c_contiguous
    assert np.shares_memory(interleaved(turned.T), turned)


@pytest.mark.parametrize("channels", [1, 2, 3, 6])
def test_loudness_is_the_same_to_the_bit_however_a_block_lies_in_memory(channels):
    samples = noise(100_000, channels=channels)
    measured = []
    for lying in (np.ascontiguousarray(samples), np.asfortranarray(samples)):
        meter = LoudnessMeter(rate_hz=44_100, channels=channels)
        for start in range(0, samples.shape[1], 30_000):
            meter.push(lying[:, start : start + 30_000])
        measured.append(meter.integrated_lufs)
    assert measured[0] == measured[1]


@pytest.mark.parametrize(
    ("frames", "one_page"), [(1, True), (1000, True), (20_000, False), (300_000, False)]
)
@pytest.mark.parametrize("channels", [1, 2])
def test_vorbis_is_exact_on_one_page_and_on_many(tmp_path, frames, one_page, channels):
    path = tmp_path / "in.ogg"
    with soundfile.SoundFile(path, "w", 44_100, channels, "VORBIS", format="OGG") as file:
        samples = noise(frames, channels=channels, peak=0.5)
        for start in range(0, frames, 65_536):
            file.write(samples[:, start : start + 65_536].T)
    assert fits_one_ogg_page(path) == one_page
    decode(path, tmp_path / "out.wav")
    expected = soundfile.read(path, dtype="float32", always_2d=True)[0].T
    found = samples_of(tmp_path / "out.wav")
    assert found.shape == (channels, frames)
    # Two decoders of one format, in float32.
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_eight_channels_of_24_bits_decode_to_their_very_samples(tmp_path):
    path = tmp_path / "in.wav"
    soundfile.write(path, noise(100_000, channels=8).T, 48_000, subtype="PCM_24")
    decode(path, tmp_path / "out.wav")
    expected = soundfile.read(path, dtype="float32")[0].T
    np.testing.assert_array_equal(samples_of(tmp_path / "out.wav"), expected)

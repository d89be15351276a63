"""Every format that is read gives every frame that was put into it, and none besides.

The files are written as FFmpeg writes them with defaults. What encoders put before and behind
the sound (priming of mp3, AAC and Opus) is told by each container in a way of its own.
"""

import av
import numpy as np
import pytest
import soundfile

from containers.audio.encode import encode
from containers.audio.stream import Recording, decode
from tests.signals import chirp, noise
from tests.stages.files import samples_of, write_recording, write_with_ffmpeg
from tests.stages.videos import write_video

# Shorter than a packet, what FFmpeg writes says something else: mp3s promise 47 frames more, movies
# round to ms, Matroska tells no padding. Our own encoders' round trips go down to one frame.
LENGTHS = (1_000, 1_152, 6_000, 20_001)

LOSSY = [
    *[("mp3", "libmp3lame", rate) for rate in (8_000, 16_000, 22_050, 32_000, 44_100, 48_000)],
    *[("ipod", "aac", rate) for rate in (8_000, 22_050, 44_100, 96_000)],
    ("mp4", "aac", 48_000),
    ("mov", "aac", 44_100),
    ("opus", "libopus", 48_000),
    ("webm", "libopus", 48_000),
    ("matroska", "libopus", 48_000),
    ("mp4", "libopus", 48_000),
]
LOSSLESS = [
    ("ipod", "alac", 44_100),
    ("matroska", "flac", 44_100),
    ("matroska", "pcm_s16le", 48_000),
    ("mov", "pcm_s24le", 44_100),
    ("avi", "pcm_s16le", 44_100),
    ("aiff", "pcm_s16be", 22_050),
    ("flac", "flac", 44_100),
    ("wav", "pcm_s24le", 44_100),
]


def decoded(folder, samples, muxer, encoder, rate_hz):
    path = write_with_ffmpeg(folder / "in", samples, muxer=muxer, encoder=encoder, rate_hz=rate_hz)
    told = decode(path, folder / "out.wav")
    assert told.warnings == ()
    return samples_of(folder / "out.wav"), told.format


@pytest.mark.parametrize(("muxer", "encoder", "rate_hz"), LOSSY)
@pytest.mark.parametrize("channels", [1, 2])
def test_a_lossy_recording_comes_back_in_its_length(tmp_path, muxer, encoder, rate_hz, channels):
    for frames in LENGTHS:
        samples = chirp(frames, rate_hz=rate_hz, channels=channels, top=0.1)
        heard, _ = decoded(tmp_path, samples, muxer, encoder, rate_hz)
        assert heard.shape == samples.shape


@pytest.mark.parametrize(("muxer", "encoder", "rate_hz"), LOSSLESS)
@pytest.mark.parametrize("channels", [1, 2])
def test_a_lossless_recording_comes_back_as_it_was(tmp_path, muxer, encoder, rate_hz, channels):
    for frames in (1, *LENGTHS):
        samples = noise(frames, channels=channels)
        heard, _ = decoded(tmp_path, samples, muxer, encoder, rate_hz)
        np.testing.assert_allclose(heard, samples, rtol=0, atol=2.0**-15)


@pytest.mark.parametrize("block", [16_384, 65_535])
def test_a_flac_of_large_frames_is_read(tmp_path, block):
    # FFmpeg writes the first at 192 kHz, and reads neither unless told to read more at a time.
    samples = noise(192_000, channels=8, peak=1.0)
    with av.open(str(tmp_path / "in"), "w", format="flac") as file:
        stream = file.add_stream("flac", rate=192_000, layout="7.1")
        stream.codec_context.format = "s32"
        stream.codec_context.options = {"frame_size": str(block)}
        packed = np.rint(samples.T * (2**23 - 1)).astype(np.int32).reshape(1, -1) << 8
        frame = av.AudioFrame.from_ndarray(packed, format="s32", layout="7.1")
        frame.sample_rate = 192_000
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    told = decode(tmp_path / "in", tmp_path / "out.wav")
    assert (told.format.frames, told.warnings) == (192_000, ())
    np.testing.assert_allclose(samples_of(tmp_path / "out.wav"), samples, rtol=0, atol=2.0**-22)


RATES = (8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 88_200, 96_000, 176_400, 192_000)


@pytest.mark.parametrize("rate_hz", RATES)
@pytest.mark.parametrize("channels", range(1, 9))
def test_rates_and_channels_and_samples_are_kept(tmp_path, rate_hz, channels):
    path = tmp_path / "in.flac"
    samples = noise(999, channels=channels)
    soundfile.write(path, samples.T, rate_hz, subtype="PCM_24")
    found = decode(path, tmp_path / "out.wav").format
    assert (found.rate_hz, found.channels, found.frames) == (rate_hz, channels, 999)
    np.testing.assert_allclose(samples_of(tmp_path / "out.wav"), samples, rtol=0, atol=2.0**-23)


@pytest.mark.parametrize("rate_hz", [8_000, 12_000, 16_000, 24_000])
def test_opus_of_any_rate_is_48_khz_and_as_long(tmp_path, rate_hz):
    # RFC 7845, section 5.1: what rate went in is a note, what comes out is 48 kHz.
    samples = chirp(rate_hz, rate_hz=rate_hz, top=0.1)
    with av.open(str(tmp_path / "in"), "w", format="opus") as file:
        stream = file.add_stream("libopus", rate=rate_hz, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples, format="flt", layout="mono")
        frame.sample_rate, frame.pts = rate_hz, 0
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    found = decode(tmp_path / "in", tmp_path / "out.wav").format
    assert (found.rate_hz, found.frames) == (48_000, 48_000)


def write_in_places(path, samples, *, encoder, layout):
    """A file that says where each channel is heard."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream(encoder, rate=44_100, layout=layout)
        packed = np.rint(samples.T * 2**15).astype(np.int16).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(packed, format="s16", layout=layout)
        frame.sample_rate = 44_100
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


@pytest.mark.parametrize(
    ("layout", "here", "written"),
    [
        ("2.1", "FL+FR+LFE", "FL+FR+FC"),
        ("3.1", "FL+FR+FC+LFE", "FL+FR+BL+BR"),
        ("4.0", "FL+FR+FC+BC", "FL+FR+BL+BR"),
        ("4.1", "FL+FR+FC+LFE+BC", "FL+FR+FC+BL+BR"),
        ("6.0", "FL+FR+FC+BC+SL+SR", "FL+FR+FC+LFE+BL+BR"),
        ("7.1(wide)", "FL+FR+FC+LFE+BL+BR+FLC+FRC", "FL+FR+FC+LFE+BL+BR+SL+SR"),
    ],
)
def test_channels_that_results_call_otherwise_are_told(tmp_path, layout, here, written):
    samples = noise(2_000, channels=here.count("+") + 1)
    path = tmp_path / "in.wav"
    write_in_places(path, samples, encoder="pcm_s16le", layout=layout)
    told = decode(path, tmp_path / "out.wav")
    assert told.warnings == (
        f"source's channels are {here} ({layout}); results keep the order and call it {written}",
    )
    np.testing.assert_allclose(samples_of(tmp_path / "out.wav"), samples, rtol=0, atol=2.0**-16)


@pytest.mark.parametrize("layout", ["3.0", "quad(side)", "5.0(side)", "5.1", "5.1(side)", "6.1"])
def test_of_channels_in_the_usual_places_nothing_is_told(tmp_path, layout):
    samples = noise(2_000, channels=av.AudioLayout(layout).nb_channels)
    write_in_places(tmp_path / "in.wav", samples, encoder="pcm_s16le", layout=layout)
    assert decode(tmp_path / "in.wav", tmp_path / "out.wav").warnings == ()


def test_channels_in_an_order_of_their_own_are_read_and_told(tmp_path):
    # FFmpeg writes a CHAN chunk for 7.1 that it does not take for 7.1 itself. PyAV would free the
    # order that it makes of it once for each frame, and end the process.
    samples = noise(30_000, channels=8)
    path = tmp_path / "in.aiff"
    write_in_places(path, samples, encoder="pcm_s16be", layout="7.1")
    for _ in range(3):
        told = decode(path, tmp_path / "out.wav")
    assert told.warnings == (
        "source's channels are in an order of its own, which was kept: FL+FR+FC+LFE+SL+SR+BL+BR",
    )
    np.testing.assert_allclose(samples_of(tmp_path / "out.wav"), samples, rtol=0, atol=2.0**-16)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("frames", [96_000, 20_001, 98_016])
def test_the_last_block_of_adpcm_is_as_long_as_the_file_says(tmp_path, channels, frames):
    samples = chirp(frames, channels=channels, top=0.05)
    soundfile.write(tmp_path / "in.wav", samples.T, 44_100, subtype="MS_ADPCM")
    told = decode(tmp_path / "in.wav", tmp_path / "out.wav")
    assert (told.format.frames, told.warnings) == (frames, ())
    np.testing.assert_allclose(samples_of(tmp_path / "out.wav"), samples, rtol=0, atol=0.05)


def with_fact(path, frames):
    """The file, with another number of frames in its fact chunk."""
    data = bytearray(path.read_bytes())
    at = data.index(b"fact") + 8
    data[at : at + 4] = frames.to_bytes(4, "little")
    path.write_bytes(data)


@pytest.mark.parametrize(("told", "heard"), [(96_000, 96_000), (1, 98_136), (192_000, 98_136)])
def test_a_length_that_does_not_fit_the_blocks_is_not_believed(tmp_path, told, heard):
    # libsndfile fills up the last of 24 blocks of 4,089 frames here, and says so.
    path = tmp_path / "in.wav"
    soundfile.write(path, chirp(96_000, top=0.05).T, 44_100, subtype="IMA_ADPCM")
    with_fact(path, told)
    decoded = decode(path, tmp_path / "out.wav")
    assert (decoded.format.frames, decoded.warnings) == (heard, ())


def test_adpcm_that_is_cut_off_says_so(tmp_path):
    path = tmp_path / "in.wav"
    soundfile.write(path, chirp(96_000, top=0.05).T, 44_100, subtype="MS_ADPCM")
    path.write_bytes(path.read_bytes()[:30_000])
    (warning,) = decode(path, tmp_path / "out.wav").warnings
    assert warning.startswith("source is truncated: header promises 96000 frames, ")


AROUND = "source's beginning and length may be off by up to {} frames: {}"
LENGTH = "source's length may be off by up to {} frames: {}"
NOT_TOLD = "the encoder's padding is not told"
UNTOLD = [
    *[(muxer, "libmp3lame", AROUND, 2_256) for muxer in ("avi", "wav", "flv", "asf", "mpegts")],
    *[(muxer, "aac", AROUND, 3_135) for muxer in ("avi", "adts", "flv", "asf", "mpegts")],
    ("matroska", "aac", LENGTH, 1_023),
]


def difference(folder, muxer, encoder):
    """How many frames more come out than went in, and what is told of it."""
    samples = chirp(20_001, channels=2, top=0.1)
    write_with_ffmpeg(folder / "in", samples, muxer=muxer, encoder=encoder, rate_hz=44_100)
    told = decode(folder / "in", folder / "out.wav")
    return told.format.frames - 20_001, told.warnings


@pytest.mark.parametrize(("muxer", "encoder", "told", "most"), UNTOLD)
def test_padding_that_a_container_does_not_tell_is_kept_and_told(
    tmp_path, muxer, encoder, told, most
):
    more, warnings = difference(tmp_path, muxer, encoder)
    assert 0 < more <= most
    assert warnings == (told.format(most, NOT_TOLD),)


@pytest.mark.parametrize("muxer", ["mp4", "mov"])
def test_an_mp3_in_a_movie_is_as_long_as_its_clock_can_say(tmp_path, muxer):
    more, warnings = difference(tmp_path, muxer, "libmp3lame")
    assert -44 <= more < 0
    assert warnings == (LENGTH.format(44, "it is told in ms alone"),)


def test_of_padding_that_is_told_nothing_is_said(tmp_path):
    scratch = write_recording(tmp_path / "scratch.wav", chirp(20_001, channels=2, top=0.1))
    with Recording.open(scratch) as recording:
        ours = encode(recording, tmp_path / "t.mkv", format="mkv")
    told = decode(ours.path, tmp_path / "out.wav")
    assert (told.format.frames, told.warnings) == (20_001, ())


def test_a_film_s_sound_is_as_it_is_heard_with_its_pictures(tmp_path):
    film = write_video(tmp_path / "film", muxer="avi", sound="libmp3lame")
    assert decode(film, tmp_path / "out.wav").warnings == ()

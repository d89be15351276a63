"""Every output format gives back what went in: length, time, channels, tags."""

import av
import numpy as np
import pytest
import soundfile

from clearstem.errors import AudioOutOfRange, InvalidOption
from containers.audio.encode import check_output, encode
from containers.audio.stream import Recording, decode
from tests.signals import chirp, noise, silence, sine
from tests.stages.files import samples_of, write_recording
from tests.stages.memory import Sound

LOSSLESS, LOSSY = ("wav", "flac", "aiff"), ("mp3", "ogg", "m4a")

# The encoders' own error on the chirps below, at their settings. One sample of shift would
# make it 0.37; the low rates leave AAC few bits.
LOSSY_ERROR = 0.15


def encoded(folder, samples, *, rate_hz=44_100, **options):
    """What `encode` says of these samples."""
    scratch = write_recording(folder / "scratch.wav", samples, rate_hz=rate_hz)
    with Recording.open(scratch) as recording:
        return encode(recording, folder / f"track.{options['format']}", **options)


def heard(folder, file):
    """What the file decodes to, and what `decode` says of it."""
    decoded = decode(file.path, folder / "heard.wav")
    assert decoded.warnings == ()
    return samples_of(folder / "heard.wav"), decoded


@pytest.mark.parametrize("format", LOSSLESS + LOSSY)
@pytest.mark.parametrize("rate_hz", [8_000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("frames", [1, 2, 47, 1_152, 5_203, 20_480, 100_001])
def test_a_round_trip_keeps_length_and_time(tmp_path, format, rate_hz, channels, frames):
    samples = chirp(frames, rate_hz=rate_hz, channels=channels, top=0.1)
    file = encoded(tmp_path, samples, rate_hz=rate_hz, format=format)
    back, decoded = heard(tmp_path, file)
    assert back.shape == samples.shape
    assert (decoded.format.rate_hz, file.rate_hz, file.frames) == (rate_hz, rate_hz, frames)
    assert file.conversions == ()
    if format in LOSSLESS:
        np.testing.assert_allclose(back, samples, atol=2.0**-24)
    elif frames > 20_000:
        error = np.sqrt(np.mean((back - samples) ** 2) / np.mean(samples**2))
        assert error < LOSSY_ERROR


@pytest.mark.parametrize("rate_hz", [8_000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("frames", [1, 47, 960, 5_203, 100_001])
def test_opus_keeps_length_and_time_at_its_own_rate(tmp_path, rate_hz, channels, frames):
    samples = chirp(frames, rate_hz=rate_hz, channels=channels, top=0.05)
    file = encoded(tmp_path, samples, rate_hz=rate_hz, format="opus")
    back, decoded = heard(tmp_path, file)
    expected = -(-frames * 48_000 // rate_hz)
    assert decoded.format.rate_hz == file.rate_hz == 48_000
    assert back.shape == (channels, expected)
    assert file.frames == expected
    assert bool(file.conversions) == (rate_hz != 48_000)
    if frames > 20_000 and rate_hz == 48_000:
        error = np.sqrt(np.mean((back - samples) ** 2) / np.mean(samples**2))
        assert error < LOSSY_ERROR


@pytest.mark.parametrize("format", ["wav", "flac", "aiff", "ogg"])
@pytest.mark.parametrize("rate_hz", [11_025, 88_200, 96_000, 192_000])
def test_formats_without_a_list_of_rates_keep_every_rate(tmp_path, format, rate_hz):
    file = encoded(tmp_path, chirp(20_001, rate_hz=rate_hz), rate_hz=rate_hz, format=format)
    back, decoded = heard(tmp_path, file)
    assert (back.shape[1], decoded.format.rate_hz) == (20_001, rate_hz)


@pytest.mark.parametrize(
    ("format", "rate_hz", "kept_hz"),
    [
        ("mp3", 96_000, 48_000),
        ("mp3", 88_200, 44_100),
        ("mp3", 192_000, 48_000),
        ("mp3", 37_800, 44_100),
        ("m4a", 96_000, 96_000),
        ("m4a", 192_000, 96_000),
        ("m4a", 176_400, 88_200),
    ],
)
def test_a_rate_that_a_format_lacks_is_converted_and_reported(tmp_path, format, rate_hz, kept_hz):
    frames = rate_hz // 2
    samples = sine(1000, 0.5, rate_hz=rate_hz, peak_dbfs=-12)
    file = encoded(tmp_path, samples, rate_hz=rate_hz, format=format)
    back, decoded = heard(tmp_path, file)
    assert decoded.format.rate_hz == file.rate_hz == kept_hz
    assert back.shape[1] == file.frames == frames * kept_hz // rate_hz
    expected = sine(1000, 0.5, rate_hz=kept_hz, peak_dbfs=-12)
    middle = slice(kept_hz // 10, -kept_hz // 10)
    # The encoders' error; one sample of shift would be at least 0.016.
    assert np.sqrt(np.mean((back - expected)[:, middle] ** 2)) < 0.006
    if rate_hz != kept_hz:
        assert file.conversions == (
            f"{rate_hz} Hz converted to {kept_hz} Hz: {format} has no such rate",
        )


@pytest.mark.parametrize("format", ["wav", "flac", "aiff", "ogg", "m4a", "opus", "webm"])
@pytest.mark.parametrize("channels", [3, 4, 5, 6, 7, 8])
def test_surround_channels_stay_in_their_places(tmp_path, format, channels):
    samples = silence(44_100, channels=channels)
    for channel in range(channels):
        # Low, since codecs cut the low-frequency channel off at 120 Hz.
        samples[channel] = sine(20.0 * (channel + 2), 1, peak_dbfs=-20)[0]
        if channels > 5 and channel == 3:
            samples[channel] = sine(40.0, 1, peak_dbfs=-10)[0]
    back, _ = heard(tmp_path, encoded(tmp_path, samples, format=format))
    found = np.abs(np.fft.rfft(back)).argmax(axis=1)
    expected = np.abs(np.fft.rfft(samples)).argmax(axis=1)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("format", "bit_depth", "step"),
    [
        ("wav", 16, 2.0**-15),
        ("wav", 24, 2.0**-23),
        ("wav", 32, 0.0),
        ("flac", 16, 2.0**-15),
        ("flac", 24, 2.0**-23),
        ("aiff", 16, 2.0**-15),
        ("aiff", 24, 2.0**-23),
    ],
)
def test_bit_depths_round_to_half_a_step(tmp_path, format, bit_depth, step):
    samples = noise(10_000, channels=2, peak=0.9)
    file = encoded(tmp_path, samples, format=format, bit_depth=bit_depth)
    back, decoded = heard(tmp_path, file)
    assert file.bit_depth == decoded.format.bit_depth == bit_depth
    np.testing.assert_allclose(back, samples, rtol=0, atol=step / 2)


@pytest.mark.parametrize("format", LOSSLESS)
@pytest.mark.parametrize("bit_depth", [16, 24])
def test_what_is_over_full_scale_is_clamped_and_never_wraps(tmp_path, format, bit_depth):
    samples = np.array([[1.0, 1.5, 100.0, -1.0, -1.5, -100.0, 0.5]], np.float32)
    file = encoded(tmp_path, samples, format=format, bit_depth=bit_depth)
    top = 1 - 2.0 ** (1 - bit_depth)
    expected = [[top, top, top, -1, -1, -1, 0.5]]
    np.testing.assert_array_equal(heard(tmp_path, file)[0], expected)


def test_float_wav_keeps_what_is_over_full_scale(tmp_path):
    samples = noise(1000, peak=3)
    file = encoded(tmp_path, samples, format="wav", bit_depth=32)
    np.testing.assert_array_equal(heard(tmp_path, file)[0], samples)


def test_gain_is_applied_once(tmp_path):
    samples = noise(200_000, channels=2)
    file = encoded(tmp_path, samples, format="wav", gain=0.5, bit_depth=32)
    np.testing.assert_array_equal(heard(tmp_path, file)[0], samples * np.float32(0.5))


@pytest.mark.parametrize("format", LOSSLESS + LOSSY)
def test_silence_stays_silence(tmp_path, format):
    back, _ = heard(tmp_path, encoded(tmp_path, silence(50_000, channels=2), format=format))
    assert np.abs(back).max() < 1e-6


@pytest.mark.parametrize("format", (*LOSSLESS, *LOSSY, "opus"))
def test_the_same_sound_gives_the_same_bytes(tmp_path, format):
    samples = noise(50_000, channels=2)
    first = encoded(tmp_path, samples, format=format).path.read_bytes()
    assert encoded(tmp_path, samples, format=format).path.read_bytes() == first


@pytest.mark.parametrize("frames", [1, 5_203, 44_100])
def test_other_players_see_the_length_of_our_mp3s(tmp_path, frames):
    file = encoded(tmp_path, noise(frames), format="mp3")
    assert soundfile.info(file.path).frames == frames  # mpg123, by the same header


def test_progress_counts_the_frames_of_the_file(tmp_path):
    told = []
    encoded(
        tmp_path,
        noise(200_000),
        format="flac",
        progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(n, 200_000) for n in (65_536, 131_072, 196_608, 200_000)]


@pytest.mark.parametrize(
    ("format", "channels", "bit_depth", "error", "message"),
    [
        ("mp3", 6, None, AudioOutOfRange, "mp3 holds 1 to 2 channels, the recording has 6; .*flac"),
        ("wav", 9, None, AudioOutOfRange, "1 to 8 channels, the recording has 9; .*: none"),
        ("wma", 2, None, InvalidOption, "no output format 'wma'; there are wav, aiff, flac, mp3"),
        ("flac", 2, 32, InvalidOption, "flac with 32 bits; accepted: 16, 24"),
        ("mp3", 2, 16, InvalidOption, "mp3 with 16 bits; accepted: none: it is lossy"),
    ],
)
def test_what_a_format_cannot_hold_is_refused_beforehand(
    format, channels, bit_depth, error, message
):
    with pytest.raises(error, match=message):
        check_output(format, channels=channels, bit_depth=bit_depth)


class Endless(Sound):
    """As long as it says, and never read."""

    def __init__(self, *, frames):
        super().__init__(silence(1, channels=2))
        self.frames = frames


def test_what_passes_2_gib_is_no_aiff_and_is_told_beforehand(tmp_path):
    hours = Endless(frames=3 * 3600 * 44_100)
    with pytest.raises(AudioOutOfRange, match=r"aiff holds 1\.97 GiB, .* 2\.66 GiB; wav and flac"):
        encode(hours, tmp_path / "long.aiff", format="aiff")
    check_output("aiff", channels=2, frames=2 * 3600 * 44_100)


@pytest.mark.parametrize(
    ("format", "bit_depth", "told"),
    [
        ("wav", 32, ()),
        ("wav", 24, ("clipped at full scale: 2 samples",)),
        ("flac", 16, ("clipped at full scale: 2 samples",)),
        ("aiff", None, ("clipped at full scale: 2 samples",)),
        ("wmv", None, ("clipped at full scale: 2 samples",)),
        ("mp3", None, ("clipped at full scale: 2 samples",)),
        ("ogg", None, ()),
        ("m4a", None, ()),
    ],
)
def test_samples_that_integers_do_not_hold_are_counted(tmp_path, format, bit_depth, told):
    samples = silence(44_100)
    samples[0, 20_000:20_003] = (1.0, -1.1, 1.5)
    file = encoded(tmp_path, samples, format=format, bit_depth=bit_depth)
    assert file.conversions == told


@pytest.mark.parametrize("format", ["mp3", "ogg", "opus", "m4a", "mkv", "webm"])
def test_what_lossy_formats_do_beyond_full_scale_is_kept_or_told(tmp_path, format):
    loud = sine(440, 0.5, rate_hz=48_000, peak_dbfs=3.5)
    file = encoded(tmp_path, loud, rate_hz=48_000, format=format)
    back, _ = heard(tmp_path, file)
    kept = np.abs(back).max() > 1.4
    clipped = np.count_nonzero(np.abs(loud) > 1)
    assert file.conversions == (() if kept else (f"clipped at full scale: {clipped} samples",))
    assert kept == (format != "mp3")


@pytest.mark.parametrize("rate_hz", [176_400, 192_000])
@pytest.mark.parametrize("channels", [6, 7, 8])
def test_a_loud_flac_of_many_channels_is_read_by_other_players(tmp_path, rate_hz, channels):
    samples = noise(rate_hz, channels=channels, peak=1.0)
    file = encoded(tmp_path, samples, rate_hz=rate_hz, format="flac")
    with av.open(str(file.path)) as played:
        found = sum(frame.samples for frame in played.decode(audio=0))
    back, _ = heard(tmp_path, file)
    assert found == rate_hz
    np.testing.assert_allclose(back, samples, atol=2.0**-23)

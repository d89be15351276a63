"""Nine tracks at one level: the gain, the ceiling on the files themselves, the balance."""

import hashlib

import numpy as np
import pytest

from clearstem.errors import AudioOutOfRange, CeilingNotHeld, LengthChanged, NonFiniteOutput
from clearstem.options import Gain
from containers.audio.gains import MARGIN_DB, Gains, Hot, Setting
from containers.audio.loudness import Meter
from containers.audio.measure import Levels, measure
from containers.audio.normalize import normalize
from containers.audio.stream import decode
from tests.signals import amplitude, noise, silence, sine
from tests.stages.files import samples_of, write_recording
from tests.stages.real_audio import real_audio

FORMATS = ("wav", "flac", "mp3", "ogg", "m4a")


def normalized(folder, tracks, *, rate_hz=44_100, format="wav", main="main", **options):
    """What `normalize` does to these samples, by track."""
    into = folder / "out"
    into.mkdir(exist_ok=True)
    paths = {
        name: write_recording(folder / f"{name}.scratch.wav", samples, rate_hz=rate_hz)
        for name, samples in tracks.items()
    }
    return normalize(paths, into, main=main, format=format, **options)


def heard(folder, track):
    """The samples of an output file."""
    decode(track.path, folder / "heard.wav")
    return samples_of(folder / "heard.wav")


def spiked(seconds=3, *, level_db=-40.0, peak=0.9):
    """Quiet noise with one loud click: the ceiling comes long before the target."""
    samples = noise(round(seconds * 44_100), channels=2, peak=amplitude(level_db))
    samples[0, 44_100] = peak
    return samples


def clipped_music(seconds=4):
    """Loud, square and full of highs: what lossy encoders overshoot on."""
    samples = noise(round(seconds * 44_100), channels=2, peak=4.0)
    return np.clip(samples, -0.89, 0.89)


@pytest.mark.parametrize("format", FORMATS)
def test_the_main_track_reaches_the_target(tmp_path, format):
    vocals = sine(440, 4, channels=2, peak_dbfs=-20)
    tracks = {"main": vocals + noise(4 * 44_100, channels=2, peak=0.02), "vocals": vocals}
    result = normalized(tmp_path, tracks, format=format)
    assert result.main_lufs == pytest.approx(-14, abs=0.1)
    assert result.held_back_by is None
    assert result.gain_db == pytest.approx(-14 - result.source.loudness_lufs)
    assert {track.gain_db for track in result.tracks.values()} == {result.gain_db}
    for name, track in result.tracks.items():
        assert track.path.name == f"{name}.{format}"
        assert track.levels.frames == 4 * 44_100
        assert track.levels.true_peak_dbtp <= -1
        content = track.path.read_bytes()
        assert track.sha256 == hashlib.sha256(content).hexdigest()
        assert track.size_bytes == len(content)


@pytest.mark.parametrize("format", FORMATS)
def test_a_peak_holds_the_gain_back_on_the_file_itself(tmp_path, format):
    result = normalized(tmp_path, {"main": spiked(), "drums": spiked() / 2}, format=format)
    assert result.held_back_by == "main"
    assert result.main_lufs < -20
    assert result.tracks["main"].levels.true_peak_dbtp <= -1
    if format in ("wav", "flac"):  # lossy encoders flatten a lone click
        assert result.tracks["main"].levels.true_peak_dbtp == pytest.approx(
            -1 - MARGIN_DB, abs=1e-3
        )


def test_any_track_can_hold_the_gain_back(tmp_path):
    # Parts of opposite sign: each of them peaks higher than their sum.
    loud = noise(3 * 44_100, channels=2, peak=0.8)
    main = noise(3 * 44_100, channels=2, peak=0.1, seed=1)
    tracks = {"main": main, "vocals": main + loud, "drums": -loud}
    result = normalized(tmp_path, tracks)
    assert result.held_back_by == "vocals"
    assert max(track.levels.true_peak_dbtp for track in result.tracks.values()) <= -1


@pytest.mark.parametrize("format", ["mp3", "ogg", "m4a", "opus"])
def test_what_a_lossy_encoder_overshoots_is_taken_off(tmp_path, format):
    result = normalized(tmp_path, {"main": clipped_music()}, format=format, target_lufs=6.0)
    assert result.held_back_by == "main"
    # Less than the ceiling asks of the source: the encoder adds to its peaks.
    meter = Meter(rate_hz=44_100, channels=2)
    meter.push(clipped_music())
    assert result.gain_db < -1 - MARGIN_DB - meter.true_peak_dbtp
    meter = Meter(rate_hz=result.tracks["main"].rate_hz, channels=2)
    meter.push(heard(tmp_path, result.tracks["main"]))
    assert meter.true_peak_dbtp <= -1
    assert meter.true_peak_dbtp == result.tracks["main"].levels.true_peak_dbtp


@pytest.mark.parametrize("hot", Hot)
@pytest.mark.parametrize(("target", "ceiling"), [(-9.0, -6.0), (-23.0, -1.0), (-14.0, -20.0)])
def test_target_and_ceiling_are_those_that_were_asked_for(tmp_path, target, ceiling, hot):
    tracks = {"main": noise(3 * 44_100, channels=2, peak=0.3)}
    result = normalized(tmp_path, tracks, target_lufs=target, ceiling_dbtp=ceiling, hot=hot)
    assert (result.target_lufs, result.ceiling_dbtp) == (target, ceiling)
    track = result.tracks["main"]
    assert track.levels.true_peak_dbtp <= ceiling
    if result.held_back_by or track.limited_db:
        assert track.levels.true_peak_dbtp == pytest.approx(ceiling, abs=0.3)
    else:
        assert track.levels.loudness_lufs == pytest.approx(target, abs=0.1)
    # White noise peaks some 8 dB above its loudness.
    assert bool(result.held_back_by or track.limited_db) == (ceiling - target < 6)


def test_tracks_still_sum_to_the_main_track(tmp_path):
    parts = {name: noise(2 * 44_100, channels=2, seed=n) for n, name in enumerate("abcd")}
    tracks = {"main": np.sum(list(parts.values()), axis=0)} | parts
    result = normalized(tmp_path, tracks)
    whole = heard(tmp_path, result.tracks["main"])
    rest = whole - sum(heard(tmp_path, result.tracks[name]) for name in parts)
    # Five roundings to 24 bits.
    assert np.abs(rest).max() <= 5 * 2.0**-24 + 1e-6


def test_each_track_by_itself_on_request(tmp_path):
    tracks = {
        "main": sine(440, 2, channels=2, peak_dbfs=-20),
        "vocals": sine(440, 2, channels=2, peak_dbfs=-50),
        "drums": spiked(2),
    }
    result = normalized(tmp_path, tracks, gain=Gain.PER_TRACK)
    loudness = {name: track.levels.loudness_lufs for name, track in result.tracks.items()}
    assert loudness["main"] == pytest.approx(-14, abs=0.1)
    assert loudness["vocals"] == pytest.approx(-14, abs=0.1)
    assert loudness["drums"] < -20
    assert result.held_back_by is None
    assert result.gain_db == result.tracks["main"].gain_db
    assert all(track.levels.true_peak_dbtp <= -1 for track in result.tracks.values())


@pytest.mark.parametrize("format", FORMATS)
def test_silence_in_silence_out(tmp_path, format):
    quiet = silence(44_100, channels=2)
    result = normalized(tmp_path, {"main": quiet, "vocals": quiet}, format=format)
    assert (result.gain_db, result.source.loudness_lufs, result.main_lufs) == (0.0, None, None)
    assert result.held_back_by is None
    for track in result.tracks.values():
        assert (track.levels.frames, track.levels.loudness_lufs) == (44_100, None)
        assert np.abs(heard(tmp_path, track)).max() < 1e-6


def test_a_silent_track_beside_a_loud_one_is_no_trouble(tmp_path):
    tracks = {"main": noise(44_100), "vocals": silence(44_100)}
    track = normalized(tmp_path, tracks).tracks["vocals"]
    assert (track.levels.true_peak_dbtp, track.levels.loudness_lufs) == (None, None)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("frames", [1, 100, 17_639])
def test_what_is_too_short_for_a_loudness_keeps_its_level(tmp_path, format, frames):
    result = normalized(tmp_path, {"main": noise(frames, peak=0.25)}, format=format)
    assert (result.gain_db, result.source.loudness_lufs) == (0.0, None)
    assert result.tracks["main"].levels.frames == frames


def test_what_is_too_short_for_a_loudness_still_keeps_the_ceiling(tmp_path):
    result = normalized(tmp_path, {"main": noise(1000, peak=1.0)})
    assert result.gain_db < 0
    assert result.held_back_by == "main"
    assert result.tracks["main"].levels.true_peak_dbtp <= -1


@pytest.mark.parametrize("rate_hz", [8_000, 96_000, 192_000])
def test_rates_and_channels_are_kept_or_reported(tmp_path, rate_hz):
    tracks = {"main": noise(rate_hz, channels=1), "vocals": noise(rate_hz, channels=1, seed=1)}
    result = normalized(tmp_path, tracks, rate_hz=rate_hz, format="mp3")
    kept_hz = min(rate_hz, 48_000)
    for track in result.tracks.values():
        assert (track.rate_hz, track.channels, track.levels.frames) == (kept_hz, 1, kept_hz)
    assert len(result.conversions) == (rate_hz != kept_hz)


def test_a_real_song_ends_under_the_ceiling(tmp_path):
    decode(real_audio("demucs_test.mp3"), tmp_path / "main.wav")
    samples = samples_of(tmp_path / "main.wav")
    tracks = {"main": samples, "left": samples * np.array([[1], [0]], np.float32)}
    result = normalized(tmp_path, tracks, format="ogg")
    assert all(track.levels.true_peak_dbtp <= -1 for track in result.tracks.values())
    assert result.main_lufs == pytest.approx(-14, abs=0.1)
    assert all(track.levels.frames == 882_000 for track in result.tracks.values())


def test_titles_tell_the_tracks_apart(tmp_path):
    tracks = {"main": noise(44_100), "vocals": noise(44_100)}
    result = normalized(tmp_path, tracks, format="flac", tags={"title": "Song", "artist": "A"})
    found = {
        name: decode(track.path, tmp_path / "heard.wav").tags
        for name, track in result.tracks.items()
    }
    assert found["main"] == {"title": "Song", "artist": "A"}
    assert found["vocals"] == {"title": "Song (vocals)", "artist": "A"}


@pytest.mark.parametrize("workers", [1, 3])
def test_progress_rises_to_its_end(tmp_path, workers):
    told = []
    tracks = {name: noise(200_000, seed=n) for n, name in enumerate(("main", "a", "b"))}
    normalized(
        tmp_path, tracks, workers=workers, progress=lambda done, all: told.append((done, all))
    )
    assert told == sorted(told)
    assert told[-1] == (9 * 200_000, 9 * 200_000)


def test_tracks_of_unequal_length_are_refused(tmp_path):
    with pytest.raises(LengthChanged, match="vocals is 99 frames long, main 100"):
        normalized(tmp_path, {"main": noise(100), "vocals": noise(99)})


def test_samples_that_are_no_numbers_are_refused_by_name(tmp_path):
    broken = noise(44_100)
    broken[0, 30_000] = np.nan
    with pytest.raises(NonFiniteOutput, match=r"vocals\.scratch\.wav: NaN or infinite"):
        normalized(tmp_path, {"main": noise(44_100), "vocals": broken})


def test_an_output_that_cannot_hold_the_channels_is_refused_before_work(tmp_path):
    with pytest.raises(AudioOutOfRange, match="mp3 holds 1 to 2 channels"):
        normalized(tmp_path, {"main": noise(1000, channels=6)}, format="mp3")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_main_track_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ValueError, match="main track 'mix' is none of main"):
        normalized(tmp_path, {"main": noise(1000)}, main="mix")


def test_a_ceiling_that_no_gain_holds_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(Gains, "lower", lambda self, peaks, times=1: True)
    with pytest.raises(CeilingNotHeld, match=r"main: .* dBTP after 6 rounds"):
        normalized(tmp_path, {"main": noise(44_100)})


def levels(lufs, dbtp):
    return Levels(frames=1, loudness_lufs=lufs, true_peak_dbtp=dbtp)


def test_the_common_gain_goes_by_the_main_track_and_the_highest_peak():
    gains = Gains(
        {"main": levels(-20, -10), "vocals": levels(-30, -3)},
        main="main",
        target_lufs=-14,
        ceiling_dbtp=-1,
        mode=Gain.COMMON,
    )
    assert gains.db == pytest.approx({"main": 2 - MARGIN_DB, "vocals": 2 - MARGIN_DB})
    assert (gains.held_back_by, gains.hottest()) == ("vocals", "vocals")
    assert gains.lower({"main": -0.5, "vocals": -0.8})
    assert gains.db["main"] == pytest.approx(2 - 2 * MARGIN_DB - 0.5)
    assert gains.held_back_by == "main"
    assert not gains.lower({"main": -1.0, "vocals": -1.2})


def test_gains_per_track_go_by_each_track():
    gains = Gains(
        {"main": levels(-20, -10), "vocals": levels(-30, -3), "drums": levels(None, None)},
        main="main",
        target_lufs=-14,
        ceiling_dbtp=-1,
        mode=Gain.PER_TRACK,
    )
    assert gains.db == pytest.approx({"main": 6, "vocals": 2 - MARGIN_DB, "drums": 0})
    assert gains.held_back_by is None


@pytest.mark.parametrize("format", FORMATS)
def test_a_limited_track_keeps_the_gain_and_the_ceiling(tmp_path, format):
    result = normalized(tmp_path, {"main": spiked(), "quiet": spiked() / 100}, format=format,
                        hot=Hot.LIMITED)  # fmt: skip
    main, quiet = result.tracks["main"], result.tracks["quiet"]
    assert result.held_back_by is None
    assert result.gain_db == pytest.approx(-14 - result.source.loudness_lufs)
    assert main.levels.true_peak_dbtp <= -1
    assert main.limited_db > 10
    assert main.levels.frames == 3 * 44_100
    # One click of 3 s is all that is missing.
    assert result.main_lufs == pytest.approx(-14, abs=1.5)
    assert (quiet.limited_db, quiet.gain_db) == (0.0, main.gain_db)


@pytest.mark.parametrize("format", ["mp3", "ogg", "m4a", "opus"])
def test_the_limit_is_lowered_until_the_lossy_file_keeps_the_ceiling(tmp_path, format):
    tracks = {"main": clipped_music()}
    result = normalized(tmp_path, tracks, format=format, target_lufs=-6.0, hot=Hot.LIMITED)
    assert result.tracks["main"].levels.true_peak_dbtp <= -1
    assert result.gain_db == pytest.approx(-6 - result.source.loudness_lufs)


def clipped_speech(rate_hz, *, clip):
    """Two seconds of low noise that swells and is cut off, as by a microphone turned up."""
    drawn = np.random.default_rng(0).normal(size=2 * rate_hz)
    bins = np.fft.rfftfreq(len(drawn), 1 / rate_hz)
    low = np.fft.irfft(np.fft.rfft(drawn) / (1 + (bins / 500) ** 2), len(drawn))
    swelling = low * np.sin(2 * np.pi * 2 * np.arange(len(low)) / rate_hz) ** 2
    samples = np.clip(swelling / np.abs(swelling).max(), -clip, clip)
    return samples.astype(np.float32)[np.newaxis]


# The peaks lie under the limit, or just above it, and the codec puts them over the ceiling:
# lowering a limit that is above the peaks changes nothing, and small steps take too many.
@pytest.mark.parametrize(
    ("format", "rate_hz", "clip", "peak_dbtp"),
    [("opus", 8_000, 0.1, -2.5), ("m4a", 8_000, 0.2, -1.1), ("opus", 44_100, 0.4, -2.5)],
)
@pytest.mark.parametrize("hot", Hot)
def test_what_only_the_codec_overshoots_is_held_lower(
    tmp_path, format, rate_hz, clip, peak_dbtp, hot
):
    main = write_recording(tmp_path / "s.wav", clipped_speech(rate_hz, clip=clip), rate_hz=rate_hz)
    source = measure(main)
    target = source.loudness_lufs - source.true_peak_dbtp + peak_dbtp
    result = normalize({"main": main}, tmp_path, main="main", format=format,
                       target_lufs=target, hot=hot)  # fmt: skip
    assert result.tracks["main"].levels.true_peak_dbtp <= -1


def test_a_limiter_with_nothing_to_do_changes_no_byte(tmp_path):
    tracks = {"main": noise(4 * 44_100, channels=2, peak=0.1)}
    plain = normalized(tmp_path, tracks, target_lufs=-23.0)
    limited = normalized(tmp_path, tracks, target_lufs=-23.0, hot=Hot.LIMITED)
    assert limited.tracks["main"].sha256 == plain.tracks["main"].sha256


def test_a_receipt_has_the_main_tracks_gain_where_each_has_its_own(tmp_path):
    loud = sine(440, 3, channels=2, peak_dbfs=-20)
    tracks = {"main": loud, "vocals": loud / 2, "residual": loud / 1000}
    result = normalized(tmp_path, tracks, gain=Gain.PER_TRACK, receipts=("residual",))
    assert result.tracks["residual"].gain_db == result.gain_db
    assert result.tracks["vocals"].levels.loudness_lufs == pytest.approx(-14, abs=0.1)
    # 60 dB below the main track, and so below the gate.
    assert result.tracks["residual"].levels.loudness_lufs is None


def test_limits_go_down_by_what_was_too_much_and_gains_stay():
    gains = Gains(
        {"main": levels(-20, -3), "vocals": levels(-30, -20)},
        main="main",
        target_lufs=-14,
        ceiling_dbtp=-1,
        mode=Gain.COMMON,
        hot=Hot.LIMITED,
    )
    assert gains.setting("main") == Setting(6, -1 - MARGIN_DB)
    assert gains.setting("vocals") == Setting(6, None)
    assert gains.lower({"main": -0.5, "vocals": -14})
    assert gains.setting("main").limit_dbtp == pytest.approx(-1.5 - 2 * MARGIN_DB)
    assert gains.setting("vocals") == Setting(6, None)
    assert not gains.lower({"main": -1.0, "vocals": -14})
    assert gains.held_back_by is None


@pytest.mark.parametrize("hot", Hot)
@pytest.mark.parametrize("mode", Gain)
def test_every_round_changes_every_track_that_is_over(mode, hot):
    gains = Gains(
        {"main": levels(-20, -3), "vocals": levels(-30, -20), "residual": levels(-40, -40)},
        main="main",
        target_lufs=-14,
        ceiling_dbtp=-1,
        mode=mode,
        hot=hot,
        receipts=("residual",),
    )
    for times in (1, 1, 2, 4):
        before = {name: gains.setting(name) for name in gains.db}
        assert gains.lower(dict.fromkeys(gains.db, -0.9), times=times)
        assert not any(gains.setting(name) == was for name, was in before.items())


def test_what_was_not_enough_is_taken_off_several_times():
    gains = Gains(
        {"main": levels(-20, -10)},
        main="main",
        target_lufs=-14,
        ceiling_dbtp=-1,
        mode=Gain.COMMON,
    )
    gains.lower({"main": -0.5}, times=4)
    assert gains.db["main"] == pytest.approx(6 - 4 * (0.5 + MARGIN_DB))

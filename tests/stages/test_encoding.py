"""Stage encoding: the format that was asked for, its level, its pictures, its way to the client."""

import sys
import types

import av
import numpy as np
import pytest
import soundfile

from clearstem.jobs import JobState
from clearstem.recipes import EXTRACTION, NOISE_REDUCTION
from containers.audio.gaps import Begin
from containers.audio.stream import decode
from containers.checksums import sha256_of
from containers.stage import run_stage
from tests.recipes import result_of, run_recipe, submitted_noisy
from tests.signals import chirp, noise
from tests.stages.files import samples_of
from tests.stages.real_audio import real_audio
from tests.stages.videos import RATE_HZ, delay, picture_packets, write_video

FROM_32 = "source of 32 bit written as"


def wav(path, samples, *, rate_hz=RATE_HZ, subtype="PCM_16"):
    soundfile.write(path, samples.T, rate_hz, subtype=subtype)
    return path


def finished(service, job):
    job = run_recipe(service, job)
    assert job.state is JobState.SUCCEEDED, job.failure
    return job


@pytest.mark.parametrize(
    "extension",
    ["wav", "flac", "aiff", "mp3", "ogg", "opus", "m4a", "mp4", "mov", "m4v", "mkv", "webm", "wmv"],
)
def test_every_extension_that_may_be_asked_for_is_written(service, tmp_path, extension):
    samples = noise(RATE_HZ, channels=2, peak=0.2)
    path = wav(tmp_path / "talk.wav", samples)
    job = finished(service, submitted_noisy(service, path, output_extension=extension))
    track = job.track("clean")
    result = result_of(service, job, to=tmp_path)
    assert (track.extension, track.frames) == (extension, RATE_HZ)
    assert track.size_bytes == result.stat().st_size
    assert track.sha256 == sha256_of(result)
    decoded = decode(result, tmp_path / "heard.wav")
    assert (decoded.format.frames, decoded.format.channels) == (RATE_HZ, 2)
    assert track.loudness_lufs is not None and track.true_peak_dbtp is not None
    # A second of sound has windows of 0.4 s and none of 3 s.
    assert track.max_momentary_lufs >= track.loudness_lufs
    assert (track.max_short_term_lufs, track.loudness_range_lu) == (None, None)
    assert job.loudness is None  # no level was asked for


@pytest.mark.parametrize(
    ("subtype", "name"),
    [
        ("PCM_16", "a.wav"),
        ("PCM_24", "a.wav"),
        ("FLOAT", "a.wav"),
        ("PCM_16", "a.flac"),
        ("PCM_16", "a.aiff"),
        ("PCM_24", "a.aiff"),
    ],
)
def test_the_depth_of_the_samples_is_the_source_s(service, tmp_path, subtype, name):
    path = wav(tmp_path / name, noise(8_000), subtype=subtype)
    job = finished(service, submitted_noisy(service, path))
    assert soundfile.info(result_of(service, job, to=tmp_path)).subtype == subtype


@pytest.mark.parametrize(
    ("subtype", "options", "notes"),
    [
        ("PCM_24", {}, ()),
        ("FLOAT", {}, ()),
        ("PCM_32", {}, (f"{FROM_32} 32 bit floating point, which holds 24 of an integer",)),
        ("PCM_32", {"output_extension": "flac"}, (f"{FROM_32} 24 bit",)),
    ],
)
def test_integers_of_more_than_24_bits_are_told_to_lose_some(
    service, tmp_path, subtype, options, notes
):
    path = wav(tmp_path / "a.wav", noise(8_000), subtype=subtype)
    assert finished(service, submitted_noisy(service, path, **options)).notes == notes


def loud(path):
    """A float recording whose tone goes beyond full scale, after a second of none."""
    tone = np.zeros(2 * RATE_HZ)
    tone[RATE_HZ:] = 1.6 * np.sin(2 * np.pi * 440 * np.arange(RATE_HZ) / RATE_HZ)
    return wav(path, tone[np.newaxis].astype(np.float32), subtype="FLOAT")


def test_aiff_of_more_bits_than_we_write_becomes_wav_and_keeps_its_peaks(service, tmp_path):
    path = loud(tmp_path / "loud.aiff")
    job = finished(service, submitted_noisy(service, path, strength=1.0))
    assert job.notes == ("written as wav: our aiff files hold no samples of 32 bit",)
    samples, _ = soundfile.read(result_of(service, job, to=tmp_path))
    assert soundfile.info(tmp_path / "result.wav").subtype == "FLOAT"
    assert samples.max() > 1.5


def test_aiff_that_was_asked_for_is_written_and_says_what_it_lost(service, tmp_path):
    path = loud(tmp_path / "loud.wav")
    chosen = {"output_extension": "aiff", "strength": 1.0}
    job = finished(service, submitted_noisy(service, path, **chosen))
    samples, _ = soundfile.read(result_of(service, job, to=tmp_path))
    assert soundfile.info(tmp_path / "result.aiff").subtype == "PCM_24"
    clipped = np.count_nonzero(np.abs(samples) >= 1 - 2.0**-22)
    assert job.notes == (
        f"clipped at full scale: {clipped} samples",
        "source of 32 bit written as 24 bit",
    )


def test_a_level_that_was_asked_for_says_what_depth_it_lost(service, tmp_path):
    path = wav(tmp_path / "talk.wav", noise(RATE_HZ, peak=0.2), subtype="FLOAT")
    chosen = {"output_extension": "aiff", "auto_level_lufs": -20.0}
    job = finished(service, submitted_noisy(service, path, **chosen))
    assert "source of 32 bit written as 24 bit" in job.notes
    assert not any("clipped" in note for note in job.notes)


@pytest.mark.parametrize("extension", ["wav", "mp3", "mp4"])
def test_the_level_that_was_asked_for_is_reached_under_the_ceiling(service, tmp_path, extension):
    t = np.arange(4 * RATE_HZ) / RATE_HZ
    # Louder for moments, as voices are.
    voice = (0.05 + 0.4 * ((t % 0.5) < 0.015)) * np.sin(2 * np.pi * 300 * t)
    path = wav(tmp_path / "talk.wav", np.stack([voice, voice]).astype(np.float32))
    chosen = {"auto_level_lufs": -16.0, "output_extension": extension}
    job = finished(service, submitted_noisy(service, path, **chosen))
    track = job.track("clean")
    assert track.true_peak_dbtp <= -1.0
    assert track.loudness_lufs == pytest.approx(-16.0, abs=1.0)
    assert job.loudness.target_lufs == -16 and job.loudness.ceiling_dbtp == -1
    assert job.loudness.gain_db == pytest.approx(-16 - job.loudness.source_lufs)
    assert job.loudness.limited
    assert job.loudness.source_max_short_term_lufs is not None
    assert track.max_short_term_lufs == pytest.approx(-16.0, abs=1.5)
    assert any("peaks limited by up to" in note for note in job.notes)


def test_silence_is_leveled_to_silence(service, tmp_path):
    path = wav(tmp_path / "still.wav", np.zeros((1, RATE_HZ), np.float32))
    job = finished(service, submitted_noisy(service, path, auto_level_lufs=-16.0))
    assert job.loudness.main_lufs is None and job.loudness.gain_db == 0
    samples, _ = soundfile.read(result_of(service, job, to=tmp_path))
    assert not samples.any()


@pytest.mark.parametrize("name", ["chaplin.mp4", "bbb_0_30.webm"])
def test_a_real_video_comes_back_with_its_own_pictures(service, tmp_path, name):
    original = real_audio(name)
    job = finished(service, submitted_noisy(service, original, strength=1.0))
    result = result_of(service, job, to=tmp_path)
    assert result.suffix == original.suffix
    assert picture_packets(result) == picture_packets(original)
    decode(original, tmp_path / "before.wav")
    decode(result, tmp_path / "after.wav")
    before, after = (samples_of(tmp_path / f"{n}.wav") for n in ("before", "after"))
    if result.suffix == ".webm":  # Opus counts at 48 kHz
        assert after.shape[1] == -(-before.shape[1] * 48_000 // job.audio.rate_hz)
        before, after = before[:, :: 441 * 2], after[:, :: 480 * 2]
    else:
        assert after.shape == before.shape
    assert delay(before, after) == 0
    assert job.track("clean").frames * job.audio.rate_hz == pytest.approx(
        job.audio.frames * (48_000 if result.suffix == ".webm" else job.audio.rate_hz), abs=48_000
    )


def test_a_video_leveled_keeps_its_pictures_and_the_ceiling(service, tmp_path):
    samples = chirp(2 * RATE_HZ, rate_hz=RATE_HZ, channels=2, top=0.1, peak=0.05)
    path = write_video(tmp_path / "film.mp4", muxer="mp4", labelled=True, samples=samples)
    job = finished(service, submitted_noisy(service, path, auto_level_lufs=-10.0))
    result = result_of(service, job, to=tmp_path)
    assert picture_packets(result) == picture_packets(path)
    assert job.track("clean").true_peak_dbtp <= -1.0
    with av.open(str(result)) as file:
        assert file.metadata["title"] == "Bars" and len(file.chapters()) == 2


def test_a_video_that_was_replaced_in_mid_job_gives_its_pictures_to_no_other_sound(
    service, tmp_path
):
    path = write_video(tmp_path / "film.mp4", muxer="mp4", seconds=1.0)
    other = write_video(tmp_path / "other.mp4", muxer="mp4", seconds=2.0)
    job = submitted_noisy(service, path)
    for stage in (EXTRACTION, NOISE_REDUCTION):
        run_stage(stage, job.job_id, service=service)
    service.store.put_file(other, to=job.source.location, content_type="video/mp4")
    job = run_recipe(service, job)
    assert (job.state, job.failure.name) == (JobState.FAILED, "Clearstem.SourceChanged")
    assert "was replaced" in job.failure.message
    assert service.jobs.cache.find(job, at=service.now()) is None


def test_sound_alone_may_be_asked_of_a_video(service, tmp_path):
    path = write_video(tmp_path / "film.mp4", muxer="mp4", seconds=1.0)
    job = finished(service, submitted_noisy(service, path, output_extension="mp3"))
    with av.open(str(result_of(service, job, to=tmp_path))) as file:
        assert [stream.type for stream in file.streams] == ["audio"]


@pytest.mark.parametrize(
    ("name", "muxer", "picture", "sound", "extension"),
    [
        ("film.avi", "avi", "mpeg4", "libmp3lame", "mkv"),
        ("film.flv", "flv", "flv", "aac", "wmv"),
        ("film.asf", "asf", "wmv2", "wmav2", "wmv"),
        ("film.mp4", "matroska", "libvpx", "libopus", "mkv"),
    ],
)
def test_where_nothing_is_asked_the_nearest_container_is_written(
    service, tmp_path, name, muxer, picture, sound, extension
):
    path = write_video(tmp_path / name, muxer=muxer, picture=picture, sound=sound, seconds=1.0)
    job = finished(service, submitted_noisy(service, path))
    assert job.track("clean").extension == extension
    assert [digest for digest, _ in picture_packets(result_of(service, job, to=tmp_path))] == [
        digest for digest, _ in picture_packets(path)
    ]
    if name in ("film.flv", "film.mp4"):
        assert any(f"written as {extension}" in note for note in job.notes)


def test_a_container_that_was_asked_for_is_written_whatever_the_pictures(service, tmp_path):
    path = write_video(
        tmp_path / "film.webm", muxer="webm", picture="libvpx", sound="libopus", seconds=1.0
    )
    job = finished(service, submitted_noisy(service, path, output_extension="mp4"))
    assert "pictures encoded anew: mp4 holds no vp8; h264, crf 20" in job.notes
    with av.open(str(path)) as before, av.open(str(result_of(service, job, to=tmp_path))) as after:
        assert after.streams.video[0].codec_context.name == "h264"
        times = [[f.pts * f.time_base for f in file.decode(video=0)] for file in (before, after)]
    assert times[0] == times[1] and len(times[0]) == 25


def remote(monkeypatch, answer):
    """A stand-in for `containers.remote`; what it was asked to deliver."""
    seen = []

    def deliver(space, path, *, content_type):
        seen.append((space.job.output_url, path.name, content_type, path.read_bytes()))
        return answer

    module = types.ModuleType("containers.remote")
    module.deliver = deliver
    monkeypatch.setitem(sys.modules, "containers.remote", module)
    return seen


@pytest.mark.parametrize("answer", [None, "output address answered 403"])
def test_the_result_is_put_to_the_client_s_address_and_kept(service, tmp_path, monkeypatch, answer):
    seen = remote(monkeypatch, answer)
    path = wav(tmp_path / "talk.wav", noise(16_000))
    address = "https://example.com/put-it-here"
    job = finished(service, submitted_noisy(service, path, output_url=address))
    kept = result_of(service, job, to=tmp_path)
    assert seen == [(address, "clean.wav", "audio/wav", kept.read_bytes())]
    assert (job.undelivered, answer in job.remarks) == (answer, answer is not None)


def test_nothing_is_put_anywhere_unasked(service, tmp_path, monkeypatch):
    seen = remote(monkeypatch, None)
    finished(service, submitted_noisy(service, wav(tmp_path / "talk.wav", noise(16_000))))
    assert seen == []


@pytest.mark.parametrize(("extension", "frames"), [("flac", 3 * RATE_HZ), ("mkv", 2 * RATE_HZ)])
def test_a_late_sound_is_put_off_by_silence_or_by_its_time(service, tmp_path, extension, frames):
    # In a film the sound begins late again; alone it can only be preceded by silence.
    samples = noise(2 * RATE_HZ, channels=2, peak=0.2)
    path = write_video(
        tmp_path / "film.mkv", muxer="matroska", sound="pcm_s16le", begin_s=1.0, samples=samples
    )
    job = finished(service, submitted_noisy(service, path, output_extension=extension))
    assert job.track("clean").frames == frames
    heard = decode(
        result_of(service, job, to=tmp_path), tmp_path / "heard.wav", begin=Begin.PICTURES
    )
    assert heard.format.frames == 3 * RATE_HZ
    silent = samples_of(tmp_path / "heard.wav")[:, : RATE_HZ - 2_000]
    assert np.abs(silent).max() < 1e-3
    told = "source's sound begins 1.000 s after its pictures: silence"
    assert (told in job.notes) == (extension == "flac")

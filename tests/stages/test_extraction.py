"""Stage extraction: what is taken, what is refused and in which words, what is fetched."""

import dataclasses
import json
import sys
import types

import av
import numpy as np
import pytest
import soundfile

from clearstem.jobs import JobState
from clearstem.options import DenoiseOptions, DenoiserChoice
from clearstem.recipes import EXTRACTION, NOISE_REDUCTION
from clearstem.records import loads
from clearstem.stage_runs import StageState
from containers.audio import encode
from containers.stage import run_stage
from containers.workspace import Manifest
from tests.recipes import result_of, run_recipe, submitted_noisy
from tests.signals import noise, silence
from tests.stages.files import samples_of, write_video_without_sound
from tests.stages.real_audio import real_audio
from tests.stages.videos import write_video

RATE_HZ = 16_000


def wav(path, samples, *, rate_hz=RATE_HZ, subtype="PCM_16"):
    soundfile.write(path, samples.T, rate_hz, subtype=subtype)
    return path


def failed(service, job):
    """The failure of a job that is bound to fail in its first stage."""
    job = run_recipe(service, job)
    assert job.state is JobState.FAILED
    assert job.stage(EXTRACTION).state is StageState.FAILED
    assert job.stage(NOISE_REDUCTION).state is StageState.PENDING
    return job.failure


def artifacts(service, job, stage):
    """What a stage committed, by name."""
    key = f"jobs/{job.job_id}/{stage}/manifest.json"
    body = service.store.client.get_object(Bucket=service.settings.work_bucket, Key=key)["Body"]
    return {a.name: a for a in loads(body.read(), Manifest).artifacts}


def test_the_sound_is_kept_as_it_was_with_its_labels(service, tmp_path):
    source = real_audio("vibeace.ogg")
    job = submitted_noisy(service, source)
    run_stage(EXTRACTION, job.job_id, service=service)
    kept = artifacts(service, job, EXTRACTION)
    assert set(kept) == {"sound", "tags", "cover"}
    service.store.fetch(kept["tags"].location, to=tmp_path / "tags.json")
    assert json.loads((tmp_path / "tags.json").read_text())["artist"] == "Kevin MacLeod"
    job = service.jobs.get(job.job_id)
    assert (job.audio.codec, job.audio.rate_hz, job.audio.channels) == ("vorbis", 44_100, 2)
    assert kept["sound"].frames == job.audio.frames


def test_the_sound_of_a_video_is_taken_and_its_pictures_stay(service, tmp_path):
    samples = noise(48_000, channels=2, peak=0.3)
    path = write_video(tmp_path / "film.mkv", muxer="matroska", sound="pcm_s16le", samples=samples)
    job = submitted_noisy(service, path)
    run_stage(EXTRACTION, job.job_id, service=service)
    kept = artifacts(service, job, EXTRACTION)
    assert set(kept) == {"sound", "tags"}
    service.store.fetch(kept["sound"].location, to=tmp_path / "sound.wav")
    np.testing.assert_allclose(samples_of(tmp_path / "sound.wav"), samples, atol=2.0**-15)


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("noise.wav", b"RIFF\x00\x10\x00\x00WAVE"),
        ("noise.mp3", b"ID3\x04"),
        ("film.mp4", b"\0\0\0\x18ftypmp42"),
    ],
)
def test_garbage_behind_a_good_beginning_fails_for_good(service, tmp_path, name, head):
    path = tmp_path / name
    path.write_bytes(head + np.random.default_rng(0).bytes(20_000))
    failure = failed(service, submitted_noisy(service, path))
    assert failure.name in ("Clearstem.UnreadableAudio", "Clearstem.NoAudio")
    assert failure.stage == EXTRACTION


def test_a_video_without_sound_fails_and_says_so(service, tmp_path):
    path = write_video_without_sound(tmp_path / "silent.mp4")
    failure = failed(service, submitted_noisy(service, path))
    assert failure.name == "Clearstem.NoAudio"
    assert "video streams only" in failure.message


def test_an_image_called_a_video_is_refused_when_it_comes(service, tmp_path):
    from clearstem.errors import ContentMismatch

    path = tmp_path / "photo.mp4"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200))
    with pytest.raises(ContentMismatch, match=r"photo\.mp4 is not a readable audio file"):
        submitted_noisy(service, path)


def test_an_image_in_a_video_s_coat_fails_in_its_stage(service, tmp_path):
    # HEIF is an ISO file like mp4, so its first bytes pass.
    path = tmp_path / "photo.mp4"
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(300))
    failure = failed(service, submitted_noisy(service, path))
    assert failure.name in ("Clearstem.UnreadableAudio", "Clearstem.NoAudio")
    assert "original.mp4" in failure.message or "photo.mp4" in failure.message


def test_one_second_over_the_limit_fails_with_both_figures(service, tmp_path):
    # Of a form whose length is not told before it is opened here; others are refused when sent.
    path = _in_matroska(wav(tmp_path / "long.flac", silence(901 * 8_000), rate_hz=8_000))
    failure = failed(service, submitted_noisy(service, path, max_duration_s=900.0))
    assert failure.name == "Clearstem.AudioOutOfRange"
    assert failure.message == (
        "Duration exceeds the maximum limit of 15 minutes. Duration: 15.02 minutes"
    )


def _in_matroska(path):
    into = path.with_suffix(".mkv")
    with av.open(str(path)) as source, av.open(str(into), "w") as target:
        copied = target.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = copied
                target.mux(packet)
    return into


def test_exactly_the_limit_is_taken(service, tmp_path):
    path = wav(tmp_path / "long.flac", silence(900 * 8_000), rate_hz=8_000)
    job = submitted_noisy(service, path, max_duration_s=900.0)
    run_stage(EXTRACTION, job.job_id, service=service)
    assert service.jobs.get(job.job_id).audio.duration_s == 900


@pytest.mark.parametrize(
    ("samples", "rate_hz", "subtype"),
    [
        pytest.param(silence(30_000, channels=2), RATE_HZ, "PCM_16", id="digital silence"),
        pytest.param(noise(1_600), RATE_HZ, "PCM_16", id="0.1 s"),
        pytest.param(noise(16_000), 8_000, "PCM_16", id="8 kHz mono"),
        pytest.param(noise(48_000, channels=6), 48_000, "PCM_24", id="5.1"),
        pytest.param(noise(1), 192_000, "FLOAT", id="one sample"),
    ],
)
def test_an_unusual_recording_keeps_its_form_to_the_end(
    service, tmp_path, samples, rate_hz, subtype
):
    path = wav(tmp_path / "odd.wav", samples, rate_hz=rate_hz, subtype=subtype)
    job = run_recipe(service, submitted_noisy(service, path))
    assert job.state is JobState.SUCCEEDED, job.failure
    result = result_of(service, job, to=tmp_path)
    found = soundfile.info(result)
    assert (found.frames, found.channels, found.samplerate) == (*samples.shape[::-1], rate_hz)
    assert found.subtype == subtype
    back, _ = soundfile.read(result)
    assert np.isfinite(back).all()
    if not samples.any():
        assert not back.any()
        assert job.track("clean").loudness_lufs is None


def test_a_silent_gap_of_40_s_is_no_trap(service, tmp_path):
    # noisereduce divides by the gap's own level there and answers NaN.
    samples = noise(52 * 8_000, peak=0.1)
    samples[:, 6 * 8_000 : 46 * 8_000] = 0
    path = wav(tmp_path / "gap.wav", samples, rate_hz=8_000)
    job = run_recipe(service, submitted_noisy(service, path))
    assert job.state is JobState.SUCCEEDED, job.failure
    back, _ = soundfile.read(result_of(service, job, to=tmp_path))
    assert np.isfinite(back).all()
    assert np.abs(back[8 * 8_000 : 44 * 8_000]).max() < 1e-3


def test_samples_that_are_no_numbers_are_silenced_and_told(service, tmp_path):
    samples = noise(32_000, channels=2, peak=0.2)
    samples[1, 8_000] = np.nan
    samples[0, 9_000] = np.inf
    path = wav(tmp_path / "nan.wav", samples, subtype="FLOAT")
    job = run_recipe(service, submitted_noisy(service, path))
    assert job.state is JobState.SUCCEEDED, job.failure
    assert any("2 samples are NaN or infinite" in note for note in job.notes)
    back, _ = soundfile.read(result_of(service, job, to=tmp_path))
    assert np.isfinite(back).all()


def test_channels_that_the_format_cannot_hold_are_refused_before_the_work(service, tmp_path):
    path = wav(tmp_path / "surround.wav", noise(8_000, channels=6))
    failure = failed(service, submitted_noisy(service, path, output_extension="mp3"))
    assert "mp3 holds 1 to 2 channels, the recording has 6" in failure.message


@pytest.mark.parametrize("fits", [True, False])
def test_what_passes_its_format_s_size_is_refused_before_the_work(
    service, tmp_path, monkeypatch, fits
):
    # 14,000 frames of 16 bits fit, as they would not with the 24 of a source that tells none.
    small = dataclasses.replace(encode._FORMATS["aiff"], most_bytes=30_000)
    monkeypatch.setitem(encode._FORMATS, "aiff", small)
    path = wav(tmp_path / "talk.wav", noise(14_000 if fits else 16_000))
    job = submitted_noisy(service, path, output_extension="aiff")
    if fits:
        assert run_recipe(service, job).state is JobState.SUCCEEDED
    else:
        failure = failed(service, job)
        assert failure.name == "Clearstem.AudioOutOfRange"
        assert failure.message.endswith("wav and flac hold it")


def test_pictures_that_can_be_neither_held_nor_decoded_are_refused_before_the_work(
    service, tmp_path
):
    path = write_video(
        tmp_path / "film.webm", muxer="webm", picture="libvpx", sound="libopus", seconds=0.5
    )
    data = bytearray(path.read_bytes())
    # The start code of every VP8 key picture (RFC 6386, section 9.1).
    assert data.count(b"\x9d\x01\x2a")
    path.write_bytes(data.replace(b"\x9d\x01\x2a", b"\x00\x00\x00"))
    failure = failed(service, submitted_noisy(service, path, output_extension="mp4"))
    assert failure.name == "Clearstem.PictureNotHeld"
    assert failure.message == "mp4 holds no vp8 video, and this one cannot be decoded"


def remote_module(monkeypatch, **functions):
    module = types.ModuleType("containers.remote")
    for name, function in functions.items():
        setattr(module, name, function)
    monkeypatch.setitem(sys.modules, "containers.remote", module)


def test_a_source_at_an_address_is_fetched_first(service, tmp_path, monkeypatch):
    path = wav(tmp_path / "far.wav", noise(16_000))
    upload = service.intake.announce(
        owner="tester", file_name="far.wav", recipe=DenoiseOptions.recipe
    )
    source = {
        "location": upload.location,
        "file_name": "far.wav",
        "extension": "wav",
        "size_bytes": 0,
        "url": "https://example.com/far.wav",
    }
    from clearstem.facts import Location, Source

    job = service.intake.submit(
        job_id=service.new_id(),
        owner="tester",
        source=Source(**source),
        destination=Location(service.settings.tracks_bucket, "jobs/far/"),
        options=DenoiseOptions(engine=DenoiserChoice.SPECTRAL),
    )
    asked = []

    def fetch_source(space, progress):
        asked.append(space.job.source.url)
        space.store.put_file(path, to=space.job.source.location, content_type="audio/wav")
        fetched = dataclasses.replace(space.job.source, size_bytes=path.stat().st_size)
        space.job = space.job.fetched(fetched, at=service.now())
        progress(1, 1)

    remote_module(monkeypatch, fetch_source=fetch_source)
    run_stage(EXTRACTION, job.job_id, service=service)
    assert asked == ["https://example.com/far.wav"]
    assert artifacts(service, job, EXTRACTION)["sound"].frames == 16_000


def test_an_upload_is_fetched_from_nowhere(service, tmp_path, monkeypatch):
    def fetch_source(space, progress):
        raise AssertionError("nothing is to be fetched")

    remote_module(monkeypatch, fetch_source=fetch_source)
    job = submitted_noisy(service, wav(tmp_path / "near.wav", noise(8_000)))
    run_stage(EXTRACTION, job.job_id, service=service)
    assert "sound" in artifacts(service, job, EXTRACTION)

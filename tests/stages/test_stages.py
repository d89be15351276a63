"""The four stages on real data: what comes out, and what becomes of bad input."""

import dataclasses
import json
import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from clearstem.errors import CardMissing, JobIsOver
from clearstem.jobs import Job, JobState
from clearstem.recipes import NORMALIZATION, SEPARATE, SEPARATION
from clearstem.service import Service
from clearstem.stage_runs import StageState
from containers.audio.loudness import LoudnessMeter
from containers.audio.song import song
from containers.stage import run_stage
from tests.recipes import SHARED_AUDIO, level_db, run_recipe, submitted, track, with_models
from tests.stages.tiny_checkpoint import SHORT, write_safetensors

RATE_HZ = 44_100


def wav(path: Path, samples: np.ndarray, rate_hz: int = RATE_HZ, subtype: str = "PCM_16") -> Path:
    """Write samples of shape (channels, frames)."""
    soundfile.write(path, samples.T, rate_hz, subtype=subtype)
    return path


@pytest.fixture(scope="module")
def four_seconds() -> np.ndarray:
    return song(4.0)


def test_nine_tracks_add_up_and_meet_the_loudness_target(
    service: Service, tmp_path: Path, four_seconds: np.ndarray
) -> None:
    job = run_recipe(service, submitted(service, wav(tmp_path / "song.wav", four_seconds)))
    assert job.state is JobState.SUCCEEDED
    assert tuple(t.name for t in job.tracks) == SEPARATE.tracks
    tracks = {}
    for name in SEPARATE.tracks:
        tracks[name], rate_hz = track(service, job, name, to=tmp_path)
        assert (tracks[name].shape, rate_hz) == (four_seconds.shape, RATE_HZ), name

    main = tracks["main"]
    parts = tracks["main_harmonic"] + tracks["main_percussive"]
    accompaniment = main - tracks["vocals"]
    # Three 24-bit files rounded to 2^-24 each differ by -140 dB; the requirement is -90 dB.
    assert level_db(parts - main) < level_db(main) - 90
    assert level_db(tracks["harmonic"] + tracks["percussive"] - accompaniment) < (
        level_db(accompaniment) - 90
    )
    stems = sum(tracks[s] for s in ("vocals", "drums", "bass", "other"))
    assert level_db(stems - main) < level_db(main) - 60

    loudness = job.loudness
    assert loudness is not None and loudness.main_lufs is not None
    meter = LoudnessMeter(rate_hz=RATE_HZ, channels=2)
    meter.push(main.astype(np.float32))
    found = job.track("main")
    assert found is not None
    read = (meter.max_momentary_lufs, meter.max_short_term_lufs, meter.loudness_range_lu)
    told = (found.max_momentary_lufs, found.max_short_term_lufs, found.loudness_range_lu)
    assert told == pytest.approx(read, abs=1e-4)
    # One gain moved the windows and not the range.
    assert loudness.source_max_momentary_lufs == pytest.approx(read[0] - loudness.gain_db, abs=1e-3)
    assert loudness.source_max_short_term_lufs == pytest.approx(
        read[1] - loudness.gain_db, abs=1e-3
    )
    assert loudness.source_loudness_range_lu == pytest.approx(read[2], abs=1e-3)
    if loudness.held_back_by is None:
        assert loudness.main_lufs == pytest.approx(-14.0, abs=0.1)
    else:
        assert loudness.main_lufs < -14.0
    peaks = [t.true_peak_dbtp for t in job.tracks if t.true_peak_dbtp is not None]
    assert max(peaks) <= -1.0


@pytest.mark.parametrize(
    ("case", "samples", "rate_hz"),
    [
        ("one sample", np.full((2, 1), 0.5, np.float32), RATE_HZ),
        ("a fifth of a second", song(0.2), RATE_HZ),
        ("silence", np.zeros((2, RATE_HZ), np.float32), RATE_HZ),
        ("mono", song(1.0)[:1], RATE_HZ),
        ("six channels", np.tile(song(1.0), (3, 1)), RATE_HZ),
        ("8 kHz", song(1.0)[:, : RATE_HZ // 2], 8_000),
        ("192 kHz", song(1.0), 192_000),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_unusual_recording_keeps_its_form(
    service: Service, tmp_path: Path, case: str, samples: np.ndarray, rate_hz: int
) -> None:
    job = run_recipe(service, submitted(service, wav(tmp_path / "odd.wav", samples, rate_hz)))
    assert job.state is JobState.SUCCEEDED, job.failure
    for name in SEPARATE.tracks:
        found, found_rate = track(service, job, name, to=tmp_path)
        assert (found.shape, found_rate) == (samples.shape, rate_hz), name
        assert np.isfinite(found).all()
    assert job.loudness is not None
    if case in ("one sample", "a fifth of a second", "silence"):
        assert job.loudness.main_lufs is None
    if case == "silence":
        assert not found.any()


def test_every_option_at_once_gives_ten_tracks_that_keep_the_ceiling(
    service: Service, tmp_path: Path, four_seconds: np.ndarray
) -> None:
    loud = np.clip(4 * four_seconds, -1, 1)
    chosen = {"target_lufs": "-8", "limit": "true", "residual": "true", "decompose": "drums"}
    job = run_recipe(service, submitted(service, wav(tmp_path / "song.wav", loud), **chosen))
    assert job.state is JobState.SUCCEEDED, job.failure
    assert tuple(t.name for t in job.tracks) == (*SEPARATE.tracks, "residual")
    assert max(t.true_peak_dbtp for t in job.tracks if t.true_peak_dbtp is not None) <= -1.0
    assert job.loudness is not None
    assert job.loudness.gain_db == pytest.approx(-8 - job.loudness.source_lufs)
    assert job.loudness.limited and job.loudness.held_back_by is None
    assert any(note.startswith("peaks limited: ") for note in job.notes)


@pytest.mark.parametrize("chosen", ["drums", "source"])
def test_the_parts_sum_to_what_was_chosen_and_the_residual_is_told(
    service: Service, tmp_path: Path, four_seconds: np.ndarray, chosen: str
) -> None:
    path = wav(tmp_path / "song.wav", four_seconds)
    job = run_recipe(service, submitted(service, path, decompose=chosen, residual="true"))
    assert job.state is JobState.SUCCEEDED, job.failure
    names = ("harmonic", "percussive", "main", "drums", "vocals", "bass", "other", "residual")
    tracks = {name: track(service, job, name, to=tmp_path)[0] for name in names}
    whole = tracks["main" if chosen == "source" else chosen]
    parts = tracks["harmonic"] + tracks["percussive"]
    assert level_db(parts - whole) < level_db(whole) - 90
    stems = tracks["vocals"] + tracks["drums"] + tracks["bass"] + tracks["other"]
    # Six 24-bit files, each rounded to half a step of 2^-23: -140 dB.
    assert level_db(tracks["main"] - stems - tracks["residual"]) < -130


def test_each_track_has_its_own_gain_and_the_margin_keeps_less(
    service: Service, tmp_path: Path, four_seconds: np.ndarray
) -> None:
    path = wav(tmp_path / "song.wav", four_seconds)
    chosen = {"gain": "track", "hpss_margin": "3", "hpss_kernel": "17", "target_lufs": "-30"}
    job = run_recipe(service, submitted(service, path, **chosen))
    assert job.state is JobState.SUCCEEDED, job.failure
    assert job.loudness is not None and job.loudness.gain == "track"
    heard = {t.name: t.loudness_lufs for t in job.tracks}
    assert heard["main"] == pytest.approx(-30, abs=0.1)
    assert heard["main_harmonic"] == pytest.approx(-30, abs=0.5)
    main, harmonic, percussive = (
        track(service, job, name, to=tmp_path)[0]
        for name in ("main", "main_harmonic", "main_percussive")
    )
    rest = main - harmonic - percussive
    assert level_db(rest) > level_db(main) - 60


def test_samples_that_are_no_numbers_are_silenced_and_told(
    service: Service, tmp_path: Path
) -> None:
    samples = song(1.0)
    samples[1, 22_050] = np.nan
    samples[0, 30_000] = np.inf
    job = run_recipe(
        service, submitted(service, wav(tmp_path / "nan.wav", samples, subtype="FLOAT"))
    )
    assert job.state is JobState.SUCCEEDED
    assert any("2 samples are NaN or infinite" in note and "0.5" in note for note in job.notes)


def test_a_truncated_mp3_gives_what_it_holds_and_says_so(service: Service, tmp_path: Path) -> None:
    whole = SHARED_AUDIO / "demucs_test.mp3"
    if not whole.exists():
        pytest.skip("../shared/audio is not here")
    cut = tmp_path / "cut.mp3"
    cut.write_bytes(whole.read_bytes()[:120_000])
    job = run_recipe(service, submitted(service, cut))
    assert job.state is JobState.SUCCEEDED, job.failure
    assert job.audio is not None and 2 < job.audio.duration_s < 4
    assert any("truncated" in note for note in job.notes)


def test_a_file_that_does_not_decode_fails_its_stage_and_keeps_its_record(
    service: Service, tmp_path: Path
) -> None:
    path = tmp_path / "noise.mp3"
    path.write_bytes(b"ID3\x04\x00\x00\x00\x00\x00\x00" + bytes(4000))
    job = run_recipe(service, submitted(service, path))
    assert job.state is JobState.FAILED
    assert job.failure is not None and job.failure.name == "Clearstem.UnreadableAudio"
    assert job.failure.stage == SEPARATION
    assert job.stage(SEPARATION).state is StageState.FAILED
    assert job.stage(SEPARATION).error == job.failure.message
    assert job.stage(NORMALIZATION).state is StageState.PENDING


def test_a_wav_without_channels_fails_with_a_reason(service: Service, tmp_path: Path) -> None:
    path = wav(tmp_path / "none.wav", song(0.1))
    data = bytearray(path.read_bytes())
    data[22:24] = b"\0\0"  # the channel count of the fmt chunk
    path.write_bytes(data)
    job = run_recipe(service, submitted(service, path))
    assert job.state is JobState.FAILED
    assert job.failure is not None and "channel" in job.failure.message


def test_a_wav_without_frames_fails_with_a_reason(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "header.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
    job = run_recipe(service, submitted(service, path))
    assert job.state is JobState.FAILED
    assert job.failure is not None and job.failure.name == "Clearstem.NoAudio"


def test_a_format_that_cannot_hold_the_channels_is_refused_before_the_work(
    service: Service, tmp_path: Path
) -> None:
    path = wav(tmp_path / "surround.wav", np.tile(song(0.5), (3, 1)))
    job = run_recipe(service, submitted(service, path, format="mp3"))
    assert job.failure is not None and job.failure.stage == SEPARATION
    assert "mp3 holds 1 to 2 channels" in job.failure.message


@pytest.mark.parametrize("output_format", ["flac", "mp3", "ogg", "m4a"])
def test_every_output_format_keeps_length_and_ceiling(
    service: Service, tmp_path: Path, four_seconds: np.ndarray, output_format: str
) -> None:
    path = wav(tmp_path / "song.wav", four_seconds)
    job = run_recipe(service, submitted(service, path, format=output_format))
    assert job.state is JobState.SUCCEEDED, job.failure
    assert {t.extension for t in job.tracks} == {output_format}
    assert {t.frames for t in job.tracks} == {four_seconds.shape[1]}
    assert max(t.true_peak_dbtp for t in job.tracks if t.true_peak_dbtp is not None) <= -1.0


def test_a_finished_stage_run_again_does_nothing(
    service: Service, tmp_path: Path, four_seconds: np.ndarray
) -> None:
    job = submitted(service, wav(tmp_path / "song.wav", four_seconds[:, :RATE_HZ]))
    run_stage(SEPARATION, job.job_id, service=service)
    done = service.jobs.get(job.job_id)
    # Without its source the stage could not do its work again.
    source = job.source.location
    service.store.client.delete_object(Bucket=source.bucket, Key=source.key)
    run_stage(SEPARATION, job.job_id, service=service)
    assert service.jobs.get(job.job_id) == done


def test_a_stage_killed_after_its_commit_is_completed_by_the_next_run(
    service: Service, tmp_path: Path, four_seconds: np.ndarray
) -> None:
    first = submitted(service, wav(tmp_path / "song.wav", four_seconds[:, :RATE_HZ]))
    run_stage(SEPARATION, first.job_id, service=service)
    # Wind the record back to where a kill between manifest and record leaves it.
    running = service.jobs.get(first.job_id)
    service.jobs.client.delete_item(
        TableName=service.settings.table,
        Key={"pk": {"S": f"JOB#{first.job_id}"}, "sk": {"S": "JOB"}},
    )
    service.jobs.create(first)
    run_stage(SEPARATION, first.job_id, service=service)
    again = service.jobs.get(first.job_id)
    assert again.stage(SEPARATION).state is StageState.SUCCEEDED
    assert again.audio == running.audio


def test_a_cancelled_job_stops_its_stage(
    service: Service, tmp_path: Path, four_seconds: np.ndarray
) -> None:
    job = submitted(service, wav(tmp_path / "song.wav", four_seconds))
    service.jobs.change(job.job_id, lambda j: j.cancel(at=service.now()))
    with pytest.raises(JobIsOver):
        run_stage(SEPARATION, job.job_id, service=service)
    assert service.jobs.get(job.job_id).state is JobState.CANCELLED


def own_model(folder: Path) -> str:
    """A folder of weights that lists a tiny network as an operator's own model."""
    folder.mkdir()
    checkpoint = write_safetensors(folder, segment=SHORT)
    entry = {
        "name": "tiny",
        "file_name": checkpoint.path.name,
        "url": "",
        "sha256": checkpoint.sha256,
        "size_bytes": checkpoint.path.stat().st_size,
        "licence": "made by this test",
    }
    (folder / "models.json").write_text(json.dumps([entry]))
    return checkpoint.sha256


def demucs_job(service: Service, folder: Path, source: Path) -> tuple[Service, Job]:
    equipped = with_models(service, folder)
    equipped = dataclasses.replace(
        equipped, settings=dataclasses.replace(equipped.settings, separator_model="tiny")
    )
    return equipped, submitted(equipped, source)


def test_a_demucs_job_says_which_weights_made_it(service: Service, tmp_path: Path) -> None:
    digest = own_model(tmp_path / "models")
    path = wav(tmp_path / "song.wav", song(1.0))
    equipped, job = demucs_job(service, tmp_path / "models", path)
    assert (job.engine.name, job.engine.model, job.engine.preview) == ("demucs", "tiny", False)
    job = run_recipe(equipped, job)
    assert job.state is JobState.SUCCEEDED, job.failure
    assert job.separation is not None
    assert (job.separation.model_sha256, job.separation.preview) == (digest, False)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card to run on")
def test_a_job_that_is_paid_a_card_is_not_run_on_a_processor(
    service: Service, tmp_path: Path
) -> None:
    own_model(tmp_path / "models")
    path = wav(tmp_path / "song.wav", song(0.5))
    equipped, job = demucs_job(service, tmp_path / "models", path)
    settings = dataclasses.replace(equipped.settings, separator_device="cuda")
    equipped = dataclasses.replace(equipped, settings=settings)
    with pytest.raises(CardMissing) as ended:
        run_stage(SEPARATION, job.job_id, service=equipped)
    # Worth another attempt, which may get another machine; meanwhile the record says why.
    assert ended.value.exit_code == 75
    job = equipped.jobs.get(job.job_id)
    assert job.state is JobState.RUNNING
    assert "no CUDA device" in (job.stage(SEPARATION).error or "")


def test_weights_that_vanished_fail_the_job_and_never_fall_back(
    service: Service, tmp_path: Path
) -> None:
    own_model(tmp_path / "models")
    path = wav(tmp_path / "song.wav", song(1.0))
    equipped, job = demucs_job(service, tmp_path / "models", path)
    for file in (tmp_path / "models").iterdir():
        if file.name != "models.json":
            file.unlink()
    job = run_recipe(equipped, job)
    assert job.state is JobState.FAILED
    assert job.failure is not None and job.failure.name == "Clearstem.MissingWeights"
    assert "clearstem models fetch" in job.failure.message

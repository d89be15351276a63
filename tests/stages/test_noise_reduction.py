"""Stage noise_reduction: what was promised is what ran, and nothing else."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from clearstem.jobs import JobState
from clearstem.options import DenoiserChoice
from clearstem.recipes import EXTRACTION, NOISE_REDUCTION
from clearstem.stage_runs import StageState
from containers.stage import run_stage
from tests.recipes import result_of, run_recipe, submitted_noisy, with_models
from tests.signals import silence
from tests.stages.memory import noise
from tests.stages.test_extraction import artifacts
from tests.stages.tiny_checkpoint import SHORT, write_safetensors
from tests.stages.weights import model_files

RATE_HZ = 16_000


def talk(path: Path, *, seconds: float = 4.0, hiss: float = 0.02, channels: int = 1) -> Path:
    """Half-second tones with pauses of as long, in steady noise."""
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    tone = 0.2 * np.sin(2 * np.pi * 440 * t) * ((t % 1) < 0.5)
    samples = tone + noise(channels, len(t), amplitude=hiss)
    soundfile.write(path, samples.T, RATE_HZ, subtype="FLOAT")
    return path


def pause_level(path: Path) -> float:
    samples, _ = soundfile.read(path)
    return float(np.std(samples[round(2.6 * RATE_HZ) : round(2.9 * RATE_HZ)]))


def test_the_spectral_engine_quietens_the_pauses_and_is_named(service, tmp_path):
    source = talk(tmp_path / "talk.wav")
    job = run_recipe(service, submitted_noisy(service, source))
    assert job.state is JobState.SUCCEEDED, job.failure
    assert (job.denoising.engine, job.denoising.model) == ("spectral", "gate-1")
    assert job.denoising.model_sha256 is None and job.denoising.strength == 100
    assert "numba" in job.denoising.versions
    assert pause_level(result_of(service, job, to=tmp_path)) < 0.5 * pause_level(source)


def test_strength_is_handed_on(service, tmp_path):
    source = talk(tmp_path / "talk.wav")
    left = []
    for strength in (100.0, 20.0):
        job = run_recipe(service, submitted_noisy(service, source, strength=strength))
        assert job.denoising.strength == strength
        left.append(pause_level(result_of(service, job, to=tmp_path)))
    assert left[0] < left[1] < pause_level(source)


def test_the_neural_engine_runs_the_files_that_were_promised(service, tmp_path):
    files = model_files("dtln")
    equipped = with_models(service, files[0].path.parent)
    source = talk(tmp_path / "talk.wav", channels=2)
    job = submitted_noisy(equipped, source, engine=DenoiserChoice.NEURAL)
    job = run_recipe(equipped, job)
    assert job.state is JobState.SUCCEEDED, job.failure
    assert (job.denoising.engine, job.denoising.model) == ("neural", "dtln")
    assert job.denoising.model_sha256 == "+".join(file.sha256 for file in files)
    assert job.denoising.model_sha256 == job.engine.sha256
    assert pause_level(result_of(equipped, job, to=tmp_path)) < 0.5 * pause_level(source)


def neural_job_without_files(service, tmp_path, *, spoil):
    """A job that was promised a network whose files then change."""
    folder = tmp_path / "models"
    folder.mkdir()
    for file in model_files("dtln"):
        (folder / file.path.name).write_bytes(file.path.read_bytes())
    equipped = with_models(service, folder)
    job = submitted_noisy(equipped, talk(tmp_path / "talk.wav"), engine=DenoiserChoice.NEURAL)
    spoil(folder / "dtln_model_2.onnx")
    return run_recipe(equipped, job)


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda path: path.unlink(), "Clearstem.MissingWeights"),
        (lambda path: path.write_bytes(b"other"), "Clearstem.WrongChecksum"),
    ],
)
def test_files_that_changed_fail_the_job_and_nothing_falls_back(service, tmp_path, spoil, error):
    job = neural_job_without_files(service, tmp_path, spoil=spoil)
    assert job.state is JobState.FAILED
    assert (job.failure.name, job.failure.stage) == (error, NOISE_REDUCTION)
    assert "dtln_model_2.onnx" in job.failure.message
    assert job.denoising is None


def test_a_task_without_a_models_folder_says_so(service, tmp_path):
    files = model_files("dtln")
    equipped = with_models(service, files[0].path.parent)
    job = submitted_noisy(equipped, talk(tmp_path / "talk.wav"), engine=DenoiserChoice.NEURAL)
    job = run_recipe(service, job)
    assert job.failure.name == "Clearstem.MissingWeights"
    assert "no models folder is set" in job.failure.message


def voice_service(service, folder):
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
    equipped = with_models(service, folder)
    settings = dataclasses.replace(equipped.settings, separator_model="tiny", cache_dir=None)
    return dataclasses.replace(equipped, settings=settings), checkpoint


def test_the_voice_engine_keeps_the_vocals_of_the_separator(service, tmp_path):
    equipped, checkpoint = voice_service(service, tmp_path / "models")
    source = talk(tmp_path / "talk.wav", seconds=1.5, channels=2)
    job = submitted_noisy(equipped, source, engine=DenoiserChoice.VOICE)
    job = run_recipe(equipped, job)
    assert job.state is JobState.SUCCEEDED, job.failure
    assert (job.denoising.engine, job.denoising.model) == ("voice", "tiny")
    assert job.denoising.model_sha256 == checkpoint.sha256
    assert job.track("clean").frames == 24_000


def test_a_voice_job_without_its_weights_fails(service, tmp_path):
    equipped, checkpoint = voice_service(service, tmp_path / "models")
    source = talk(tmp_path / "talk.wav", seconds=1.0)
    job = submitted_noisy(equipped, source, engine=DenoiserChoice.VOICE)
    checkpoint.path.unlink()
    job = run_recipe(equipped, job)
    assert job.state is JobState.FAILED
    assert job.failure.name == "Clearstem.MissingWeights"


def test_a_recording_without_noise_is_told_to_be_unchanged(service, tmp_path):
    path = tmp_path / "still.wav"
    soundfile.write(path, silence(16_000)[0], RATE_HZ)
    job = run_recipe(service, submitted_noisy(service, path))
    assert "the recording is clean or silent: nothing was removed" in job.notes


def test_a_finished_stage_run_again_does_nothing(service, tmp_path):
    job = submitted_noisy(service, talk(tmp_path / "talk.wav", seconds=1.0))
    for stage in (EXTRACTION, NOISE_REDUCTION):
        run_stage(stage, job.job_id, service=service)
    done = service.jobs.get(job.job_id)
    sound = artifacts(service, job, EXTRACTION)["sound"].location
    # Without the sound the stage could not do its work again.
    service.store.client.delete_object(Bucket=sound.bucket, Key=sound.key)
    assert service.store.size_bytes(sound) is None
    run_stage(NOISE_REDUCTION, job.job_id, service=service)
    assert service.jobs.get(job.job_id) == done
    assert done.stage(NOISE_REDUCTION).state is StageState.SUCCEEDED

"""What a job or a deployment chooses, at the stages that do it: each choice, and what is told."""

import dataclasses
import json

import numpy as np
import pytest

from clearstem.options import Decompose
from clearstem.recipes import DECOMPOSITION, SEPARATION, STEMS
from containers.audio.compose import Difference
from containers.audio.decompose import decompose
from containers.audio.song import song
from containers.audio.stream import Recording
from containers.stage import run_stage
from containers.stages import decomposition
from containers.workspace import Workspace
from tests.recipes import submitted, with_models
from tests.stages.files import samples_of
from tests.stages.memory import Sound, Tape
from tests.stages.test_stages import own_model, wav

RATE_HZ = 8_000


@pytest.fixture
def separated(service, tmp_path):
    """A job whose separation is done, and its artifacts as samples."""
    samples = song(6.0)[:, ::5]
    path = wav(tmp_path / "song.wav", samples, RATE_HZ)
    job = submitted(service, path, residual="true")
    run_stage(SEPARATION, job.job_id, service=service)
    job = service.jobs.get(job.job_id)
    folder = tmp_path / "separated"
    folder.mkdir()
    space = Workspace(job, DECOMPOSITION, service.store, service.settings, folder, versions={})
    names = ("source", *STEMS, "residual")
    return job, {name: space.artifact(name, of=SEPARATION) for name in names}


def expected(paths, chosen, **options):
    with Recording.open(paths["source"]) as source, Recording.open(paths["vocals"]) as vocals:
        if chosen is Decompose.ACCOMPANIMENT:
            whole = Difference(source, vocals).read(0, source.frames)
        else:
            whole = samples_of(paths[chosen.value])
    parts = Tape(), Tape()
    decompose(Sound(whole, rate_hz=RATE_HZ), *parts, **options)
    return [part.samples for part in parts]


def test_each_stem_and_the_source_can_be_decomposed_with_any_kernel_and_margin(
    service, tmp_path, separated
):
    job, paths = separated
    for number, chosen in enumerate(Decompose):
        asked = {"kernel": 31, "margin": 1.0} if number % 2 else {"kernel": 17, "margin": 2.5}
        options = dataclasses.replace(
            job.options,
            decompose=chosen,
            hpss_kernel=asked["kernel"],
            hpss_margin=asked["margin"],
        )
        folder = tmp_path / chosen.value
        folder.mkdir()
        space = Workspace(
            dataclasses.replace(job, options=options),
            DECOMPOSITION,
            service.store,
            service.settings,
            folder,
            versions={},
        )
        decomposition.run(space, lambda *_: None)
        for name, part in zip(
            ("harmonic", "percussive"), expected(paths, chosen, **asked), strict=True
        ):
            np.testing.assert_array_equal(samples_of(folder / f"{name}.wav"), part)


def test_the_residual_of_a_job_is_told_in_db_and_is_what_the_stems_leave(separated):
    job, paths = separated
    whole, *stems = (samples_of(paths[name]).astype(np.float64) for name in ("source", *STEMS))
    rest = whole - sum(stems)
    told = 10 * np.log10(np.square(rest).sum() / np.square(whole).sum())
    assert job.separation.residual_db == pytest.approx(told, abs=0.01)
    np.testing.assert_array_equal(samples_of(paths["residual"]), rest.astype(np.float32))


def test_a_job_says_in_what_it_was_computed_and_how_well_its_weights_are_known(service, tmp_path):
    whole_sum = own_model(tmp_path / "models")
    listing = tmp_path / "models" / "models.json"
    (entry,) = json.loads(listing.read_text())
    listing.write_text(json.dumps([entry | {"sha256": whole_sum[:8]}]))
    equipped = with_models(service, tmp_path / "models")
    settings = dataclasses.replace(
        equipped.settings,
        separator_model="tiny",
        separator_precision="bf16",
        cache_dir=tmp_path / "cache",
    )
    equipped = dataclasses.replace(equipped, settings=settings)
    job = submitted(equipped, wav(tmp_path / "song.wav", song(0.5)))
    run_stage(SEPARATION, job.job_id, service=equipped)
    job = equipped.jobs.get(job.job_id)
    assert job.separation.precision == "bf16"
    assert any("tiny: of tiny.safetensors only the first digits" in note for note in job.notes)
    if job.separation.backend == "openvino":
        # Under the sum of the file that is there, so that no other is taken for it.
        assert [path.name[:64] for path in (tmp_path / "cache").iterdir()] == [whole_sum]

"""What a job is said to have cost."""

from dataclasses import replace

import pytest

from clearstem.facts import Engine, Failure, StageResult
from clearstem.options import DenoiseOptions
from clearstem.queueing import queued_job
from clearstem.receipts import (
    DOLLARS_PER_SECOND,
    SHORT_BYTES,
    SHORT_FRAMES,
    Machine,
    receipt,
    stage_dollars,
)
from clearstem.recipes import DENOISE, EngineName
from tests.unit.examples import AUDIO, SPECTRAL, STAGES, a_job, at

DEMUCS = Engine(EngineName.DEMUCS, "htdemucs", "0" * 64, preview=False, reason="it is there")


def run(job, stage, *, begin, end, audio=None):
    job = job.start_stage(stage, at=at(begin))
    return job.complete_stage(stage, StageResult(audio=audio), at=at(end))


def test_a_job_that_has_not_begun_cost_nothing():
    empty = receipt(a_job())
    assert (empty.stages, empty.seconds, empty.dollars) == ((), 0, 0)


def test_a_receipt_has_every_ended_stage_and_sums_to_its_total():
    job = run(a_job(), STAGES[0], begin=0, end=40, audio=AUDIO)
    job = run(job, STAGES[1], begin=45, end=65).start_stage(STAGES[2], at=at(65))
    made = receipt(job)
    assert [(stage.name, stage.seconds) for stage in made.stages] == [
        (STAGES[0], 40),
        (STAGES[1], 20),
    ]
    assert made.seconds == 60
    assert made.dollars == pytest.approx(sum(stage.dollars for stage in made.stages))


def test_a_failed_stage_is_paid_for_too():
    job = a_job().start_stage(STAGES[0], at=at(0))
    job = job.fail(Failure(STAGES[0], "Clearstem.NoAudio", "no sound"), at=at(30))
    assert receipt(job).seconds == 30


@pytest.mark.parametrize(
    ("engine", "frames", "machines"),
    [
        (DEMUCS, SHORT_FRAMES, [Machine.GPU, Machine.FUNCTION]),
        (DEMUCS, SHORT_FRAMES + 1, [Machine.GPU, Machine.BATCH]),
        # Without a network nothing waits for a GPU.
        (SPECTRAL, SHORT_FRAMES, [Machine.FUNCTION, Machine.FUNCTION]),
    ],
)
def test_a_stage_is_priced_by_where_the_template_runs_it(engine, frames, machines):
    job = replace(a_job(), engine=engine)
    audio = replace(AUDIO, frames=frames)
    job = run(job, STAGES[0], begin=0, end=10, audio=audio)
    job = run(job, STAGES[1], begin=10, end=20)
    made = receipt(job)
    assert [stage.machine for stage in made.stages] == machines
    assert [stage.dollars for stage in made.stages] == [
        pytest.approx(10 * DOLLARS_PER_SECOND[machine]) for machine in machines
    ]


@pytest.mark.parametrize(
    ("size_bytes", "url", "machine"),
    [
        (SHORT_BYTES, None, Machine.FUNCTION),
        (SHORT_BYTES + 1, None, Machine.BATCH),
        # Its size was not known when the task was chosen.
        (1000, "https://example.org/talk.wav", Machine.BATCH),
    ],
)
def test_what_decodes_is_priced_by_the_bytes_it_was_placed_by(size_bytes, url, machine):
    job = a_job()
    denoising = queued_job(
        job_id=job.job_id,
        owner=job.owner,
        recipe=DENOISE,
        source=replace(job.source, size_bytes=size_bytes, url=url),
        destination=job.destination,
        options=DenoiseOptions(),
        engine=job.engine,
        at=job.created_at,
    )
    done = run(denoising, DENOISE.stages[0].name, begin=0, end=3, audio=AUDIO)
    assert [stage.machine for stage in receipt(done).stages] == [machine]


def test_an_hour_of_a_machine_costs_what_its_price_list_says():
    # 2 vCPU at 4.048 cents, 4 GB at 0.4445, 180 GB of disk at 0.0111 and an address at 0.5;
    # 2.9375 GB at 1.66667e-5 a second; 21 cents, 100 GB of disk at 8 a month and an address.
    assert stage_dollars(3600, machine=Machine.BATCH) == pytest.approx(0.12372)
    assert stage_dollars(3600, machine=Machine.FUNCTION) == pytest.approx(0.17625, rel=1e-4)
    assert stage_dollars(3600, machine=Machine.GPU) == pytest.approx(0.22596, rel=1e-4)

"""What is measured of jobs: beginnings and ends, failures by name, seconds and dollars."""

from collections.abc import Iterator

from aws_lambda_powertools.metrics import MetricUnit

from clearstem.jobs import Job, JobState
from clearstem.receipts import Receipt, receipt
from functions.telemetry import Measurement


def is_measured(before: Job | None, after: Job) -> bool:
    """Whether a job was made, left the queue, or ended, by a change."""
    if before is None:
        return after.state is JobState.QUEUED
    if before.state.is_final:
        return False
    begun = before.state is JobState.QUEUED and after.state is JobState.RUNNING
    return begun or after.state.is_final


def measurements(job: Job) -> Iterator[Measurement]:
    """What a job that was just made, just left the queue, or just ended, tells."""
    recipe = {"recipe": job.recipe_name}
    if job.state is JobState.QUEUED:
        yield Measurement("JobsSubmitted", MetricUnit.Count, 1, recipe)
        return
    lasted_s = (job.updated_at - job.created_at).total_seconds()
    if not job.state.is_final:
        yield Measurement("QueueSeconds", MetricUnit.Seconds, lasted_s, recipe)
        return
    yield Measurement("JobsEnded", MetricUnit.Count, 1, {"state": job.state.value})
    if job.cached_from is not None:
        yield Measurement("JobsCached", MetricUnit.Count, 1, recipe)
    if job.failure is not None:
        yield Measurement("Failures", MetricUnit.Count, 1, {"error": job.failure.name})
    yield Measurement("JobSeconds", MetricUnit.Seconds, lasted_s, recipe)
    spent = receipt(job)
    yield from _of_stages(spent)
    yield Measurement("JobDollars", MetricUnit.NoUnit, spent.dollars, recipe)


def _of_stages(spent: Receipt) -> Iterator[Measurement]:
    for stage in spent.stages:
        yield Measurement("StageSeconds", MetricUnit.Seconds, stage.seconds, {"stage": stage.name})

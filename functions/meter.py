"""What becomes of jobs, as metrics: ends, failures by name, seconds and dollars.

The table's stream calls it with jobs that left the queue or ended, and with
nothing else. It reads no table: the record's new image is the whole job. A
record may come twice; a metric is then counted twice, which no alarm minds.
"""

from collections.abc import Iterator

from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from clearstem.jobs import Job
from clearstem.receipts import receipt
from clearstem.records import from_item
from functions.telemetry import Event, Measurement, entry_point, logger, measure


@entry_point
def handler(event: Event, _: LambdaContext) -> None:
    """Measure the jobs of a batch of stream records."""
    for record in event["Records"]:
        job = from_item(record["dynamodb"]["NewImage"], Job)
        for measurement in measurements(job):
            measure(measurement)
        if job.state.is_final:
            spent = receipt(job)
            logger().info(
                "job ended",
                job_id=job.job_id,
                state=job.state.value,
                seconds=round(spent.seconds, 1),
                dollars=round(spent.dollars, 6),
            )


def measurements(job: Job) -> Iterator[Measurement]:
    """What a job that just left the queue, or just ended, tells."""
    recipe = {"recipe": job.recipe_name}
    if not job.state.is_final:
        waited_s = (job.updated_at - job.created_at).total_seconds()
        yield Measurement("QueueSeconds", MetricUnit.Seconds, waited_s, recipe)
        return
    yield Measurement("JobsEnded", MetricUnit.Count, 1, {"state": job.state.value})
    if job.failure is not None:
        yield Measurement("Failures", MetricUnit.Count, 1, {"error": job.failure.name})
    lasted_s = (job.updated_at - job.created_at).total_seconds()
    yield Measurement("JobSeconds", MetricUnit.Seconds, lasted_s, recipe)
    spent = receipt(job)
    for stage in spent.stages:
        yield Measurement("StageSeconds", MetricUnit.Seconds, stage.seconds, {"stage": stage.name})
    yield Measurement("JobDollars", MetricUnit.NoUnit, spent.dollars, recipe)

"""Recordings dropped into a bucket: each becomes a job, or a note of why not."""

from urllib.parse import unquote_plus

from aws_lambda_powertools.utilities.data_classes import S3Event
from aws_lambda_powertools.utilities.data_classes.s3_event import S3EventRecord
from aws_lambda_powertools.utilities.typing import LambdaContext

from clearstem.drops import reject_drop, submit_drop
from clearstem.errors import EngineUnavailable, RequestError
from clearstem.facts import Location
from clearstem.intake import Intake
from functions import wiring
from functions.telemetry import Event, count, entry_point, logger


@entry_point
def handler(event: Event, _: LambdaContext) -> None:
    """Submit the objects of one notification."""
    intake = wiring.service().intake
    for record in S3Event(event).records:
        _submit(record, intake=intake)


def _submit(record: S3EventRecord, *, intake: Intake) -> None:
    # Keys come encoded like a form's fields: "+" is a blank.
    key = unquote_plus(record.s3.get_object.key)
    location = Location(record.s3.bucket.name, key)
    try:
        job = submit_drop(location, event_id=str(record.s3.get_object.sequencer), intake=intake)
    except (RequestError, EngineUnavailable) as exc:
        reject_drop(location, exc, store=intake.store)
        count("DropsRejected")
        logger().warning("drop rejected", error=type(exc).__name__)
        return
    if job is None:
        logger().info("nothing new to submit")
        return
    logger().info("job submitted", job_id=job.job_id, size_bytes=job.source.size_bytes)

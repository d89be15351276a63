"""Changes of jobs, announced to the webhooks of their owners.

The stream has a job before and after a change. The events that the change made
are told from these two as the log's are, by the same function, so they have the
log's numbers; and what is sent shows the job as it was at the event, however
late that is.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

from aws_lambda_powertools.utilities.batch import (
    BatchProcessor,
    EventType,
    process_partial_response,
)
from aws_lambda_powertools.utilities.batch.types import PartialItemFailureResponse
from aws_lambda_powertools.utilities.data_classes.dynamo_db_stream_event import DynamoDBRecord
from aws_lambda_powertools.utilities.typing import LambdaContext

from clearstem.job_events import logged
from clearstem.jobs import Job
from clearstem.records import from_item
from clearstem.table_keys import JOB
from clearstem.webhook_endpoints import SENT_KINDS
from clearstem.webhooks import Announcer
from functions import wiring
from functions.dialects.webhooks import event_body
from functions.telemetry import Event, count, entry_point, logger


@entry_point
def handler(event: Event, context: LambdaContext) -> PartialItemFailureResponse:
    """Announce the events that a batch of stream records is about."""
    return process_partial_response(
        event=event,
        record_handler=_announcing(_announcer()),
        processor=BatchProcessor(event_type=EventType.DynamoDBStreams),
        context=context,
    )


@cache
def _announcer() -> Announcer:
    return wiring.service().announcer


def _announcing(announcer: Announcer) -> Callable[[DynamoDBRecord], None]:
    def announce(record: DynamoDBRecord) -> None:
        images: dict[str, Any] = record.raw_event["dynamodb"]
        after = _job(images.get("NewImage"))
        if after is None:
            return
        _, events = logged(_job(images.get("OldImage")), after)
        for event in events:
            if event.kind in SENT_KINDS:
                sent = announcer.announce(after, event, body=event_body(after, event))
                logger().debug("event announced", job_id=after.job_id, webhooks=sent)
                count("WebhooksAnnounced", sent)

    return announce


def _job(image: dict[str, Any] | None) -> Job | None:
    if image is None or image["sk"]["S"] != JOB:
        return None
    return from_item(image, Job)

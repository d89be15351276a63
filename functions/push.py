"""Changes of the table, told to the WebSocket connections that watch.

A stream record only says that something happened; what is sent is the job as
it is now. So one message per job and batch is enough, and records that come
again or out of order do no harm.
"""

from collections.abc import Callable
from functools import cache

from aws_lambda_powertools.utilities.batch import (
    BatchProcessor,
    EventType,
    process_partial_response,
)
from aws_lambda_powertools.utilities.batch.types import PartialItemFailureResponse
from aws_lambda_powertools.utilities.data_classes.dynamo_db_stream_event import (
    DynamoDBRecord,
    DynamoDBRecordEventName,
)
from aws_lambda_powertools.utilities.typing import LambdaContext

from clearstem.broadcast import Broadcast
from clearstem.connections import PREFIX, Connection
from clearstem.records import from_item
from clearstem.table_keys import JOB, job_key
from functions import wiring
from functions.dialects import RENDERERS
from functions.telemetry import Event, count, entry_point, logger


@entry_point
def handler(event: Event, context: LambdaContext) -> PartialItemFailureResponse:
    """Push what a batch of stream records is about."""
    return process_partial_response(
        event=event,
        record_handler=_pusher(_broadcast()),
        processor=BatchProcessor(event_type=EventType.DynamoDBStreams),
        context=context,
    )


@cache
def _broadcast() -> Broadcast:
    return wiring.service().broadcast(RENDERERS)


def _pusher(broadcast: Broadcast) -> Callable[[DynamoDBRecord], None]:
    """What handles the records of one batch."""
    told: set[str] = set()

    def push(record: DynamoDBRecord) -> None:
        if record.event_name is DynamoDBRecordEventName.REMOVE:
            return
        image = record.raw_event["dynamodb"]["NewImage"]
        job_id = image["pk"]["S"].removeprefix(job_key(""))
        if image["sk"]["S"].startswith(PREFIX) and image["pk"]["S"].startswith(job_key("")):
            count("SnapshotsSent", broadcast.tell(from_item(image, Connection), job_id=job_id))
        elif image["sk"]["S"] == JOB and job_id not in told:
            count("SnapshotsSent", broadcast.tell_watchers(job_id))
            # Only now: what failed is tried again by the job's next record.
            told.add(job_id)
            logger().debug("watchers told", job_id=job_id)

    return push

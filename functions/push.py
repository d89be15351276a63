"""Changes of the table, told to the WebSocket connections that watch.

A stream record only says that something happened; what is sent is the job as
it is now. So one message per job and batch is enough, and records that come
again or out of order do no harm.

A job that waits changes its place when a ticket before its own goes, or comes,
as that of an owner does whose turn is sooner: those next behind are told too.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any, Final

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
from clearstem.connections import subscribed
from clearstem.table_keys import JOB, Partition
from clearstem.tickets import ticket_of
from functions import wiring
from functions.dialects import RENDERERS
from functions.telemetry import Event, count, entry_point, logger, note_seconds

# Who is further behind learns of it when he gets so near, or from the sweep: a
# queue of thousands must not be read at every change.
_TOLD_BEHIND: Final = 20


@entry_point
def handler(event: Event, context: LambdaContext) -> PartialItemFailureResponse:
    """Push what a batch of stream records is about."""
    return process_partial_response(
        event=event,
        record_handler=_Pusher(_broadcast(), wiring.service().now).push,
        processor=BatchProcessor(event_type=EventType.DynamoDBStreams),
        context=context,
    )


@cache
def _broadcast() -> Broadcast:
    return wiring.service().broadcast(RENDERERS)


@dataclass(frozen=True, slots=True)
class _Pusher:
    """What handles the records of one batch.

    Attributes
    ----------
    told : set of str
        Jobs whose watchers know all that the batch brings.
    """

    broadcast: Broadcast
    now: Callable[[], datetime]
    told: set[str] = field(default_factory=set)

    def push(self, record: DynamoDBRecord) -> None:
        event = record.raw_event["dynamodb"]
        if ticket := ticket_of(event["Keys"]):
            self._tell_behind(*ticket)
        elif record.event_name is not DynamoDBRecordEventName.REMOVE:
            self._tell(event["NewImage"])

    def _tell(self, image: dict[str, Any]) -> None:
        if new := subscribed(image):
            job_id, connection = new
            with _told_if_failing(job_id):
                reached = self.broadcast.greet(connection, job_id=job_id)
            count("SnapshotsSent", reached)
            return
        if image["sk"]["S"] != JOB or not image["pk"]["S"].startswith(Partition.JOB):
            return
        if self._tell_watchers(image["pk"]["S"].removeprefix(Partition.JOB)):
            changed = datetime.fromisoformat(image["updated_at"]["S"])
            # The change was dated by another machine's clock.
            note_seconds("PushSeconds", max(0.0, (self.now() - changed).total_seconds()))

    def _tell_behind(self, recipe_name: str, number: int) -> None:
        jobs = self.broadcast.jobs
        for job_id in jobs.jobs_behind(recipe_name, ticket=number, limit=_TOLD_BEHIND):
            self._tell_watchers(job_id)

    def _tell_watchers(self, job_id: str) -> int:
        if job_id in self.told:
            return 0
        with _told_if_failing(job_id):
            reached = self.broadcast.tell_watchers(job_id)
        count("SnapshotsSent", reached)
        # Only now: what failed is tried again by the job's next record.
        self.told.add(job_id)
        logger().debug("watchers told", job_id=job_id)
        return reached


@contextmanager
def _told_if_failing(job_id: str) -> Iterator[None]:
    """Log what a job's watchers were not told for, and let it pass.

    The batch processor hands a failure on to Lambda, which tells nobody of which job it was.
    """
    try:
        yield
    except Exception as exc:
        logger().exception("snapshot not pushed", job_id=job_id, error=type(exc).__name__)
        raise

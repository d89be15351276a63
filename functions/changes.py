"""Changes of jobs: counted, and announced to the webhooks of their owners.

The stream has a job before and after a change. The events that the change made
are told from these two as the log's are, by the same function, so they have the
log's numbers; and what is sent shows the job as it was at the event, however
late that is.

A stream carries two readers well, and push is the other one; so counting and
announcing share this one. Neither waits for the other to succeed: where one
fails the other is done all the same, and the record comes again. Then a count
is not made twice, since it is remembered, and an event is queued once more at
most, under the same id and for the same attempt, which is made once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
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

from clearstem.counted import CountedTable
from clearstem.job_events import logged
from clearstem.jobs import Job
from clearstem.receipts import receipt
from clearstem.records import from_item
from clearstem.table_keys import JOB, Partition
from clearstem.webhook_endpoints import SENT_KINDS
from clearstem.webhooks import Announcer
from functions import wiring
from functions.dialects.webhooks import event_body
from functions.meter import is_measured, measurements
from functions.telemetry import Event, count, entry_point, logger, measure


@entry_point
def handler(event: Event, context: LambdaContext) -> PartialItemFailureResponse:
    """Count and announce what a batch of stream records is about."""
    return process_partial_response(
        event=event,
        record_handler=_hearer().hear,
        processor=BatchProcessor(event_type=EventType.DynamoDBStreams),
        context=context,
    )


@cache
def _hearer() -> "_Hearer":
    service = wiring.service()
    return _Hearer(service.announcer, service.counted, now=service.now)


@dataclass(frozen=True, slots=True)
class _Hearer:
    """What handles one record after the other."""

    announcer: Announcer
    counted: CountedTable
    now: Callable[[], datetime]

    def hear(self, record: DynamoDBRecord) -> None:
        change: dict[str, Any] = record.raw_event["dynamodb"]
        try:
            self._handle(change)
        except Exception:
            # The batch processor hands the failure on to Lambda, which tells nobody why.
            job_id = change["Keys"]["pk"]["S"].removeprefix(Partition.JOB)
            logger().exception("change not handled", job_id=job_id)
            raise

    def _handle(self, images: dict[str, Any]) -> None:
        before, after = _job(images.get("OldImage")), _job(images.get("NewImage"))
        if after is None:
            return
        try:
            self._announce(before, after)
        finally:
            self._count(before, after)

    def _announce(self, before: Job | None, after: Job) -> None:
        _, events = logged(before, after)
        for event in events:
            if event.kind in SENT_KINDS:
                body = event_body(after, event)
                sent = self.announcer.announce(after, event, body=body)
                logger().debug("event announced", job_id=after.job_id, webhooks=sent)
                count("WebhooksAnnounced", sent)

    def _count(self, before: Job | None, after: Job) -> None:
        if not is_measured(before, after):
            return
        # Before the claim: what cannot be measured is not remembered as counted.
        found = tuple(measurements(after))
        if not self.counted.claim(after, at=self.now()):
            return
        for measurement in found:
            measure(measurement)
        if after.state.is_final:
            _log_end(after)


def _log_end(job: Job) -> None:
    spent = receipt(job)
    logger().info(
        "job ended",
        job_id=job.job_id,
        state=job.state.value,
        seconds=round(spent.seconds, 1),
        dollars=round(spent.dollars, 6),
    )


def _job(image: dict[str, Any] | None) -> Job | None:
    if image is None or image["sk"]["S"] != JOB:
        return None
    return from_item(image, Job)

"""Telling owners what happens to their jobs, by calls to addresses of theirs.

`Announcer` makes deliveries of events and has them queued; `Courier` makes one
attempt of one delivery. Between two attempts a message waits in the queue,
which can hold it back for a quarter of an hour at most: a longer wait goes by
hops, each a message that finds its time has not come. Nothing sleeps.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final

from clearstem.addresses import Answered
from clearstem.errors import (
    Conflict,
    DeliveryNotFound,
    UrlFailed,
    UrlRefused,
    WebhookNotFound,
)
from clearstem.job_events import JobEvent
from clearstem.jobs import Job
from clearstem.records import dumps
from clearstem.retention import ON_THEIR_WAY, RetentionTable
from clearstem.webhook_deliveries import (
    SCHEDULE_S,
    Delivery,
    DeliveryState,
    DeliveryTable,
    Try,
    event_ids_of,
)
from clearstem.webhook_endpoints import Endpoint, EndpointTable, callback_of
from clearstem.webhook_secrets import signed_headers

# What the Standard Webhooks specification gives a receiver, to be found and to answer.
RECEIVER_S: Final = 15.0
# The longest that SQS holds a message back.
_HOP_S: Final = 900
# SQS counts in seconds, and its clock is not ours.
_EARLY: Final = timedelta(seconds=1)
# A message that is this late was lost: SQS is asked again by the sweep.
_LOST: Final = timedelta(minutes=10)
_GONE: Final = 410


Post = Callable[[str, bytes, Mapping[str, str]], Answered]
"""Sends a body to an address; raises `UrlRefused` or `UrlFailed`, never follows a redirect."""


@dataclass(frozen=True, slots=True)
class Order:
    """A message: at that time it is that attempt's turn.

    Attributes
    ----------
    attempt : int
        How many were made before it.
    """

    owner: str
    webhook_id: str
    event_id: str
    attempt: int
    due_at: datetime


def order_of(delivery: Delivery) -> Order:
    """The next attempt of a pending delivery."""
    return Order(
        delivery.owner,
        delivery.webhook_id,
        delivery.event_id,
        attempt=delivery.attempts,
        due_at=delivery.updated_at,
    )


def event_id_of(event: JobEvent, *, job_id: str) -> str:
    """The one id of an event, whichever endpoint it is sent to and however often."""
    return f"{event_ids_of(job_id)}{event.number}"


@dataclass(frozen=True, slots=True)
class OrderQueue:
    """The queue of attempts, or the one of those that were given up.

    Attributes
    ----------
    client : Any
        A boto3 client of SQS.
    """

    client: Any
    url: str

    def put(self, order: Order, *, at: datetime) -> None:
        """Queue an order until it is due, or for as long as the queue can hold it back.

        Named after its owner, an order waits behind those of owners who have fewer under way
        (https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-fair-queues.html);
        in a standard queue that orders nothing.
        """
        wait_s = math.ceil((order.due_at - at).total_seconds())
        self.client.send_message(
            QueueUrl=self.url,
            MessageBody=dumps(order),
            MessageGroupId=order.owner,
            DelaySeconds=min(max(wait_s, 0), _HOP_S),
        )


@dataclass(frozen=True, slots=True)
class Announcer:
    """Sets deliveries on their way.

    Attributes
    ----------
    now : callable
        The time, in UTC.
    """

    endpoints: EndpointTable
    deliveries: DeliveryTable
    queue: OrderQueue
    retention: RetentionTable
    now: Callable[[], datetime]

    def announce(self, job: Job, event: JobEvent, *, body: str) -> int:
        """Have an event sent to every endpoint that wants it; how many those are.

        Told again, nothing is recorded twice; what may not have been queued is
        queued again. Of a deleted job its last events are told too, however late
        they are heard of; what is recorded for it goes when it has arrived.
        """
        wanting = [endpoint for endpoint in self._endpoints(job) if endpoint.wants(event.kind)]
        if wanting:
            # Before the records, so that the sweep does not just end its looking for them.
            self.retention.look_after(job, at=self.now() + ON_THEIR_WAY)
        for endpoint in wanting:
            delivery = self.deliveries.add(self._delivery(event, endpoint, job=job, body=body))
            if delivery.state is DeliveryState.PENDING and delivery.attempts == 0:
                self.queue.put(order_of(delivery), at=self.now())
        return len(wanting)

    def redeliver(self, event_id: str, *, endpoint: Endpoint) -> Delivery:
        """Send an event once more, by the whole schedule.

        Raises
        ------
        DeliveryNotFound
            It was never sent to this endpoint, or longer ago than the log goes back.
        Conflict
            The endpoint is disabled, or the delivery is being attempted this very moment.
        """
        if endpoint.disabled_at is not None:
            raise Conflict("the webhook is disabled, since it answered 410; register it anew")
        seen = self.deliveries.get(event_id, webhook_id=endpoint.webhook_id)
        again = seen.again(at=self.now())
        # Before the record, so that a crash in between loses nothing.
        self.queue.put(order_of(again), at=self.now())
        if not self.deliveries.replace(seen, again):
            raise Conflict(f"{event_id} is being sent this very moment; look at it again")
        return again

    def wake(self) -> Iterator[Delivery]:
        """Queue what is overdue by so much that its message must be lost; yields it."""
        now = self.now()
        for delivery in self.deliveries.overdue(before=now - _LOST):
            put_off = replace(delivery, updated_at=now)
            self.queue.put(order_of(put_off), at=now)
            # A backlog is no loss: it is waited for once more before the next turn.
            self.deliveries.replace(delivery, put_off)
            yield put_off

    def _endpoints(self, job: Job) -> tuple[Endpoint, ...]:
        registered = self.endpoints.registered(job.owner)
        callback = callback_of(job)
        return registered if callback is None else (*registered, self.endpoints.known(callback))

    def _delivery(self, event: JobEvent, endpoint: Endpoint, *, job: Job, body: str) -> Delivery:
        return Delivery(
            event_id=event_id_of(event, job_id=job.job_id),
            webhook_id=endpoint.webhook_id,
            owner=job.owner,
            job_id=job.job_id,
            kind=event.kind,
            body=body,
            created_at=event.at,
            updated_at=self.now(),
        )


@dataclass(frozen=True, slots=True)
class Courier:
    """Makes one attempt at a time.

    Attributes
    ----------
    dead_letters : OrderQueue
        Takes what is given up, for somebody to look at.
    schedule_s : tuple of float
        Seconds before each attempt, after the one before it.
    """

    endpoints: EndpointTable
    deliveries: DeliveryTable
    queue: OrderQueue
    dead_letters: OrderQueue
    post: Post
    now: Callable[[], datetime]
    schedule_s: tuple[float, ...] = field(default=SCHEDULE_S)

    def deliver(self, order: Order) -> Delivery | None:
        """Make the attempt that a message asks for; None where there is none to make.

        The next message is queued before the record is written: a crash between
        the two repeats an attempt, the other way round would lose it.
        """
        if order.due_at > self.now() + _EARLY:
            self.queue.put(order, at=self.now())
            return None
        seen = self._pending(order)
        if seen is None:
            return None
        told = self._attempted(seen)
        if told.state is DeliveryState.PENDING:
            self.queue.put(order_of(told), at=self.now())
        elif told.state is DeliveryState.FAILED:
            self.dead_letters.put(order_of(told), at=self.now())
        self.deliveries.replace(seen, told)
        return told

    def _pending(self, order: Order) -> Delivery | None:
        try:
            delivery = self.deliveries.get(order.event_id, webhook_id=order.webhook_id)
        except DeliveryNotFound:
            return None  # it has left the log
        over = delivery.state is not DeliveryState.PENDING or order.attempt < delivery.attempts
        return None if over else delivery

    def _attempted(self, delivery: Delivery) -> Delivery:
        try:
            endpoint = self.endpoints.get(delivery.webhook_id, owner=delivery.owner)
        except WebhookNotFound:
            return self._given_up(delivery, error="the webhook was deleted")
        if endpoint.disabled_at is not None:
            return self._given_up(delivery, error="the webhook answered 410 before")
        made, wait_s = self._sent(delivery, endpoint=endpoint)
        if made.status == _GONE:
            self.endpoints.disable(endpoint, at=made.at)
            return delivery.told(made, wait_s=0, schedule_s=())
        return delivery.told(made, wait_s=wait_s, schedule_s=self.schedule_s)

    def _given_up(self, delivery: Delivery, *, error: str) -> Delivery:
        made = Try(self.now(), duration_s=0.0, error=error)
        return delivery.told(made, wait_s=0, schedule_s=())

    def _sent(self, delivery: Delivery, *, endpoint: Endpoint) -> tuple[Try, float]:
        """The attempt, and how long the receiver asks to be left alone, in seconds."""
        began = self.now()
        signed = signed_headers(
            delivery.body,
            event_id=delivery.event_id,
            signing=self.endpoints.secrets_of(endpoint),
            at=began,
        )
        headers = {"Content-Type": "application/json", **signed}
        try:
            answer = self.post(endpoint.url, delivery.body.encode(), headers)
        except (UrlFailed, UrlRefused) as exc:
            return Try(self.now(), self._since(began), error=str(exc)), 0.0
        good = 200 <= answer.status < 300
        error = None if good else f"the receiver answered {answer.status}"
        made = Try(self.now(), self._since(began), status=answer.status, error=error)
        return made, _wait_s(answer.retry_after, at=made.at)

    def _since(self, began: datetime) -> float:
        return round(max((self.now() - began).total_seconds(), 0.0), 3)


def _wait_s(header: str | None, *, at: datetime) -> float:
    """What a Retry-After asks for (RFC 9110, 10.2.3): seconds, or a date; 0 for anything else."""
    text = (header or "").strip()
    if text.isascii() and text.isdecimal():
        # More digits than that are no wait that anyone means.
        return float(text[:9])
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # the latter of years and zones that no C integer holds
        return 0.0
    aware = date if date.tzinfo is not None else date.replace(tzinfo=UTC)
    return max((aware - at).total_seconds(), 0.0)

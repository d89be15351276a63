"""One attempt of one webhook delivery, when its message in the queue is due.

One message an event: a receiver that takes its fifteen seconds keeps nobody
else waiting. What raises here goes back to the queue, and after a few times to
the dead letters.
"""

from functools import cache

import httpx
from aws_lambda_powertools.utilities.data_classes import SQSEvent
from aws_lambda_powertools.utilities.typing import LambdaContext

from clearstem.guarded import GuardedClient
from clearstem.records import loads
from clearstem.webhook_deliveries import DeliveryState
from clearstem.webhooks import RECEIVER_S, Courier, Order
from functions import wiring
from functions.telemetry import Event, count, entry_point, logger


@entry_point
def handler(event: Event, _: LambdaContext) -> None:
    """Make the attempts that the messages ask for."""
    for record in SQSEvent(event).records:
        delivery = _courier().deliver(loads(record.body, Order))
        if delivery is None:
            continue
        made = delivery.tries[-1]
        count("WebhooksDelivered" if made.error is None else "WebhookAttemptsFailed")
        if delivery.state is DeliveryState.FAILED:
            count("WebhooksGivenUp")
        logger().info(
            "webhook attempted",
            job_id=delivery.job_id,
            event_id=delivery.event_id,
            webhook_id=delivery.webhook_id,
            state=delivery.state.value,
            status=made.status,
            error=made.error,
        )


@cache
def _courier() -> Courier:
    service = wiring.service()
    client = GuardedClient(
        allow_loopback=service.settings.webhook_allow_loopback,
        total_s=RECEIVER_S,
        idle_s=RECEIVER_S,
        tls=httpx.create_ssl_context(trust_env=False),
    )
    return service.courier(client.post)

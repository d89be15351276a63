"""How owners are told: from the table's stream over a queue to their addresses.

The dispatcher reads the stream beside the push function: two readers are what
DynamoDB advises at most. What it queues is attempted by a function of its own,
one message a call, so that receivers who take their time only keep their own
messages waiting.
"""

from typing import Final

import aws_cdk as cdk
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_event_sources as sources
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from clearstem.table_keys import JOB

# Six times the function's, as AWS advises: a message must not come again while it
# is still being attempted.
COURIER_TIMEOUT_S: Final = 30
_INVISIBLE: Final = cdk.Duration.seconds(6 * COURIER_TIMEOUT_S)
_KEPT: Final = cdk.Duration.days(14)
# Faults of ours; what a receiver answers is no fault and never comes back this way.
_RECEIVES: Final = 5
# Calls at a time: the account has a thousand for everything.
_CONCURRENCY: Final = 50
_BATCH: Final = 25
_RETRIES: Final = 10


class WebhookQueues(Construct):
    """The queue of attempts, and where those go that were given up.

    Attributes
    ----------
    orders : aws_sqs.Queue
        A message for each attempt, held back until it is due.
    given_up : aws_sqs.Queue
        Deliveries whose whole schedule failed, and messages that nobody could handle.
    """

    def __init__(self, scope: Construct, id: str) -> None:
        super().__init__(scope, id)
        self.given_up = _queue(self, "GivenUp")
        self.orders = _queue(
            self,
            "Orders",
            visibility_timeout=_INVISIBLE,
            dead_letter_queue=sqs.DeadLetterQueue(max_receive_count=_RECEIVES, queue=self.given_up),
        )

    def attempt_by(self, function: lambda_.IFunction) -> None:
        """Call a function for each message, when its time has come."""
        function.add_event_source(
            sources.SqsEventSource(self.orders, batch_size=1, max_concurrency=_CONCURRENCY)
        )


def dispatch_changes(
    table: dynamodb.ITable, *, to: lambda_.IFunction, dead_letters: sqs.IQueue
) -> None:
    """Send every change of a job to a function, in order and at least once.

    Subscriptions, log entries and whatever else the table holds are left out
    before the function is called.
    """
    is_job = {"dynamodb": {"NewImage": {"sk": {"S": lambda_.FilterRule.is_equal(JOB)}}}}
    to.add_event_source(
        sources.DynamoEventSource(
            table,
            starting_position=lambda_.StartingPosition.TRIM_HORIZON,
            batch_size=_BATCH,
            max_batching_window=cdk.Duration.seconds(0),
            bisect_batch_on_error=True,
            retry_attempts=_RETRIES,
            report_batch_item_failures=True,
            on_failure=sources.SqsDlq(dead_letters),
            filters=[lambda_.FilterCriteria.filter(is_job)],
        )
    )


def _queue(
    scope: Construct,
    id: str,
    *,
    visibility_timeout: cdk.Duration | None = None,
    dead_letter_queue: sqs.DeadLetterQueue | None = None,
) -> sqs.Queue:
    return sqs.Queue(
        scope,
        id,
        retention_period=_KEPT,
        encryption=sqs.QueueEncryption.SQS_MANAGED,
        enforce_ssl=True,
        visibility_timeout=visibility_timeout,
        dead_letter_queue=dead_letter_queue,
    )

"""How owners are told: a queue of attempts, and where those end that came to nothing.

What is queued is attempted by a function of its own, one message a call. Messages
carry their owner's name, by which SQS prefers those of owners who keep the
function less busy: whoever has a thousand events for a receiver that takes its
time keeps mostly himself waiting. What a receiver refuses to the end is no fault
of the service and nobody is woken for it; messages that the service itself cannot
handle are, so the two do not share a queue.
"""

import math
from typing import Final

import aws_cdk as cdk
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_event_sources as sources
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from clearstem.webhooks import RECEIVER_S
from infra.functions import DeadLetters

# Whatever a receiver does, as much again is left to read what is to be sent and to write
# down what came of it: an attempt that is not written down would be made for ever.
COURIER_TIMEOUT_S: Final = math.ceil(2 * RECEIVER_S)
# Six times the function's, as AWS advises: a message must not come again while it
# is still being attempted.
_INVISIBLE: Final = cdk.Duration.seconds(6 * COURIER_TIMEOUT_S)
_KEPT: Final = cdk.Duration.days(14)
# Faults of ours; what a receiver answers is no fault and never comes back this way.
_RECEIVES: Final = 5
# Calls at a time: the account has a thousand for everything. SQS calls an owner noisy
# from thirty messages under way, so there have to be more.
_CONCURRENCY: Final = 50


class WebhookQueues(Construct):
    """The queue of attempts and its two ends.

    Parameters
    ----------
    key : aws_kms.IKey or None
        What encrypts them; None: SQS's own.

    Attributes
    ----------
    orders : aws_sqs.Queue
        A message for each attempt, held back until it is due.
    given_up : aws_sqs.Queue
        Deliveries whose whole schedule failed.
    lost : aws_sqs.Queue
        Messages that nobody could handle.
    """

    def __init__(self, scope: Construct, id: str, *, key: kms.IKey | None) -> None:
        super().__init__(scope, id)
        self.given_up = DeadLetters(self, "GivenUp", key=key)
        self.lost = DeadLetters(self, "DeadLetters", key=key)
        managed = sqs.QueueEncryption.SQS_MANAGED
        self.orders = sqs.Queue(
            self,
            "Orders",
            retention_period=_KEPT,
            encryption=managed if key is None else sqs.QueueEncryption.KMS,
            encryption_master_key=key,
            enforce_ssl=True,
            visibility_timeout=_INVISIBLE,
            dead_letter_queue=sqs.DeadLetterQueue(max_receive_count=_RECEIVES, queue=self.lost),
        )

    def attempt_by(self, function: lambda_.IFunction) -> None:
        """Call a function for each message, when its time has come."""
        function.add_event_source(
            sources.SqsEventSource(self.orders, batch_size=1, max_concurrency=_CONCURRENCY)
        )

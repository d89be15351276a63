"""What starts and ends jobs besides the API: a file, an ending, the clock."""

from collections.abc import Sequence
from typing import Final

import aws_cdk as cdk
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_s3_notifications as notifications
from aws_cdk import aws_sqs as sqs
from aws_cdk import aws_stepfunctions as stepfunctions
from constructs import Construct

from clearstem.drops import DROP_PREFIX

# Ends that no stage had a chance to write down. SUCCEEDED is not among them:
# the last stage's own write makes a job succeed.
_BAD_ENDINGS: Final = ("FAILED", "TIMED_OUT", "ABORTED")
# Beyond this the sweep has settled the job anyway.
_SETTLE_WITHIN: Final = cdk.Duration.hours(2)
_SWEEP_EVERY: Final = cdk.Duration.minutes(5)


def watch_drop(bucket: s3.Bucket, *, function: lambda_.IFunction) -> None:
    """Call a function for every object that arrives under ``drop/``.

    The notification is S3's own and not EventBridge's: its records are what
    the drop function and ``events/s3_drop.json`` speak.
    """
    bucket.add_event_notification(
        s3.EventType.OBJECT_CREATED,
        notifications.LambdaDestination(function),
        s3.NotificationKeyFilter(prefix=DROP_PREFIX),
    )


class BadEndings(Construct):
    """Executions that ended badly, handed to a function.

    The state machines catch nothing, so that a failed execution stays
    redrivable; this rule is its failure path.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        machines: Sequence[stepfunctions.IStateMachine],
        function: lambda_.IFunction,
        dead_letters: sqs.IQueue,
    ) -> None:
        super().__init__(scope, id)
        events.Rule(
            self,
            "Rule",
            description="Settles the job of an execution that did not succeed.",
            event_pattern=events.EventPattern(
                source=["aws.states"],
                detail_type=["Step Functions Execution Status Change"],
                detail={
                    "status": list(_BAD_ENDINGS),
                    "stateMachineArn": [machine.state_machine_arn for machine in machines],
                },
            ),
            targets=[
                targets.LambdaFunction(
                    function, dead_letter_queue=dead_letters, max_event_age=_SETTLE_WITHIN
                )
            ],
        )


class Sweep(Construct):
    """A function called by the clock, for jobs whose ending got lost.

    A missed turn is made good by the next one, so it is not tried again, by this
    rule or by Lambda; that it was missed is worth knowing, and so is one that failed.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        function: lambda_.IFunction,
        dead_letters: sqs.IQueue,
    ) -> None:
        super().__init__(scope, id)
        events.Rule(
            self,
            "Rule",
            description="Looks for jobs that nobody settled.",
            schedule=events.Schedule.rate(_SWEEP_EVERY),
            targets=[
                targets.LambdaFunction(function, retry_attempts=0, dead_letter_queue=dead_letters)
            ],
        )

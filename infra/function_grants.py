"""What functions may do: to the buckets, the executions and the queues.

The table is `infra.table_grants`'s.
"""

from collections.abc import Mapping
from typing import Final

from aws_cdk import aws_apigatewayv2 as sockets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_stepfunctions as stepfunctions

from clearstem.drops import DONE_PREFIX, DROP_PREFIX
from clearstem.recipes import SEPARATE, work_prefix
from infra.functions import ZipFunction
from infra.handlers import Handlers
from infra.stages import JOB_ID
from infra.storage import Storage
from infra.webhooks import WebhookQueues

_DROPPED: Final = f"{DROP_PREFIX}*"
_DONE: Final = f"{DONE_PREFIX}*"


def use_files(storage: Storage, *, handlers: Handlers) -> None:
    """Give functions what they do to objects.

    A presigned URL can do what its signer may: the REST function signs writes to
    uploads and reads of results.
    """
    storage.uploads.grant_read(handlers.rest)
    storage.uploads.grant_put(handlers.rest)
    # Which parts of an upload have come; CDK counts it to no grant of its own.
    handlers.rest.add_to_role_policy(
        iam.PolicyStatement(
            actions=["s3:ListMultipartUploadParts"],
            resources=[storage.uploads.arn_for_objects("*")],
        )
    )
    storage.tracks.grant_read(handlers.rest)
    # A stored result that answers a job is copied there, to the place of that job.
    storage.tracks.grant_put(handlers.rest, f"{work_prefix(JOB_ID)}*")
    storage.drop.grant_read(handlers.rest, _DONE)
    storage.tracks.grant_read(handlers.stream)
    storage.drop.grant_read(handlers.stream, _DONE)
    storage.drop.grant_read(handlers.drop, _DROPPED)
    # Why a dropped object became no job is said beside the results.
    storage.drop.grant_put(handlers.drop, _DONE)


def remove_files(storage: Storage, *, by: ZipFunction) -> None:
    """What `clearstem.removal` needs: to find a job's files, and to delete them for good.

    CDK's grant of deletion holds for versions as well, which are listed by an action of
    their own.
    """
    buckets = (storage.uploads, storage.work, storage.tracks, storage.drop)
    for bucket in buckets:
        bucket.grant_delete(by)
    by.add_to_role_policy(
        iam.PolicyStatement(
            actions=["s3:ListBucket", "s3:ListBucketVersions"],
            resources=[bucket.bucket_arn for bucket in buckets],
        )
    )


def speak_to_sockets(stage: sockets.WebSocketStage, *, handlers: Handlers) -> None:
    """Push sends snapshots; the socket's own function says what was wrong with a message."""
    for sender in (handlers.push, handlers.websocket):
        stage.grant_management_api_access(sender)


def deliver(webhooks: WebhookQueues, *, handlers: Handlers) -> None:
    """Who sets deliveries on their way, and who makes their attempts."""
    for sender in (handlers.changes, handlers.courier, handlers.rest, handlers.sweep):
        webhooks.orders.grant_send_messages(sender)
    webhooks.given_up.grant_send_messages(handlers.courier)


def run_jobs(machines: Mapping[str, stepfunctions.StateMachine], *, handlers: Handlers) -> None:
    """Who starts executions, and who ends them."""
    for machine in machines.values():
        for starter in (handlers.rest, handlers.sweep):
            machine.grant_start_execution(starter)
            # Cancelling a job, also one that is to be deleted, ends its work.
            machine.grant_execution(starter, "states:StopExecution")
        machine.grant_execution(handlers.sweep, "states:DescribeExecution")
        machine.grant(handlers.sweep, "states:ListExecutions")
    # What is dropped into the bucket is separated.
    machines[SEPARATE.name].grant_start_execution(handlers.drop)


def believe_edge(proof: secretsmanager.ISecret, *, handlers: Handlers) -> None:
    """Who counts by the address, and writes links with the host, that the distribution tells."""
    for believer in (handlers.rest, handlers.stream):
        proof.grant_read(believer)

"""What functions may do: to the table, the buckets, the executions and the queues."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from aws_cdk import aws_apigatewayv2 as sockets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
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

_READ_ITEM: Final = ("dynamodb:GetItem",)
# A job is replaced under a condition; when it leaves the queue, its ticket is
# deleted in the same transaction.
_CHANGE_JOB: Final = (
    "dynamodb:GetItem",
    "dynamodb:PutItem",
    "dynamodb:UpdateItem",
    "dynamodb:DeleteItem",
)
# The log of a job that is deleted, in batches.
_DELETE_LOG: Final = ("dynamodb:BatchWriteItem",)


@dataclass(frozen=True, slots=True)
class TableGrants:
    """Gives actions on the one table, and the use of its key.

    Attributes
    ----------
    key : aws_kms.IKey or None
        What the table is encrypted with; None: DynamoDB's own.
    """

    storage: Storage
    key: kms.IKey | None

    def allow(self, grantee: iam.IGrantable, *actions: str, queries: str = "") -> None:
        """Grant actions on the table's items, and queries of them and of one index.

        `Table.grant` would grant every action on every index too.
        """
        table = self.storage.table
        if actions:
            iam.Grant.add_to_principal(
                grantee=grantee, actions=list(actions), resource_arns=[table.table_arn]
            )
        if queries:
            iam.Grant.add_to_principal(
                grantee=grantee,
                actions=["dynamodb:Query"],
                resource_arns=[table.table_arn, f"{table.table_arn}/index/{queries}"],
            )
        if self.key is not None:
            self.key.grant_encrypt_decrypt(grantee)

    def read(self, grantee: iam.IGrantable) -> None:
        """Let somebody read items by their keys."""
        self.allow(grantee, *_READ_ITEM)


def use_table(table: TableGrants, *, handlers: Handlers) -> None:
    """Give each function what it does to items, and the one index that it asks."""
    allow = table.allow
    allow(handlers.rest, *_CHANGE_JOB, "dynamodb:BatchGetItem", queries="by_owner")
    # It reads jobs and their logs and tells; keys it looks up itself, so it notes their use too.
    allow(
        handlers.stream,
        *_READ_ITEM,
        "dynamodb:BatchGetItem",
        "dynamodb:Query",
        "dynamodb:UpdateItem",
    )
    # It notes when a key was last used, and uses tickets up.
    allow(handlers.authorizer, *_READ_ITEM, "dynamodb:UpdateItem", "dynamodb:DeleteItem")
    for watcher in (handlers.websocket, handlers.push):
        allow(watcher, *_READ_ITEM, "dynamodb:DeleteItem", queries="by_connection")
    allow(handlers.websocket, "dynamodb:PutItem")
    allow(handlers.sweep, queries="by_open")
    for changer in (handlers.drop, handlers.settle, handlers.sweep):
        allow(changer, *_CHANGE_JOB)


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


def remove_jobs(table: TableGrants, *, by: ZipFunction) -> None:
    """What `clearstem.removal` needs: to find a job's files, and to delete them for good.

    CDK's grant of deletion holds for versions as well, which are listed by an action of
    their own.
    """
    storage = table.storage
    table.allow(by, *_DELETE_LOG)
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


def deliver(table: TableGrants, webhooks: WebhookQueues, *, handlers: Handlers) -> None:
    """Who sets deliveries on their way, and who makes their attempts."""
    # An owner's webhooks stand under his name: no index is asked.
    table.allow(handlers.changes, *_READ_ITEM, "dynamodb:PutItem", "dynamodb:Query")
    # It notes what came of an attempt, and disables what answers 410.
    table.allow(handlers.courier, *_READ_ITEM, "dynamodb:PutItem", "dynamodb:UpdateItem")
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
    # What is dropped into the bucket is separated.
    machines[SEPARATE.name].grant_start_execution(handlers.drop)


def believe_edge(proof: secretsmanager.ISecret, *, handlers: Handlers) -> None:
    """Who counts callers without a key by the address that the distribution tells."""
    for counter in (handlers.rest, handlers.stream):
        proof.grant_read(counter)

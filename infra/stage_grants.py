"""What stages may do to storage and table, and what runs them may do with Batch."""

from typing import Final

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_stepfunctions as stepfunctions

from clearstem.drops import DONE_PREFIX, DROP_PREFIX
from clearstem.recipes import Recipe, work_prefix
from clearstem.table_keys import cache_key, job_key, usage_key
from clearstem.tickets import queue_key
from infra.stages import JOB_ID, StageTasks
from infra.storage import Storage
from infra.table_grants import only_in

_READ: Final = ("dynamodb:GetItem",)
_WRITE: Final = ("dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem")


def work(storage: Storage, *, tasks: StageTasks, key: kms.IKey | None) -> None:
    """Let stages work on whatever job; each takes the role for its own job alone.

    Who has no job's id finds none by it either: a list has to name one.
    """
    _let_reach_files(storage, role=tasks.job_role)
    record, cache, role = job_key(JOB_ID), cache_key("*"), tasks.job_role
    for grantee, actions, keys in (
        (tasks.role, _READ, [record]),
        (role, _READ, [record, cache]),
        # Its ticket, what its owner uses and what its result answers go in one transaction
        # with the record.
        (role, _WRITE, [record, queue_key("*"), usage_key("*"), cache]),
    ):
        grantee.add_to_policy(
            iam.PolicyStatement(
                actions=list(actions),
                resources=[storage.table.table_arn],
                conditions=only_in(keys),
            )
        )
    if key is not None:
        key.grant_encrypt_decrypt(role)
        key.grant_decrypt(tasks.role)


def _let_reach_files(storage: Storage, *, role: iam.Role) -> None:
    uploads, drop = storage.uploads.arn_for_objects, storage.drop.arn_for_objects
    jobs = f"{work_prefix(JOB_ID)}*"
    own = [bucket.arn_for_objects(jobs) for bucket in (storage.work, storage.tracks)]
    # A recording that a job names by its address is fetched to where uploads lie.
    written = [*own, uploads("uploads/*"), drop(f"{DONE_PREFIX}*")]
    _may(role, "s3:GetObject", on=[*written, drop(f"{DROP_PREFIX}*")])
    _may(role, "s3:PutObject", "s3:AbortMultipartUpload", on=written)
    listed = [jobs, f"{DONE_PREFIX}*/{JOB_ID}/*"]
    role.add_to_policy(
        iam.PolicyStatement(
            actions=["s3:ListBucket"],
            resources=[b.bucket_arn for b in (storage.work, storage.tracks, storage.drop)],
            conditions={"StringLike": {"s3:prefix": listed}},
        )
    )


def _may(role: iam.Role, *actions: str, on: list[str]) -> None:
    role.add_to_policy(iam.PolicyStatement(actions=list(actions), resources=on))


def submit(
    stack: cdk.Stack, machine: stepfunctions.StateMachine, *, recipe: Recipe, tasks: StageTasks
) -> None:
    """Let a state machine run a recipe's stages: by ``batch:submitJob.sync``, or as a function."""
    jobs = [tasks.job(stage.name) for stage in recipe.stages]
    definitions = [
        _arn(stack, "batch", "job-definition", f"{name}:*")
        for name in sorted({job.name for job in jobs})
    ]
    queues = sorted({job.queue_arn for job in jobs})
    for actions, resources in (
        (["batch:SubmitJob"], [*definitions, *queues]),
        # Stopping an execution ends the job that it waits for. Of a timeout the developer guide
        # ("Run a Job") does not say so: what may be left is looked for by hand (QueueAge in
        # docs/operations.md).
        (["batch:TerminateJob"], [_arn(stack, "batch", "job", "*")]),
        # AWS knows no resource for describing jobs.
        (["batch:DescribeJobs"], ["*"]),
        # The rule through which Step Functions hears of a job's end; it keeps one per account
        # under this name.
        (
            ["events:PutTargets", "events:PutRule", "events:DescribeRule"],
            [_arn(stack, "events", "rule", "StepFunctionsGetEventsForBatchJobsRule")],
        ),
    ):
        machine.role.add_to_principal_policy(
            iam.PolicyStatement(actions=actions, resources=resources)
        )
    iam.Grant.add_to_principal(
        grantee=machine,
        actions=["lambda:InvokeFunction"],
        resource_arns=[tasks.function.function_arn],
    )


def _arn(stack: cdk.Stack, service: str, resource: str, name: str) -> str:
    return stack.format_arn(service=service, resource=resource, resource_name=name)

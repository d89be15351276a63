"""How every zip function is run, and where its lost events end.

One class, so that architecture, runtime, tracing, log retention and the zip
itself are decided once. What a single function needs differently it says
where it is made.
"""

from collections.abc import Mapping
from typing import Final

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sqs as sqs
from constructs import Construct

# Long enough for a job of last month to be looked into, short enough to be cheap.
LOG_RETENTION: Final = logs.RetentionDays.ONE_MONTH


class ZipFunction(lambda_.Function):
    """A Lambda function out of the shared zip.

    Parameters
    ----------
    handler : str
        Module under ``functions``, whose ``handler`` is called.
    code : aws_lambda.Code
        The zip that all functions share.
    environment : mapping of str to str
        What ``clearstem.settings`` reads.
    timeout : Duration
        When the call is given up.
    memory_mb : int
        Memory, and with it the share of a CPU: 1,769 MB is one.
    dead_letters : aws_sqs.IQueue, optional
        Where an asynchronous call lands that failed for good.
    retries : int, optional
        How often such a call is made again before that; Lambda's default is 2, the most it takes.

    Attributes
    ----------
    module : str
        Its `handler`'s module.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        handler: str,
        code: lambda_.Code,
        environment: Mapping[str, str],
        timeout: cdk.Duration,
        memory_mb: int,
        dead_letters: sqs.IQueue | None = None,
        retries: int | None = None,
    ) -> None:
        self.module = handler
        log_group = function_log(scope, id)
        super().__init__(
            scope,
            id,
            role=function_role(scope, id, log_group=log_group),
            code=code,
            handler=f"functions.{handler}.handler",
            runtime=lambda_.Runtime.PYTHON_3_13,
            # A fifth cheaper for the same milliseconds; all wheels are to be had.
            architecture=lambda_.Architecture.ARM_64,
            environment={**environment, "POWERTOOLS_SERVICE_NAME": f"clearstem-{handler}"},
            timeout=timeout,
            memory_size=memory_mb,
            tracing=lambda_.Tracing.ACTIVE,
            dead_letter_queue=dead_letters,
            retry_attempts=retries,
            log_group=log_group,
        )


def function_log(scope: Construct, id: str) -> logs.LogGroup:
    """The log group of the function of that id."""
    return logs.LogGroup(
        scope, f"{id}Log", retention=LOG_RETENTION, removal_policy=cdk.RemovalPolicy.DESTROY
    )


def function_role(scope: Construct, id: str, *, log_group: logs.ILogGroup) -> iam.Role:
    """The role of the function of that id, which may write to its own log and nothing else.

    AWS's managed policy, CDK's default, lets every function write to every log.
    """
    role = iam.Role(scope, f"{id}Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
    log_group.grant_write(role)
    return role


class DeadLetters(sqs.Queue):
    """Events nobody could handle, kept until somebody has looked.

    Fourteen days is the longest that SQS keeps a message.
    """

    def __init__(self, scope: Construct, id: str, *, key: kms.IKey | None = None) -> None:
        managed = sqs.QueueEncryption.SQS_MANAGED
        super().__init__(
            scope,
            id,
            retention_period=cdk.Duration.days(14),
            encryption=managed if key is None else sqs.QueueEncryption.KMS,
            encryption_master_key=key,
            enforce_ssl=True,
        )

"""The stages of a recipe: their images, their jobs, and the machine that runs them in order.

The state machine catches nothing. A stage that failed for good has said so
on the job already, and everything else that ends an execution is settled by
the rule in ``infra.intake``; an execution that failed can be redriven.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import aws_cdk as cdk
from aws_cdk import aws_batch as batch
from aws_cdk import aws_ecr_assets as ecr_assets
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import aws_stepfunctions as stepfunctions
from constructs import Construct

from clearstem.recipes import SEPARATION, Recipe
from infra.bundling import ROOT
from infra.compute import Queues
from infra.functions import LOG_RETENTION

_ON_GPU: Final = frozenset({SEPARATION})

# One attempt: 8 hours of music, the most that 500 MB of MP3 hold, at ten
# times real time. Batch does not retry what it cut off here.
_ATTEMPT: Final = cdk.Duration.hours(1)
_ATTEMPTS: Final = 3
# From SubmitJob to the end, RUNNABLE included, which no attempt timeout
# covers: three attempts, each after an hour's wait for a machine.
_TASK_S: Final = 6 * 3600
# The backstop of the whole: it must never strike before a task's own.
_SLACK_S: Final = 3600

# A g4dn.xlarge offers ECS about 15.4 of its 16 GiB.
_GPU_MEMORY: Final = cdk.Size.mebibytes(14_000)
_GPU_CPUS: Final = 4
# A CPU stage stays under 1.5 GB; two vCPU are sold with 4 GB at the least.
_CPU_MEMORY: Final = cdk.Size.mebibytes(4096)
_CPU_CPUS: Final = 2

# The Batch API refusing or failing the call, not the job: `States.TaskFailed`
# is a job that failed after its own attempts and is not tried again. SubmitJob
# is capped at 50/s per account, hence the long and scattered backoff.
_API_RETRY: Final[Mapping[str, Any]] = {
    "ErrorEquals": [
        "Batch.AWSBatchException",
        "Batch.ServerException",
        "Batch.TooManyRequestsException",
        "Batch.SdkClientException",
    ],
    "IntervalSeconds": 2,
    "BackoffRate": 2.0,
    "MaxAttempts": 8,
    "MaxDelaySeconds": 120,
    "JitterStrategy": "FULL",
}


@dataclass(frozen=True, slots=True)
class StageJob:
    """What a stage is submitted as.

    Attributes
    ----------
    queue_arn : str
        The queue it waits in.
    definition_arn : str
        The job definition, of this revision.
    name : str
        The definition's name, whatever its revision.
    """

    queue_arn: str
    definition_arn: str
    name: str


class StageTasks(Construct):
    """The images and job definitions of the stages.

    Attributes
    ----------
    role : aws_iam.Role
        What a stage may do; granted to by the composing stack.
    names : list of str
        The job definitions' names.
    """

    def __init__(
        self, scope: Construct, id: str, *, queues: Queues, environment: Mapping[str, str]
    ) -> None:
        super().__init__(scope, id)
        self._environment = environment
        self.role = iam.Role(
            self,
            "Role",
            description="What a stage may do.",
            assumed_by=iam.ServicePrincipal("ecs-tasks.amazonaws.com"),
        )
        self._log = logs.LogGroup(
            self, "Log", retention=LOG_RETENTION, removal_policy=cdk.RemovalPolicy.DESTROY
        )
        # Named, so that the role of the state machine can be told which they
        # are whatever their revision.
        prefix = cdk.Stack.of(self).stack_name
        self.names = [f"{prefix}-stage-gpu", f"{prefix}-stage-cpu"]
        self._gpu = StageJob(
            queues.gpu.job_queue_arn,
            self._definition("Gpu", name=self.names[0], container=self._gpu_container()),
            self.names[0],
        )
        self._cpu = StageJob(
            queues.cpu.job_queue_arn,
            self._definition("Cpu", name=self.names[1], container=self._cpu_container()),
            self.names[1],
        )

    def job(self, stage: str) -> StageJob:
        """What a stage is submitted as."""
        return self._gpu if stage in _ON_GPU else self._cpu

    def _definition(self, kind: str, *, name: str, container: batch.IEcsContainerDefinition) -> str:
        definition = batch.EcsJobDefinition(
            self,
            kind,
            job_definition_name=name,
            container=container,
            timeout=_ATTEMPT,
            retry_attempts=_ATTEMPTS,
            retry_strategies=_retry_strategies(),
            # An execution under way, or redriven, goes on with the revision it
            # began with.
            skip_deregister_on_update=True,
            propagate_tags=True,
        )
        return definition.job_definition_arn

    def _gpu_container(self) -> batch.EcsEc2ContainerDefinition:
        return batch.EcsEc2ContainerDefinition(
            self,
            "GpuContainer",
            image=self._image("stage"),
            gpu=1,
            cpu=_GPU_CPUS,
            memory=_GPU_MEMORY,
            job_role=self.role,
            environment=self._environment,
            logging=self._logging("gpu"),
        )

    def _cpu_container(self) -> batch.EcsFargateContainerDefinition:
        return batch.EcsFargateContainerDefinition(
            self,
            "CpuContainer",
            image=self._image("stage-cpu"),
            cpu=_CPU_CPUS,
            memory=_CPU_MEMORY,
            job_role=self.role,
            environment=self._environment,
            logging=self._logging("cpu"),
            # The subnets have no NAT: this is the way to the registry.
            assign_public_ip=True,
            fargate_cpu_architecture=ecs.CpuArchitecture.X86_64,
            fargate_operating_system_family=ecs.OperatingSystemFamily.LINUX,
        )

    def _image(self, name: str) -> ecs.ContainerImage:
        asset = ecr_assets.DockerImageAsset(
            self,
            f"{name.title().replace('-', '')}Image",
            directory=str(ROOT),
            file=f"containers/{name}.Dockerfile",
            # The pins are of this platform, and the tests run on it.
            platform=ecr_assets.Platform.LINUX_AMD64,
        )
        return ecs.ContainerImage.from_docker_image_asset(asset)

    def _logging(self, prefix: str) -> ecs.LogDriver:
        return ecs.LogDriver.aws_logs(stream_prefix=prefix, log_group=self._log)


class RecipeMachine(Construct):
    """The state machine of one recipe.

    Attributes
    ----------
    machine : aws_stepfunctions.StateMachine
        Standard; an execution is named after its job, which makes a second
        start of the same job harmless.
    """

    def __init__(self, scope: Construct, id: str, *, recipe: Recipe, tasks: StageTasks) -> None:
        super().__init__(scope, id)
        jobs = {stage.name: tasks.job(stage.name) for stage in recipe.stages}
        self.machine = stepfunctions.StateMachine(
            self,
            "Machine",
            state_machine_type=stepfunctions.StateMachineType.STANDARD,
            definition_body=stepfunctions.DefinitionBody.from_string(
                json.dumps(definition(recipe, jobs=jobs))
            ),
            tracing_enabled=True,
            logs=stepfunctions.LogOptions(
                destination=logs.LogGroup(
                    self,
                    "Log",
                    # Under this prefix the group needs no resource policy of
                    # its own, of which an account has ten.
                    log_group_name=f"/aws/vendedlogs/states/{cdk.Stack.of(self).stack_name}"
                    f"-{recipe.name}",
                    retention=LOG_RETENTION,
                    removal_policy=cdk.RemovalPolicy.DESTROY,
                ),
                level=stepfunctions.LogLevel.ALL,
                # A job's id is all that an execution knows.
                include_execution_data=True,
            ),
        )


def definition(recipe: Recipe, *, jobs: Mapping[str, StageJob]) -> dict[str, Any]:
    """A recipe as an Amazon States Language document, in JSONPath style.

    Parameters
    ----------
    recipe : Recipe
        The stages, in order.
    jobs : mapping of str to StageJob
        Where each stage is submitted; `KeyError` where one is missing.

    Returns
    -------
    dict
        One task per stage. The input, ``{"job_id": …}``, goes through unchanged.
    """
    names = [stage.name for stage in recipe.stages]
    following = [*names[1:], None]
    return {
        "Comment": f"Recipe {recipe.name}: its stages in order, as Batch jobs.",
        "StartAt": names[0],
        "TimeoutSeconds": len(names) * _TASK_S + _SLACK_S,
        "States": {
            name: {**_task(name, job=jobs[name]), **({"Next": then} if then else {"End": True})}
            for name, then in zip(names, following, strict=True)
        },
    }


def _task(stage: str, *, job: StageJob) -> dict[str, Any]:
    return {
        "Type": "Task",
        "Resource": f"arn:{cdk.Aws.PARTITION}:states:::batch:submitJob.sync",
        "Parameters": {
            "JobName.$": f"States.Format('{stage}-{{}}', $.job_id)",
            "JobQueue": job.queue_arn,
            "JobDefinition": job.definition_arn,
            "ContainerOverrides": {
                "Command.$": f"States.Array('{stage}', '--job-id', $.job_id)",
            },
        },
        "ResultPath": None,
        "TimeoutSeconds": _TASK_S,
        "Retry": [dict(_API_RETRY)],
    }


def _retry_strategies() -> list[batch.RetryStrategy]:
    """Another attempt only for what another attempt can mend.

    75 is ``EX_TEMPFAIL``, a stage's own word for it; 137 a kill by SIGKILL,
    for memory or by a machine going away; then Spot taking the machine back,
    and a registry that did not answer. Anything else is final, 65
    (``EX_DATAERR``) above all. Five rules are the most that Batch takes.
    """
    mendable = (
        batch.Reason.custom(on_exit_code="75"),
        batch.Reason.custom(on_exit_code="137"),
        batch.Reason.custom(on_status_reason="Host EC2*"),
        batch.Reason.custom(on_reason="CannotPullContainerError:*"),
    )
    retry = [batch.RetryStrategy.of(batch.Action.RETRY, reason) for reason in mendable]
    return [*retry, batch.RetryStrategy.of(batch.Action.EXIT, batch.Reason.custom(on_reason="*"))]

"""The stages of a recipe: their images, their jobs, and the machine that runs them in order."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

import aws_cdk as cdk
from aws_cdk import aws_batch as batch
from aws_cdk import aws_ecr_assets as ecr_assets
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_stepfunctions as stepfunctions
from constructs import Construct

from clearstem.receipts import BATCH_DISK_GB, FUNCTION_MEMORY_MB
from clearstem.recipes import SEPARATION, Recipe
from infra.attempts import CPU_SEPARATION_S, GPU_SEPARATION_S, LIGHT_S, light_attempt_s
from infra.compute import Queues
from infra.definition import ATTEMPTS, FUNCTION_S, QuickWay, definition
from infra.functions import LOG_RETENTION, function_log
from infra.options import MACHINE_VCPUS
from infra.steps import StageJob, steps
from infra.supply_chain import ROOT

_ON_GPU: Final = frozenset({SEPARATION})

# A g4dn.xlarge offers ECS about 15.4 of its 16 GiB.
_GPU_MEMORY: Final = cdk.Size.mebibytes(14_000)
# A CPU stage stays under 1.5 GB; two vCPU are sold with 4 GB at the least.
_CPU_MEMORY: Final = cdk.Size.mebibytes(4096)
_CPU_CPUS: Final = 2

# Nine tracks of the longest recording that a function takes, as float32.
_FUNCTION_DISK: Final = cdk.Size.gibibytes(10)

# The form of a job's id, which names the session that a stage takes.
JOB_ID: Final = "-".join("?" * length for length in (8, 4, 4, 4, 12))

# A network on CPUs takes about as long as the music lasts on four of them.
_CPU_SEPARATION: Final = (MACHINE_VCPUS, 16_384)


class StageTasks(Construct):
    """The images and job definitions of the stages.

    Parameters
    ----------
    build_arguments : mapping of str to str
        What the images are built with.
    concurrency : int
        Calls at a time of the function, kept for it; 0: what is free.

    Attributes
    ----------
    role : aws_iam.Role
        What a container starts with: to read a job's record and take `job_role`.
    job_role : aws_iam.Role
        What stages do to storage and table; granted to by the composing stack.
        A stage takes it with a policy that names its own job.
    function : aws_lambda.Function
        The same image as a function, for what is done within 15 minutes.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        queues: Queues,
        environment: Mapping[str, str],
        gpu_environment: Mapping[str, str],
        build_arguments: Mapping[str, str],
        concurrency: int,
    ) -> None:
        super().__init__(scope, id)
        self._build_arguments, self._concurrency = build_arguments, concurrency
        self._log = function_log(self, "")
        self.role = iam.Role(
            self,
            "Role",
            description="What a stage starts with: to take a role for its job.",
            assumed_by=iam.CompositePrincipal(
                iam.ServicePrincipal("ecs-tasks.amazonaws.com"),
                iam.ServicePrincipal("lambda.amazonaws.com"),
            ),
        )
        self.job_role = self._job_role()
        self._environment = {
            **environment,
            "CLEARSTEM_STAGE_ROLE_ARN": self.job_role.role_arn,
        }
        # On instances ECS may name no region (aws/containers-roadmap#1611). botocore reads this
        # name and not AWS_REGION; Lambda sets both and lets nobody else.
        self._task_environment = {**self._environment, "AWS_DEFAULT_REGION": cdk.Aws.REGION}
        self._gpu_environment = {**self._task_environment, **gpu_environment}
        self._cpu_image = self._image("stage-cpu")
        # Named, so that the role of the state machine can be told which they
        # are whatever their revision.
        prefix = cdk.Stack.of(self).stack_name
        name = f"{prefix}-stage-cpu"
        self._cpu = self._job("Cpu", name, queues.cpu, self._cpu_container(), attempt_s=LIGHT_S)
        self._gpu = self._separation(queues.gpu, name=f"{prefix}-stage-gpu")
        if queues.machine_role is not None:
            self._let_start(queues.machine_role)
        self.function = self._function()

    def _job_role(self) -> iam.Role:
        role = iam.Role(
            self,
            "JobRole",
            description="What stages do to storage and table, each for its own job.",
            assumed_by=iam.ArnPrincipal(self.role.role_arn).with_conditions(
                {"StringLike": {"sts:RoleSessionName": JOB_ID}}
            ),
        )
        role.grant_assume_role(self.role)
        return role

    def job(self, stage: str) -> StageJob:
        """What a stage is submitted as."""
        return self._gpu if stage in _ON_GPU else self._light(stage)

    def light_jobs(self, stages: Iterable[str]) -> dict[str, StageJob]:
        """What stages that want a GPU are submitted as where the engine is of no use on one."""
        return {stage: self._light(stage) for stage in stages if stage in _ON_GPU}

    def _light(self, stage: str) -> StageJob:
        return replace(self._cpu, attempt_s=light_attempt_s(stage))

    def _separation(self, queue: batch.IJobQueue | None, *, name: str) -> StageJob:
        """What a network is submitted as: on a GPU, or on CPUs where there is none."""
        if queue is None:
            vcpus, memory_mb = _CPU_SEPARATION
            return replace(self._cpu, vcpus=vcpus, memory_mb=memory_mb, attempt_s=CPU_SEPARATION_S)
        container = self._gpu_container()
        return self._job("Gpu", name, queue, container, attempt_s=GPU_SEPARATION_S)

    def _let_start(self, machines: iam.Role) -> None:
        """The agent pulls and logs by the task's role or its machine's, as Batch sets it up."""
        self._log.grant_write(machines)
        # CDK keeps all images in one repository.
        self._cpu_image.repository.grant_pull(machines)

    def _job(
        self,
        kind: str,
        name: str,
        queue: batch.IJobQueue,
        container: batch.IEcsContainerDefinition,
        *,
        attempt_s: int,
    ) -> StageJob:
        definition = self._definition(kind, name=name, container=container, attempt_s=attempt_s)
        return StageJob(queue.job_queue_arn, definition, name, attempt_s)

    def _function(self) -> lambda_.DockerImageFunction:
        self._log.grant_write(self.role)
        return lambda_.DockerImageFunction(
            self,
            "Function",
            description="Stages of short recordings.",
            code=lambda_.DockerImageCode.from_ecr(
                self._cpu_image.repository,
                tag_or_digest=self._cpu_image.image_tag,
                entrypoint=["python", "-m", "awslambdaric"],
                cmd=["containers.stage.handler"],
            ),
            architecture=lambda_.Architecture.X86_64,
            role=self.role,
            environment={**self._environment, "HOME": "/tmp"},  # noqa: S108 - all that is writable
            timeout=cdk.Duration.seconds(FUNCTION_S),
            reserved_concurrent_executions=self._concurrency or None,
            memory_size=FUNCTION_MEMORY_MB,
            ephemeral_storage_size=_FUNCTION_DISK,
            tracing=lambda_.Tracing.ACTIVE,
            # The tasks' own: a job is looked for in one place, wherever its stages ran.
            log_group=self._log,
        )

    def _definition(
        self, kind: str, *, name: str, container: batch.IEcsContainerDefinition, attempt_s: int
    ) -> str:
        definition = batch.EcsJobDefinition(
            self,
            kind,
            job_definition_name=name,
            container=container,
            # The state machine gives each task its own.
            timeout=cdk.Duration.seconds(attempt_s),
            retry_attempts=ATTEMPTS,
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
            image=ecs.ContainerImage.from_docker_image_asset(self._image("stage")),
            gpu=1,
            cpu=MACHINE_VCPUS,
            memory=_GPU_MEMORY,
            readonly_root_filesystem=True,
            volumes=[_scratch()],
            job_role=self.role,
            environment=self._gpu_environment,
            logging=self._logging("gpu"),
        )

    def _cpu_container(self) -> batch.EcsFargateContainerDefinition:
        return batch.EcsFargateContainerDefinition(
            self,
            "CpuContainer",
            image=ecs.ContainerImage.from_docker_image_asset(self._cpu_image),
            cpu=_CPU_CPUS,
            memory=_CPU_MEMORY,
            ephemeral_storage_size=cdk.Size.gibibytes(BATCH_DISK_GB),
            readonly_root_filesystem=True,
            volumes=[_scratch()],
            job_role=self.role,
            environment=self._task_environment,
            logging=self._logging("cpu"),
            # The subnets have no NAT: this is the way to the registry.
            assign_public_ip=True,
            fargate_cpu_architecture=ecs.CpuArchitecture.X86_64,
            fargate_operating_system_family=ecs.OperatingSystemFamily.LINUX,
        )

    def _image(self, name: str) -> ecr_assets.DockerImageAsset:
        return image(
            self,
            f"{name.title().replace('-', '')}Image",
            name=name,
            arguments=self._build_arguments,
        )

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

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        recipe: Recipe,
        tasks: StageTasks,
        quick: QuickWay,
        fused: bool,
    ) -> None:
        super().__init__(scope, id)
        names = [stage.name for stage in recipe.stages]
        planned = steps(
            recipe,
            jobs={name: tasks.job(name) for name in names},
            light=tasks.light_jobs(names),
            quick=frozenset(names) - _ON_GPU,
            fused=fused,
        )
        document = definition(recipe.name, planned, quick=quick, partition=cdk.Aws.PARTITION)
        self.machine = stepfunctions.StateMachine(
            self,
            "Machine",
            state_machine_type=stepfunctions.StateMachineType.STANDARD,
            definition_body=stepfunctions.DefinitionBody.from_string(document),
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


def _scratch() -> batch.EcsVolume:
    """The only folder that a stage may write to; gone with the task."""
    return batch.EcsVolume.host(name="scratch", container_path="/tmp")  # noqa: S108 - the task's own


def image(
    scope: Construct,
    id: str,
    *,
    name: str,
    arguments: Mapping[str, str],
) -> ecr_assets.DockerImageAsset:
    """An image of ours, for x86-64, built when it is deployed.

    Parameters
    ----------
    name : str
        Of its file under ``containers``.
    arguments : mapping of str to str
        The file's build arguments that do not take their default.
    """
    return ecr_assets.DockerImageAsset(
        scope,
        id,
        directory=str(ROOT),
        file=f"containers/{name}.Dockerfile",
        # The pins are of this platform, and the tests run on it.
        platform=ecr_assets.Platform.LINUX_AMD64,
        build_args=dict(arguments) or None,
    )


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

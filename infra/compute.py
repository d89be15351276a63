"""Where stages run: a network without a NAT, a GPU queue and a CPU queue.

Both queues cost nothing while no job is there. Nothing here knows what a
stage does.
"""

from typing import Final

import aws_cdk as cdk
from aws_cdk import aws_batch as batch
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from constructs import Construct

from clearstem.executions import SHARE_PREFIX
from clearstem.receipts import GPU_DISK_GB
from infra.options import MACHINE_VCPUS, Gpu, Options

_SPOT: Final = batch.AllocationStrategy.SPOT_PRICE_CAPACITY_OPTIMIZED
_ON_DEMAND: Final = batch.AllocationStrategy.BEST_FIT_PROGRESSIVE

# How long the head of a queue waits for a machine that does not come. Only
# what blocks for lack of capacity is counted; jobs behind it wait their turn.
CAPACITY_WAIT: Final = cdk.Duration.minutes(60)
# What runs while machines are changed by a deployment may finish: eight hours of music take one
# network an hour and a half. What several need longer for goes on from its restart points on
# another machine. AWS would end it after half an hour.
_UPDATE_WAIT: Final = cdk.Duration.hours(2)
# A request that fits no machine never will: ten minutes is the least AWS takes.
_MISFIT_WAIT: Final = cdk.Duration.minutes(10)


# What an owner used counts less from day to day; a month's habits are no reason to wait.
_SHARE_DECAY: Final = cdk.Duration.hours(24)


class Network(Construct):
    """Public subnets and a security group that lets nobody in.

    Stages only ever call out, to AWS and by TLS. A NAT gateway would cost
    more a month than a thousand jobs; public addresses behind a group without
    ingress do the same. The bulk, S3 and DynamoDB, goes through gateway
    endpoints, which are free.

    Attributes
    ----------
    vpc : aws_ec2.Vpc
        Two availability zones, public subnets only.
    group : aws_ec2.SecurityGroup
        No way in; out to port 443 only.
    """

    def __init__(self, scope: Construct, id: str) -> None:
        super().__init__(scope, id)
        self.vpc = ec2.Vpc(
            self,
            "Vpc",
            max_azs=2,
            nat_gateways=0,
            subnet_configuration=[
                ec2.SubnetConfiguration(name="Public", subnet_type=ec2.SubnetType.PUBLIC)
            ],
            gateway_endpoints={
                "S3": ec2.GatewayVpcEndpointOptions(service=ec2.GatewayVpcEndpointAwsService.S3),
                "DynamoDb": ec2.GatewayVpcEndpointOptions(
                    service=ec2.GatewayVpcEndpointAwsService.DYNAMODB
                ),
            },
        )
        self.group = ec2.SecurityGroup(
            self,
            "StageGroup",
            vpc=self.vpc,
            description="Stages call out and take no calls.",
            allow_all_outbound=False,
        )
        self.group.add_egress_rule(ec2.Peer.any_ipv4(), ec2.Port.HTTPS, "AWS, by TLS")


class Queues(Construct):
    """Where a stage's job is put.

    Attributes
    ----------
    gpu : aws_batch.JobQueue or None
        Spot first, On-Demand where Spot has none; None in a deployment without GPUs.
    cpu : aws_batch.JobQueue
        Fargate: no machine to keep, none to scale down, up within a minute.
        On-Demand, because five rules are all that `evaluateOnExit` takes and
        a Spot interruption of Fargate would need a sixth.
    machine_role : aws_iam.Role or None
        The GPU machines' own, granted to by who makes what runs there; None without GPUs.
    """

    def __init__(self, scope: Construct, id: str, *, network: Network, options: Options) -> None:
        super().__init__(scope, id)
        self._network, self._options = network, options
        self._fairness = _fairness(self)
        self.machine_role = None if options.gpu is Gpu.NONE else _machine_role(self)
        self.gpu = None if options.gpu is Gpu.NONE else self._gpu_queue()
        self.cpu = batch.JobQueue(
            self,
            "Cpu",
            scheduling_policy=self._fairness,
            compute_environments=[
                batch.OrderedComputeEnvironment(order=1, compute_environment=self._fargate())
            ],
            job_state_time_limit_actions=_time_limits(),
        )

    def _gpu_queue(self) -> batch.JobQueue:
        self._template = _launch_template(self)
        purchases = ("Spot", "OnDemand") if self._options.gpu is Gpu.SPOT else ("OnDemand",)
        return batch.JobQueue(
            self,
            "Gpu",
            scheduling_policy=self._fairness,
            compute_environments=[
                batch.OrderedComputeEnvironment(
                    order=order, compute_environment=self._gpus(purchase, first=order == 1)
                )
                for order, purchase in enumerate(purchases, start=1)
            ],
            job_state_time_limit_actions=_time_limits(),
        )

    def _gpus(self, purchase: str, *, first: bool) -> batch.ManagedEc2EcsComputeEnvironment:
        spot = purchase == "Spot"
        environment = batch.ManagedEc2EcsComputeEnvironment(
            self,
            f"Gpu{purchase}",
            vpc=self._network.vpc,
            vpc_subnets=ec2.SubnetSelection(subnet_type=ec2.SubnetType.PUBLIC),
            security_groups=[self._network.group],
            instance_types=[ec2.InstanceType(name) for name in self._options.machine_types],
            use_optimal_instance_classes=False,
            images=[batch.EcsMachineImage(image_type=batch.EcsMachineImageType.ECS_AL2023_NVIDIA)],
            instance_role=self.machine_role,
            launch_template=self._template,
            spot=spot,
            allocation_strategy=_SPOT if spot else _ON_DEMAND,
            # Machines kept warm are of the purchase that is asked first.
            minv_cpus=self._options.warm_gpus * MACHINE_VCPUS if first else 0,
            maxv_cpus=self._options.gpu_vcpus,
            update_to_latest_image_version=True,
            terminate_on_update=False,
            update_timeout=_UPDATE_WAIT,
        )
        # Unversioned, a changed launch template would never reach the machines.
        resource = environment.node.default_child
        assert isinstance(resource, batch.CfnComputeEnvironment)
        resource.add_property_override(
            "ComputeResources.LaunchTemplate.Version", self._template.latest_version_number
        )
        if idle_minutes := self._options.gpu_idle_minutes:
            resource.add_property_override(
                "ComputeResources.ScalingPolicy.MinScaleDownDelayMinutes", idle_minutes
            )
        return environment

    def _fargate(self) -> batch.FargateComputeEnvironment:
        return batch.FargateComputeEnvironment(
            self,
            "Fargate",
            vpc=self._network.vpc,
            vpc_subnets=ec2.SubnetSelection(subnet_type=ec2.SubnetType.PUBLIC),
            security_groups=[self._network.group],
            maxv_cpus=self._options.cpu_vcpus,
        )


def _fairness(scope: Construct) -> batch.FairshareSchedulingPolicy:
    """Owners take turns: who used the fewest seconds of late goes first.

    The shares are named by a pattern, since Batch fails now and then to make one up
    while jobs of it are submitted.
    """
    return batch.FairshareSchedulingPolicy(
        scope,
        "Fairness",
        share_decay=_SHARE_DECAY,
        shares=[batch.Share(share_identifier=f"{SHARE_PREFIX}*", weight_factor=1)],
    )


def _machine_role(scope: Construct) -> iam.Role:
    """The role of the GPU machines, which code in a stage may get hold of.

    AWS's policy for it would let that code pull every image, write to every log and join every
    cluster of the account. It is written into the role itself: a machine whose agent is refused
    once gives up.
    """
    return iam.Role(
        scope,
        "MachineRole",
        description="The ECS agent's on GPU machines; jobs have a role of their own.",
        assumed_by=iam.ServicePrincipal("ec2.amazonaws.com"),
        inline_policies={"Agent": _agent_policy(cdk.Stack.of(scope))},
    )


def _agent_policy(stack: cdk.Stack) -> iam.PolicyDocument:
    """What the ECS agent asks of AWS, in clusters of Batch alone.

    CDK's own `aws_ecs.Cluster` gives its machines the same, and AWS's policy the tags.
    """
    # Batch names clusters so, by a random id at the end, and its service role may use no others.
    clusters = stack.format_arn(service="ecs", resource="cluster", resource_name="AWSBatch*")
    return iam.PolicyDocument(
        statements=[
            iam.PolicyStatement(
                actions=[
                    "ecs:RegisterContainerInstance",
                    "ecs:DeregisterContainerInstance",
                    "ecs:SubmitAttachmentStateChanges",
                    "ecs:SubmitContainerStateChange",
                    "ecs:SubmitTaskStateChange",
                ],
                resources=[clusters],
            ),
            iam.PolicyStatement(
                # The last one drains a Spot machine that is about to be taken.
                actions=[
                    "ecs:Poll",
                    "ecs:StartTelemetrySession",
                    "ecs:UpdateContainerInstancesState",
                ],
                resources=["*"],
                conditions={"ArnLike": {"ecs:cluster": clusters}},
            ),
            iam.PolicyStatement(
                actions=["ecs:TagResource"],
                resources=["*"],
                conditions={"StringEquals": {"ecs:CreateAction": "RegisterContainerInstance"}},
            ),
            iam.PolicyStatement(
                actions=["ecs:DiscoverPollEndpoint", "ec2:DescribeTags"], resources=["*"]
            ),
        ]
    )


def _launch_template(scope: Construct) -> ec2.LaunchTemplate:
    return ec2.LaunchTemplate(
        scope,
        "GpuMachine",
        # Batch gives containers the machine's own network, so they are one hop from its
        # credentials too: what a stage could do with those is for the machine's role to limit.
        # A token at least keeps requests out that somebody else's words make.
        http_tokens=ec2.LaunchTemplateHttpTokens.REQUIRED,
        http_put_response_hop_limit=1,
        block_devices=[
            ec2.BlockDevice(
                device_name="/dev/xvda",
                volume=ec2.BlockDeviceVolume.ebs(
                    GPU_DISK_GB, encrypted=True, volume_type=ec2.EbsDeviceVolumeType.GP3
                ),
            )
        ],
    )


def _time_limits() -> list[batch.JobStateTimeLimitAction]:
    """What ends a job that would stay RUNNABLE for ever: no attempt timeout counts there."""
    reasons = batch.JobStateTimeLimitActionsReason
    return [
        batch.JobStateTimeLimitAction(reason=reason, max_time=wait)
        for reason, wait in (
            (reasons.INSUFFICIENT_INSTANCE_CAPACITY, CAPACITY_WAIT),
            (reasons.COMPUTE_ENVIRONMENT_MAX_RESOURCE, _MISFIT_WAIT),
            (reasons.JOB_RESOURCE_REQUIREMENT, _MISFIT_WAIT),
        )
    ]

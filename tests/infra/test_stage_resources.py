"""What the template promises of stages: their order, retries, timeouts and machines."""

import pytest

from clearstem.recipes import SEPARATE
from infra.attempts import GPU_SEPARATION_S
from tests.infra.reading import definition, functions, of_type, only


def _containers(template):
    return [
        job["ContainerProperties"]
        for job in of_type(template, "AWS::Batch::JobDefinition").values()
    ]


def test_a_stage_is_told_of_storage_and_weights_but_of_nothing_to_start(template):
    for container in _containers(template):
        told = {variable["Name"] for variable in container["Environment"]}
        assert {"CLEARSTEM_TABLE", "CLEARSTEM_WORK_BUCKET", "CLEARSTEM_MODELS_DIR"} <= told
        assert not told & {"CLEARSTEM_SEPARATE_STATE_MACHINE_ARN", "CLEARSTEM_WEBSOCKET_URL"}


def test_a_task_is_told_its_region_which_lambda_tells_by_itself(template):
    """On instances ECS may name none, and no client of AWS is made without one."""
    for container in _containers(template):
        told = {variable["Name"]: variable["Value"] for variable in container["Environment"]}
        assert told["AWS_DEFAULT_REGION"] == {"Ref": "AWS::Region"}
    for function in of_type(template, "AWS::Lambda::Function").values():
        told = function.get("Environment", {}).get("Variables", {})
        # Names of Lambda's own: a template that sets them is refused.
        assert not {"AWS_REGION", "AWS_DEFAULT_REGION"} & set(told)


def _batch_tasks(template, recipe="separate"):
    states = definition(template, recipe)["States"]
    return {name: state for name, state in states.items() if "batch" in state.get("Resource", "")}


@pytest.mark.parametrize("stage", [stage.name for stage in SEPARATE.stages])
def test_a_stage_is_one_batch_job_told_its_stage_and_its_job(template, stage):
    state = _batch_tasks(template)[stage]
    assert state["Resource"] == "arn:aws:states:::batch:submitJob.sync"
    overrides = state["Parameters"]["ContainerOverrides"]
    assert overrides == {"Command.$": f"States.Array('{stage}', '--job-id', $.job_id)"}
    # The next stage is to find the job's id where this one found it.
    assert state["ResultPath"] is None


def test_executions_are_kept_and_their_history_is_logged(template):
    for machine in of_type(template, "AWS::StepFunctions::StateMachine").values():
        assert machine["StateMachineType"] == "STANDARD"
        assert machine["TracingConfiguration"] == {"Enabled": True}
        assert machine["LoggingConfiguration"]["Level"] == "ALL"


def test_only_the_batch_api_is_retried_by_the_machine_never_a_failed_job(template):
    for state in _batch_tasks(template).values():
        (retry,) = state["Retry"]
        assert all(name.startswith("Batch.") for name in retry["ErrorEquals"])
        assert {"Batch.AWSBatchException", "Batch.TooManyRequestsException"} <= set(
            retry["ErrorEquals"]
        )
        assert retry["JitterStrategy"] == "FULL"


def test_stages_log_to_one_group_whatever_they_run_as(template):
    (function,) = (
        f for f in of_type(template, "AWS::Lambda::Function").values() if "ImageConfig" in f
    )
    groups = [c["LogConfiguration"]["Options"]["awslogs-group"] for c in _containers(template)]
    assert groups == [function["LoggingConfig"]["LogGroup"]] * len(groups)


def test_the_function_is_the_cpu_image_within_lambdas_limits(template):
    (function,) = (
        f
        for f in of_type(template, "AWS::Lambda::Function").values()
        if "containers.stage.handler" in f.get("ImageConfig", {}).get("Command", ())
    )
    assert function["Code"]["ImageUri"]["Fn::Join"][1][-1].endswith(":stage-cpu")
    assert function["ImageConfig"]["Command"] == ["containers.stage.handler"]
    assert function["Timeout"] == 900
    # The most that a new account may ask for, and the most disk there is.
    assert (function["MemorySize"], function["EphemeralStorage"]) == (3008, {"Size": 10_240})
    assert function["Role"]["Fn::GetAtt"][0].startswith("StagesRole")
    told = function["Environment"]["Variables"]
    assert not set(told) & {"CLEARSTEM_SEPARATE_STATE_MACHINE_ARN", "CLEARSTEM_WEBSOCKET_URL"}


def test_no_timeout_strikes_before_the_one_inside_it(template):
    document = definition(template)
    states = _batch_tasks(template)
    waits = [
        action["MaxTimeSeconds"]
        for queue in of_type(template, "AWS::Batch::JobQueue").values()
        for action in queue["JobStateTimeLimitActions"]
    ]
    jobs = of_type(template, "AWS::Batch::JobDefinition").values()
    attempts = max(job["RetryStrategy"]["Attempts"] for job in jobs)
    for state in states.values():
        attempt = state["Parameters"]["Timeout"]["AttemptDurationSeconds"]
        assert attempts * (attempt + max(waits)) <= state["TimeoutSeconds"]
    # A job goes one way: of two states for a stage, one is waited for.
    tasks = [states[stage.name]["TimeoutSeconds"] for stage in SEPARATE.stages]
    assert sum(tasks) < document["TimeoutSeconds"]


def test_a_stage_may_wait_a_day_behind_others_and_finds_what_it_reads_after_it(template):
    days = {task["TimeoutSeconds"] / 86_400 for task in _batch_tasks(template).values()}
    assert min(days) >= 1
    kept = {
        rule["ExpirationInDays"]
        for name, bucket in of_type(template, "AWS::S3::Bucket").items()
        if name.startswith(("StorageUploads", "StorageWork"))
        for rule in bucket["LifecycleConfiguration"]["Rules"]
        if "ExpirationInDays" in rule
    }
    assert max(days) < min(kept)


def test_a_definition_submitted_without_a_time_gives_what_its_stages_take(template):
    states = _batch_tasks(template).values()
    given = {
        state["Parameters"]["JobDefinition"]: state["Parameters"]["Timeout"] for state in states
    }
    jobs = of_type(template, "AWS::Batch::JobDefinition")
    assert {name: job["Timeout"] for name, job in jobs.items()} == given


def test_a_job_that_no_machine_takes_is_cancelled(template):
    for queue in of_type(template, "AWS::Batch::JobQueue").values():
        limits = {action["Reason"]: action for action in queue["JobStateTimeLimitActions"]}
        assert set(limits) == {
            "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY",
            "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE",
            "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT",
        }
        for action in limits.values():
            assert (action["Action"], action["State"]) == ("CANCEL", "RUNNABLE")
            assert action["MaxTimeSeconds"] >= 600


def test_another_attempt_is_made_only_for_what_it_can_mend(template):
    for job in of_type(template, "AWS::Batch::JobDefinition").values():
        strategy = job["RetryStrategy"]
        assert strategy["Attempts"] == 3
        assert strategy["EvaluateOnExit"] == [
            {"Action": "RETRY", "OnExitCode": "75"},
            {"Action": "RETRY", "OnExitCode": "137"},
            {"Action": "RETRY", "OnStatusReason": "Host EC2*"},
            {"Action": "RETRY", "OnReason": "CannotPullContainerError:*"},
            {"Action": "EXIT", "OnReason": "*"},
        ]


def test_an_execution_under_way_keeps_its_revision_through_a_deployment(template):
    for job in of_type(template, "AWS::Batch::JobDefinition").values():
        assert job["ResourceRetentionPolicy"] == {"SkipDeregisterOnUpdate": True}


def test_separation_alone_waits_for_a_gpu(template):
    states = _batch_tasks(template)
    queues = {name: state["Parameters"]["JobQueue"] for name, state in states.items()}
    assert len({queue for name, queue in queues.items() if name != "audio_separation"}) == 1
    gpu = template["Resources"][queues["audio_separation"]]["Properties"]
    kinds = [
        template["Resources"][order["ComputeEnvironment"]["Fn::GetAtt"][0]]["Properties"]
        for order in sorted(gpu["ComputeEnvironmentOrder"], key=lambda order: order["Order"])
    ]
    assert [kind["ComputeResources"]["Type"] for kind in kinds] == ["SPOT", "EC2"]
    for kind in kinds:
        machines = kind["ComputeResources"]
        assert machines["MinvCpus"] == 0
        assert machines["InstanceTypes"] == ["g4dn.xlarge", "g5.xlarge", "g6.xlarge"]
        assert machines["Ec2Configuration"] == [{"ImageType": "ECS_AL2023_NVIDIA"}]


def test_machines_take_no_calls_and_tell_of_themselves_for_a_token_alone(template):
    group = only(of_type(template, "AWS::EC2::SecurityGroup"))
    assert "SecurityGroupIngress" not in group
    assert [(rule["FromPort"], rule["ToPort"]) for rule in group["SecurityGroupEgress"]] == [
        (443, 443)
    ]
    launch = only(of_type(template, "AWS::EC2::LaunchTemplate"))["LaunchTemplateData"]
    assert launch["MetadataOptions"] == {"HttpPutResponseHopLimit": 1, "HttpTokens": "required"}
    assert launch["BlockDeviceMappings"][0]["Ebs"]["Encrypted"] is True
    assert not of_type(template, "AWS::EC2::NatGateway")


def test_a_stage_writes_to_its_scratch_folder_only(template):
    for container in _containers(template):
        assert container["ReadonlyRootFilesystem"] is True
        assert [mount["ContainerPath"] for mount in container["MountPoints"]] == ["/tmp"]
        assert container["Volumes"] == [{"Host": {}, "Name": "scratch"}]


def test_stages_find_the_weights_of_their_image_and_functions_look_for_none(template):
    for container in _containers(template):
        told = {variable["Name"]: variable["Value"] for variable in container["Environment"]}
        _, baked, given = told["CLEARSTEM_MODELS_DIR"]["Fn::If"]
        assert (baked, given) == ("/opt/models", {"Ref": "ModelsDir"})
    rest = functions(template)["rest"]["Environment"]["Variables"]
    assert rest["CLEARSTEM_MODELS_DIR"] == {"Ref": "ModelsDir"}


def test_a_task_that_pays_for_a_gpu_and_no_other_is_told_to_run_on_it(template):
    for container in _containers(template):
        told = {variable["Name"]: variable["Value"] for variable in container["Environment"]}
        wants = {need["Type"] for need in container["ResourceRequirements"]}
        given = told.get("CLEARSTEM_SEPARATOR_DEVICE")
        assert given == ({"Ref": "SeparatorDevice"} if "GPU" in wants else None)


def test_machines_that_a_deployment_changes_let_a_networks_attempt_end(template):
    machines = of_type(template, "AWS::Batch::ComputeEnvironment").values()
    waits = [machine["UpdatePolicy"] for machine in machines if machine["UpdatePolicy"]]
    assert len(waits) == 2  # Fargate has no machines to change
    for wait in waits:
        assert wait["TerminateJobsOnUpdate"] is False
        # An attempt holds four networks; they have restart points.
        assert 60 * wait["JobExecutionTimeoutMinutes"] >= GPU_SEPARATION_S / 4


# Eight hours at 44.1 kHz in stereo: what 500 MB of MP3 hold.
LONGEST_FRAMES = 8 * 3600 * 44_100
FLOAT_STEREO, PCM24_STEREO = 8, 6


def test_the_longest_recording_has_room_where_its_stages_run(template):
    cpu = next(c for c in _containers(template) if "EphemeralStorage" in c)
    room = cpu["EphemeralStorage"]["SizeInGiB"] * 2**30
    # The last stage reads ten tracks and writes ten files; the image lies there too.
    assert room > LONGEST_FRAMES * 10 * (FLOAT_STEREO + PCM24_STEREO) + 4e9
    launch = only(of_type(template, "AWS::EC2::LaunchTemplate"))["LaunchTemplateData"]
    disk = launch["BlockDeviceMappings"][0]["Ebs"]["VolumeSize"] * 2**30
    # The separation writes the source, four stems and the residual, beside image and system.
    assert disk > LONGEST_FRAMES * 6 * FLOAT_STEREO + 20e9

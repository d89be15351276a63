"""Deploying a template to the emulator: twice, changed, broken, and the project's own."""

import json
from pathlib import Path
from typing import Any

import pytest

from infra.local.deploy import DeploymentError, Target, deploy, read_snapshot, zip_of
from tests.emulator import Account


@pytest.fixture
def target(aws: Account) -> Target:
    return Target(aws.endpoint, aws.number)


@pytest.fixture
def code(tmp_path: Path) -> Path:
    folder = tmp_path / "package"
    folder.mkdir()
    (folder / "main.py").write_text("def handler(event, context): return 1\n")
    return folder


TEMPLATE: dict[str, Any] = {
    "Parameters": {"Greeting": {"Type": "String", "Default": "hello"}},
    "Resources": {
        "Role": {
            "Type": "AWS::IAM::Role",
            "Properties": {
                "AssumeRolePolicyDocument": {
                    "Version": "2012-10-17",
                    "Statement": [
                        {
                            "Effect": "Allow",
                            "Principal": {"Service": "lambda.amazonaws.com"},
                            "Action": "sts:AssumeRole",
                        }
                    ],
                }
            },
        },
        "Function": {
            "Type": "AWS::Lambda::Function",
            "Properties": {
                "Runtime": "python3.13",
                "Handler": "package.main.handler",
                "Role": {"Fn::GetAtt": ["Role", "Arn"]},
                "Environment": {"Variables": {"GREETING": {"Ref": "Greeting"}}},
                "Code": {
                    "S3Bucket": {
                        "Fn::Sub": "cdk-hnb659fds-assets-${AWS::AccountId}-${AWS::Region}"
                    },
                    "S3Key": "functions.zip",
                },
            },
        },
    },
    "Outputs": {"Function": {"Value": {"Ref": "Function"}}},
}


def put(code: Path, target: Target, **parameters: str) -> str:
    assets = {"functions": ["package"]}
    outputs = deploy(
        TEMPLATE, assets=assets, parameters=parameters, target=target, root=code.parent
    )
    return outputs["Function"]


def answer(target: Target, function: str) -> object:
    return json.loads(target.client("lambda").invoke(FunctionName=function)["Payload"].read())


def test_deploying_again_changes_nothing(code: Path, target: Target) -> None:
    function = put(code, target)
    before = target.client("lambda").get_function_configuration(FunctionName=function)
    assert put(code, target) == function
    after = target.client("lambda").get_function_configuration(FunctionName=function)
    assert after["RevisionId"] == before["RevisionId"]
    assert answer(target, function) == 1


def test_changed_code_is_deployed(code: Path, target: Target) -> None:
    function = put(code, target)
    assert answer(target, function) == 1
    (code / "main.py").write_text("def handler(event, context): return 2\n")
    assert put(code, target) == function
    assert answer(target, function) == 2


def test_a_changed_parameter_reaches_the_function(code: Path, target: Target) -> None:
    (code / "main.py").write_text("import os\ndef handler(*_): return os.environ['GREETING']\n")
    function = put(code, target)
    assert answer(target, function) == "hello"
    put(code, target, Greeting="good day")
    assert answer(target, function) == "good day"


QUEUE = {"Type": "AWS::Batch::JobQueue", "Properties": {"JobQueueName": "taken", "Priority": 1}}


def test_a_failure_names_the_resource_and_its_reason(target: Target) -> None:
    template = {"Resources": {"First": QUEUE, "Second": {**QUEUE, "DependsOn": "First"}}}
    with pytest.raises(DeploymentError, match=r"Second \(AWS::Batch::JobQueue\): .*taken"):
        deploy(template, assets={}, parameters={}, target=target)


def test_a_resource_type_that_nobody_knows_is_refused_by_name(target: Target) -> None:
    template = {"Resources": {"Wrong": {"Type": "AWS::Nothing::Known", "Properties": {}}}}
    with pytest.raises(DeploymentError, match="AWS::Nothing::Known"):
        deploy(template, assets={}, parameters={}, target=target)


def test_a_stack_that_failed_can_be_deployed_again(code: Path, target: Target) -> None:
    broken = {"Resources": {"First": QUEUE, "Second": {**QUEUE, "DependsOn": "First"}}}
    with pytest.raises(DeploymentError):
        deploy(broken, assets={}, parameters={}, target=target)
    assert answer(target, put(code, target)) == 1


def test_the_same_files_make_the_same_zip(code: Path) -> None:
    first = zip_of(["package"], root=code.parent)
    (code / "__pycache__").mkdir()
    (code / "__pycache__" / "main.pyc").write_bytes(b"compiled")
    (code / "main.py").touch()
    assert zip_of(["package"], root=code.parent) == first


def test_the_committed_template_deploys_whole(target: Target) -> None:
    template, assets = read_snapshot()
    parameters = {"KeylessOwner": "local"}
    outputs = deploy(template, assets=assets, parameters=parameters, target=target)
    assert set(outputs) == set(template["Outputs"])
    statuses = {
        resource["ResourceType"]: resource["ResourceStatus"]
        for page in target.client("cloudformation")
        .get_paginator("list_stack_resources")
        .paginate(StackName="clearstem")
        for resource in page["StackResourceSummaries"]
    }
    assert set(statuses.values()) == {"CREATE_COMPLETE"}
    batch = target.client("batch")
    definitions = batch.describe_job_definitions(jobDefinitionName="clearstem-stage-cpu")
    strategy = definitions["jobDefinitions"][0]["retryStrategy"]
    assert strategy["attempts"] == 3
    assert {"onExitCode": "75", "action": "RETRY"} in [
        {key: entry[key].upper() if key == "action" else entry[key] for key in entry}
        for entry in strategy["evaluateOnExit"]
    ]


def test_objects_that_come_into_a_bucket_are_told_to_a_function(target: Target) -> None:
    """`add_event_notification` synthesizes a custom resource, whose function has to run."""
    template, assets = read_snapshot()
    outputs = deploy(template, assets=assets, parameters={}, target=target)
    configuration = target.client("s3").get_bucket_notification_configuration(
        Bucket=outputs["DropBucket"]
    )
    assert len(configuration["LambdaFunctionConfigurations"]) == 1

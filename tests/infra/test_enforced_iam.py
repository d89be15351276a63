"""The template's own roles carry jobs end to end, and no role does what another is for.

The emulator runs as a process of its own here: whether it enforces IAM is decided when it starts.
"""

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from clearstem.counted import CountedTable
from clearstem.recipes import RECIPES
from clearstem.records import loads
from clearstem.webhook_endpoints import Endpoint, EndpointTable
from clearstem.webhooks import Order, OrderQueue
from infra.local.deploy import Target, deploy, read_snapshot
from infra.local.emulator import ACCOUNT, REGION
from infra.local.processes import free_port
from tests.emulator import until
from tests.unit.examples import START, a_job

_QUEUES = ("Webhooks", "ChangesDeadLetters")
_JOB_S = 120.0  # four stages that import the engine, on a machine that does other things too


@dataclass(frozen=True)
class Deployed:
    """The template on an emulator that enforces IAM."""

    target: Target
    outputs: dict[str, str]

    @property
    def api(self) -> str:
        return f"{self.target.endpoint}/_aws/execute-api/{self.outputs['RestApiId']}/live"

    def role(self, logical_id: str) -> str:
        """The name of the one role whose logical id begins so."""
        return self._physical("AWS::IAM::Role", logical_id)

    def queue(self, logical_id: str) -> str:
        """The address of the one queue whose logical id begins so."""
        return self._physical("AWS::SQS::Queue", logical_id)

    def named(self, word: str) -> str:
        """What an output or a queue is called here; any other word as it is."""
        if word.startswith(_QUEUES):
            return self.queue(word)
        return self.outputs.get(word, word)

    def _physical(self, kind: str, logical_id: str) -> str:
        cloudformation = self.target.client("cloudformation")
        pages = cloudformation.get_paginator("list_stack_resources").paginate(StackName="clearstem")
        (name,) = (
            resource["PhysicalResourceId"]
            for page in pages
            for resource in page["StackResourceSummaries"]
            if resource["ResourceType"] == kind
            and resource["LogicalResourceId"].startswith(logical_id)
        )
        return str(name)

    def acting_as(self, logical_id: str) -> Any:
        """``client(service)`` with the credentials of a role."""
        name = self.role(logical_id)
        arn = f"arn:aws:iam::{ACCOUNT}:role/{name}"
        root = {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
        trust = {"Effect": "Allow", "Principal": root, "Action": "sts:AssumeRole"}
        # Only a service may take the role; for this test, the account may too.
        self.target.client("iam").update_assume_role_policy(
            RoleName=name, PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": trust})
        )
        given = self.target.client("sts").assume_role(RoleArn=arn, RoleSessionName="test")
        credentials = given["Credentials"]

        def client(service: str) -> Any:
            return boto3.client(
                service,
                endpoint_url=self.target.endpoint,
                region_name=REGION,
                aws_access_key_id=credentials["AccessKeyId"],
                aws_secret_access_key=credentials["SecretAccessKey"],
                aws_session_token=credentials["SessionToken"],
                config=Config(signature_version="s3v4", retries={"max_attempts": 1}),
            )

        return client


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    state = tmp_path_factory.mktemp("enforced")
    port, ready = free_port(), state / "ready.json"
    command = [sys.executable, "-m", "infra.local.emulator", "--port", str(port), "--enforce-iam"]
    command += ["--state", str(state), "--ready-file", str(ready), "--slots", "4"]
    with (state / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        until(lambda: ready.exists() or process.poll() is not None, timeout_s=60)
        target = Target(f"http://127.0.0.1:{port}")
        template, assets = read_snapshot()
        parameters = {"KeylessOwner": "local"}
        outputs = deploy(template, assets=assets, parameters=parameters, target=target)
        yield Deployed(target, outputs)
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def short_song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("songs") / "song.wav"
    subprocess.run([sys.executable, "-m", "containers.audio.song", str(path), "1"], check=True)
    return path


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_templates_roles_carry_a_job(deployed: Deployed, short_song: Path, recipe: str) -> None:
    with short_song.open("rb") as stream:
        answer = httpx.post(
            f"{deployed.api}/process",
            params={"recipe": recipe},
            files={"file": stream},
            timeout=30,
        )
    assert answer.status_code == 200, answer.text
    job = f"{deployed.api}/job/{answer.json()['job_id']}"
    done = _finished(job, running=("queued", "processing"))
    assert done["status"] == "completed", done["error"]


def _finished(url: str, *, running: tuple[str, ...]) -> dict[str, Any]:
    deadline = time.monotonic() + _JOB_S
    while (seen := httpx.get(url, timeout=30).json())["status"] in running:
        assert time.monotonic() < deadline, seen
        time.sleep(0.2)
    return seen


def _read(bucket: str, key: str = "a/b") -> tuple[str, str, dict[str, Any]]:
    return ("s3", "get_object", {"Bucket": bucket, "Key": key})


def _write(bucket: str, key: str = "a/b") -> tuple[str, str, dict[str, Any]]:
    return ("s3", "put_object", {"Bucket": bucket, "Key": key, "Body": b""})


_ITEM = {"pk": {"S": "JOB#x"}, "sk": {"S": "JOB"}}
_PUT = ("dynamodb", "put_item", {"TableName": "Table", "Item": _ITEM})
_FORGET_ITEM = ("dynamodb", "delete_item", {"TableName": "Table", "Key": _ITEM})
_SCAN = ("dynamodb", "scan", {"TableName": "Table"})
_FORGET = ("s3", "delete_object", {"Bucket": "TracksBucket", "Key": "a/b"})


def _send(queue: str) -> tuple[str, str, dict[str, Any]]:
    return ("sqs", "send_message", {"QueueUrl": queue, "MessageBody": "x"})


def _start(machine: str) -> tuple[str, str, dict[str, Any]]:
    return ("stepfunctions", "start_execution", {"stateMachineArn": f"{machine}StateMachineArn"})


@pytest.mark.parametrize(
    ("role", "call"),
    [
        ("RestHandlerRole", _read("WorkBucket")),
        ("RestHandlerRole", _write("TracksBucket")),
        ("RestHandlerRole", _read("DropBucket", "drop/alice/song.wav")),
        ("RestHandlerRole", _SCAN),
        ("AuthorizerHandlerRole", _PUT),
        ("AuthorizerHandlerRole", _read("UploadsBucket")),
        ("WebsocketHandlerRole", _start("Separate")),
        ("WebsocketHandlerRole", _read("TracksBucket")),
        ("PushHandlerRole", _PUT),
        ("PushHandlerRole", _read("TracksBucket")),
        ("ChangesHandlerRole", _read("TracksBucket")),
        ("ChangesHandlerRole", _FORGET_ITEM),
        ("ChangesHandlerRole", _send("WebhooksGivenUp")),
        ("WebhookHandlerRole", _FORGET_ITEM),
        ("WebhookHandlerRole", _send("ChangesDeadLetters")),
        ("PushHandlerRole", _send("WebhooksOrders")),
        ("StagesRole", _send("WebhooksOrders")),
        ("DropHandlerRole", _read("UploadsBucket")),
        ("DropHandlerRole", _write("DropBucket", "drop/alice/song.wav")),
        ("DropHandlerRole", _start("Denoise")),
        ("SettleHandlerRole", _start("Separate")),
        ("SweepHandlerRole", _read("TracksBucket")),
        ("StagesRole", _start("Separate")),
        ("StagesRole", _write("DropBucket", "drop/alice/song.wav")),
        ("StagesRole", _FORGET),
        ("StagesRole", _SCAN),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value[1]} {next(iter(value[2]))}",
)
def test_a_role_may_not_do_what_another_is_for(
    deployed: Deployed, role: str, call: tuple[str, str, dict[str, Any]]
) -> None:
    service, operation, arguments = call
    named = {
        key: deployed.named(value) if isinstance(value, str) else value
        for key, value in arguments.items()
    }
    with pytest.raises(ClientError) as refused:
        getattr(deployed.acting_as(role)(service), operation)(**named)
    assert refused.value.response["Error"]["Code"] in ("AccessDenied", "AccessDeniedException")


def test_a_role_may_do_its_own_task(deployed: Deployed) -> None:
    """The refusals above come of policies, and not of credentials nobody knows."""
    stage = deployed.acting_as("StagesRole")
    stage("s3").put_object(Bucket=deployed.outputs["WorkBucket"], Key="a/b", Body=b"1")
    push = deployed.acting_as("PushHandlerRole")("dynamodb")
    assert (
        push.query(
            TableName=deployed.outputs["Table"],
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": "JOB#none"}},
        )["Count"]
        == 0
    )


def test_changes_remembers_what_it_counted_and_queues_what_it_announces(
    deployed: Deployed,
) -> None:
    client = deployed.acting_as("ChangesHandlerRole")
    counted = CountedTable(client("dynamodb"), deployed.outputs["Table"])
    job = a_job(str(uuid.uuid4()))
    assert counted.claim(job, at=START)
    assert not counted.claim(job, at=START)
    endpoints = EndpointTable(client("dynamodb"), deployed.outputs["Table"])
    assert endpoints.registered(job.owner) == ()
    order = Order(job.owner, "no-such-webhook", "no-such-event", attempt=0, due_at=START)
    OrderQueue(client("sqs"), deployed.queue("WebhooksOrders")).put(order, at=START)


def test_the_courier_takes_its_messages_and_keeps_what_it_gave_up(deployed: Deployed) -> None:
    client = deployed.acting_as("WebhookHandlerRole")
    owner = f"owner-{uuid.uuid4()}"
    table = deployed.outputs["Table"]
    webhook = Endpoint("wh_1", owner, "https://receiver.example.org/", created_at=START)
    EndpointTable(deployed.acting_as("RestHandlerRole")("dynamodb"), table).register(webhook)
    endpoints = EndpointTable(client("dynamodb"), table)
    endpoints.disable(webhook, at=START)
    assert endpoints.get("wh_1", owner=owner).disabled_at == START
    order = Order(owner, "wh_1", "evt_1", attempt=7, due_at=START)
    given_up = deployed.queue("WebhooksGivenUp")
    OrderQueue(client("sqs"), given_up).put(order, at=START)
    kept = deployed.target.client("sqs").receive_message(QueueUrl=given_up, WaitTimeSeconds=5)
    assert owner in {loads(message["Body"], Order).owner for message in kept["Messages"]}


@pytest.mark.parametrize(
    ("resource", "parameters"),
    [
        ("dynamodb:deleteItem", {"TableName": "any", "Key": _ITEM}),
        ("lambda:invoke", {"FunctionName": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:any"}),
        ("batch:submitJob.sync", {"JobName": "j", "JobDefinition": "other", "JobQueue": "other"}),
    ],
)
def test_a_state_machine_does_nothing_but_its_stages(
    deployed: Deployed, resource: str, parameters: dict[str, Any]
) -> None:
    states = deployed.target.client("stepfunctions")
    task = {"Type": "Task", "Resource": f"arn:aws:states:::{resource}", "End": True}
    definition = {"StartAt": "T", "States": {"T": {**task, "Parameters": parameters}}}
    machine = states.create_state_machine(
        name=f"other-{uuid.uuid4()}",
        definition=json.dumps(definition),
        roleArn=f"arn:aws:iam::{ACCOUNT}:role/{deployed.role('SeparateMachineRole')}",
    )["stateMachineArn"]
    execution = states.start_execution(stateMachineArn=machine)["executionArn"]
    until(lambda: states.describe_execution(executionArn=execution)["status"] != "RUNNING")
    assert states.describe_execution(executionArn=execution)["error"] == "States.Permissions"


def test_a_presigned_link_opens_its_one_object(deployed: Deployed) -> None:
    rest, bucket = deployed.acting_as("RestHandlerRole")("s3"), deployed.outputs["TracksBucket"]
    deployed.target.client("s3").put_object(Bucket=bucket, Key="a/vocals.wav", Body=b"sound")
    link = rest.generate_presigned_url(
        "get_object", Params={"Bucket": bucket, "Key": "a/vocals.wav"}, ExpiresIn=60
    )
    assert httpx.get(link).content == b"sound"
    for other in (
        link.replace("vocals", "drums"),
        link.replace("X-Amz-Expires=60", "X-Amz-Expires=600000"),
        link.partition("?")[0],
    ):
        assert httpx.get(other).status_code == 403
    assert httpx.put(link, content=b"noise").status_code == 403


def test_a_wrong_key_lets_nobody_in(deployed: Deployed) -> None:
    answer = httpx.get(f"{deployed.api}/jobs", headers={"x-api-key": "cs_wrong"})
    assert answer.status_code in (401, 403)

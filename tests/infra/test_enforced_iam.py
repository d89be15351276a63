"""The template's own roles carry jobs end to end, and no role does what another is for."""

import json
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError

from clearstem.counted import CountedTable
from clearstem.facts import Location
from clearstem.job_log import JobLog
from clearstem.places import Places
from clearstem.recipes import RECIPES
from clearstem.records import loads
from clearstem.webhook_endpoints import Endpoint, EndpointTable
from clearstem.webhooks import Order, OrderQueue
from infra.local.emulator import ACCOUNT, REGION
from tests.emulator import until
from tests.infra.enforced import Deployed
from tests.unit.examples import START, a_job

_JOB_S = 120.0  # four stages that import the engine, on a machine that does other things too


@pytest.fixture(scope="module")
def short_song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("songs") / "song.wav"
    subprocess.run([sys.executable, "-m", "containers.audio.song", str(path), "1"], check=True)
    return path


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_templates_roles_carry_a_job(enforced: Deployed, short_song: Path, recipe: str) -> None:
    with short_song.open("rb") as stream:
        answer = httpx.post(
            f"{enforced.api}/process",
            params={"recipe": recipe},
            files={"file": stream},
            timeout=30,
        )
    assert answer.status_code == 200, answer.text
    job = f"{enforced.api}/job/{answer.json()['job_id']}"
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
        ("StreamHandlerRole", _PUT),
        ("StreamHandlerRole", _read("UploadsBucket")),
        ("StreamHandlerRole", _write("TracksBucket")),
        ("StreamHandlerRole", _start("Separate")),
        ("PublishHandlerRole", _read("TracksBucket")),
        ("PublishHandlerRole", _write("TracksBucket")),
        ("PublishHandlerRole", _SCAN),
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
        ("SettleHandlerRole", _FORGET),
        ("SweepHandlerRole", _read("TracksBucket")),
        ("SweepHandlerRole", _write("TracksBucket")),
        ("StagesRole", _start("Separate")),
        ("StagesRole", _read("UploadsBucket", "uploads/alice/1/source.wav")),
        ("StagesRole", _write("WorkBucket")),
        ("StagesRole", _PUT),
        ("StagesRole", _SCAN),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value[1]} {next(iter(value[2]))}",
)
def test_a_role_may_not_do_what_another_is_for(
    enforced: Deployed, role: str, call: tuple[str, str, dict[str, Any]]
) -> None:
    service, operation, arguments = call
    named = {
        key: enforced.named(value) if isinstance(value, str) else value
        for key, value in arguments.items()
    }
    with pytest.raises(ClientError) as refused:
        getattr(enforced.acting_as(role)(service), operation)(**named)
    assert refused.value.response["Error"]["Code"] in ("AccessDenied", "AccessDeniedException")


def test_a_role_may_do_its_own_task(enforced: Deployed) -> None:
    """The refusals above come of policies, and not of credentials nobody knows."""
    stage = enforced.acting_as("StagesRole")("dynamodb")
    none = {"pk": {"S": f"JOB#{uuid.uuid4()}"}, "sk": {"S": "JOB"}}
    assert "Item" not in stage.get_item(TableName=enforced.outputs["Table"], Key=none)
    push = enforced.acting_as("PushHandlerRole")("dynamodb")
    assert (
        push.query(
            TableName=enforced.outputs["Table"],
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": "JOB#none"}},
        )["Count"]
        == 0
    )


def test_the_streaming_function_reads_the_log_of_a_job(enforced: Deployed) -> None:
    stream = enforced.acting_as("StreamHandlerRole")("dynamodb")
    assert JobLog(stream, enforced.outputs["Table"]).after(0, job_id=str(uuid.uuid4())) == ()


def test_changes_remembers_what_it_counted_and_queues_what_it_announces(
    enforced: Deployed,
) -> None:
    client = enforced.acting_as("ChangesHandlerRole")
    counted = CountedTable(client("dynamodb"), enforced.outputs["Table"])
    job = a_job(str(uuid.uuid4()))
    assert counted.claim(job, at=START)
    assert not counted.claim(job, at=START)
    endpoints = EndpointTable(client("dynamodb"), enforced.outputs["Table"])
    assert endpoints.registered(job.owner) == ()
    order = Order(job.owner, "no-such-webhook", "no-such-event", attempt=0, due_at=START)
    OrderQueue(client("sqs"), enforced.queue("WebhooksOrders")).put(order, at=START)


def test_the_courier_takes_its_messages_and_keeps_what_it_gave_up(enforced: Deployed) -> None:
    client = enforced.acting_as("WebhookHandlerRole")
    owner = f"owner-{uuid.uuid4()}"
    table = enforced.outputs["Table"]
    webhook = Endpoint("wh_1", owner, "https://receiver.example.org/", created_at=START)
    EndpointTable(enforced.acting_as("RestHandlerRole")("dynamodb"), table).register(webhook)
    endpoints = EndpointTable(client("dynamodb"), table)
    endpoints.disable(webhook, at=START)
    assert endpoints.get("wh_1", owner=owner).disabled_at == START
    order = Order(owner, "wh_1", "evt_1", attempt=7, due_at=START)
    given_up = enforced.queue("WebhooksGivenUp")
    OrderQueue(client("sqs"), given_up).put(order, at=START)
    kept = enforced.target.client("sqs").receive_message(QueueUrl=given_up, WaitTimeSeconds=5)
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
    enforced: Deployed, resource: str, parameters: dict[str, Any]
) -> None:
    states = enforced.target.client("stepfunctions")
    task = {"Type": "Task", "Resource": f"arn:aws:states:::{resource}", "End": True}
    definition = {"StartAt": "T", "States": {"T": {**task, "Parameters": parameters}}}
    machine = states.create_state_machine(
        name=f"other-{uuid.uuid4()}",
        definition=json.dumps(definition),
        roleArn=f"arn:aws:iam::{ACCOUNT}:role/{enforced.role('SeparateMachineRole')}",
    )["stateMachineArn"]
    execution = states.start_execution(stateMachineArn=machine)["executionArn"]
    until(lambda: states.describe_execution(executionArn=execution)["status"] != "RUNNING")
    assert states.describe_execution(executionArn=execution)["error"] == "States.Permissions"


def test_a_presigned_link_opens_its_one_object(enforced: Deployed) -> None:
    rest, bucket = enforced.acting_as("RestHandlerRole")("s3"), enforced.outputs["TracksBucket"]
    enforced.target.client("s3").put_object(Bucket=bucket, Key="a/vocals.wav", Body=b"sound")
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


@pytest.mark.parametrize("role", ["RestHandlerRole", "SweepHandlerRole"])
def test_who_removes_jobs_takes_every_version(enforced: Deployed, role: str) -> None:
    all_powerful = enforced.target.client("s3")
    for name in ("UploadsBucket", "TracksBucket", "WorkBucket", "DropBucket"):
        place = Location(enforced.outputs[name], f"{uuid.uuid4()}/a.wav")
        for body in (b"first", b"second"):
            all_powerful.put_object(Bucket=place.bucket, Key=place.key, Body=body)
        places = Places(enforced.acting_as(role)("s3"))
        (found,) = places.at(place)
        assert found.files == (2 if name in ("UploadsBucket", "TracksBucket") else 1)
        places.erase([found])
        assert Places(all_powerful).at(place) == ()


def test_a_wrong_key_lets_nobody_in(enforced: Deployed) -> None:
    answer = httpx.get(f"{enforced.api}/jobs", headers={"x-api-key": "cs_wrong"})
    assert answer.status_code in (401, 403)

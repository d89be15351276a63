"""The template's own roles carry jobs end to end, and no role does what another is for."""

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError

from clearstem.connections import Connection
from clearstem.errors import JobExists, Unauthorized
from clearstem.executions import Executions, ExecutionState
from clearstem.facts import Location
from clearstem.identity import Credentials
from clearstem.job_events import EventKind, JobEvent
from clearstem.jobs import Job, JobState
from clearstem.places import Places
from clearstem.recipes import RECIPES
from clearstem.records import loads
from clearstem.service import Service
from clearstem.settings import Settings
from clearstem.webhook_endpoints import Endpoint
from clearstem.webhooks import Order, OrderQueue
from infra.local.emulator import ACCOUNT, REGION
from tests.emulator import until
from tests.infra import calls
from tests.infra.enforced import Deployed
from tests.unit.examples import START, a_job

_FAR = datetime(2100, 1, 1, tzinfo=UTC)
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


@pytest.mark.parametrize(
    ("role", "call"),
    [
        ("RestHandlerRole", calls.read("WorkBucket")),
        ("RestHandlerRole", calls.write("TracksBucket")),
        ("RestHandlerRole", calls.read("DropBucket", "drop/alice/song.wav")),
        ("RestHandlerRole", calls.SCAN),
        ("RestHandlerRole", calls.put(calls.API_KEY)),
        ("RestHandlerRole", calls.forget_item("CONN#x")),
        ("StreamHandlerRole", calls.put()),
        ("StreamHandlerRole", calls.update()),
        ("StreamHandlerRole", calls.get(calls.SECRET)),
        ("StreamHandlerRole", calls.read("UploadsBucket")),
        ("StreamHandlerRole", calls.write("TracksBucket")),
        ("StreamHandlerRole", calls.start("Separate")),
        ("PublishHandlerRole", calls.read("TracksBucket")),
        ("PublishHandlerRole", calls.write("TracksBucket")),
        ("PublishHandlerRole", calls.SCAN),
        ("AuthorizerHandlerRole", calls.put()),
        ("AuthorizerHandlerRole", calls.put(calls.API_KEY)),
        ("AuthorizerHandlerRole", calls.forget_item()),
        ("AuthorizerHandlerRole", calls.forget_item(calls.API_KEY)),
        ("AuthorizerHandlerRole", calls.forget_item(calls.TICKET)),
        ("AuthorizerHandlerRole", calls.put(calls.TICKET)),
        ("AuthorizerHandlerRole", calls.update()),
        ("AuthorizerHandlerRole", calls.get(calls.SECRET)),
        ("AuthorizerHandlerRole", calls.read("UploadsBucket")),
        ("WebsocketHandlerRole", calls.start("Separate")),
        ("WebsocketHandlerRole", calls.read("TracksBucket")),
        ("WebsocketHandlerRole", calls.put()),
        ("WebsocketHandlerRole", calls.put(calls.API_KEY)),
        ("WebsocketHandlerRole", calls.put(calls.TICKET)),
        ("WebsocketHandlerRole", calls.forget_item()),
        ("PushHandlerRole", calls.put()),
        ("PushHandlerRole", calls.forget_item()),
        ("PushHandlerRole", calls.update()),
        ("PushHandlerRole", calls.query(calls.SECRET)),
        ("PushHandlerRole", calls.read("TracksBucket")),
        ("ChangesHandlerRole", calls.read("TracksBucket")),
        ("ChangesHandlerRole", calls.forget_item()),
        ("ChangesHandlerRole", calls.get(calls.API_KEY)),
        ("ChangesHandlerRole", calls.send("WebhooksGivenUp")),
        ("WebhookHandlerRole", calls.forget_item()),
        ("WebhookHandlerRole", calls.put()),
        ("WebhookHandlerRole", calls.get(calls.API_KEY)),
        ("WebhookHandlerRole", calls.send("ChangesDeadLetters")),
        ("PushHandlerRole", calls.send("WebhooksOrders")),
        ("StagesRole", calls.send("WebhooksOrders")),
        ("DropHandlerRole", calls.read("UploadsBucket")),
        ("DropHandlerRole", calls.write("DropBucket", "drop/alice/song.wav")),
        ("DropHandlerRole", calls.start("Denoise")),
        ("DropHandlerRole", calls.put(calls.API_KEY)),
        ("SettleHandlerRole", calls.start("Separate")),
        ("SettleHandlerRole", calls.FORGET),
        ("SettleHandlerRole", calls.get(calls.SECRET)),
        ("SweepHandlerRole", calls.read("TracksBucket")),
        ("SweepHandlerRole", calls.write("TracksBucket")),
        ("SweepHandlerRole", calls.get(calls.SECRET)),
        ("SweepHandlerRole", calls.get(calls.API_KEY)),
        ("StagesRole", calls.start("Separate")),
        ("StagesRole", calls.read("UploadsBucket", "uploads/alice/1/source.wav")),
        ("StagesRole", calls.write("WorkBucket")),
        ("StagesRole", calls.put()),
        ("StagesRole", calls.SCAN),
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
    _, _, asked = calls.query("WATCH#none")
    assert push.query(**{**asked, "TableName": enforced.outputs["Table"]})["Count"] == 0


@pytest.fixture(scope="module")
def core(enforced: Deployed, operator: Service) -> Callable[[str], Service]:
    """The core with a function's role."""

    @cache
    def core(role: str) -> Service:
        return Service.over(operator.settings, session=enforced.session_as(role))

    return core


Core = Callable[[str], Service]


def test_who_takes_recordings_in_makes_a_job_once(core: Core) -> None:
    for role in ("DropHandlerRole", "RestHandlerRole"):
        jobs, job = core(role).jobs, a_job(str(uuid.uuid4()))
        assert jobs.create(job).ticket
        with pytest.raises(JobExists):
            jobs.create(job)


def test_the_streaming_function_reads_the_log_of_a_job(core: Core) -> None:
    assert core("StreamHandlerRole").log.after(0, job_id=str(uuid.uuid4())) == ()


def test_the_streaming_function_tells_a_whole_history(operator: Service, core: Core) -> None:
    owner = f"owner-{uuid.uuid4()}"
    made = [operator.jobs.create(a_job(str(uuid.uuid4()), owner=owner)) for _ in range(2)]
    pages = core("StreamHandlerRole").jobs.history_from(owner, offset=0, limit=None)
    assert {job.job_id for page in pages for job in page} == {job.job_id for job in made}


def test_a_key_and_a_ticket_open_the_door_and_are_noted_there(
    operator: Service, core: Core
) -> None:
    owner = f"owner-{uuid.uuid4()}"
    key, _ = operator.accounts.create_key(owner, at=START)
    ticket = core("RestHandlerRole").entry_tickets.issue(owner, at=operator.now())
    door = core("AuthorizerHandlerRole").identity
    for given in (Credentials(key=key), Credentials(ticket=ticket)):
        assert door.identify(given, keyed=True).owner == owner
    assert operator.accounts.keys(owner)[0].last_used_at is not None
    with pytest.raises(Unauthorized):
        door.identify(Credentials(ticket=ticket), keyed=True)
    for role in ("RestHandlerRole", "StreamHandlerRole"):
        assert core(role).accounts.identify(key, at=operator.now()).owner == owner


def test_a_watcher_is_let_in_told_stirred_and_forgotten(operator: Service, core: Core) -> None:
    job = operator.jobs.create(a_job(str(uuid.uuid4())))
    door, push, sweep = (core(f"{name}HandlerRole") for name in ("Websocket", "Push", "Sweep"))
    connection = Connection(str(uuid.uuid4()), job.owner, "pipeline", job.job_id)
    door.connections.open(connection, at=START)
    door.connections.watch(connection, job_id=door.jobs.get(job.job_id).job_id, at=START)
    assert door.connections.get(connection.connection_id) == connection
    push.connections.greet(connection.connection_id, job_id=job.job_id)
    assert push.connections.watchers(job.job_id) == (connection,)
    place = push.jobs.jobs_ahead(push.jobs.get(job.job_id))
    assert place == operator.jobs.jobs_ahead(job)
    before = push.jobs.jobs_behind(job.recipe_name, ticket=job.ticket - 1, limit=1)
    assert before == (job.job_id,)
    sweep.connections.stir(job.job_id, at=START)
    assert push.connections.watchers(job.job_id) == ()
    push.connections.close(connection.connection_id)
    door.connections.close(connection.connection_id)
    assert door.connections.get(connection.connection_id) is None


def _in_storage(job: Job, settings: Settings) -> Job:
    """The job with its files in buckets that there are."""
    source = Location(settings.uploads_bucket, f"uploads/{job.owner}/{job.job_id}/source.wav")
    results = Location(settings.tracks_bucket, f"jobs/{job.job_id}/")
    return replace(job, source=replace(job.source, location=source), destination=results)


def test_a_job_is_settled_and_removed_by_whose_task_it_is(operator: Service, core: Core) -> None:
    for remover in ("SweepHandlerRole", "RestHandlerRole"):
        job = operator.jobs.create(_in_storage(a_job(str(uuid.uuid4())), operator.settings))
        end = {"status": "ABORTED", "error": None, "cause": None}
        ended = core("SettleHandlerRole").settler.settle(job.job_id, attempt=1, **end)
        assert ended.state is JobState.FAILED
        service = core(remover)
        assert service.removal.delete(job.job_id).job_id == job.job_id
        assert service.retention.receipt(job.job_id) is not None
        # It looks after what it removed, and finds nothing left.
        (due,) = [due for _, due in operator.retention.due(before=_FAR) if due.job_id == job.job_id]
        assert not service.retention.release(due)
        service.retention.forget(due)


def test_the_sweep_asks_who_is_at_work_at_once_and_one_by_one(enforced: Deployed) -> None:
    steps = enforced.acting_as("SweepHandlerRole")("stepfunctions")
    for machine in ("SeparateStateMachineArn", "DenoiseStateMachineArn"):
        executions = Executions(steps, enforced.outputs[machine])
        assert str(uuid.uuid4()) not in executions.at_work()
        assert executions.state(str(uuid.uuid4())) is ExecutionState.MISSING


def test_a_stream_is_counted_and_read_by_many(operator: Service, core: Core) -> None:
    job = operator.jobs.create(a_job(str(uuid.uuid4())))
    stream = core("StreamHandlerRole")
    assert set(stream.jobs.get_many([job.job_id])) == {job.job_id}
    assert stream.jobs.quotas.of(job.owner) == operator.jobs.quotas.of(job.owner)
    limits = replace(stream.limits, per_s=1.0)
    assert limits.count(f"owner-{uuid.uuid4()}", at=START) is not None


def test_changes_remembers_what_it_counted_and_queues_what_it_announces(core: Core) -> None:
    changes, rest, job = core("ChangesHandlerRole"), core("RestHandlerRole"), _announced()
    assert changes.counted.claim(job, at=START)
    assert not changes.counted.claim(job, at=START)
    webhook = Endpoint("wh_1", job.owner, "https://receiver.example.org/", created_at=START)
    rest.endpoints.register(webhook)
    event = JobEvent(1, EventKind.QUEUED, START, attempt=1, percent=0.0)
    assert changes.announcer.announce(job, event, body="{}") == 2
    assert rest.deliveries.clear(job.job_id).pending == 2
    assert core("SweepHandlerRole").deliveries.clear(job.job_id).pending == 2


def _announced() -> Job:
    """A job with a callback, of an owner of its own."""
    job = a_job(str(uuid.uuid4()), owner=f"owner-{uuid.uuid4()}")
    return replace(job, callback_url="https://callback.example.org/")


def test_the_courier_takes_its_messages_and_keeps_what_it_gave_up(
    enforced: Deployed, core: Core
) -> None:
    courier, job = core("WebhookHandlerRole"), _announced()
    webhook = Endpoint("wh_1", job.owner, "https://receiver.example.org/", created_at=START)
    core("RestHandlerRole").endpoints.register(webhook)
    courier.endpoints.disable(webhook, at=START)
    assert courier.endpoints.get("wh_1", owner=job.owner).disabled_at == START
    # What an owner's callbacks are signed with is made at the first of them.
    assert courier.endpoints.callback_secrets(job.owner).current
    order = Order(job.owner, "wh_1", "evt_1", attempt=7, due_at=START)
    given_up = enforced.queue("WebhooksGivenUp")
    OrderQueue(courier.client("sqs"), given_up).put(order, at=START)
    kept = enforced.target.client("sqs").receive_message(QueueUrl=given_up, WaitTimeSeconds=5)
    assert job.owner in {loads(message["Body"], Order).owner for message in kept["Messages"]}


@pytest.mark.parametrize(
    ("resource", "parameters"),
    [
        ("dynamodb:deleteItem", {"TableName": "Table", "Key": calls.key(calls.JOB)}),
        ("dynamodb:getItem", {"TableName": "Table", "Key": calls.key(calls.SECRET)}),
        ("dynamodb:getItem", {"TableName": "Table", "Key": calls.key(calls.API_KEY)}),
        ("lambda:invoke", {"FunctionName": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:any"}),
        ("batch:submitJob.sync", {"JobName": "j", "JobDefinition": "other", "JobQueue": "other"}),
    ],
)
@pytest.mark.parametrize("recipe", ["Separate", "Denoise"])
def test_a_state_machine_does_nothing_but_its_stages(
    enforced: Deployed, resource: str, parameters: dict[str, Any], recipe: str
) -> None:
    ended = _executed(enforced, f"{recipe}MachineRole", resource, parameters)
    assert ended["error"] == "States.Permissions"


def test_a_state_machine_reads_records_of_jobs(enforced: Deployed) -> None:
    """The refusals above are not of the call's form."""
    read = {"TableName": "Table", "Key": calls.key(calls.JOB)}
    ended = _executed(enforced, "DenoiseMachineRole", "dynamodb:getItem", read)
    assert ended["status"] == "SUCCEEDED"


def _executed(
    enforced: Deployed, role: str, resource: str, parameters: dict[str, Any]
) -> dict[str, Any]:
    """How an execution of one task ends that a state machine's role is taken for."""
    states = enforced.target.client("stepfunctions")
    named = {
        key: enforced.named(value) if isinstance(value, str) else value
        for key, value in parameters.items()
    }
    task = {"Type": "Task", "Resource": f"arn:aws:states:::{resource}", "End": True}
    definition = {"StartAt": "T", "States": {"T": {**task, "Parameters": named}}}
    machine = states.create_state_machine(
        name=f"other-{uuid.uuid4()}",
        definition=json.dumps(definition),
        roleArn=f"arn:aws:iam::{ACCOUNT}:role/{enforced.role(role)}",
    )["stateMachineArn"]
    execution = states.start_execution(stateMachineArn=machine)["executionArn"]
    until(lambda: states.describe_execution(executionArn=execution)["status"] != "RUNNING")
    return dict(states.describe_execution(executionArn=execution))


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

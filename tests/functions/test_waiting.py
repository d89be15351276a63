"""What those who wait are told without asking: their place in the queue, and that all is well."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from aws_lambda_powertools.utilities.batch.exceptions import BatchProcessingError

from clearstem.connections import Connection
from clearstem.jobs import Job
from clearstem.service import Service, utc_now
from functions import push, sweep, wiring
from tests.fakes import Invocation, Sockets, recorded, serving_sockets, unpushed
from tests.submitted import advance, submit


@pytest.fixture
def sockets(deployed: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sockets]:
    with serving_sockets() as served:
        monkeypatch.setenv("CLEARSTEM_WEBSOCKET_URL", served.url)
        yield served


def watched(service: Service, job: Job, *, by: str) -> None:
    connection = Connection(by, job.owner, "audo", job.job_id)
    service.connections.open(connection, at=service.now())
    service.connections.watch(connection, job_id=job.job_id, at=service.now())
    service.connections.greet(by, job_id=job.job_id)


def departure(job: Job, *, number: str = "1") -> dict[str, Any]:
    """The stream's record of a job's ticket that was deleted."""
    record = recorded("stream_watch")["Records"][0]
    key = {
        "pk": {"S": f"QUEUE#{job.recipe_name}"},
        "sk": {"S": f"TICKET#{job.ticket:024d}"},
    }
    record["eventName"] = "REMOVE"
    record["dynamodb"].pop("NewImage")
    record["dynamodb"].update(Keys=key, OldImage=key, SequenceNumber=number)
    return record


def pushed(*records: dict[str, Any]) -> None:
    answer = push.handler({"Records": list(records)}, Invocation())
    assert answer == {"batchItemFailures": []}


def test_who_waits_is_told_his_new_place_when_one_before_him_goes(
    deployed: Service, sockets: Sockets
) -> None:
    first, second, third = (submit(deployed, owner="alice") for _ in range(3))
    watched(deployed, third, by="third")
    watched(deployed, first, by="first")
    advance(deployed, second, fraction=0.1)
    pushed(departure(second))
    assert sockets.documents("third") == [{"state": "queued", "jobsAhead": 1}]
    # Nothing changed for who was ahead of it.
    assert sockets.documents("first") == []


def test_who_waits_is_told_his_new_place_when_someone_s_turn_is_sooner(
    deployed: Service, sockets: Sockets
) -> None:
    first, second = (submit(deployed, owner="alice") for _ in range(2))
    watched(deployed, first, by="first")
    watched(deployed, second, by="second")
    arrived = departure(submit(deployed, owner="bob"))
    arrived["eventName"] = "INSERT"
    arrived["dynamodb"]["NewImage"] = arrived["dynamodb"].pop("OldImage")
    pushed(arrived)
    assert sockets.documents("second") == [{"state": "queued", "jobsAhead": 2}]
    assert sockets.documents("first") == []


def test_departures_that_come_together_are_told_once(deployed: Service, sockets: Sockets) -> None:
    *gone, last = (submit(deployed, owner="alice") for _ in range(4))
    watched(deployed, last, by="last")
    for job in gone:
        advance(deployed, job, fraction=0.1)
    pushed(*(departure(job, number=str(job.ticket)) for job in gone))
    assert sockets.documents("last") == [{"state": "queued", "jobsAhead": 0}]


def test_places_far_behind_are_not_read_at_every_departure(
    deployed: Service, sockets: Sockets
) -> None:
    front, *queue = (submit(deployed, owner="alice") for _ in range(22))
    watched(deployed, queue[19], by="near")
    watched(deployed, queue[20], by="far")
    advance(deployed, front, fraction=0.1)
    pushed(departure(front))
    assert sockets.documents("near") == [{"state": "queued", "jobsAhead": 19}]
    assert sockets.documents("far") == []


def late(monkeypatch: pytest.MonkeyPatch, *, minutes: float) -> None:
    """Let the functions' clock be ahead."""
    ahead = replace(wiring.service(), now=lambda: utc_now() + timedelta(minutes=minutes))
    monkeypatch.setattr(wiring, "service", lambda: ahead)


def touched(service: Service) -> list[str]:
    """The connections whose subscriptions the table's stream would bring again."""
    items = service.jobs.client.scan(TableName=service.settings.table)["Items"]
    return sorted(i["connection_id"]["S"] for i in items if "stirred_at" in i)


def test_a_socket_on_which_nothing_was_said_for_long_is_told_the_same_again(
    deployed: Service, sockets: Sockets, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = advance(deployed, submit(deployed, owner="alice"), fraction=0.5)
    watched(deployed, running, by="idle")
    late(monkeypatch, minutes=2)
    sweep.handler({}, Invocation())
    assert touched(deployed) == []
    late(monkeypatch, minutes=4)
    sweep.handler({}, Invocation())
    assert touched(deployed) == ["idle"]
    touch = recorded("stream_watch")["Records"][0]
    (item,) = deployed.connections.client.query(
        TableName=deployed.settings.table,
        KeyConditionExpression="pk = :job",
        ExpressionAttributeValues={":job": {"S": f"WATCH#{running.job_id}"}},
    )["Items"]
    touch["eventName"] = "MODIFY"
    touch["dynamodb"]["NewImage"] = item
    pushed(touch)
    assert sockets.documents("idle") == [{"state": "in_progress", "percent": running.percent}]


def test_a_part_of_the_sweep_that_fails_keeps_no_other_from_its_turn(
    deployed: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job = submit(deployed, owner="alice")
    watched(deployed, job, by="idle")
    sweep.handler({}, Invocation())
    assert "SweepsCompleted" in capsys.readouterr().out
    late(monkeypatch, minutes=20)
    nowhere = replace(deployed.executions["separate"], state_machine_arn="nowhere")
    blind = replace(wiring.service(), executions=dict.fromkeys(deployed.executions, nowhere))
    monkeypatch.setattr(wiring, "service", lambda: blind)
    with pytest.raises(ExceptionGroup, match="1 of 6 parts of the sweep failed"):
        sweep.handler({}, Invocation())
    assert touched(deployed) == ["idle"]
    told = capsys.readouterr().out
    assert "LongestSilence" in told
    assert "SweepsCompleted" not in told


def test_a_socket_that_closes_while_it_is_stirred_does_not_come_back(
    deployed: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit(deployed, owner="alice")
    watched(deployed, job, by="gone")
    table = type(deployed.connections)
    seen = list(table._subscriptions(deployed.connections, job.job_id))
    assert len(seen) == 1
    deployed.connections.close("gone")
    monkeypatch.setattr(table, "_subscriptions", lambda *_: iter(seen))
    deployed.connections.stir(job.job_id, at=deployed.now())
    monkeypatch.undo()
    assert list(table._subscriptions(deployed.connections, job.job_id)) == []


def test_a_push_that_fails_for_one_of_those_behind_tells_which(
    deployed: Service, sockets: Sockets, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = (submit(deployed, owner="alice") for _ in range(2))
    broken = Connection("broken", "alice", "klingon", second.job_id)
    deployed.connections.watch(broken, job_id=second.job_id, at=deployed.now())
    deployed.connections.greet("broken", job_id=second.job_id)
    advance(deployed, first, fraction=0.1)
    with pytest.raises(BatchProcessingError, match="All records failed"):
        pushed(departure(first))
    assert unpushed(caplog) == [(second.job_id, "KeyError")]

"""Counting and announcing share one reader of the stream: what each does when the other fails."""

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from aws_lambda_powertools.utilities.batch.exceptions import BatchProcessingError

from clearstem.counted import CountedTable
from clearstem.service import Service
from functions import changes
from functions.telemetry import logger
from tests.fakes import Invocation
from tests.functions.test_webhook_functions import Stream, called, secret_of
from tests.receiver import Receiver, receiving
from tests.submitted import finish

# Of a job of four stages: queued, started, each stage, the end.
EVENTS = 7


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as known:
        yield known


@pytest.fixture
def stream(deployed: Service) -> Stream:
    return Stream(deployed)


@pytest.fixture
def finished(stream: Stream, receiver: Receiver) -> dict[str, Any]:
    """The records of a job that has a callback, from its submission to its end."""
    finish(stream.service, called(stream.service, receiver.url))
    return stream.event()


def counted(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The names of the measurements that were written since it was asked last."""
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    directives = [line["_aws"]["CloudWatchMetrics"][0] for line in lines if "_aws" in line]
    names = [metric["Name"] for found in directives for metric in found["Metrics"]]
    return [name for name in names if not name.startswith("Webhooks")]


ONCE = sorted(
    [
        "JobsSubmitted",
        "QueueSeconds",
        "JobsEnded",
        "JobSeconds",
        "JobDollars",
        *["StageSeconds"] * 4,
    ]
)


def test_a_job_is_counted_once_though_its_records_come_three_times(
    finished: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    for _ in range(3):
        assert changes.handler(finished, Invocation()) == {"batchItemFailures": []}
    assert sorted(counted(capsys)) == ONCE


def test_a_metric_goes_out_by_the_dimensions_that_the_alarms_ask_for(
    finished: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    changes.handler(finished, Invocation())
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (ended,) = [line for line in lines if "JobsEnded" in line]
    (group,) = ended["_aws"]["CloudWatchMetrics"]
    assert group["Namespace"] == "clearstem"
    (dimensions,) = group["Dimensions"]
    assert sorted(dimensions) == ["service", "state"]
    assert (ended["state"], ended["JobsEnded"]) == ("succeeded", [1.0])


def test_while_nothing_can_be_queued_jobs_are_counted_once_and_then_all_is_told(
    stream: Stream,
    receiver: Receiver,
    finished: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = changes._hearer()
    no_queue = replace(whole.announcer.queue, url=whole.announcer.queue.url + "-not-there")
    broken = replace(whole, announcer=replace(whole.announcer, queue=no_queue))
    monkeypatch.setattr(changes, "_hearer", lambda: broken)
    capsys.readouterr()
    for _ in range(3):
        with pytest.raises(BatchProcessingError, match="All records failed"):
            changes.handler(finished, Invocation())
    monkeypatch.setattr(changes, "_hearer", lambda: whole)
    assert changes.handler(finished, Invocation()) == {"batchItemFailures": []}
    assert sorted(counted(capsys)) == ONCE
    stream.deliver()
    assert len({m.event_id for m in receiver.messages}) == len(receiver.messages) == EVENTS


def test_while_nothing_can_be_counted_events_go_out_and_each_arrives_once(
    stream: Stream,
    receiver: Receiver,
    finished: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = changes._hearer()
    forgetful = CountedTable(whole.counted.client, "no-such-table")
    monkeypatch.setattr(changes, "_hearer", lambda: replace(whole, counted=forgetful))
    capsys.readouterr()
    # What is measured of a job: that it was made, that it began, and that it ended.
    assert len(changes.handler(finished, Invocation())["batchItemFailures"]) == 3
    stream.deliver()
    arrived = sorted(receiver.kinds(secret_of(stream.service)))
    monkeypatch.setattr(changes, "_hearer", lambda: whole)
    assert changes.handler(finished, Invocation()) == {"batchItemFailures": []}
    stream.deliver()
    assert sorted(receiver.kinds(secret_of(stream.service))) == arrived
    assert len({m.event_id for m in receiver.messages}) == len(receiver.messages) == EVENTS
    assert sorted(counted(capsys)) == ONCE


def test_a_record_that_cannot_be_read_comes_again_and_holds_up_no_other(
    stream: Stream,
    receiver: Receiver,
    finished: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = finished["Records"][0]
    del first["dynamodb"]["NewImage"]["recipe_name"]
    number = first["dynamodb"]["SequenceNumber"]
    log = io.StringIO()
    # The logger of a process keeps the stream that it began with.
    monkeypatch.setattr(logger().registered_handler, "stream", log)
    answer = changes.handler(finished, Invocation())
    assert answer == {"batchItemFailures": [{"itemIdentifier": number}]}
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    (told,) = [line for line in lines if line.get("message") == "change not handled"]
    assert told["level"] == "ERROR"
    assert f"JOB#{told['job_id']}" == first["dynamodb"]["Keys"]["pk"]["S"]
    assert "recipe_name" in told["exception"]
    stream.deliver()
    kinds = receiver.kinds(secret_of(stream.service))
    assert "job.queued" not in kinds
    assert len(kinds) == EVENTS - 1

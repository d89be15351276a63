"""What is measured of jobs, read back from the log as CloudWatch would."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from clearstem.facts import Failure
from clearstem.jobs import Job
from clearstem.receipts import receipt
from clearstem.records import to_item
from functions import meter
from tests.unit.examples import STAGES, a_job, after, at

CONTEXT = SimpleNamespace(
    function_name="meter",
    memory_limit_in_mb=512,
    invoked_function_arn="arn:aws:lambda:us-east-1:000000000000:function:meter",
    aws_request_id="x",
)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POWERTOOLS_TRACE_DISABLED", "true")
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "clearstem-meter")


def told(job: Job, capsys: pytest.CaptureFixture[str]) -> list[tuple[str, float, dict[str, str]]]:
    """Every metric that the function writes for a job: name, value, dimensions."""
    image = to_item(job, pk=f"JOB#{job.job_id}", sk="JOB")
    meter.handler({"Records": [{"dynamodb": {"NewImage": image}}]}, CONTEXT)  # type: ignore[arg-type]
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return [found for line in lines if "_aws" in line for found in _metrics(line)]


def _metrics(line: dict[str, Any]) -> list[tuple[str, float, dict[str, str]]]:
    (group,) = line["_aws"]["CloudWatchMetrics"]
    assert group["Namespace"] == "clearstem"
    dimensions = {name: line[name] for names in group["Dimensions"] for name in names}
    # Alarms and dashboard ask for it under this name.
    assert dimensions.pop("service") == "clearstem-meter"
    return [(metric["Name"], line[metric["Name"]][0], dimensions) for metric in group["Metrics"]]


def test_a_job_that_begins_tells_how_long_it_waited(capsys: pytest.CaptureFixture[str]) -> None:
    job = a_job().start_stage(STAGES[0], at=at(42))
    assert told(job, capsys) == [("QueueSeconds", 42, {"recipe": "separate"})]


def test_a_job_that_succeeds_tells_its_seconds_and_dollars(
    capsys: pytest.CaptureFixture[str],
) -> None:
    job = a_job()
    for index, stage in enumerate(STAGES):
        job = job.start_stage(stage, at=at(10 * index))
        job = after(job, stage, when=at(10 * index + 10))
    found = told(job, capsys)
    assert ("JobsEnded", 1, {"state": "succeeded"}) in found
    assert ("JobSeconds", 40, {"recipe": "separate"}) in found
    seconds = {d["stage"]: value for name, value, d in found if name == "StageSeconds"}
    assert seconds == dict.fromkeys(STAGES, 10)
    (dollars,) = [value for name, value, _ in found if name == "JobDollars"]
    assert dollars == pytest.approx(receipt(job).dollars)
    assert not any(name == "Failures" for name, _, _ in found)


def test_a_failure_is_counted_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    job = a_job().start_stage(STAGES[0], at=at(1))
    job = job.fail(Failure(STAGES[0], "Clearstem.NoAudio", "no sound"), at=at(5))
    found = told(job, capsys)
    assert ("Failures", 1, {"error": "Clearstem.NoAudio"}) in found
    assert ("JobsEnded", 1, {"state": "failed"}) in found

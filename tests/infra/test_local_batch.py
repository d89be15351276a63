"""AWS Batch on the emulator: jobs are processes, and end as they would on AWS."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.local.batch_retry import AttemptEnd, will_retry
from tests.emulator import PYTHON_IMAGE, Account, until

RETRY_ON_75 = {
    "attempts": 3,
    "evaluateOnExit": [
        {"onExitCode": "75", "action": "RETRY"},
        {"onExitCode": "137", "action": "RETRY"},
        {"onReason": "*", "action": "EXIT"},
    ],
}
Submit = Callable[..., str]


@pytest.fixture
def batch(aws: Account) -> Any:
    client = aws.client("batch")
    client.create_job_queue(jobQueueName="queue", priority=1, computeEnvironmentOrder=[])
    return client


@pytest.fixture
def submit(batch: Any) -> Iterator[Submit]:
    submitted: list[str] = []

    def submit(code: str, **definition: Any) -> str:
        batch.register_job_definition(
            jobDefinitionName="definition",
            type="container",
            containerProperties={"image": PYTHON_IMAGE, "command": ["-c", code]},
            **definition,
        )
        job = batch.submit_job(jobName="job", jobQueue="queue", jobDefinition="definition")
        submitted.append(job["jobId"])
        return submitted[-1]

    yield submit
    for job_id in submitted:  # a failed test must not leave its jobs in the slots
        batch.terminate_job(jobId=job_id, reason="the test is over")


def describe(batch: Any, job_id: str) -> dict[str, Any]:
    return dict(batch.describe_jobs(jobs=[job_id])["jobs"][0])


def finished(batch: Any, job_id: str) -> dict[str, Any]:
    until(lambda: describe(batch, job_id)["status"] in ("SUCCEEDED", "FAILED"))
    return describe(batch, job_id)


def log_of(aws: Account, job: dict[str, Any], attempt: int = -1) -> list[str]:
    stream = job["attempts"][attempt]["container"]["logStreamName"]
    events = aws.client("logs").get_log_events(
        logGroupName="/aws/batch/job", logStreamName=stream, startFromHead=True
    )["events"]
    return [event["message"] for event in events]


def test_a_job_runs_its_command_and_leaves_its_output_in_the_logs(
    aws: Account, batch: Any, submit: Submit
) -> None:
    job = finished(batch, submit("print('one'); print('two')"))
    assert (job["status"], job["container"]["exitCode"]) == ("SUCCEEDED", 0)
    assert log_of(aws, job) == ["one", "two"]


def test_a_job_sees_the_emulator_its_account_and_its_own_variables(
    aws: Account, batch: Any, submit: Submit
) -> None:
    code = """
import os
for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_BATCH_JOB_ATTEMPT"):
    print(os.environ[name])
print(os.environ["AWS_BATCH_JOB_ID"], os.environ["TMPDIR"] == os.getcwd())
import clearstem, containers
"""
    job_id = submit(code)
    job = finished(batch, job_id)
    expected = [aws.endpoint, aws.number, "1", f"{job_id} True"]
    assert log_of(aws, job) == expected


def test_a_job_knows_no_region_but_its_definitions(
    aws: Account, batch: Any, submit: Submit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the emulator's nor a profile's: on instances ECS may name none."""
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "config").write_text("[default]\nregion = eu-west-1\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_REGION", "eu-west-2")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-3")
    code = "import boto3; print(boto3.Session().region_name)"
    assert log_of(aws, finished(batch, submit(code))) == ["None"]
    container = {
        "image": PYTHON_IMAGE,
        "command": ["-c", code],
        "environment": [{"name": "AWS_DEFAULT_REGION", "value": "ap-south-1"}],
    }
    batch.register_job_definition(
        jobDefinitionName="told", type="container", containerProperties=container
    )
    told = batch.submit_job(jobName="job", jobQueue="queue", jobDefinition="told")["jobId"]
    assert log_of(aws, finished(batch, told)) == ["ap-south-1"]


def test_overrides_of_a_submission_come_before_the_definition(aws: Account, batch: Any) -> None:
    batch.register_job_definition(
        jobDefinitionName="definition",
        type="container",
        parameters={"word": "default"},
        containerProperties={
            "image": PYTHON_IMAGE,
            "command": ["-c", "import os,sys; print(os.environ['A'], sys.argv[1])", "Ref::word"],
            "environment": [{"name": "A", "value": "definition"}],
        },
    )
    job_id = batch.submit_job(
        jobName="job",
        jobQueue="queue",
        jobDefinition="definition:1",
        parameters={"word": "given"},
        containerOverrides={"environment": [{"name": "A", "value": "submission"}]},
    )["jobId"]
    assert log_of(aws, finished(batch, job_id)) == ["submission given"]


def test_a_permanent_failure_is_not_tried_again(batch: Any, submit: Submit) -> None:
    job = finished(batch, submit("raise SystemExit(65)", retryStrategy=RETRY_ON_75))
    assert (job["status"], job["container"]["exitCode"]) == ("FAILED", 65)
    assert len(job["attempts"]) == 1


def test_a_temporary_failure_is_tried_as_often_as_allowed(batch: Any, submit: Submit) -> None:
    job = finished(batch, submit("raise SystemExit(75)", retryStrategy=RETRY_ON_75))
    assert (job["status"], len(job["attempts"])) == ("FAILED", 3)


def test_a_later_attempt_can_succeed(batch: Any, submit: Submit) -> None:
    code = "import os; raise SystemExit(75 if os.environ['AWS_BATCH_JOB_ATTEMPT'] < '2' else 0)"
    job = finished(batch, submit(code, retryStrategy=RETRY_ON_75))
    assert job["status"] == "SUCCEEDED"
    assert [attempt["container"]["exitCode"] for attempt in job["attempts"]] == [75, 0]


def test_a_killed_process_counts_as_exit_137_and_is_tried_again(
    aws: Account, batch: Any, submit: Submit
) -> None:
    code = """
import os, signal
if os.environ["AWS_BATCH_JOB_ATTEMPT"] == "1":
    os.kill(os.getpid(), signal.SIGKILL)
print("done")
"""
    job = finished(batch, submit(code, retryStrategy=RETRY_ON_75))
    assert job["status"] == "SUCCEEDED"
    assert job["attempts"][0]["container"]["exitCode"] == 137
    assert log_of(aws, job) == ["done"]


def test_time_that_is_up_ends_the_attempt_and_is_final(batch: Any, submit: Submit) -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    job = finished(
        batch, submit(code, timeout={"attemptDurationSeconds": 1}, retryStrategy={"attempts": 3})
    )
    assert job["status"] == "FAILED"
    assert job["statusReason"] == "Job attempt duration exceeded timeout"
    assert job["container"]["exitCode"] == 137  # it ignored SIGTERM
    assert len(job["attempts"]) == 1


def test_terminating_a_job_asks_its_process_to_end(
    aws: Account, batch: Any, submit: Submit
) -> None:
    code = """
import signal, sys, time
def end(*_):
    print("asked to end")
    sys.exit(3)
signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
time.sleep(60)
"""
    job_id = submit(code, retryStrategy={"attempts": 3})
    until(lambda: logged(aws, batch, job_id) == ["ready"])
    batch.terminate_job(jobId=job_id, reason="not wanted")
    job = finished(batch, job_id)
    assert (job["status"], job["statusReason"]) == ("FAILED", "not wanted")
    assert log_of(aws, job) == ["ready", "asked to end"]


def logged(aws: Account, batch: Any, job_id: str) -> list[str]:
    """What a job that still runs has printed."""
    container = describe(batch, job_id)["container"]
    if "logStreamName" not in container:
        return []
    return log_of(aws, {"attempts": [{"container": container}]})


def test_ending_a_job_ends_the_processes_it_started(
    aws: Account, batch: Any, submit: Submit
) -> None:
    code = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""
    job_id = submit(code)
    until(lambda: len(logged(aws, batch, job_id)) == 1)
    child = int(logged(aws, batch, job_id)[0])
    batch.terminate_job(jobId=job_id, reason="not wanted")
    finished(batch, job_id)
    until(lambda: not alive(child))


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"


def test_cancelling_ends_a_waiting_job_only(batch: Any, submit: Submit) -> None:
    sleepers = [submit("import time; time.sleep(60)") for _ in range(4)]
    until(lambda: all(describe(batch, job)["status"] == "RUNNING" for job in sleepers))
    waiting = submit("print('never')")
    batch.cancel_job(jobId=waiting, reason="changed my mind")
    batch.cancel_job(jobId=sleepers[0], reason="too late")
    job = finished(batch, waiting)
    assert (job["status"], job["statusReason"]) == ("FAILED", "changed my mind")
    assert job["attempts"] == []
    assert describe(batch, sleepers[0])["status"] == "RUNNING"
    for sleeper in sleepers:
        batch.terminate_job(jobId=sleeper, reason="done")
        finished(batch, sleeper)


def test_more_jobs_than_slots_wait_their_turn(batch: Any, submit: Submit) -> None:
    jobs = [finished(batch, job) for job in [submit("print('x')") for _ in range(6)]]
    assert [job["status"] for job in jobs] == ["SUCCEEDED"] * 6


def test_an_unknown_queue_is_refused(batch: Any, submit: Submit) -> None:
    submit("pass")
    with pytest.raises(batch.exceptions.ClientException, match="does not exist"):
        batch.submit_job(jobName="job", jobQueue="none", jobDefinition="definition")


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (AttemptEnd(exit_code=1, status_reason="Host EC2 (instance i-1) terminated."), True),
        (AttemptEnd(exit_code=None, status_reason="", reason="CannotPullContainerError: x"), True),
        (AttemptEnd(exit_code=1, status_reason="Essential container in task exited"), False),
        (AttemptEnd(exit_code=75, status_reason="Essential container in task exited"), True),
        (AttemptEnd(exit_code=75, status_reason="", final=True), False),
    ],
)
def test_the_first_matching_condition_decides_about_a_retry(
    end: AttemptEnd, expected: bool
) -> None:
    strategy = {
        "attempts": 3,
        "evaluateOnExit": [
            {"onExitCode": "75", "action": "RETRY"},
            {"onStatusReason": "Host EC2*", "action": "RETRY"},
            {"onReason": "CannotPullContainerError:*", "action": "retry"},
            {"onReason": "*", "action": "EXIT"},
        ],
    }
    assert will_retry(strategy, end, attempt=1) is expected
    assert not will_retry(strategy, end, attempt=3)


def test_all_conditions_of_an_entry_have_to_hold() -> None:
    entry = {"onExitCode": "1", "onStatusReason": "Host*", "action": "EXIT"}
    strategy = {"attempts": 2, "evaluateOnExit": [entry]}
    lost = AttemptEnd(exit_code=1, status_reason="Host EC2 terminated")
    failed = AttemptEnd(exit_code=1, status_reason="Essential container in task exited")
    assert not will_retry(strategy, lost, attempt=1)
    assert will_retry(strategy, failed, attempt=1)


def test_a_status_change_is_an_event(aws: Account, batch: Any, submit: Submit) -> None:
    queue, events = aws.queue("events"), aws.client("events")
    pattern = '{"source":["aws.batch"],"detail":{"status":["SUCCEEDED"]}}'
    events.put_rule(Name="rule", EventPattern=pattern)
    events.put_targets(Rule="rule", Targets=[{"Id": "queue", "Arn": queue.arn}])
    job_id = submit("pass")
    detail = json.loads(queue.receive()[0])["detail"]
    assert (detail["jobId"], detail["status"]) == (job_id, "SUCCEEDED")

"""Step Functions on the emulator: Batch tasks, timeouts, aborts and repeated starts."""

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.emulator import PYTHON_IMAGE, Account, until

Start = Callable[..., str]
SLEEP = "import time; time.sleep(60)"


@pytest.fixture
def states(aws: Account) -> Any:
    batch = aws.client("batch")
    batch.create_job_queue(jobQueueName="queue", priority=1, computeEnvironmentOrder=[])
    batch.register_job_definition(
        jobDefinitionName="definition",
        type="container",
        containerProperties={"image": PYTHON_IMAGE, "command": ["-c", "pass"]},
    )
    return aws.client("stepfunctions")


@pytest.fixture
def start(aws: Account, states: Any) -> Iterator[Start]:
    """Start a machine of one Batch task that runs `code`; the execution's ARN."""
    started: list[str] = []

    def start(code: str, *, task: Any = (), machine: Any = (), name: str = "run") -> str:
        arn = make_machine(aws, states, [code], task=dict(task), machine=dict(machine))
        answer = states.start_execution(stateMachineArn=arn, name=name, input='{"job_id": "1"}')
        started.append(answer["executionArn"])
        return started[-1]

    yield start
    for arn in started:
        if status(states, arn) == "RUNNING":
            states.stop_execution(executionArn=arn)


def make_machine(
    aws: Account, states: Any, codes: list[str], *, task: Any = (), machine: Any = ()
) -> str:
    """A machine whose states run each of `codes` as a job, one after the other."""
    tasks = {
        f"state{number}": {
            "Type": "Task",
            "Resource": "arn:aws:states:::batch:submitJob.sync",
            "Parameters": {
                "JobName": "job",
                "JobDefinition": "definition",
                "JobQueue": "queue",
                "ContainerOverrides": {
                    "Command": ["-c", code],
                    "Environment": [{"Name": "JOB", "Value.$": "$.job_id"}],
                },
            },
            "ResultPath": f"$.state{number}",
            **({"End": True} if number + 1 == len(codes) else {"Next": f"state{number + 1}"}),
            **dict(task),
        }
        for number, code in enumerate(codes)
    }
    created = states.create_state_machine(
        name="machine",
        definition=json.dumps({"StartAt": "state0", "States": tasks, **dict(machine)}),
        roleArn=f"arn:aws:iam::{aws.number}:role/test",
    )
    return str(created["stateMachineArn"])


def status(states: Any, arn: str) -> str:
    return str(states.describe_execution(executionArn=arn)["status"])


def ended(states: Any, arn: str) -> dict[str, Any]:
    until(lambda: status(states, arn) != "RUNNING")
    return dict(states.describe_execution(executionArn=arn))


def jobs(aws: Account) -> list[dict[str, Any]]:
    batch = aws.client("batch")
    listed = [job["jobId"] for job in batch.list_jobs(jobQueue="queue")["jobSummaryList"]]
    return list(batch.describe_jobs(jobs=listed)["jobs"]) if listed else []


def one_runs(aws: Account) -> bool:
    return [job["status"] for job in jobs(aws)] == ["RUNNING"]


def test_a_sync_task_waits_for_its_job_and_returns_it(aws: Account, states: Any) -> None:
    code = "import os; raise SystemExit(os.environ['JOB'] != '1')"
    arn = make_machine(aws, states, [code, code])
    started = states.start_execution(stateMachineArn=arn, input='{"job_id": "1"}')
    execution = ended(states, started["executionArn"])
    assert execution["status"] == "SUCCEEDED"
    result = json.loads(execution["output"])["state1"]
    assert (result["Status"], result["Container"]["ExitCode"]) == ("SUCCEEDED", 0)
    assert {"Name": "JOB", "Value": "1"} in result["Container"]["Environment"]


def test_a_failed_job_fails_the_execution_and_a_function_is_told(
    aws: Account, states: Any, start: Start
) -> None:
    queue = aws.queue("seen")
    listen(aws, queue.arn, function_telling(aws, queue.url), statuses=["FAILED"])
    arn = start("raise SystemExit(65)")
    execution = ended(states, arn)
    assert (execution["status"], execution["error"]) == ("FAILED", "States.TaskFailed")
    assert json.loads(execution["cause"])["Container"]["ExitCode"] == 65
    detail = json.loads(queue.receive()[0])["detail"]
    assert (detail["executionArn"], detail["status"]) == (arn, "FAILED")


def test_an_event_reaches_a_function_that_fails_at_first(
    aws: Account, states: Any, start: Start
) -> None:
    queue = aws.queue("seen")
    listen(aws, queue.arn, function_telling(aws, queue.url, fails=1), statuses=["SUCCEEDED"])
    ended(states, start("pass"))
    assert json.loads(queue.receive()[0])["detail"]["status"] == "SUCCEEDED"


def function_telling(aws: Account, queue_url: str, *, fails: int = 0) -> str:
    """A function that sends the events it gets to a queue, after failing `fails` times."""
    code = f"""
import boto3, json
calls = []
def handler(event, context):
    calls.append(event)
    if len(calls) <= {fails}:
        raise RuntimeError("not yet")
    boto3.client("sqs").send_message(QueueUrl={queue_url!r}, MessageBody=json.dumps(event))
"""
    return aws.function("teller", code)


def listen(aws: Account, queue_arn: str, function_arn: str, *, statuses: list[str]) -> None:
    events = aws.client("events")
    pattern = {
        "source": ["aws.states"],
        "detail-type": ["Step Functions Execution Status Change"],
        "detail": {"status": statuses},
    }
    events.put_rule(Name="rule", EventPattern=json.dumps(pattern))
    events.put_targets(Rule="rule", Targets=[{"Id": "function", "Arn": function_arn}])


def test_stopping_an_execution_ends_its_job_and_stays_aborted(
    aws: Account, states: Any, start: Start, tmp_path: Path
) -> None:
    pid_file = tmp_path / "pid"
    arn = start(f"import os; open({str(pid_file)!r}, 'w').write(str(os.getpid())); {SLEEP}")
    until(lambda: pid_file.exists() and pid_file.read_text())
    states.stop_execution(executionArn=arn, error="Cancelled", cause="by its owner")
    until(lambda: [job["status"] for job in jobs(aws)] == ["FAILED"])
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)
    time.sleep(0.3)  # the state's own failure comes after the abort and must not replace it
    execution = states.describe_execution(executionArn=arn)
    assert (execution["status"], execution["error"]) == ("ABORTED", "Cancelled")


def test_stopping_an_execution_is_an_event(aws: Account, states: Any, start: Start) -> None:
    queue = aws.queue("seen")
    listen(aws, queue.arn, queue.arn, statuses=["ABORTED"])
    arn = start(SLEEP)
    until(lambda: one_runs(aws))
    states.stop_execution(executionArn=arn)
    assert json.loads(queue.receive()[0])["detail"]["executionArn"] == arn


def test_an_execution_that_takes_too_long_is_timed_out_and_its_job_ended(
    aws: Account, states: Any, start: Start
) -> None:
    queue = aws.queue("seen")
    listen(aws, queue.arn, queue.arn, statuses=["TIMED_OUT"])
    arn = start(SLEEP, machine={"TimeoutSeconds": 1})
    assert ended(states, arn)["status"] == "TIMED_OUT"
    assert json.loads(queue.receive()[0])["detail"]["executionArn"] == arn
    until(lambda: [job["status"] for job in jobs(aws)] == ["FAILED"])
    assert status(states, arn) == "TIMED_OUT"


def test_a_task_that_takes_too_long_fails_with_the_error_of_timeouts(
    aws: Account, states: Any, start: Start
) -> None:
    execution = ended(states, start(SLEEP, task={"TimeoutSeconds": 1}))
    assert (execution["status"], execution["error"]) == ("FAILED", "States.Timeout")
    until(lambda: [job["status"] for job in jobs(aws)] == ["FAILED"])


def test_a_missing_heartbeat_fails_a_callback_task(aws: Account, states: Any) -> None:
    queue = aws.queue("work")
    task = {
        "Type": "Task",
        "Resource": "arn:aws:states:::sqs:sendMessage.waitForTaskToken",
        "Parameters": {"QueueUrl": queue.url, "MessageBody": {"token.$": "$$.Task.Token"}},
        "HeartbeatSeconds": 1,
        "End": True,
    }
    arn = states.create_state_machine(
        name="callback",
        definition=json.dumps({"StartAt": "wait", "States": {"wait": task}}),
        roleArn=f"arn:aws:iam::{aws.number}:role/test",
    )["stateMachineArn"]
    execution = ended(states, states.start_execution(stateMachineArn=arn)["executionArn"])
    assert (execution["status"], execution["error"]) == ("FAILED", "States.Timeout")


def test_starting_the_same_execution_again_is_answered_alike_while_it_runs(
    aws: Account, states: Any, start: Start
) -> None:
    arn = start(SLEEP)
    machine = states.describe_execution(executionArn=arn)["stateMachineArn"]
    again = states.start_execution(stateMachineArn=machine, name="run", input='{"job_id": "1"}')
    assert again["executionArn"] == arn
    with pytest.raises(states.exceptions.ExecutionAlreadyExists):
        states.start_execution(stateMachineArn=machine, name="run", input='{"job_id": "2"}')
    until(lambda: one_runs(aws))
    states.stop_execution(executionArn=arn)
    with pytest.raises(states.exceptions.ExecutionAlreadyExists):
        states.start_execution(stateMachineArn=machine, name="run", input='{"job_id": "1"}')


def test_an_unknown_job_definition_fails_the_task_with_batchs_error(
    aws: Account, states: Any
) -> None:
    arn = make_machine(aws, states, ["pass"])
    aws.client("stepfunctions").update_state_machine(
        stateMachineArn=arn,
        definition=json.dumps(
            {
                "StartAt": "submit",
                "States": {
                    "submit": {
                        "Type": "Task",
                        "Resource": "arn:aws:states:::batch:submitJob",
                        "Parameters": {
                            "JobName": "job",
                            "JobDefinition": "none",
                            "JobQueue": "queue",
                        },
                        "End": True,
                    }
                },
            }
        ),
    )
    execution = ended(states, states.start_execution(stateMachineArn=arn)["executionArn"])
    assert (execution["status"], execution["error"]) == ("FAILED", "Batch.ClientException")

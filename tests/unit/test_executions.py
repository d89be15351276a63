"""One execution per job, named by its id."""

import json
import re
from dataclasses import replace

import pytest

from clearstem.executions import (
    SHARE_PREFIX,
    Executions,
    ExecutionState,
    execution_name,
    parse_name,
    share_of,
)
from clearstem.service import Service
from tests.emulator import Account, until
from tests.unit.examples import JOB_ID


@pytest.fixture
def waiting(service: Service, aws: Account) -> Executions:
    """Executions that wait for a worker who never comes."""
    client = service.client("stepfunctions")
    activity = client.create_activity(name="nobody")["activityArn"]
    state = {"Type": "Task", "Resource": activity, "End": True}
    machine = client.create_state_machine(
        name="waiting",
        definition=json.dumps({"StartAt": "Wait", "States": {"Wait": state}}),
        roleArn=f"arn:aws:iam::{aws.number}:role/separate",
    )
    return Executions(client, machine["stateMachineArn"])


def test_an_execution_bears_the_jobs_id_and_is_told_whose_share_it_is(waiting):
    waiting.start("job-1", owner="ada", engine="demucs")
    (found,) = waiting.client.list_executions(stateMachineArn=waiting.state_machine_arn)[
        "executions"
    ]
    told = waiting.client.describe_execution(executionArn=found["executionArn"])
    assert (found["name"], json.loads(told["input"])) == (
        "job-1",
        {"job_id": "job-1", "share": share_of("ada"), "engine": "demucs"},
    )
    assert waiting.state("job-1") is ExecutionState.RUNNING


def test_those_at_work_are_the_jobs_whose_executions_run(waiting, service):
    assert waiting.at_work() == frozenset()
    waiting.start("job-1", owner="ada", engine="demucs")
    waiting.start("job-2", owner="ada", engine="demucs", attempt=2)
    waiting.start("job-3", owner="ada", engine="demucs")
    waiting.stop("job-3", cause="cancelled")
    assert waiting.at_work() == {"job-1", "job-2"}
    # Another recipe's are another machine's.
    assert service.executions["separate"].at_work() == frozenset()


def test_a_second_start_of_a_running_execution_is_harmless(waiting):
    waiting.start("job-1", owner="ada", engine="demucs")
    waiting.start("job-1", owner="ada", engine="demucs")
    found = waiting.client.list_executions(stateMachineArn=waiting.state_machine_arn)
    assert len(found["executions"]) == 1


def test_a_second_start_of_an_execution_that_ended_is_harmless(service):
    executions = service.executions["separate"]
    executions.start("job-1", owner="ada", engine="demucs")
    until(lambda: executions.state("job-1") is ExecutionState.SUCCEEDED)
    executions.start("job-1", owner="ada", engine="demucs")
    assert executions.state("job-1") is ExecutionState.SUCCEEDED


def test_an_execution_that_never_was_is_missing(service):
    assert service.executions["separate"].state("job-1") is ExecutionState.MISSING


def test_a_stopped_execution_is_aborted(waiting):
    waiting.start("job-1", owner="ada", engine="demucs")
    waiting.stop("job-1", cause="cancelled by its owner")
    assert waiting.state("job-1") is ExecutionState.ABORTED


def test_what_is_over_or_never_was_needs_no_stop(service):
    executions = service.executions["separate"]
    executions.stop("job-1", cause="cancelled by its owner")
    executions.start("job-1", owner="ada", engine="demucs")
    until(lambda: executions.state("job-1") is ExecutionState.SUCCEEDED)
    executions.stop("job-1", cause="cancelled by its owner")
    assert executions.state("job-1") is ExecutionState.SUCCEEDED


def test_each_attempt_is_an_execution_of_its_own(waiting):
    waiting.start("job-1", owner="ada", engine="demucs")
    waiting.start("job-1", owner="ada", engine="demucs", attempt=2)
    waiting.stop("job-1", cause="it failed")
    assert waiting.state("job-1") is ExecutionState.ABORTED
    assert waiting.state("job-1", attempt=2) is ExecutionState.RUNNING
    assert waiting.state("job-1", attempt=3) is ExecutionState.MISSING


@pytest.mark.parametrize("attempt", [1, 2, 10, 123])
def test_a_name_says_which_attempt_of_which_job_it_stands_for(attempt):
    name = execution_name(JOB_ID, attempt=attempt)
    assert parse_name(name) == (JOB_ID, attempt)
    assert len(name) <= 80  # Step Functions' limit


def test_a_name_that_somebody_else_gave_is_taken_as_a_whole():
    for name in ("by-hand", "by_hand", "_", "by_"):
        assert parse_name(name) == (name, 1)


def test_a_state_machine_that_is_not_there_is_an_error_not_a_second_start(service):
    known = service.executions["separate"]
    lost = replace(known, state_machine_arn=known.state_machine_arn + "x")
    with pytest.raises(lost.client.exceptions.StateMachineDoesNotExist):
        lost.start("job-1", owner="ada", engine="demucs")


def test_shares_of_owners_are_names_that_batch_takes_and_fewer_than_it_keeps():
    shares = {share_of(f"owner {n}") for n in range(20_000)}
    assert len(shares) == 400
    assert all(re.fullmatch(f"{SHARE_PREFIX}[0-9]{{1,3}}", share) for share in shares)
    assert share_of("ada") == share_of("ada")

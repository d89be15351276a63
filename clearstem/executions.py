"""The state machine executions that carry jobs: one per attempt, named by job and attempt.

Step Functions gives a name out once in 90 days, so the name alone makes a
second start harmless, and tells late news of an old attempt from that of the
present one.
"""

import contextlib
import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mypy_boto3_stepfunctions import SFNClient


class ExecutionState(StrEnum):
    """What Step Functions says of an execution, and `MISSING` where it knows none."""

    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    TIMED_OUT = "TIMED_OUT"
    ABORTED = "ABORTED"
    PENDING_REDRIVE = "PENDING_REDRIVE"
    MISSING = "MISSING"


# No letter of a UUID, and one of those that a name may have.
_MARK: Final = "_"


def execution_name(job_id: str, *, attempt: int) -> str:
    """What the execution of a job's attempt is called: the first one like the job."""
    return job_id if attempt == 1 else f"{job_id}{_MARK}{attempt}"


def parse_name(name: str) -> tuple[str, int]:
    """The job's id and the attempt that an execution's name stands for."""
    job_id, mark, attempt = name.rpartition(_MARK)
    return (job_id, int(attempt)) if mark and attempt.isdecimal() else (name, 1)


# Batch keeps account of at most 500 shares of a queue at a time.
_SHARES: Final = 400
SHARE_PREFIX: Final = "owners"


def share_of(owner: str) -> str:
    """The share of Batch's queues that an owner's stages are counted to.

    Jobs of shares that used little lately go first. Two owners may meet in one.
    """
    digest = hashlib.sha256(owner.encode()).digest()
    return f"{SHARE_PREFIX}{int.from_bytes(digest[:8]) % _SHARES}"


@dataclass(frozen=True, slots=True)
class Executions:
    """One recipe's state machine; attempts count from 1."""

    client: "SFNClient"
    state_machine_arn: str

    def start(self, job_id: str, *, owner: str, engine: str, attempt: int = 1) -> None:
        """Start the execution of a job's attempt; a second start is harmless.

        Parameters
        ----------
        owner : str
            Whose share of the queues its stages are counted to.
        engine : str
            The name of the job's engine, by which a queue is chosen.
        """
        try:
            self.client.start_execution(
                stateMachineArn=self.state_machine_arn,
                name=execution_name(job_id, attempt=attempt),
                input=json.dumps({"job_id": job_id, "share": share_of(owner), "engine": engine}),
            )
        except self.client.exceptions.ExecutionAlreadyExists:
            return

    def stop(self, job_id: str, *, attempt: int = 1, cause: str) -> None:
        """End the execution, and with it the task it waits for.

        One that is over, or was never started, needs no end: both are met where
        a job is cancelled in the very moment of its end or of its beginning.
        """
        errors = self.client.exceptions
        # The second is what Step Functions calls an execution that is not running.
        over = (errors.ExecutionDoesNotExist, errors.ValidationException)
        with contextlib.suppress(*over):
            self.client.stop_execution(executionArn=self._arn(job_id, attempt), cause=cause)

    def state(self, job_id: str, *, attempt: int = 1) -> ExecutionState:
        """How the execution stands."""
        try:
            answer = self.client.describe_execution(executionArn=self._arn(job_id, attempt))
        except self.client.exceptions.ExecutionDoesNotExist:
            return ExecutionState.MISSING
        return ExecutionState(answer["status"])

    def at_work(self) -> frozenset[str]:
        """The ids of the jobs that an execution runs for, a thousand told at once.

        The list may be some moments behind; `state` is not.
        """
        pages = self.client.get_paginator("list_executions").paginate(
            stateMachineArn=self.state_machine_arn, statusFilter="RUNNING"
        )
        names = (found["name"] for page in pages for found in page["executions"])
        return frozenset(parse_name(name)[0] for name in names)

    def _arn(self, job_id: str, attempt: int) -> str:
        machine = self.state_machine_arn.replace(":stateMachine:", ":execution:")
        return f"{machine}:{execution_name(job_id, attempt=attempt)}"

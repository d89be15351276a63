"""The state machine executions that carry jobs; one per job, named by its id."""

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

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


@dataclass(frozen=True, slots=True)
class Executions:
    """One recipe's state machine."""

    client: "SFNClient"
    state_machine_arn: str

    def start(self, job_id: str) -> None:
        """Start the job's execution; a second start is harmless.

        The name is the job's id, and Step Functions gives a name out once in
        90 days, whatever became of the execution.
        """
        try:
            self.client.start_execution(
                stateMachineArn=self.state_machine_arn,
                name=job_id,
                input=json.dumps({"job_id": job_id}),
            )
        except self.client.exceptions.ExecutionAlreadyExists:
            return

    def stop(self, job_id: str, *, cause: str) -> None:
        """End the job's execution, and with it the task it waits for."""
        self.client.stop_execution(executionArn=self._arn(job_id), cause=cause)

    def state(self, job_id: str) -> ExecutionState:
        """How the job's execution stands."""
        try:
            answer = self.client.describe_execution(executionArn=self._arn(job_id))
        except self.client.exceptions.ExecutionDoesNotExist:
            return ExecutionState.MISSING
        return ExecutionState(answer["status"])

    def _arn(self, job_id: str) -> str:
        return f"{self.state_machine_arn.replace(':stateMachine:', ':execution:')}:{job_id}"

"""Jobs whose execution ended without telling them: they end, with a reason.

A stage that fails for good writes so itself. What is left are kills, timeouts,
aborted executions and lost events; the state machine's own end is the news of
those, and a sweep finds the ones whose news never came.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from clearstem.errors import JobNotFound
from clearstem.executions import Executions, ExecutionState
from clearstem.facts import Failure
from clearstem.job_table import JobTable
from clearstem.jobs import Job, JobState
from clearstem.recipes import RECIPES
from clearstem.stage_runs import StageState

# Longer than a stage goes without writing progress, Batch's wait for a cold
# GPU apart; a job that runs is only looked at, never touched.
_QUIET: Final = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Settler:
    """Ends jobs that nobody works on any more.

    Attributes
    ----------
    executions : Mapping[str, Executions]
        By the recipe's name.
    """

    jobs: JobTable
    executions: Mapping[str, Executions]
    now: Callable[[], datetime]

    def settle(
        self, job_id: str, *, attempt: int, status: str, error: str | None, cause: str | None
    ) -> Job:
        """End a job whose execution ended badly; one that is over stays as it is.

        Parameters
        ----------
        attempt : int
            The one that the execution was of: late news of an earlier one does
            no harm to a job that was retried.
        status : str
            FAILED, TIMED_OUT or ABORTED.
        error, cause : str or None
            As Step Functions reports them.
        """
        name = error or f"States.{status.title().replace('_', '')}"
        reason = _reason(status, cause)

        def ended(job: Job) -> Job:
            if job.attempt != attempt:
                return job
            return job.fail(_failure(job, name, reason), at=self.now())

        return self.jobs.change(job_id, ended)

    def sweep(
        self, *, quiet: timedelta = _QUIET, in_time: Callable[[], bool] = lambda: True
    ) -> Iterator[Job]:
        """Settle, or start, every unfinished job that has been quiet for too long.

        Those that an execution runs for, all of a long queue, are known by a list, since
        single ones may be asked for some ten times a second. Any other is settled or
        started, and the next turn has nothing to do with it: it goes on where one ends.

        Parameters
        ----------
        in_time : callable
            Whether another job may be looked at.

        Raises
        ------
        ExceptionGroup
            At the end, of what went wrong: one job that cannot be settled must
            not keep all others from it, turn after turn.
        """
        before = self.now() - quiet
        faults: list[Exception] = []
        for recipe_name in RECIPES:
            # Also one that runs for an earlier attempt: its next stage takes the job up as it is.
            at_work = self.executions[recipe_name].at_work()
            for job in self.jobs.unfinished(recipe_name, before=before, without=at_work):
                if not in_time():
                    break
                try:
                    swept = self._swept(job)
                except JobNotFound:
                    continue  # deleted since it was found
                except Exception as exc:  # noqa: BLE001  # raised below, with all others
                    faults.append(exc)
                else:
                    if swept is not None:
                        yield swept
        if faults:
            raise ExceptionGroup(f"{len(faults)} jobs could not be settled", faults)

    def _swept(self, job: Job) -> Job | None:
        """A quiet job once it was settled or started; None where it is worked on."""
        executions = self.executions[job.recipe_name]
        state = executions.state(job.job_id, attempt=job.attempt)
        if state is ExecutionState.MISSING and job.state is JobState.QUEUED:
            # Recorded, and the function died before it could start it.
            executions.start(
                job.job_id, owner=job.owner, engine=job.engine.name, attempt=job.attempt
            )
            return job
        if state in (ExecutionState.RUNNING, ExecutionState.PENDING_REDRIVE):
            return None
        return self.settle(
            job.job_id, attempt=job.attempt, status=state.value, error=None, cause=None
        )


def _failure(job: Job, name: str, reason: str) -> Failure:
    stage = job.current_stage()
    if stage is None:
        return Failure(None, name, reason)
    run = job.stage(stage)
    if run.state is StageState.PENDING:
        return Failure(stage, name, f"{stage} never started: {reason}")
    last = f" (last error: {run.error})" if run.error else ""
    return Failure(stage, name, f"{stage} did not finish: {reason}{last}")


def _reason(status: str, cause: str | None) -> str:
    """What a Step Functions cause says, in words: Batch's is a whole job as JSON."""
    try:
        batch_job = json.loads(cause or "")
        told = batch_job["StatusReason"]
        exit_code = batch_job.get("Container", {}).get("ExitCode")
    except (ValueError, KeyError, TypeError, AttributeError):
        told, exit_code = cause or f"the execution ended {status}", None
    return told if exit_code is None else f"{told}, exit code {exit_code}"

"""AWS Batch's scheduler for one machine: a few slots, and a queue that is fair to shares.

A job is a record that `infra.local.batch` shows to callers, and a `Run` that only this module
knows. Slots are threads that live as long as the emulator, which the tether of job processes
needs (see `infra.local.tether`).
"""

import contextvars
import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from infra.local import job_logs, job_process
from infra.local.batch_retry import AttemptEnd, will_retry
from infra.local.fair_queue import FairQueue

Record = dict[str, Any]
EXITED = "Essential container in task exited"
TIMED_OUT = "Job attempt duration exceeded timeout"
FINISHED = frozenset({"SUCCEEDED", "FAILED"})
_CLOSING_GRACE_S = 2.0
_log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True, eq=False)
class Run:
    """A submitted job on its way through a slot.

    Attributes
    ----------
    record
        What DescribeJobs shows, without what is private to the emulator.
    command
        The whole command line; None when no local command stands for the image.
    done
        Set once `record` has its final status.
    """

    record: Record
    command: list[str] | None
    environment: Mapping[str, str]
    retry_strategy: Mapping[str, Any]
    timeout_s: float | None
    log_group: str
    log_prefix: str
    context: contextvars.Context
    done: threading.Event = field(default_factory=threading.Event)
    stop_reason: str | None = None
    process: job_process.JobProcess | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class Scheduler:
    """Runs jobs in `slots` threads and tells `on_change` of every new status.

    Parameters
    ----------
    slots
        How many jobs run at a time.
    grace_s
        Seconds from SIGTERM to SIGKILL when a job is stopped.
    scratch_root
        Folder in which attempts get theirs.
    now_ms
        Milliseconds since the epoch.
    on_change
        Called with a job's record after each change of status, in the job's own context.
    """

    def __init__(
        self,
        *,
        slots: int,
        grace_s: float,
        scratch_root: Path,
        now_ms: Callable[[], int],
        on_change: Callable[[Record], None],
    ) -> None:
        self._grace_s = grace_s
        self._scratch_root = scratch_root
        self._now_ms = now_ms
        self._on_change = on_change
        self._queue: FairQueue[Run] = FairQueue(now_s=time.monotonic)
        self._runs: dict[str, Run] = {}
        self._closing = False
        self._threads = [
            threading.Thread(target=self._work, daemon=True, name=f"batch-slot-{number}")
            for number in range(slots)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, run: Run) -> None:
        """Queue a job; its record goes from SUBMITTED to RUNNABLE."""
        self._runs[run.record["jobId"]] = run
        self._on_change(run.record)
        self._change(run, "RUNNABLE")
        self._queue.put(run, share=_share(run), priority=run.record["schedulingPriority"])

    def find(self, job_id: str) -> Run | None:
        """The job while it is not finished."""
        return self._runs.get(job_id)

    def stop(self, job_id: str, reason: str, *, started: bool = True) -> None:
        """End a job as FAILED with `reason`; one that runs only when `started` asks for that."""
        run = self._runs.get(job_id)
        if run is None:
            return
        with run.lock:
            if run.process is not None and not started:
                return
            run.stop_reason = run.stop_reason or reason
            if run.process is not None:
                run.process.end()
                return
        self._finish(run, "FAILED", reason)

    def close(self) -> None:
        """End every process and leave the records as they are, for a restart to take up.

        Jobs get little time: what they had not committed is done again, however they end.
        """
        if self._closing:
            return
        self._closing = True
        self._queue.close()
        for run in list(self._runs.values()):
            with run.lock:
                if run.process is not None:
                    run.process.end(grace_s=min(_CLOSING_GRACE_S, self._grace_s))
        for thread in self._threads:
            thread.join(2 * _CLOSING_GRACE_S)

    def _work(self) -> None:
        while (turn := self._queue.get()) is not None:
            run = turn.item
            try:
                run.context.run(self._run, run)
            except Exception as exc:  # noqa: BLE001 - the edge of a slot, which has to live on
                _log.exception("job %s met an error of the emulator", run.record["jobId"])
                self._finish(run, "FAILED", f"DockerTimeoutError: {exc}")
            finally:
                self._queue.done(turn)

    def _run(self, run: Run) -> None:
        attempt = 0
        while run.record["status"] not in FINISHED:
            attempt += 1
            end = self._attempt(run, attempt)
            if self._closing:
                return
            if end.exit_code == 0 and not end.final:
                self._finish(run, "SUCCEEDED", end.status_reason)
            elif not will_retry(run.retry_strategy, end, attempt=attempt):
                self._finish(run, "FAILED", run.stop_reason or end.status_reason)
            else:
                self._change(run, "RUNNABLE")

    def _attempt(self, run: Run, attempt: int) -> AttemptEnd:
        self._change(run, "STARTING")
        if run.command is None:
            image = run.record["container"]["image"]
            reason = f"CannotPullContainerError: no local command stands for image {image}"
            return self._record_attempt(
                run, AttemptEnd(exit_code=None, reason=reason, status_reason="Task failed to start")
            )
        try:
            process = self._start(run, attempt)
        except OSError as exc:
            reason = f"CannotStartContainerError: {exc}"
            return self._record_attempt(
                run, AttemptEnd(exit_code=None, reason=reason, status_reason="Task failed to start")
            )
        return self._record_attempt(run, self._watch(run, process))

    def _start(self, run: Run, attempt: int) -> job_process.JobProcess:
        record, command = run.record, run.command or []
        stream = job_logs.stream_name(prefix=run.log_prefix, task_id=uuid.uuid4().hex)
        job_logs.open_stream(run.log_group, stream)
        context = contextvars.copy_context()

        def read_output(source: IO[str]) -> None:
            context.run(job_logs.copy_lines, source, group=run.log_group, stream=stream)

        with run.lock:
            record["container"]["logStreamName"] = stream
            run.process = job_process.start(
                command,
                environment={**run.environment, "AWS_BATCH_JOB_ATTEMPT": str(attempt)},
                scratch_root=self._scratch_root,
                grace_s=self._grace_s,
                read_output=read_output,
            )
            if run.stop_reason is not None or self._closing:
                run.process.end()
            process = run.process
        self._change(run, "RUNNING", startedAt=self._now_ms())
        return process

    def _watch(self, run: Run, process: job_process.JobProcess) -> AttemptEnd:
        timed_out = not process.wait(run.timeout_s)
        if timed_out:
            process.end()
        code = process.finish()
        with run.lock:
            run.process = None
        if run.stop_reason is not None:
            return AttemptEnd(exit_code=code, status_reason=run.stop_reason, final=True)
        # A job that used up its time is not retried: Batch user guide, "Job timeouts".
        status_reason = TIMED_OUT if timed_out else EXITED
        return AttemptEnd(exit_code=code, status_reason=status_reason, final=timed_out)

    def _record_attempt(self, run: Run, end: AttemptEnd) -> AttemptEnd:
        container = run.record["container"]
        told = {"exitCode": end.exit_code, "reason": end.reason or None}
        container.update({key: value for key, value in told.items() if value is not None})
        kept = ("exitCode", "reason", "logStreamName")
        run.record["attempts"].append(
            {
                "container": {key: container[key] for key in kept if key in container},
                "startedAt": run.record.get("startedAt", self._now_ms()),
                "stoppedAt": self._now_ms(),
                "statusReason": end.status_reason,
            }
        )
        return end

    def _finish(self, run: Run, status: str, reason: str) -> None:
        if self._closing:
            return
        self._change(run, status, statusReason=reason, stoppedAt=self._now_ms())
        self._runs.pop(run.record["jobId"], None)
        run.done.set()

    def _change(self, run: Run, status: str, **fields: object) -> None:
        with run.lock:
            if run.record["status"] in FINISHED or self._closing:
                return
            run.record.update(fields, status=status)
        run.context.copy().run(self._on_change, run.record)


def _share(run: Run) -> str:
    """Who the time is counted to; jobs of a queue without a policy are all of one share."""
    share: str = run.record.get("shareIdentifier", "")
    return share

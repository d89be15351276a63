"""Step Functions as the template needs it: Batch tasks, timeouts, and going on after a crash.

MiniStack walks the states. This adds ``batch:submitJob`` with and without ``.sync``, a state
machine's own TimeoutSeconds, StartExecution that may be repeated, an end that stays the end, and
it runs executions again that were running when the emulator died. Running them from their start
is right for this project because its stages commit by manifest: what is finished does nothing.
"""

import contextvars
import json
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from ministack import app
from ministack.core.responses import json_response, now_iso, set_request_account_id
from ministack.core.responses import set_request_region as set_region
from ministack.services import stepfunctions

from infra.local import batch, machine_roles, selfcheck

_RESOURCE = "arn:aws:states:::batch:submitJob"
_ABORT_POLL_S = 0.1  # how late a .sync job may hear that its execution was stopped
# Step Functions tells Batch who started the job: developer guide, "Run AWS Batch workloads".
_STARTED_BY = {"name": "MANAGED_BY_AWS", "value": "STARTED_BY_STEP_FUNCTIONS"}
_log = logging.getLogger(__name__)

Execution = dict[str, Any]
Answer = tuple[int, dict[str, str], bytes]

_execution: contextvars.ContextVar[Execution | None] = contextvars.ContextVar(
    "clearstem_execution", default=None
)
_interrupted: dict[tuple[str, str, str], None] = {}  # in the order of their starts


def install() -> None:
    """Extend MiniStack's Step Functions."""
    selfcheck.replace("ministack.services.stepfunctions:_run_execution", _with_deadline)
    selfcheck.replace("ministack.services.stepfunctions:_fail_execution", _only_while_running)
    selfcheck.replace("ministack.services.stepfunctions:_start_execution", _idempotent)
    selfcheck.replace(
        "ministack.services.stepfunctions:_invoke_resource_with_timeout", _ending_batch_jobs
    )
    selfcheck.replace("ministack.services.stepfunctions:_invoke_resource", _as_its_role)
    selfcheck.replace("ministack.services.stepfunctions:_invoke_with_callback", _with_heartbeat)
    selfcheck.replace(
        "ministack.services.stepfunctions:_restore_state", _keeping_running_executions
    )
    stepfunctions._SERVICE_DISPATCH[_RESOURCE] = _submit_job


def resume() -> int:
    """Run the executions again that the last shutdown or crash interrupted; how many.

    To be called once the server answers, because their first state may call it.
    """
    count = len(_interrupted)
    for account, region, arn in list(_interrupted):
        del _interrupted[account, region, arn]
        context = contextvars.copy_context()
        context.run(set_request_account_id, account)
        context.run(set_region, region)
        threading.Thread(
            target=context.run, args=(stepfunctions._run_execution, arn), daemon=True
        ).start()
        _log.info("running %s again", arn)
    return count


def _with_deadline(run: Callable[[str], None]) -> Callable[[str], None]:
    """Note whose states are being walked, and end the execution when its time is over."""

    def run_execution(arn: str) -> None:
        execution: Execution | None = stepfunctions._executions.get(arn)
        if execution is None:
            return
        _execution.set(execution)
        timeout_s = _timeout_of(execution)
        if timeout_s is None:
            run(arn)
            return
        context = contextvars.copy_context()
        timer = threading.Timer(timeout_s, context.run, (_time_out, execution))
        timer.daemon = True
        timer.start()
        try:
            run(arn)
        finally:
            timer.cancel()

    return run_execution


def _timeout_of(execution: Execution) -> float | None:
    machine = stepfunctions._state_machines.get(execution["stateMachineArn"])
    if machine is None:
        return None
    try:
        definition = json.loads(machine["definition"])
    except json.JSONDecodeError:
        return None  # the run itself reports it
    seconds = definition.get("TimeoutSeconds")
    return None if seconds is None else float(seconds)


def _time_out(execution: Execution) -> None:
    if execution["status"] != "RUNNING":
        return
    execution.update(status="TIMED_OUT", stopDate=now_iso(), error="States.Timeout")
    stepfunctions._add_event(
        execution, "ExecutionTimedOut", {"executionTimedOutEventDetails": {"error": None}}
    )
    stepfunctions._emit_execution_status_event(execution)


def _only_while_running(
    fail: Callable[[Execution, str, str], None],
) -> Callable[[Execution, str, str], None]:
    """Without this a stopped execution turns FAILED when its terminated job comes back."""

    def fail_execution(execution: Execution, error: str, cause: str) -> None:
        if execution["status"] == "RUNNING":
            fail(execution, error, cause)

    return fail_execution


def _idempotent(start: Callable[[Any], Answer]) -> Callable[[Any], Answer]:
    """Same name and input while it runs: the same answer. API reference, StartExecution."""

    def start_execution(request: dict[str, Any]) -> Answer:
        answer = start(request)
        if answer[0] == 400 and b"ExecutionAlreadyExists" in bytes(answer[2]):
            running = _running_execution(request)
            if running is not None:
                repeated: Answer = json_response(
                    {"executionArn": running["executionArn"], "startDate": running["startDate"]}
                )
                return repeated
        return answer

    return start_execution


def _running_execution(request: dict[str, Any]) -> Execution | None:
    machine = stepfunctions._resolve_state_machine_arn(request.get("stateMachineArn", ""))
    for execution in stepfunctions._executions.values():
        if (
            execution["name"] == request.get("name")
            and execution["stateMachineArn"] == machine
            and execution["status"] == "RUNNING"
            and execution["input"] == request.get("input", "{}")
        ):
            found: Execution = execution
            return found
    return None


def _ending_batch_jobs(invoke: Callable[[str, Any, float], Any]) -> Callable[..., Any]:
    """MiniStack leaves a timed out task running; a Batch job has to end with its state."""

    def invoke_resource_with_timeout(resource: str, data: Any, timeout: float) -> Any:
        if resource.startswith(_RESOURCE):
            _judge(resource, data)
            return _submit_job(resource, data, timeout_s=float(timeout))
        return invoke(resource, data, timeout)

    return invoke_resource_with_timeout


def _as_its_role(invoke: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    """MiniStack does a task whatever the state machine's role says."""

    def invoke_resource(resource: str, data: Any) -> Any:
        _judge(resource, data)
        return invoke(resource, data)

    return invoke_resource


def _judge(resource: str, data: Any) -> None:
    execution = _execution.get()
    if not app.AUTH or execution is None:
        return
    machine = stepfunctions._state_machines[execution["stateMachineArn"]]
    refused = machine_roles.refusal(machine["roleArn"], resource, data)
    if refused is not None:
        # The name under which Step Functions reports it: developer guide, "Error names".
        raise stepfunctions._ExecutionError("States.Permissions", refused)


def _submit_job(
    resource: str, data: dict[str, Any], *, timeout_s: float | None = None
) -> dict[str, Any]:
    """Submit a job and, for ``.sync``, stay with it to its end."""
    status, _, body = batch.submit_job(_to_request(data))
    answer = json.loads(body)
    if status != 200:
        error = str(answer.get("__type", "ClientException")).rpartition("#")[2]
        raise stepfunctions._ExecutionError(f"Batch.{error}", answer.get("message", ""))
    if not resource.endswith(".sync"):
        submitted: dict[str, Any] = pascal_case(answer)
        return submitted
    _wait(answer["jobId"], timeout_s=timeout_s)
    record = batch.record_of(answer["jobId"])
    shown = {**pascal_case(record), "Parameters": record["parameters"], "Tags": record["tags"]}
    if record["status"] != "SUCCEEDED":
        raise stepfunctions._ExecutionError("States.TaskFailed", json.dumps(shown))
    return shown


def _to_request(data: dict[str, Any]) -> dict[str, Any]:
    request: dict[str, Any] = camel_case(data)
    request["parameters"], request["tags"] = data.get("Parameters") or {}, data.get("Tags") or {}
    overrides = request.setdefault("containerOverrides", {})
    overrides["environment"] = [*overrides.get("environment", ()), _STARTED_BY]
    return request


def _wait(job_id: str, *, timeout_s: float | None) -> None:
    run, execution = batch.find_run(job_id), _execution.get()
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    while run is not None and not run.done.wait(_ABORT_POLL_S):
        if run.stop_reason is not None:
            continue
        if execution is not None and execution["status"] != "RUNNING":
            _terminate(job_id, f"Step Functions execution {execution['status'].lower()}")
        elif deadline is not None and time.monotonic() > deadline:
            _terminate(job_id, "Step Functions task timed out")
            raise stepfunctions._ExecutionError("States.Timeout", "")


def _terminate(job_id: str, reason: str) -> None:
    batch.terminate_job({"jobId": job_id, "reason": reason})


def _with_heartbeat(invoke: Callable[..., Any]) -> Callable[..., Any]:
    """End a callback task when a heartbeat is overdue; MiniStack only counts the whole time."""

    def invoke_with_callback(resource: str, data: Any, token: str, state: dict[str, Any]) -> Any:
        heartbeat_s = state.get("HeartbeatSeconds")
        if heartbeat_s is None:
            return invoke(resource, data, token, state)
        context = contextvars.copy_context()
        watch = threading.Thread(
            target=context.run, args=(_watch_heartbeat, token, float(heartbeat_s)), daemon=True
        )
        watch.start()
        return invoke(resource, data, token, state)

    return invoke_with_callback


def _watch_heartbeat(token: str, heartbeat_s: float) -> None:
    started, pending = time.time(), stepfunctions._task_tokens
    time.sleep(min(heartbeat_s, 0.2))  # the call that registers the token runs beside this one
    while (task := pending.get(token)) is not None:
        beat_ms = stepfunctions._iso_to_epoch_ms(task.get("heartbeat"))
        last = started if beat_ms is None else beat_ms / 1000
        overdue_s = time.time() - last - heartbeat_s
        if overdue_s >= 0:
            task["error"] = {"Error": "States.Timeout", "Cause": "no heartbeat"}
            task["event"].set()
            return
        time.sleep(min(-overdue_s, 0.2))


def restore_execution(account: str, region: str, execution: Execution) -> None:
    """Put back an execution as it was; one that was running will be run by `resume`."""
    key = (account, region, execution["executionArn"])
    if execution["status"] == "RUNNING":
        _as_just_started(execution)
        _interrupted[key] = None
    else:
        _interrupted.pop(key, None)
    stepfunctions._executions.set_scoped(*key, execution)


def _keeping_running_executions(restore: Callable[[Any], None]) -> Callable[[Any], None]:
    """MiniStack fails what was running; keep it RUNNING and remember to run it again."""

    def restore_state(data: Any) -> None:
        saved = (data or {}).get("executions")
        running = [
            (key, dict(execution))
            for key, execution in (saved.all_items() if saved is not None else ())
            if execution.get("status") == "RUNNING"
        ]
        restore(data)
        for (account, region, _), execution in running:
            restore_execution(account, region, execution)

    return restore_state


def _as_just_started(execution: Execution) -> None:
    execution.update(status="RUNNING", stopDate=None, output=None, events=execution["events"][:1])
    execution.pop("error", None)
    execution.pop("cause", None)


def camel_case(value: Any) -> Any:
    """Keys as Batch's API writes them, from those of the Amazon States Language."""
    return _map_keys(value, str.lower)


def pascal_case(value: Any) -> Any:
    """Keys as the Amazon States Language writes them, from those of Batch's API."""
    return _map_keys(value, str.upper)


def _map_keys(value: Any, first: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {first(key[:1]) + key[1:]: _map_keys(item, first) for key, item in value.items()}
    if isinstance(value, list):
        return [_map_keys(item, first) for item in value]
    return value

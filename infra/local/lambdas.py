"""Lambda functions that run with this interpreter, stay warm and fail under their own names.

MiniStack unpacks a function's zip and keeps worker processes for it; they get the account's
credentials and the emulator's endpoint in their environment. This gives it another worker (see
`infra.local.lambda_worker`), turns what that reports into Lambda's error answer, and has events of
EventBridge retried as asynchronous invocations are.
"""

import contextlib
import io
import json
import queue
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Collection
from functools import cache
from pathlib import Path
from typing import Any

from ministack.core import lambda_runtime
from ministack.services import lambda_svc

from infra.local import selfcheck
from infra.local.lambda_worker import END_OF_LOG, ERROR_KEY

_RUNTIME = "ministack.core.lambda_runtime"
_WORKER = Path(__file__).with_name("lambda_worker.py")
_LOG_PATIENCE_S = 0.25  # the mark is written before the answer, so it is late only under load

_IMAGE_MODULE = "image_command"
_HANDLER = "CLEARSTEM_IMAGE_HANDLER"
_STUB = f"""import importlib, os, sys
sys.path.insert(0, {str(_WORKER.parents[2])!r})
module, _, name = os.environ[{_HANDLER!r}].rpartition(".")
handler = getattr(importlib.import_module(module), name)
"""

Result = dict[str, Any]


def install() -> None:
    """Extend MiniStack's Lambda."""
    worker = _WORKER.read_text(encoding="utf-8")
    selfcheck.replace(
        "ministack.core.lambda_runtime:_detect_runtime_binary", lambda find: _ours(find, worker)
    )
    selfcheck.replace(
        "ministack.core.lambda_runtime:Worker._drain_stderr_bounded", lambda _: _read_log
    )
    selfcheck.replace("ministack.core.lambda_runtime:_collect", _closing_pipes)
    selfcheck.replace("ministack.services.lambda_svc:_execute_function_warm", _with_true_errors)
    selfcheck.replace(
        "ministack.services.lambda_svc:_execute_function_docker", lambda _: _run_image
    )
    selfcheck.replace(
        "ministack.services.eventbridge:_dispatch_to_lambda", lambda _: _deliver_event
    )


def warm_up(handlers: Collection[str], *, account: str) -> threading.Thread:
    """Start workers for the account's functions with these handlers; the thread that does.

    Workers from before are ended: what a deployment called is not called again.
    """
    thread = threading.Thread(target=_warm_all, args=(handlers, account), daemon=True)
    thread.start()
    return thread


def _warm_all(handlers: Collection[str], account: str) -> None:
    lambda_runtime.reset()
    for (owner, _, _), function in list(lambda_svc._functions._data.items()):
        if owner == account and function["config"].get("Handler") in handlers:
            _warm(function)


def _warm(function: dict[str, Any]) -> None:
    config = function["config"]
    worker, _ = lambda_runtime.acquire_worker(
        config["FunctionName"], config, function["code_zip"], qualifier=config["Version"]
    )
    try:
        lambda_runtime.ensure_spawned(worker)
    except (RuntimeError, OSError):
        return  # the first invocation meets the same error and reports it to its caller
    finally:
        lambda_runtime.release_worker(worker)


def _ours(find: Callable[[str], tuple[str, str]], worker: str) -> Callable[[str], tuple[str, str]]:
    def detect_runtime_binary(runtime: str) -> tuple[str, str]:
        return (sys.executable, worker) if runtime.startswith("python") else find(runtime)

    return detect_runtime_binary


def _closing_pipes(collect: Callable[[Any, float], None]) -> Callable[[Any, float], None]:
    """MiniStack leaves a dead worker's pipes to the garbage collector."""

    def collect_process(process: Any, deadline: float) -> None:
        collect(process, deadline)
        for pipe in (process.stdin, process.stdout, process.stderr) if process else ():
            with contextlib.suppress(OSError):  # what was not flushed has no reader any more
                pipe.close()

    return collect_process


def _read_log(worker: Any) -> str:
    """The invocation's stderr up to the worker's mark."""
    lines: list[str] = []
    deadline = time.monotonic() + _LOG_PATIENCE_S
    while (left := deadline - time.monotonic()) > 0:
        try:
            line = worker._stderr_queue.get(timeout=left)
        except queue.Empty:
            break
        if line == END_OF_LOG:
            break
        lines.append(line)
    return "\n".join(lines)


def _with_true_errors(
    execute: Callable[[Any, Any, str], Result],
) -> Callable[[Any, Any, str], Result]:
    def execute_function_warm(function: Any, event: Any, request_id: str) -> Result:
        result = execute(function, event, request_id)
        body = result.get("body")
        if not isinstance(body, dict) or ERROR_KEY not in body:
            return result
        error = {key: value for key, value in body.items() if key != ERROR_KEY}
        error["requestId"] = request_id
        return {**result, "body": error, "error": True, "function_error": "Unhandled"}

    return execute_function_warm


def _run_image(function: Any, event: Any, request_id: str) -> Result:
    """A function of a container image is its command's handler, run as this interpreter runs it.

    There is no Docker here. The image's environment is this one, as it is for Batch jobs.
    """
    config = function.get("config") or function
    image = (config.get("ImageConfigResponse") or {}).get("ImageConfig") or {}
    # An image without a command is the streaming server's, which is the API's application.
    command = image.get("Command") or ["functions.rest.handler"]
    as_zip = {
        **config,
        "PackageType": "Zip",
        "Runtime": "python3.11",
        "Handler": f"{_IMAGE_MODULE}.handler",
        "Environment": {"Variables": {**_variables(config), _HANDLER: command[0]}},
    }
    stub = {**function, "config": as_zip, "code_zip": _stub()}
    result: Result = lambda_svc._execute_function_warm(stub, event, request_id)
    return result


def _variables(config: dict[str, Any]) -> dict[str, str]:
    variables: dict[str, str] = (config.get("Environment") or {}).get("Variables") or {}
    return variables


@cache
def _stub() -> bytes:
    """A zip that finds our packages where this process finds them."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as stub:
        stub.writestr(f"{_IMAGE_MODULE}.py", _STUB)
    return archive.getvalue()


def _deliver_event(arn: str, payload: str) -> None:
    """EventBridge invokes asynchronously, so a failing function is tried again."""
    function, config, _ = lambda_svc._get_func_record_for_ref(arn)
    if not function or not config:
        return
    record = lambda_svc._execution_record_for_config(function, config)
    lambda_svc._run_with_function_config_scope(
        config, lambda_svc.invoke_async_with_retry, record, json.loads(payload)
    )

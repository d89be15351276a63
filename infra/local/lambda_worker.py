"""The process in which a Python function of the local twin runs, invocation after invocation.

MiniStack starts it with this file's text and speaks JSON lines to it: one line of set-up, then one
line for each event, each answered by one. It differs from MiniStack's own worker in three ways. A
handler that raises leaves the process warm, as on AWS. The error keeps its true type and trace.
And a mark on stderr ends the log of each invocation, so nobody has to wait and see whether more
comes. It imports nothing of ours, because the function's own code has to come first on the path.
"""

import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

END_OF_LOG = "\x1eend-of-invocation"
ERROR_KEY = "\x1eerror"

Handler = Callable[[Any, SimpleNamespace], Any]


def context_of(settings: Mapping[str, Any], invocation: Mapping[str, Any]) -> SimpleNamespace:
    """The context object: AWS Lambda developer guide, "Lambda context object in Python"."""
    name = settings.get("function_name", "")
    deadline = time.time() + invocation.get("timeout_ms", 3000) / 1000
    arn = invocation.get("invoked_function_arn") or settings.get("arn", "")
    return SimpleNamespace(
        function_name=name,
        function_version=os.environ.get("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        invoked_function_arn=arn,
        memory_limit_in_mb=settings.get("memory", 128),
        aws_request_id=invocation.get("request_id", ""),
        log_group_name=os.environ.get("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/" + name),
        log_stream_name=os.environ.get("AWS_LAMBDA_LOG_STREAM_NAME", ""),
        identity=None,
        client_context=None,
        get_remaining_time_in_millis=lambda: max(0, int((deadline - time.time()) * 1000)),
    )


def error_of(exc: Exception) -> dict[str, Any]:
    """What Lambda answers for an exception: its class, its words, where it was raised."""
    return {
        ERROR_KEY: True,
        "errorType": type(exc).__name__,
        "errorMessage": str(exc),
        "stackTrace": traceback.format_tb(exc.__traceback__),
    }


def answer_to(handler: Handler, settings: Mapping[str, Any], message: Mapping[str, Any]) -> str:
    """One invocation, as a line to write."""
    invocation = message.get("ctx") or {}
    trace_id = invocation.get("trace_id")
    if trace_id:
        os.environ["_X_AMZN_TRACE_ID"] = trace_id
    else:
        os.environ.pop("_X_AMZN_TRACE_ID", None)
    try:
        result = handler(message["event"], context_of(settings, invocation))
        return json.dumps({"status": "ok", "result": result})
    except Exception as exc:  # noqa: BLE001 - the edge of the process: it is reported to the caller
        traceback.print_exc()
        return json.dumps({"status": "ok", "result": error_of(exc)})


def load(settings: Mapping[str, Any]) -> Handler:
    """The handler named by the set-up line."""
    os.environ.update(settings.get("env", {}))
    sys.path.insert(0, settings["code_dir"])
    handler: Handler = getattr(importlib.import_module(settings["module"]), settings["handler"])
    return handler


def main() -> None:
    """Serve until stdin closes, which it does when the emulator ends."""
    answers, sys.stdout = sys.stdout, sys.stderr

    def say(line: str) -> None:
        answers.write(line + "\n")
        answers.flush()

    settings = json.loads(sys.stdin.readline())
    try:
        handler = load(settings)
    except Exception as exc:  # noqa: BLE001 - told to the emulator, which fails the invocation
        traceback.print_exc()
        say(json.dumps({"status": "error", "error": f"{type(exc).__name__}: {exc}"}))
        return
    say(json.dumps({"status": "ready", "cold": True}))
    for line in sys.stdin:
        answer = answer_to(handler, settings, json.loads(line))
        sys.stderr.write(END_OF_LOG + "\n")
        sys.stderr.flush()
        say(answer)


if __name__ == "__main__":
    main()

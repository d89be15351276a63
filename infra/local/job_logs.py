"""The output of a job's process, line by line, in the emulator's CloudWatch Logs.

Lines are passed on as they come, so that a stage can be watched while it runs and none of its
output is held here.
"""

import time
from collections.abc import Iterable
from typing import IO

from ministack.services import cloudwatch_logs

_MAX_LINE_CHARS = 16_384  # far below CloudWatch's 256 KiB an event, and enough for a traceback
_MAX_LINES = 10_000  # what one attempt may leave in the emulator's memory


def stream_name(*, prefix: str, task_id: str) -> str:
    """The stream that AWS Batch gives an attempt: ``prefix/default/task``."""
    return f"{prefix}/default/{task_id}"


def open_stream(group: str, stream: str) -> None:
    """Make the log stream, and its group if that is missing."""
    cloudwatch_logs._create_log_group({"logGroupName": group})  # an error answer if it is there
    cloudwatch_logs._create_log_stream({"logGroupName": group, "logStreamName": stream})


def copy_lines(source: IO[str], *, group: str, stream: str) -> None:
    """Read `source` to its end and append each line to `stream` of `group`.

    Reading goes on past the line limit, because a process whose pipe is full stands still.
    """
    for number, line in enumerate(source):
        if number < _MAX_LINES:
            _put(group, stream, [line.rstrip("\n")[:_MAX_LINE_CHARS]])
        elif number == _MAX_LINES:
            _put(group, stream, [f"[output beyond {_MAX_LINES} lines is not kept]"])


def _put(group: str, stream: str, lines: Iterable[str]) -> None:
    now_ms = int(time.time() * 1000)
    events = [{"timestamp": now_ms, "message": line} for line in lines]
    cloudwatch_logs._put_log_events(
        {"logGroupName": group, "logStreamName": stream, "logEvents": events}
    )

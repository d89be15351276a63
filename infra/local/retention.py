"""Bounds for what MiniStack would remember for ever: logs, metrics, events, jobs and histories.

On AWS retention periods and other people's disks take care of it. Here it is the memory of one
process and the size of every snapshot, and a job of ten minutes writes hundreds of each.
"""

from collections.abc import Iterator
from typing import Any

from ministack.services import batch, cloudwatch, cloudwatch_logs, eventbridge, stepfunctions

STREAMS_PER_GROUP = 200  # MiniStack opens a stream for every invocation
_INDEXED_LINES = 20_000  # over all groups, for CloudWatch Logs Insights
_POINTS_PER_METRIC = 2_000
_PAST_EVENTS = 1_000
_FINISHED_JOBS = 1_000  # AWS Batch forgets them after a week
_HISTORIES = 200  # executions keep their name and outcome, so that it is not given twice


def trim() -> None:
    """Forget the oldest of everything that has outgrown its bound."""
    for group in _values(cloudwatch_logs._log_groups):
        _keep_last(group["streams"], STREAMS_PER_GROUP)
    _keep_last(cloudwatch_logs._log_records._data, _INDEXED_LINES)
    for points in _values(cloudwatch._metrics):
        del points[:-_POINTS_PER_METRIC]
    for events in _values(eventbridge._events_log):
        del events[:-_PAST_EVENTS]
    finished = [key for key, job in _items(batch._jobs) if "stoppedAt" in job]
    for key in finished[:-_FINISHED_JOBS]:
        batch._jobs._data.pop(key, None)
    ended = [execution for execution in _values(stepfunctions._executions) if execution["stopDate"]]
    for execution in ended[:-_HISTORIES]:
        execution["events"] = execution["events"][:1]


def _items(store: Any) -> Iterator[tuple[Any, Any]]:
    return iter(list(store._data.items()))


def _values(store: Any) -> Iterator[Any]:
    return (value for _, value in _items(store))


def _keep_last(store: dict[Any, Any], count: int) -> None:
    for key in list(store)[:-count]:
        store.pop(key, None)

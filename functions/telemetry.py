"""Logs, traces and metrics of the entry points.

Hides Powertools, and that its objects read the environment when they are
made: here they are made by the first event, not by an import. Neither events
nor answers are recorded, since they carry keys, signed URLs and recordings.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, wraps
from typing import Any, Final, TypeVar

from aws_lambda_powertools import Logger, Metrics, Tracer, single_metric
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

_NAMESPACE: Final = "clearstem"
# What an event is known by elsewhere: both gateways' requests, EventBridge's events, S3's
# notifications, records of the table's stream.
_CORRELATION: Final = (
    "requestContext.requestId || id || "
    'Records[0].responseElements."x-amz-request-id" || Records[0].eventID'
)
_KEY: Final = "correlation_id"

Event = dict[str, Any]
Answer = TypeVar("Answer")


@cache
def logger() -> Logger:
    """The structured logger of this process."""
    return Logger()


@cache
def _metrics() -> Metrics:
    return Metrics(namespace=_NAMESPACE)


@contextmanager
def correlate(request_id: str) -> Iterator[None]:
    """Have every line that is logged for a request carry its id.

    The logger's own keys are the process's; these are the context's, as requests
    are served side by side.
    """
    logger().thread_safe_append_keys(**{_KEY: request_id})
    try:
        yield
    finally:
        logger().thread_safe_remove_keys([_KEY])


def count(metric: str, value: float = 1) -> None:
    """Add to a metric that goes out with the present invocation."""
    _metrics().add_metric(name=metric, unit=MetricUnit.Count, value=value)


def note_seconds(metric: str, seconds: float) -> None:
    """Add a duration to those that go out with the present invocation."""
    _metrics().add_metric(name=metric, unit=MetricUnit.Seconds, value=seconds)


@dataclass(frozen=True, slots=True)
class Measurement:
    """One value of one metric.

    Attributes
    ----------
    dimensions : mapping of str to str
        What it is told apart by; few values each, since every one is paid for.
    """

    metric: str
    unit: MetricUnit
    value: float
    dimensions: Mapping[str, str]


def measure(measurement: Measurement) -> None:
    """Write a value at once, under dimensions of its own."""
    with single_metric(
        name=measurement.metric,
        unit=measurement.unit,
        value=measurement.value,
        namespace=_NAMESPACE,
        default_dimensions=dict(measurement.dimensions),
    ):
        pass


def entry_point(
    handle: Callable[[Event, LambdaContext], Answer],
) -> Callable[[Event, LambdaContext], Answer]:
    """Decorate a Lambda handler with logging, tracing and metrics."""

    @cache
    def decorated() -> Callable[[Event, LambdaContext], Answer]:
        traced = Tracer().capture_lambda_handler(_flushing(handle), capture_response=False)
        ready: Callable[[Event, LambdaContext], Answer] = logger().inject_lambda_context(
            traced, clear_state=True, correlation_id_path=_CORRELATION
        )
        return ready

    @wraps(handle)
    def handler(event: Event, context: LambdaContext) -> Answer:
        return decorated()(event, context)

    return handler


def _flushing(
    handle: Callable[[Event, LambdaContext], Answer],
) -> Callable[[Event, LambdaContext], Answer]:
    def flushing(event: Event, context: LambdaContext) -> Answer:
        try:
            return handle(event, context)
        finally:
            # Powertools' own decorator warns at each event that has no metric.
            if _metrics().metric_set:
                _metrics().flush_metrics()

    return flushing

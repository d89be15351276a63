"""The clock: jobs whose ending got lost are ended or started, expired ones deleted.

Uploads that no job was made of end after a week.
And sockets on which nothing was said for long are told the last state again:
API Gateway closes a WebSocket that is idle for ten minutes. Webhooks whose
messages got lost are queued again.
"""

from datetime import timedelta
from itertools import islice
from typing import Final

from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from clearstem import (  # noqa: F401 - the first event composes them; loaded before
    removal,
    settling,
    unclaimed,
)
from clearstem.recipes import RECIPES
from clearstem.service import Service
from functions import wiring
from functions.telemetry import Event, Measurement, count, entry_point, logger, measure

# With five minutes from sweep to sweep no socket is silent for more than eight.
_SILENT: Final = timedelta(minutes=3)


@entry_point
def handler(_: Event, __: LambdaContext) -> dict[str, int]:
    """Look once at every job that has been quiet for too long, or whose time is over."""
    service, swept = wiring.service(), 0
    for job in service.settler.sweep():
        swept += 1
        logger().warning("job swept", job_id=job.job_id, state=job.state.value)
    if swept:
        count("JobsSwept", swept)
    _stir_silent(service)
    measure(Measurement("LongestSilence", MetricUnit.Seconds, _longest_silence_s(service), {}))
    return {
        "swept": swept,
        "removed": _remove_expired(service),
        "ended": _end_uploads(service),
        "woken": _wake_webhooks(service),
    }


def _remove_expired(service: Service) -> int:
    removed = 0
    for job_id in service.removal.sweep():
        removed += 1
        logger().info("job removed", job_id=job_id)
    if removed:
        count("JobsRemoved", removed)
    return removed


def _end_uploads(service: Service) -> int:
    ended = sum(1 for _ in service.unclaimed.sweep())
    if ended:
        logger().info("uploads ended", uploads=ended)
    return ended


def _stir_silent(service: Service) -> None:
    now = service.now()
    for recipe_name in RECIPES:
        for job in service.jobs.unfinished(recipe_name, before=now - _SILENT):
            service.connections.stir(job.job_id, at=now)


def _longest_silence_s(service: Service) -> float:
    """Seconds since anything was heard of the unfinished job that has been quiet for longest."""
    now = service.now()
    # An index has them by the time of their last change: the first is enough.
    first = (islice(service.jobs.unfinished(name, before=now), 1) for name in RECIPES)
    heard = [job.updated_at for found in first for job in found]
    return (now - min(heard, default=now)).total_seconds()


def _wake_webhooks(service: Service) -> int:
    woken = sum(1 for _ in service.announcer.wake())
    if woken:
        count("WebhooksWoken", woken)
    return woken

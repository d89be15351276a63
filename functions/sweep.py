"""The clock: jobs whose ending got lost are ended or started, expired ones deleted.

Uploads that no job was made of end after a week.
And sockets on which nothing was said for long are told the last state again:
API Gateway closes a WebSocket that is idle for ten minutes. Webhooks whose
messages got lost are queued again.

None of these waits for another to succeed: what went wrong is raised when all
have had their turn, and a sweep that came to its end says so, which is what an
operator is woken for when nobody says it any more.
"""

from collections.abc import Callable, Mapping
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
    """Look once at every job that has been quiet for too long, or whose time is over.

    Raises
    ------
    ExceptionGroup
        At the end, of the parts that failed; every other one is done.
    """
    service, found = wiring.service(), {}
    faults: list[Exception] = []
    for name, part in _PARTS.items():
        try:
            found[name] = part(service)
        except Exception as exc:  # noqa: BLE001  # raised below, with all others
            faults.append(exc)
    if faults:
        raise ExceptionGroup(f"{len(faults)} of {len(_PARTS)} parts of the sweep failed", faults)
    count("SweepsCompleted")
    return found


def _settle(service: Service) -> int:
    swept = 0
    for job in service.settler.sweep():
        swept += 1
        count("JobsSwept")
        logger().warning("job swept", job_id=job.job_id, state=job.state.value)
    return swept


def _stir_silent(service: Service) -> int:
    now, stirred = service.now(), 0
    for recipe_name in RECIPES:
        for job in service.jobs.unfinished(recipe_name, before=now - _SILENT):
            service.connections.stir(job.job_id, at=now)
            stirred += 1
    return stirred


def _measure_silence(service: Service) -> int:
    """Seconds since anything was heard of the unfinished job that has been quiet for longest."""
    now = service.now()
    # An index has them by the time of their last change: the first is enough.
    first = (islice(service.jobs.unfinished(name, before=now), 1) for name in RECIPES)
    heard = [job.updated_at for found in first for job in found]
    silence_s = (now - min(heard, default=now)).total_seconds()
    measure(Measurement("LongestSilence", MetricUnit.Seconds, silence_s, {}))
    return int(silence_s)


def _wake_webhooks(service: Service) -> int:
    woken = 0
    for _ in service.announcer.wake():
        woken += 1
        count("WebhooksWoken")
    return woken


def _remove_expired(service: Service) -> int:
    removed = 0
    for job_id in service.removal.sweep():
        removed += 1
        count("JobsRemoved")
        logger().info("job removed", job_id=job_id)
    return removed


def _end_uploads(service: Service) -> int:
    ended = sum(1 for _ in service.unclaimed.sweep())
    if ended:
        logger().info("uploads ended", uploads=ended)
    return ended


# The last one takes longest: it lists and deletes files.
_PARTS: Final[Mapping[str, Callable[[Service], int]]] = {
    "swept": _settle,
    "stirred": _stir_silent,
    "silence_s": _measure_silence,
    "woken": _wake_webhooks,
    "ended": _end_uploads,
    "removed": _remove_expired,
}

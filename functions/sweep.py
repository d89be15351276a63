"""The clock: jobs whose ending got lost are ended or started, expired ones deleted.

Uploads that no job was made of end after a week.
And sockets on which nothing was said for long are told the last state again:
API Gateway closes a WebSocket that is idle for ten minutes. Webhooks whose
messages got lost are queued again.

None of these waits for another to succeed: what went wrong is raised when all
have had their turn, and a sweep that came to its end says so, which is what an
operator is woken for when nobody says it any more. Nor does one with much to do
take the time of the others: each has its share, and goes on in the next turn.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
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
# Kept for the end: what a part was at when its time was over, logs and metrics.
_LAST_MS: Final = 20_000


@dataclass(slots=True)
class _Share:
    """The time of one part of the sweep.

    Attributes
    ----------
    remaining_ms : callable
        Milliseconds until Lambda ends the function.
    until_ms : float
        What must remain for the others.
    used_up : bool
        Whether there was more to do.
    """

    remaining_ms: Callable[[], int]
    until_ms: float
    used_up: bool = False

    def left(self) -> bool:
        """Whether the part may do another thing; asked where it has one."""
        self.used_up = self.used_up or self.remaining_ms() < self.until_ms
        return not self.used_up


@entry_point
def handler(_: Event, context: LambdaContext) -> dict[str, int]:
    """Look once at every job that has been quiet for too long, or whose time is over.

    Raises
    ------
    ExceptionGroup
        At the end, of the parts that failed; every other one is done.
    """
    service, found = wiring.service(), {}
    faults: list[Exception] = []
    for waiting, (name, part) in zip(range(len(_PARTS), 0, -1), _PARTS.items(), strict=True):
        share = _share(context, parts=waiting)
        try:
            found[name] = part(service, share)
        except Exception as exc:  # noqa: BLE001  # raised below, with all others
            faults.append(exc)
        if share.used_up:
            count("SweepPartsCutShort")
            logger().warning("part of the sweep cut short", part=name, done=found.get(name))
    if faults:
        raise ExceptionGroup(f"{len(faults)} of {len(_PARTS)} parts of the sweep failed", faults)
    count("SweepsCompleted")
    return found


def _share(context: LambdaContext, *, parts: int) -> _Share:
    """The share of the next of so many parts: what one leaves is the others'."""
    remaining_ms = context.get_remaining_time_in_millis()
    until_ms = remaining_ms - max(remaining_ms - _LAST_MS, 0) / parts
    return _Share(context.get_remaining_time_in_millis, until_ms)


def _settle(service: Service, share: _Share) -> int:
    swept = 0
    for job in service.settler.sweep(in_time=share.left):
        swept += 1
        count("JobsSwept")
        logger().warning("job swept", job_id=job.job_id, state=job.state.value)
    return swept


def _stir_silent(service: Service, share: _Share) -> int:
    now, stirred = service.now(), 0
    for recipe_name in RECIPES:
        for job in service.jobs.unfinished(recipe_name, before=now - _SILENT):
            if not share.left():
                return stirred
            service.connections.stir(job.job_id, at=now)
            stirred += 1
    return stirred


def _measure_silence(service: Service, _: _Share) -> int:
    """Seconds since anything was heard of the unfinished job that has been quiet for longest."""
    now = service.now()
    # An index has them by the time of their last change: the first is enough.
    first = (islice(service.jobs.unfinished(name, before=now), 1) for name in RECIPES)
    heard = [job.updated_at for found in first for job in found]
    silence_s = (now - min(heard, default=now)).total_seconds()
    measure(Measurement("LongestSilence", MetricUnit.Seconds, silence_s, {}))
    return int(silence_s)


def _wake_webhooks(service: Service, share: _Share) -> int:
    woken = 0
    for _ in service.announcer.wake():
        woken += 1
        count("WebhooksWoken")
        if not share.left():
            break
    return woken


def _remove_expired(service: Service, share: _Share) -> int:
    removed = 0
    for job_id in service.removal.sweep(in_time=share.left):
        removed += 1
        count("JobsRemoved")
        logger().info("job removed", job_id=job_id)
    return removed


def _end_uploads(service: Service, share: _Share) -> int:
    ended = sum(1 for _ in service.unclaimed.sweep(in_time=share.left))
    if ended:
        logger().info("uploads ended", uploads=ended)
    return ended


# The shorter first: of what they leave the later ones have more. A long queue is long for those
# who look at every job that waits, and the last one lists and deletes files.
_PARTS: Final[Mapping[str, Callable[[Service, _Share], int]]] = {
    "silence_s": _measure_silence,
    "woken": _wake_webhooks,
    "ended": _end_uploads,
    "swept": _settle,
    "stirred": _stir_silent,
    "removed": _remove_expired,
}

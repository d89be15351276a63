"""The clock: jobs whose ending got lost are ended, or started after all."""

from itertools import islice

from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from clearstem.recipes import RECIPES
from functions import wiring
from functions.telemetry import Event, Measurement, count, entry_point, logger, measure


@entry_point
def handler(_: Event, __: LambdaContext) -> dict[str, int]:
    """Look once at every job that has been quiet for too long."""
    swept = 0
    for job in wiring.service().settler.sweep():
        swept += 1
        logger().warning("job swept", job_id=job.job_id, state=job.state.value)
    if swept:
        count("JobsSwept", swept)
    measure(Measurement("LongestSilence", MetricUnit.Seconds, _longest_silence_s(), {}))
    return {"swept": swept}


def _longest_silence_s() -> float:
    """Seconds since anything was heard of the unfinished job that has been quiet for longest."""
    service = wiring.service()
    now = service.now()
    # An index has them by the time of their last change: the first is enough.
    first = (islice(service.jobs.unfinished(name, before=now), 1) for name in RECIPES)
    heard = [job.updated_at for found in first for job in found]
    return (now - min(heard, default=now)).total_seconds()

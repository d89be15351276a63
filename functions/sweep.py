"""The clock: jobs whose ending got lost are ended, or started; expired ones are deleted.

Webhooks whose messages got lost are queued again.
"""

from aws_lambda_powertools.utilities.typing import LambdaContext

from functions import wiring
from functions.telemetry import Event, count, entry_point, logger


@entry_point
def handler(_: Event, __: LambdaContext) -> dict[str, int]:
    """Look once at every job that has been quiet for too long, or whose time is over."""
    swept, removed = 0, 0
    for job in wiring.service().settler.sweep():
        swept += 1
        logger().warning("job swept", job_id=job.job_id, state=job.state.value)
    if swept:
        count("JobsSwept", swept)
    for job_id in wiring.service().removal.sweep():
        removed += 1
        logger().info("job removed", job_id=job_id)
    if removed:
        count("JobsRemoved", removed)
    woken = sum(1 for _ in wiring.service().announcer.wake())
    if woken:
        count("WebhooksWoken", woken)
    return {"swept": swept, "removed": removed, "woken": woken}

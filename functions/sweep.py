"""The clock: jobs whose ending got lost are ended, or started after all."""

from aws_lambda_powertools.utilities.typing import LambdaContext

from functions import wiring
from functions.telemetry import Event, count, entry_point, logger


@entry_point
def handler(_: Event, __: LambdaContext) -> dict[str, int]:
    """Look once at every job that has been quiet for too long."""
    swept = 0
    for job in wiring.service().settler.sweep():
        swept += 1
        logger().warning("job swept", job_id=job.job_id, state=job.state.value)
    if swept:
        count("JobsSwept", swept)
    return {"swept": swept}

"""Executions that ended badly: their jobs end too, and say why."""

from aws_lambda_powertools.utilities.data_classes import EventBridgeEvent
from aws_lambda_powertools.utilities.typing import LambdaContext

from clearstem import settling  # noqa: F401 - the first event composes it; loaded before
from clearstem.errors import JobNotFound
from clearstem.executions import parse_name
from functions import wiring
from functions.telemetry import Event, count, entry_point, logger


@entry_point
def handler(event: Event, _: LambdaContext) -> None:
    """Settle the job of one execution, whose name says which attempt of which job it was."""
    ending = EventBridgeEvent(event).detail
    (job_id, attempt), status = parse_name(ending["name"]), ending["status"]
    logger().append_keys(job_id=job_id)
    try:
        job = wiring.service().settler.settle(
            job_id,
            attempt=attempt,
            status=status,
            error=ending.get("error"),
            cause=ending.get("cause"),
        )
    except JobNotFound:
        # Started by hand: there is no job to settle, now or at another attempt.
        logger().warning("execution without a job", status=status)
        return
    count("JobsSettled")
    logger().info("job settled", status=status, state=job.state.value)

"""The function whose answers are streams: the API as a server in a container.

Python's managed runtime cannot stream; behind the Lambda Web Adapter a server
does, and API Gateway hands its bytes on.
"""

from collections.abc import Mapping

import aws_cdk as cdk
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra.functions import function_log, function_role
from infra.stages import image


def streaming_function(
    scope: Construct,
    id: str,
    *,
    environment: Mapping[str, str],
    build_arguments: Mapping[str, str],
    concurrency: int,
) -> lambda_.DockerImageFunction:
    """``functions.stream`` in its image, for as long as API Gateway streams.

    Parameters
    ----------
    build_arguments : mapping of str to str
        What the image is built with.
    concurrency : int
        Streams at a time, kept for it; 0: what is free.
    """
    # Told by tag, as the stages' function is: the image itself is an asset.
    asset = image(scope, f"{id}Image", name="stream", arguments=build_arguments)
    log_group = function_log(scope, id)
    return lambda_.DockerImageFunction(
        scope,
        id,
        description="Event streams and archives.",
        code=lambda_.DockerImageCode.from_ecr(asset.repository, tag_or_digest=asset.image_tag),
        # A quarter dearer than arm64, and built wherever the stages' images are.
        architecture=lambda_.Architecture.X86_64,
        role=function_role(scope, id, log_group=log_group),
        environment={**environment, "POWERTOOLS_SERVICE_NAME": "clearstem-stream"},
        timeout=cdk.Duration.minutes(15),
        reserved_concurrent_executions=concurrency or None,
        # One invocation holds one stream, most of the time asleep.
        memory_size=512,
        tracing=lambda_.Tracing.ACTIVE,
        log_group=log_group,
    )

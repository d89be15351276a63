"""The console's files, copied to their bucket by a deployment.

CloudFormation calls this as a custom resource: it sends where the answer is
to go, and waits an hour for one, so every way out of here answers.
"""

import json
import mimetypes
import urllib.request
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import boto3
from aws_lambda_powertools.utilities.typing import LambdaContext

from functions.telemetry import Event, entry_point, logger

_CONSOLE: Final = Path(__file__).with_name("console")
# What a browser may show without asking again; a deployment is seen after it.
_FRESH: Final = "public, max-age=300"
_ANSWER_S: Final = 10


@entry_point
def handler(event: Event, context: LambdaContext) -> None:
    """Put the files, or on deletion remove them, and tell CloudFormation."""
    bucket = event["ResourceProperties"]["Bucket"]
    try:
        if event["RequestType"] == "Delete":
            _empty(bucket)
        else:
            _publish(bucket)
    except Exception as exc:
        _answer(event, status="FAILED", reason=f"{type(exc).__name__}: {exc}")
        raise
    _answer(event, status="SUCCESS", reason=f"see {context.function_name}")


@cache
def _s3() -> Any:
    return boto3.client("s3")


def _publish(bucket: str) -> None:
    for key, path in files():
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        _s3().put_object(
            Bucket=bucket,
            Key=key,
            Body=path.read_bytes(),
            ContentType=kind,
            CacheControl=_FRESH,
        )
        logger().info("published", key=key)


def files() -> Iterator[tuple[str, Path]]:
    """Every file by its key: the page at the root, what it loads under ``console/``."""
    for path in sorted(_CONSOLE.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".py":
            name = path.relative_to(_CONSOLE).as_posix()
            yield (name if name == "index.html" else f"console/{name}"), path


def _empty(bucket: str) -> None:
    for page in _s3().get_paginator("list_objects_v2").paginate(Bucket=bucket):
        found = [{"Key": item["Key"]} for item in page.get("Contents", ())]
        if found:
            _s3().delete_objects(Bucket=bucket, Delete={"Objects": found})


def _answer(event: Event, *, status: str, reason: str) -> None:
    body = {
        "Status": status,
        "Reason": reason,
        "PhysicalResourceId": event["ResourceProperties"]["Bucket"],
        **{key: event[key] for key in ("StackId", "RequestId", "LogicalResourceId")},
    }
    request = urllib.request.Request(  # noqa: S310 - CloudFormation's own presigned address
        event["ResponseURL"],
        data=json.dumps(body).encode(),
        # The address is signed for a content type of nothing; urllib would name a form's.
        headers={"Content-Type": ""},
        method="PUT",
    )
    with urllib.request.urlopen(request, timeout=_ANSWER_S):  # noqa: S310 - as above
        return

"""The console's way into its bucket, as CloudFormation asks for it."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest

from functions import publish
from tests.emulator import Account

CONTEXT = SimpleNamespace(
    function_name="publish",
    memory_limit_in_mb=128,
    invoked_function_arn="arn:aws:lambda:us-east-1:000000000000:function:publish",
    aws_request_id="x",
)


class CloudFormation:
    """Where the answers of a custom resource go."""

    def __init__(self) -> None:
        self.answers: list[dict[str, Any]] = []
        self.content_types: list[list[str] | None] = []
        told, types = self.answers, self.content_types

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                types.append(self.headers.get_all("content-type"))
                told.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)

    def event(self, kind: str, bucket: str) -> dict[str, Any]:
        return {
            "RequestType": kind,
            "ResponseURL": f"http://127.0.0.1:{self.server.server_port}/",
            "StackId": "s",
            "RequestId": "r",
            "LogicalResourceId": "l",
            "ResourceProperties": {"Bucket": bucket, "Zip": "functions.zip"},
        }


@pytest.fixture
def cloudformation() -> Iterator[CloudFormation]:
    waiting = CloudFormation()
    Thread(target=waiting.server.serve_forever, daemon=True).start()
    yield waiting
    waiting.server.shutdown()
    waiting.server.server_close()


@pytest.fixture
def bucket(aws: Account, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("POWERTOOLS_TRACE_DISABLED", "true")
    monkeypatch.setattr(publish, "_s3", lambda: aws.client("s3"))
    aws.client("s3").create_bucket(Bucket=f"console-{aws.number}")
    return f"console-{aws.number}"


def keys(aws: Account, bucket: str) -> list[str]:
    listed = aws.client("s3").list_objects_v2(Bucket=bucket)
    return [item["Key"] for item in listed.get("Contents", [])]


def test_a_deployment_publishes_every_file_with_its_type(
    aws: Account, bucket: str, cloudformation: CloudFormation
) -> None:
    publish.handler(cloudformation.event("Create", bucket), CONTEXT)  # type: ignore[arg-type]
    assert keys(aws, bucket) == [key for key, _ in publish.files()]
    page = aws.client("s3").head_object(Bucket=bucket, Key="index.html")
    assert page["ContentType"] == "text/html"
    (answer,) = cloudformation.answers
    assert (answer["Status"], answer["PhysicalResourceId"]) == ("SUCCESS", bucket)
    assert (answer["StackId"], answer["RequestId"], answer["LogicalResourceId"]) == ("s", "r", "l")


def test_an_answer_is_of_no_type_since_its_address_was_signed_for_none(
    bucket: str, cloudformation: CloudFormation
) -> None:
    publish.handler(cloudformation.event("Create", bucket), CONTEXT)  # type: ignore[arg-type]
    assert cloudformation.content_types == [[""]]


def test_a_deletion_leaves_the_bucket_empty(
    aws: Account, bucket: str, cloudformation: CloudFormation
) -> None:
    for kind in ("Create", "Update", "Delete"):
        publish.handler(cloudformation.event(kind, bucket), CONTEXT)  # type: ignore[arg-type]
    assert keys(aws, bucket) == []
    assert [answer["Status"] for answer in cloudformation.answers] == ["SUCCESS"] * 3


def test_a_failure_is_told_at_once_and_not_after_an_hour(
    bucket: str, cloudformation: CloudFormation
) -> None:
    with pytest.raises(Exception, match="NoSuchBucket"):
        publish.handler(cloudformation.event("Create", "nobodys"), CONTEXT)  # type: ignore[arg-type]
    (answer,) = cloudformation.answers
    assert answer["Status"] == "FAILED" and "NoSuchBucket" in answer["Reason"]

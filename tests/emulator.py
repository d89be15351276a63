"""Fixtures: one embedded AWS for the session, one empty account for each test.

MiniStack takes a 12-digit access key for the account's number, so a random key is a fresh account
and tests neither see each other nor clean up.
"""

import io
import random
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import boto3
import pytest
from botocore.config import Config

from infra.local.emulator import REGION, Emulator, EmulatorSettings
from infra.local.processes import free_port

# Job definitions of tests use this image; their command goes to this interpreter.
PYTHON_IMAGE = "python-under-test"
# The stage entry with stages that do what a test asks: `tests.infra.faulty_stage`.
FAULTY_IMAGE = "faulty-stage"


def until(condition: Callable[[], object], *, timeout_s: float = 10.0) -> None:
    """Wait for something that another process brings about."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


@dataclass(frozen=True, slots=True)
class Account:
    """An empty AWS account on the emulator."""

    endpoint: str
    number: str
    region: str = REGION

    def client(self, service: str) -> Any:
        """A boto3 client of the account, the same at every call."""
        return _client(self, service)

    def function(self, name: str, code: str) -> str:
        """Create a Lambda function of one module, whose handler is ``handler``; its ARN."""
        body = io.BytesIO()
        with zipfile.ZipFile(body, "w") as archive:
            archive.writestr("code.py", code)
        created = self.client("lambda").create_function(
            FunctionName=name,
            Runtime="python3.13",
            Handler="code.handler",
            Role=f"arn:aws:iam::{self.number}:role/test",
            Code={"ZipFile": body.getvalue()},
            Timeout=10,
        )
        return str(created["FunctionArn"])

    def queue(self, name: str) -> "Queue":
        """Create an SQS queue."""
        sqs = self.client("sqs")
        url = sqs.create_queue(QueueName=name)["QueueUrl"]
        return Queue(sqs, url, f"arn:aws:sqs:{self.region}:{self.number}:{name}")


# Making one takes longer than what most tests ask of it; few tests have more than these at once.
@lru_cache(maxsize=16)
def _client(account: Account, service: str) -> Any:
    return boto3.client(
        service,
        endpoint_url=account.endpoint,
        aws_access_key_id=account.number,
        aws_secret_access_key="local",
        region_name=account.region,
        config=Config(signature_version="s3v4", retries={"max_attempts": 1}),
    )


@dataclass(frozen=True, slots=True)
class Queue:
    """Where tests let functions and rules tell what they saw."""

    sqs: Any
    url: str
    arn: str

    def receive(self, count: int = 1, *, timeout_s: float = 10.0) -> list[str]:
        """The bodies of the first `count` messages to come."""
        bodies: list[str] = []
        deadline = time.monotonic() + timeout_s
        while len(bodies) < count:
            assert time.monotonic() < deadline, f"only {bodies} came"
            answer = self.sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10)
            for message in answer.get("Messages", []):
                self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
                bodies.append(message["Body"])
            time.sleep(0.01)
        return bodies


@pytest.fixture(scope="session")
def emulator() -> Iterator[Emulator]:
    settings = EmulatorSettings(
        port=free_port(),
        job_slots=4,
        kill_grace_s=0.5,
        wait_scale=0,
        images={
            "": (sys.executable, "-m", "containers.stage"),
            PYTHON_IMAGE: (sys.executable,),
            FAULTY_IMAGE: (sys.executable, "-m", "tests.infra.faulty_stage"),
        },
    )
    server = Emulator(settings)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def aws(emulator: Emulator) -> Account:
    return Account(emulator.url, str(random.randrange(10**11, 10**12)))

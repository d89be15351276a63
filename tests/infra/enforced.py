"""The template on an emulator that judges every call by the policies the template gives its roles.

It runs as a process of its own: whether IAM is enforced is decided when it starts.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from clearstem.settings import Settings
from infra.local.deploy import Target, deploy, read_snapshot
from infra.local.emulator import ACCOUNT, REGION
from infra.local.processes import free_port
from tests.emulator import until

_QUEUES = ("Webhooks", "ChangesDeadLetters")


@dataclass(frozen=True)
class Deployed:
    """The template on an emulator that enforces IAM."""

    target: Target
    outputs: dict[str, str]
    # Describing DynamoDB to a client takes longer than most of the tests.
    _sessions: dict[str, boto3.Session] = field(default_factory=dict, repr=False)
    _clients: dict[tuple[str, str], Any] = field(default_factory=dict, repr=False)

    @property
    def api(self) -> str:
        return f"{self.target.endpoint}/_aws/execute-api/{self.outputs['RestApiId']}/live"

    @property
    def settings(self) -> Settings:
        """The service's, as its functions have them."""
        names = self.outputs
        return Settings(
            table=names["Table"],
            uploads_bucket=names["UploadsBucket"],
            work_bucket=names["WorkBucket"],
            tracks_bucket=names["TracksBucket"],
            drop_bucket=names["DropBucket"],
            stage_role_arn=f"arn:aws:iam::{ACCOUNT}:role/{self.role('StagesJobRole')}",
            webhook_queue_url=self.queue("WebhooksOrders"),
        )

    def role(self, logical_id: str) -> str:
        """The name of the one role whose logical id begins so."""
        return self._physical("AWS::IAM::Role", logical_id)

    def queue(self, logical_id: str) -> str:
        """The address of the one queue whose logical id begins so."""
        return self._physical("AWS::SQS::Queue", logical_id)

    def named(self, word: str) -> str:
        """What an output or a queue is called here; any other word as it is."""
        if word.startswith(_QUEUES):
            return self.queue(word)
        return self.outputs.get(word, word)

    def _physical(self, kind: str, logical_id: str) -> str:
        cloudformation = self.target.client("cloudformation")
        pages = cloudformation.get_paginator("list_stack_resources").paginate(StackName="clearstem")
        (name,) = (
            resource["PhysicalResourceId"]
            for page in pages
            for resource in page["StackResourceSummaries"]
            if resource["ResourceType"] == kind
            and resource["LogicalResourceId"].startswith(logical_id)
        )
        return str(name)

    def acting_as(self, logical_id: str) -> Any:
        """``client(service)`` with the credentials of a role."""

        def client(service: str) -> Any:
            if (logical_id, service) not in self._clients:
                self._clients[logical_id, service] = self.session_as(logical_id).client(
                    service,
                    endpoint_url=self.target.endpoint,
                    config=Config(signature_version="s3v4", retries={"max_attempts": 1}),
                )
            return self._clients[logical_id, service]

        return client

    def session_as(self, logical_id: str) -> boto3.Session:
        """The session of a role."""
        if logical_id not in self._sessions:
            self._sessions[logical_id] = self._taken(logical_id)
        return self._sessions[logical_id]

    def _taken(self, logical_id: str) -> boto3.Session:
        name = self.role(logical_id)
        arn = f"arn:aws:iam::{ACCOUNT}:role/{name}"
        root = {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
        trust = {"Effect": "Allow", "Principal": root, "Action": "sts:AssumeRole"}
        # Only a service may take the role; for this test, the account may too.
        self.target.client("iam").update_assume_role_policy(
            RoleName=name, PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": trust})
        )
        given = self.target.client("sts").assume_role(RoleArn=arn, RoleSessionName="test")
        credentials = given["Credentials"]
        return boto3.Session(
            region_name=REGION,
            aws_access_key_id=credentials["AccessKeyId"],
            aws_secret_access_key=credentials["SecretAccessKey"],
            aws_session_token=credentials["SessionToken"],
        )


@contextmanager
def deployed(state: Path) -> Iterator[Deployed]:
    """Deployed anew, and ended afterwards."""
    port, ready = free_port(), state / "ready.json"
    command = [sys.executable, "-m", "infra.local.emulator", "--port", str(port), "--enforce-iam"]
    command += ["--state", str(state), "--ready-file", str(ready), "--slots", "4"]
    with (state / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        until(lambda: ready.exists() or process.poll() is not None, timeout_s=60)
        target = Target(f"http://127.0.0.1:{port}")
        template, assets = read_snapshot()
        parameters = {"KeylessOwner": "local"}
        outputs = deploy(template, assets=assets, parameters=parameters, target=target)
        yield Deployed(target, outputs)
    finally:
        process.terminate()
        process.wait(30)

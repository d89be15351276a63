"""Fixtures: an account with the resources of a deployment, and the core over them."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import boto3
import botocore.session
import pytest

from clearstem.recipes import RECIPES
from clearstem.service import CLIENT_CONFIG, Service
from clearstem.settings import Settings
from tests.emulator import Account

# An execution that is over at once: what is tested here ends before any stage.
_MACHINE = {"StartAt": "Done", "States": {"Done": {"Type": "Succeed"}}}
_INDEXES = {
    "by_owner": ("owner", "owner_sort"),
    "by_open": ("open", "updated_at"),
    "by_connection": ("connection_id", "pk"),
}


@pytest.fixture(scope="session", autouse=True)
def _one_loader() -> Iterator[None]:
    # Reading the services' descriptions anew would be most of a new session's first call.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.session, "create_loader", cache(botocore.session.create_loader))
        yield


class _Session(boto3.Session):
    """A session that acts for one account after another and keeps the clients it made.

    Making them takes longer than what most tests ask of them.
    """

    def __init__(self, region: str) -> None:
        super().__init__(
            aws_access_key_id="0" * 12,
            aws_secret_access_key="local",
            region_name=region,
            botocore_session=botocore.session.Session(),
        )
        self._kept: dict[str, Any] = {}

    def of(self, account: str) -> "_Session":
        """Itself, whose clients sign their next requests for an account."""
        self.get_credentials().access_key = account
        return self

    def client(self, service: str, **options: Any) -> Any:
        """A client as the core makes it; any other is not kept."""
        if options != {"config": CLIENT_CONFIG}:
            return super().client(service, **options)
        if service not in self._kept:
            self._kept[service] = super().client(service, **options)
        return self._kept[service]


@cache
def _session(endpoint: str, region: str) -> _Session:
    # A client has its endpoint from the environment it is made in: the session is that one's.
    return _Session(region)


@pytest.fixture
def session(aws: Account, monkeypatch: pytest.MonkeyPatch) -> boto3.Session:
    """A boto3 session of the account."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.endpoint)
    return _session(aws.endpoint, aws.region).of(aws.number)


@pytest.fixture
def settings(aws: Account, session: boto3.Session) -> Settings:
    """The names of the resources that the account has, made by this fixture."""
    s3, steps, sqs, dynamodb = (
        session.client(name, config=CLIENT_CONFIG)
        for name in ("s3", "stepfunctions", "sqs", "dynamodb")
    )
    create_table(dynamodb)
    for name in ("uploads", "work", "tracks", "drop"):
        s3.create_bucket(Bucket=f"{name}-{aws.number}")
    machines = {
        name: steps.create_state_machine(
            name=name,
            definition=json.dumps(_MACHINE),
            roleArn=f"arn:aws:iam::{aws.number}:role/{name}",
        )["stateMachineArn"]
        for name in RECIPES
    }
    queues = [sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("orders", "given-up")]
    return Settings(
        table="clearstem",
        uploads_bucket=f"uploads-{aws.number}",
        work_bucket=f"work-{aws.number}",
        tracks_bucket=f"tracks-{aws.number}",
        drop_bucket=f"drop-{aws.number}",
        separate_state_machine_arn=machines["separate"],
        denoise_state_machine_arn=machines["denoise"],
        websocket_url=aws.endpoint,
        keyless_owner="local",
        stream_downloads=True,
        webhook_allow_loopback=True,
        webhook_queue_url=queues[0],
        webhook_dead_letters_url=queues[1],
    )


@pytest.fixture
def service(settings: Settings, session: boto3.Session) -> Service:
    """The core over the account's resources."""
    return Service.over(settings, session=session)


@pytest.fixture
def deployed(service: Service, aws: Account, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """The service as a handler composes it, from the environment alone."""
    from functions import changes, push, rest, webhook, wiring

    service = replace(service, settings=replace(service.settings, stream_downloads=False))
    settings = service.settings
    environment = {
        "AWS_ACCESS_KEY_ID": aws.number,
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_DEFAULT_REGION": aws.region,
        "CLEARSTEM_TABLE": settings.table,
        "CLEARSTEM_UPLOADS_BUCKET": settings.uploads_bucket,
        "CLEARSTEM_WORK_BUCKET": settings.work_bucket,
        "CLEARSTEM_TRACKS_BUCKET": settings.tracks_bucket,
        "CLEARSTEM_DROP_BUCKET": settings.drop_bucket,
        "CLEARSTEM_SEPARATE_STATE_MACHINE_ARN": settings.separate_state_machine_arn,
        "CLEARSTEM_DENOISE_STATE_MACHINE_ARN": settings.denoise_state_machine_arn,
        "CLEARSTEM_WEBSOCKET_URL": settings.websocket_url,
        "CLEARSTEM_WEBHOOK_QUEUE_URL": settings.webhook_queue_url,
        "CLEARSTEM_WEBHOOK_DEAD_LETTERS_URL": settings.webhook_dead_letters_url,
        "CLEARSTEM_KEYLESS_OWNER": "",
        "POWERTOOLS_SERVICE_NAME": "clearstem-test",
        "POWERTOOLS_METRICS_NAMESPACE": "clearstem",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    makers = (push._broadcast, changes._hearer, webhook._courier)
    for cached in (wiring.service, rest._gateway, *makers):
        cached.cache_clear()
    # Mangum takes the thread's event loop, which Lambda's process keeps for ever.
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield service
    asyncio.set_event_loop(None)
    loop.close()


def create_table(dynamodb: Any) -> None:
    """The table of a deployment."""
    names = sorted({"pk", "sk", *(name for keys in _INDEXES.values() for name in keys)})
    dynamodb.create_table(
        TableName="clearstem",
        AttributeDefinitions=[{"AttributeName": n, "AttributeType": "S"} for n in names],
        KeySchema=_key_schema("pk", "sk"),
        GlobalSecondaryIndexes=[
            {
                "IndexName": index,
                "KeySchema": _key_schema(*keys),
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
            for index, keys in _INDEXES.items()
        ],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )


def _key_schema(partition: str, sort: str) -> list[dict[str, str]]:
    return [
        {"AttributeName": partition, "KeyType": "HASH"},
        {"AttributeName": sort, "KeyType": "RANGE"},
    ]

"""What many tests of the core need."""

import boto3
import botocore.session
import pytest
from botocore.loaders import Loader

from tests.emulator import Account

# One for all: a session of its own would read the descriptions of the services
# anew, which takes longer than most tests here.
_LOADER = Loader()


@pytest.fixture
def session(aws: Account, monkeypatch: pytest.MonkeyPatch) -> boto3.Session:
    """A boto3 session of the account."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.endpoint)
    return session_of(aws)


def session_of(aws: Account) -> boto3.Session:
    """A new session of an account."""
    core = botocore.session.Session()
    core.register_component("data_loader", _LOADER)
    return boto3.Session(
        botocore_session=core,
        aws_access_key_id=aws.number,
        aws_secret_access_key="local",
        region_name=aws.region,
    )

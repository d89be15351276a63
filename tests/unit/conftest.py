"""What tests of one table's adapters need."""

from typing import Any

import boto3
import pytest

from clearstem.service import CLIENT_CONFIG
from tests.resources import create_table


@pytest.fixture
def dynamodb(session: boto3.Session) -> Any:
    """A client of an account that has the table and nothing else, in a third of the time."""
    client = session.client("dynamodb", config=CLIENT_CONFIG)
    create_table(client)
    return client

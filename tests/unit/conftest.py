"""What tests of one table's adapters need."""

from typing import Any

import boto3
import pytest

from clearstem.job_table import JobTable
from clearstem.service import CLIENT_CONFIG
from tests.resources import create_table
from tests.unit.memory_jobs import MemoryJobs


@pytest.fixture
def dynamodb(session: boto3.Session) -> Any:
    """A client of an account that has the table and nothing else, in a third of the time."""
    client = session.client("dynamodb", config=CLIENT_CONFIG)
    create_table(client)
    return client


@pytest.fixture
def table(dynamodb: Any) -> JobTable:
    """The jobs of that account."""
    return JobTable(dynamodb, "clearstem")


@pytest.fixture(params=["memory", "dynamodb"])
def jobs(request: pytest.FixtureRequest) -> MemoryJobs | JobTable:
    """Jobs in memory and in DynamoDB: what both are asked is their contract."""
    if request.param == "memory":
        return MemoryJobs()
    table: JobTable = request.getfixturevalue("table")
    return table

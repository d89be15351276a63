"""Faults of ours and of AWS: what callers are told, and whether to try again."""

from dataclasses import replace
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from fastapi.testclient import TestClient

from clearstem.job_table import JobTable
from clearstem.service import Service
from functions.rest import create_app
from tests.problems import refusal


def test_a_fault_of_the_table_is_told_to_everyone_who_waits(service: Service) -> None:
    app = create_app(replace(service, jobs=replace(service.jobs, table="no-such-table")))
    with TestClient(app, raise_server_exceptions=False) as api:
        answer = api.get(f"/job/{uuid4()}")
    assert refusal(answer) == (500, "Internal server error")


OVERLOADED = ClientError(
    {
        "Error": {"Code": "ProvisionedThroughputExceededException", "Message": "secret"},
        "ResponseMetadata": {"HTTPStatusCode": 400},
    },
    "GetItem",
)
CANCELLED = ClientError(
    {
        "Error": {"Code": "TransactionCanceledException", "Message": "secret"},
        "ResponseMetadata": {"HTTPStatusCode": 400},
        "CancellationReasons": [{"Code": "None"}, {"Code": "ThrottlingError"}],  # type: ignore[typeddict-unknown-key]
    },
    "TransactWriteItems",
)
BROKEN = ClientError(
    {
        "Error": {"Code": "InternalServerError", "Message": "secret"},
        "ResponseMetadata": {"HTTPStatusCode": 500},
    },
    "GetItem",
)


@pytest.mark.parametrize(
    "fault",
    [OVERLOADED, CANCELLED, BROKEN, EndpointConnectionError(endpoint_url="https://table")],
    ids=["throttled", "throttled in part", "broken", "unreachable"],
)
def test_what_may_pass_is_worth_another_try(
    service: Service, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr(JobTable, "get_many", fail)
    with TestClient(create_app(service), raise_server_exceptions=False) as api:
        answer = api.get(f"/job/{uuid4()}")
    assert answer.headers["Retry-After"] == "1"
    assert answer.json()["name"] == "Clearstem.BackendUnavailable"
    assert (answer.status_code, "secret" in answer.text) == (503, False)

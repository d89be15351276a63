"""An owner's history from any place on, as a dialect with offsets asks for it."""

from typing import Any

import pytest

from clearstem.job_table import JobTable
from tests.unit.examples import a_job, at


@pytest.fixture
def table(dynamodb: Any) -> JobTable:
    return JobTable(dynamodb, "clearstem")


def test_the_history_is_given_from_any_place_in_batches(table):
    made = [f"{n:08x}-0000-4000-8000-000000000000" for n in range(205)]
    for n, job_id in enumerate(made):
        table.create(a_job(job_id, created_at=at(n)))
    made.reverse()

    def ids(offset: int, limit: int | None) -> list[list[str]]:
        batches = table.history_from("ada", offset=offset, limit=limit)
        return [[job.job_id for job in jobs] for jobs in batches]

    assert ids(0, None) == [made[:100], made[100:200], made[200:]]
    assert ids(150, 10) == [made[150:160]]
    assert ids(100, 101) == [made[100:200], made[200:201]]
    assert ids(204, None) == [made[204:]]
    assert ids(205, None) == ids(10**9, 5) == []


def test_what_is_skipped_of_the_history_is_not_read(table):
    for n in range(3):
        table.create(a_job(f"{n:08x}-0000-4000-8000-000000000000", created_at=at(n)))
    reads = []
    event, events = "provide-client-params.dynamodb.BatchGetItem", table.client.meta.events

    def count(params, **_):
        reads.append(len(params["RequestItems"][table.table]["Keys"]))

    events.register(event, count)
    try:
        assert [len(jobs) for jobs in table.history_from("ada", offset=2, limit=5)] == [1]
    finally:
        events.unregister(event, count)  # other tests have the client after this one
    assert reads == [1]

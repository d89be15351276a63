"""Who watches what, and how it is forgotten."""

from typing import Any

import pytest

from clearstem.accounts import Accounts
from clearstem.connections import Connection, ConnectionTable, subscribed
from clearstem.job_table import JobTable
from tests.unit.examples import JOB_ID, START, a_job


@pytest.fixture
def connections(dynamodb: Any) -> ConnectionTable:
    return ConnectionTable(dynamodb, "clearstem")


def connection(name: str = "L0SM9cOFvHcCIhw=", *, job_id: str | None = None) -> Connection:
    return Connection(name, owner="ada", dialect="pipeline", job_id=job_id)


def watch(connections: ConnectionTable, watcher: Connection, *, job_id: str = JOB_ID) -> None:
    """Let a connection watch a job, and have been told its state."""
    connections.watch(watcher, job_id=job_id, at=START)
    connections.greet(watcher.connection_id, job_id=job_id)


def test_a_connection_is_remembered_and_watches_nothing_yet(connections):
    connections.open(connection(), at=START)
    assert connections.get("L0SM9cOFvHcCIhw=") == connection()
    assert connections.watchers(JOB_ID) == ()


def test_a_connection_that_never_was_is_none(connections):
    assert connections.get("nobody") is None


def test_everyone_who_watches_a_job_is_found_and_nobody_else(connections):
    JobTable(connections.client, connections.table).create(a_job())
    for name in ("one", "two", "three"):
        connections.open(connection(name, job_id=JOB_ID), at=START)
    watch(connections, connection("one", job_id=JOB_ID))
    watch(connections, connection("two", job_id=JOB_ID))
    watch(connections, connection("three"), job_id="another")
    assert connections.watchers(JOB_ID) == (
        connection("one", job_id=JOB_ID),
        connection("two", job_id=JOB_ID),
    )


def test_a_connection_that_watches_twice_is_told_once(connections):
    for _ in range(2):
        watch(connections, connection())
    assert connections.watchers(JOB_ID) == (connection(),)


def test_a_watcher_that_was_not_told_the_jobs_state_is_not_told_of_changes(connections):
    connections.watch(connection(), job_id=JOB_ID, at=START)
    assert connections.watchers(JOB_ID) == ()
    connections.greet(connection().connection_id, job_id=JOB_ID)
    assert connections.watchers(JOB_ID) == (connection(),)
    connections.stir(JOB_ID, at=START)
    assert connections.watchers(JOB_ID) == ()


def test_a_subscription_is_news_until_its_watcher_was_greeted(connections):
    connections.open(connection(), at=START)
    connections.watch(connection(), job_id=JOB_ID, at=START)
    JobTable(connections.client, connections.table).create(a_job())
    news = [(JOB_ID, connection())]
    assert _news(connections) == news
    connections.greet(connection().connection_id, job_id=JOB_ID)
    assert _news(connections) == []
    connections.stir(JOB_ID, at=START)
    assert _news(connections) == news


def _news(connections: ConnectionTable) -> list[tuple[str, Connection]]:
    items = connections.client.scan(TableName=connections.table)["Items"]
    return [found for found in map(subscribed, items) if found is not None]


def test_a_closed_connection_is_forgotten_with_all_it_watched(connections):
    for name in ("one", "two"):
        connections.open(connection(name), at=START)
        for job_id in ("job-1", "job-2"):
            watch(connections, connection(name), job_id=job_id)
    connections.close("one")
    assert connections.get("one") is None
    assert connections.watchers("job-1") == connections.watchers("job-2") == (connection("two"),)
    assert connections.get("two") == connection("two")


def test_closing_twice_or_closing_nobody_does_nothing(connections):
    connections.open(connection("two"), at=START)
    connections.open(connection("one"), at=START)
    for _ in range(2):
        connections.close("one")
    connections.close("nobody")
    assert connections.get("two") is not None


def test_what_is_never_closed_expires_after_the_two_hours_of_a_socket(connections):
    connections.open(connection(), at=START)
    connections.watch(connection(), job_id=JOB_ID, at=START)
    items = connections.client.scan(TableName=connections.table)["Items"]
    lives = {int(item["ttl"]["N"]) - int(START.timestamp()) for item in items}
    assert len(items) == 2
    assert min(lives) > 2 * 3600
    assert max(lives) < 3 * 3600


def test_a_connection_shows_in_no_owners_history(connections):
    connections.open(connection(), at=START)
    connections.watch(connection(), job_id=JOB_ID, at=START)
    table = connections.client, connections.table
    assert JobTable(*table).history("ada", limit=10).jobs == ()
    assert Accounts(*table).keys("ada") == ()

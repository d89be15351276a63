"""What is asked again, how often, after how long, and what is told in the end."""

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearstem.client import (
    BadRequest,
    Client,
    ClientError,
    Conflict,
    NotAllowed,
    NotFound,
    Refused,
    Retry,
    ServerFailed,
    TooManyRequests,
    UnexpectedAnswer,
    Unreachable,
)
from clearstem.client.retrying import retry_after_s
from tests.client.documents import JOB_ID, PATH, running
from tests.client.driven import QUICK, Driven
from tests.client.scripted import Asked, Says, Scripted

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_call_is_made_again_until_it_succeeds(
    client: Driven, server: Scripted, status: int
) -> None:
    server.on("GET", PATH, Says(status), Says(status), Says(200, running(5)))
    assert client.call(server.url, "job", JOB_ID) == running(5)
    assert len(server.asked) == 3


def test_each_attempt_bears_a_token_of_its_own(client: Driven, server: Scripted) -> None:
    server.on("GET", PATH, Says(503), Says(503), Says(200, running(5)))
    tokens = iter(("first", "second", "third"))
    client.call(server.url, "job", JOB_ID, token=lambda: next(tokens))
    shown = [asked.headers["authorization"] for asked in server.asked]
    assert shown == ["Bearer first", "Bearer second", "Bearer third"]


def test_a_server_is_not_asked_again_before_the_time_it_names(
    client: Driven, server: Scripted
) -> None:
    server.on("GET", PATH, Says(429, headers={"retry-after": "1"}), Says(200, running(5)))
    begun = time.monotonic()
    client.call(server.url, "job", JOB_ID)
    assert 1.0 <= time.monotonic() - begun < 3.0


def test_a_server_that_asks_for_too_long_a_wait_is_not_waited_for(
    client: Driven, server: Scripted
) -> None:
    server.on("GET", PATH, Says(503, headers={"retry-after": "3600"}))
    with pytest.raises(ServerFailed) as refused:
        client.call(server.url, "job", JOB_ID)
    assert (refused.value.retry_after_s, len(server.asked)) == (3600, 1)


def test_patience_ends_and_the_last_refusal_is_told(client: Driven, server: Scripted) -> None:
    body = {"detail": "120 requests a minute", "title": "Too fast"}
    server.on("GET", PATH, Says(429, body, {"X-Request-Id": "r-17"}))
    with pytest.raises(TooManyRequests, match="120 requests") as refused:
        client.call(server.url, "job", JOB_ID)
    assert len(server.asked) == 4
    told = refused.value
    assert (told.status, told.name, told.request_id) == (429, "Too fast", "r-17")
    assert told.message == "120 requests a minute"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((400, BadRequest), (413, BadRequest), (401, NotAllowed), (403, NotAllowed)),
        *((404, NotFound), (410, NotFound), (409, Conflict), (500, ServerFailed)),
    ],
)
def test_what_time_does_not_heal_is_told_at_once(
    client: Driven, server: Scripted, status: int, kind: type[Refused]
) -> None:
    server.on("GET", PATH, Says(status, {"detail": "no"}))
    with pytest.raises(kind, match="no"):
        client.call(server.url, "job", JOB_ID)
    assert len(server.asked) == 1


def test_all_attempts_of_a_post_bear_one_key_and_the_next_call_another(
    client: Driven, server: Scripted
) -> None:
    server.on("POST", "/jobs", Says(503), Says(200, running(0), cut_after=3), Says(200, running(0)))
    for _ in range(2):
        client.call(server.url, "submit", "u-1", labels={"album": "Demos"})
    keys = [asked.headers["idempotency-key"] for asked in server.of("POST", "/jobs")]
    assert len(keys) == 4
    assert len(set(keys[:3])) == 1 and keys[3] != keys[0]
    assert len({asked.body for asked in server.asked}) == 1


def test_the_callers_own_key_is_sent_as_it_is(client: Driven, server: Scripted) -> None:
    server.on("POST", "/jobs", Says(200, running(0)))
    client.call(server.url, "submit", "u-1", idempotency_key="order-7")
    assert server.asked[0].headers["idempotency-key"] == "order-7"


def test_many_jobs_go_under_the_callers_own_key_and_what_follows_from_it(
    client: Driven, server: Scripted
) -> None:
    server.on("POST", "/jobs/batch", Says(200, {"results": []}))
    jobs: list[Any] = [{"upload_id": f"u-{number}"} for number in range(250)]
    for longest in ("x" * 255, "x" * 255, "y"):
        client.call(server.url, "submit_many", jobs, idempotency_key=longest)
    keys = [asked.headers["idempotency-key"] for asked in server.asked]
    assert (keys[0], keys[6]) == ("x" * 255, "y")
    assert keys[:3] == keys[3:6]
    assert len(set(keys)) == 6
    assert max(map(len, keys)) == 255


@pytest.mark.parametrize("name", ["cancel", "retry"])
def test_whatever_is_posted_bears_a_key(client: Driven, server: Scripted, name: str) -> None:
    server.on("POST", f"{PATH}/{name}", Says(502), Says(200, running(0)))
    client.call(server.url, name, JOB_ID)
    first, second = (asked.headers["idempotency-key"] for asked in server.asked)
    assert first == second


def test_a_post_whose_twin_is_still_under_way_waits_for_it(
    client: Driven, server: Scripted
) -> None:
    under_way = Says(409, {"detail": "still under way"}, {"retry-after": "0"})
    server.on("POST", "/jobs", under_way, Says(200, running(0)))
    assert client.call(server.url, "submit", "u-1") == running(0)


def test_a_twin_is_waited_for_however_few_the_attempts_and_not_for_ever(
    client: Driven, server: Scripted
) -> None:
    under_way = Says(409, {"detail": "still under way"}, {"retry-after": "0"})
    impatient = replace(QUICK, attempts=1, twin_s=0.2)
    server.on("POST", "/jobs", *[under_way] * 8, Says(200, running(0)))
    assert client.call(server.url, "submit", "u-1", retry=impatient) == running(0)
    server.on("POST", "/jobs/batch", under_way)
    with pytest.raises(Conflict, match="under way"):
        client.call(server.url, "submit_many", [{"upload_id": "u-1"}], retry=impatient)
    assert len(server.of("POST", "/jobs/batch")) > 8


def test_an_answer_that_breaks_off_is_asked_for_again(client: Driven, server: Scripted) -> None:
    server.on("GET", PATH, Says(200, running(5), cut_after=10), Says(200, running(5)))
    assert client.call(server.url, "job", JOB_ID) == running(5)


def test_no_server_is_told_with_where_it_should_be(client: Driven) -> None:
    with pytest.raises(Unreachable, match=r"no server answers at http://127\.0\.0\.1:9: "):
        client.call("http://127.0.0.1:9", "job", JOB_ID)


@pytest.mark.parametrize("body", [b"<html>sign in</html>", {"percent": 3}, [1]])
def test_an_answer_of_something_else_is_no_job(
    client: Driven, server: Scripted, body: object
) -> None:
    server.on("GET", PATH, Says(200, body))
    with pytest.raises(UnexpectedAnswer, match="JobDocument"):
        client.call(server.url, "job", JOB_ID)


def test_pages_are_followed_by_their_cursors_and_no_further_than_they_are_read(
    server: Scripted,
) -> None:
    def page(asked: Asked) -> Says:
        cursor = "c2" if "cursor=c1" in asked.query else "c1"
        jobs = [running(1.0), running(2.0)] if cursor == "c2" else []  # a page may be empty
        return Says(200, {"jobs": jobs, "next_cursor": cursor})

    server.on("GET", "/jobs", page)
    with Client(server.url, key="cs_1") as client:
        jobs = client.jobs(status="failed", labels={"album": "a b", "take": "2"})
        found = [next(jobs)["percent"] for _ in range(2)]
    assert found == [1.0, 2.0]
    query = "status=failed&label=album%3Aa+b&label=take%3A2&limit=20"
    assert [asked.query for asked in server.asked] == [query, f"{query}&cursor=c1"]
    assert {asked.headers["x-api-key"] for asked in server.asked} == {"cs_1"}


def test_all_pages_of_a_log_are_read(client: Driven, server: Scripted) -> None:
    path = f"{PATH}/events"

    def page(asked: Asked) -> Says:
        after = int(asked.query.removeprefix("after="))
        events: list[Any] = [{"number": after + 1}]
        return Says(200, {"events": events, "last": after + 1, "more": after < 7})

    server.on("GET", path, page)
    found = client.call(server.url, "events", JOB_ID, after=5)
    assert [event["number"] for event in found] == [6, 7, 8]


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host", "http://", ""])
def test_an_address_that_is_none_is_refused_before_a_call(url: str) -> None:
    with pytest.raises(ClientError, match="is not http"):
        Client(url)


@given(st.integers(1, 400), st.floats(0, 1, exclude_max=True))
def test_waits_are_jittered_within_a_doubling_bound(failures: int, drawn: float) -> None:
    retry = Retry(attempts=1000, base_s=0.5, cap_s=20, draw=lambda: drawn)
    wait_s = retry.wait_s(failures)
    assert wait_s == drawn * min(20, 0.5 * 2 ** min(failures - 1, 10))


def test_what_the_server_asks_for_is_the_least_that_is_waited() -> None:
    asked = TooManyRequests("slow", status=429, name="", retry_after_s=7.0)
    waits = [Retry(draw=lambda drawn=drawn: drawn).wait_s(1, asked) for drawn in (0.0, 1.0)]
    assert waits == [7.0, 7.5]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("12", 12.0),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(NOW - timedelta(seconds=90), usegmt=True), 0.0),
        ("soon", None),
        ("-3", None),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", None),
        ("Mon, 01 Jan 2024 00:00:99999999999999999999 GMT", None),
        ("Mon, 01 Jan 2024 00:00:00 +99999999999999", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after_s(header, now=NOW) == seconds

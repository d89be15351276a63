"""Token buckets: as many calls as a bucket on paper allows, whoever races."""

import math
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from uuid import uuid4

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clearstem.limits import OwnRates, RateLimits
from clearstem.quotas import Quotas

START = datetime(2026, 11, 21, tzinfo=UTC)


def limits(dynamodb, *, per_s: float = 2.0, burst: int = 5) -> RateLimits:
    return RateLimits(dynamodb, "clearstem", per_s=per_s, burst=burst)


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def taken(bucket: RateLimits, owner: str, *, at: datetime) -> int | None:
    """None if there was a token, else after how many seconds to ask again."""
    allowance = bucket.count(owner, at=at)
    return (allowance.wait_s or None) if allowance else None


def test_a_burst_is_let_through_and_the_next_call_told_when_to_come(dynamodb):
    bucket = limits(dynamodb, per_s=0.25, burst=3)
    assert [taken(bucket, "ada", at=START) for _ in range(5)] == [None, None, None, 4, 4]
    assert taken(bucket, "ada", at=after(3.9)) == 1
    assert taken(bucket, "ada", at=after(4)) is None


def test_whoever_waits_as_long_as_he_was_told_is_let_through(dynamodb):
    bucket, at = limits(dynamodb, per_s=0.7, burst=2), START
    for _ in range(8):
        wait_s = taken(bucket, "ada", at=at)
        if wait_s is not None:
            assert wait_s >= 1
            at += timedelta(seconds=wait_s)
            assert taken(bucket, "ada", at=at) is None


def test_owners_have_buckets_of_their_own(dynamodb):
    bucket = limits(dynamodb, burst=1)
    assert [taken(bucket, owner, at=START) for owner in ("ada", "ada", "bob")] == [None, 1, None]


def test_no_rate_is_no_limit_and_no_write(dynamodb):
    bucket = limits(dynamodb, per_s=0)
    assert [taken(bucket, "ada", at=START) for _ in range(50)] == [None] * 50
    assert dynamodb.scan(TableName="clearstem")["Items"] == []


def test_a_bucket_that_nobody_uses_expires_once_it_is_full(dynamodb):
    limits(dynamodb, per_s=0.001, burst=5).count("ada", at=START)
    (item,) = dynamodb.scan(TableName="clearstem")["Items"]
    assert int(item["ttl"]["N"]) >= START.timestamp() + 5 / 0.001
    assert (item["pk"]["S"], item["sk"]["S"]) == ("RATE#ada", "RATE")


def test_a_clock_that_runs_behind_finds_no_more_than_there_is(dynamodb):
    bucket = limits(dynamodb, per_s=1, burst=2)
    bucket.count("ada", at=after(10))
    assert taken(bucket, "ada", at=after(9)) == 1
    assert [taken(bucket, "ada", at=after(10)) for _ in range(2)] == [None, 1]


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    per_s=st.sampled_from([0.5, 1.0, 4.0]),
    burst=st.integers(1, 6),
    pauses_ms=st.lists(st.integers(0, 40).map(lambda n: n * 125), max_size=25),
)
def test_the_bucket_lets_through_what_a_bucket_on_paper_does(dynamodb, per_s, burst, pauses_ms):
    bucket, owner = limits(dynamodb, per_s=per_s, burst=burst), str(uuid4())
    tokens, at = float(burst), START
    for pause_ms in pauses_ms:
        at += timedelta(milliseconds=pause_ms)
        tokens = min(burst, tokens + per_s * pause_ms / 1000)
        wait_s = taken(bucket, owner, at=at)
        if tokens >= 1:
            tokens -= 1
            assert wait_s is None
        else:
            assert wait_s == max(1, math.ceil((1 - tokens) / per_s))


def test_callers_who_race_share_the_tokens_there_are(dynamodb):
    bucket, start = limits(dynamodb, per_s=0.001, burst=7), Barrier(4)

    def call(_: int) -> list[int | None]:
        start.wait()
        return [taken(bucket, "ada", at=START) for _ in range(5)]

    with ThreadPoolExecutor(4) as threads:
        answers = [answer for some in threads.map(call, range(4)) for answer in some]
    assert answers.count(None) == 7
    assert all(answer == 1000 for answer in answers if answer is not None)


def test_the_refusal_says_the_limit_and_the_wait(dynamodb):
    bucket = limits(dynamodb, per_s=0.5, burst=1)
    bucket.count("ada", at=START)
    allowance = bucket.count("ada", at=START)
    assert allowance is not None
    refusal = bucket.refusal(allowance, at=START)
    assert str(refusal) == "more than 0.5 requests a second; try again in 2 s"
    assert refusal.retry_after_s == 2


def test_an_own_rate_is_read_once_a_minute_and_then_anew(dynamodb):
    quotas, clock = Quotas(dynamodb, "clearstem"), [0.0]
    everybodys = limits(dynamodb, per_s=2.0, burst=5)
    rates = OwnRates(quotas, monotonic=lambda: clock[0])
    assert rates.known(everybodys, "ada") is None
    assert rates.look_up(everybodys, "ada") == everybodys == rates.known(everybodys, "ada")
    quotas.settle("ada", requests_per_s=7.5)
    clock[0] = 59.0
    assert rates.known(everybodys, "ada") == everybodys
    clock[0] = 61.0
    assert rates.known(everybodys, "ada") is None
    own = rates.look_up(everybodys, "ada")
    assert (own.per_s, own.burst) == (7.5, 5)
    assert rates.known(everybodys, "bob") is None

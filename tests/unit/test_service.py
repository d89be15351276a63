"""How the core is put together."""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import boto3
import botocore.session
import pytest

from clearstem.service import Service, new_id, utc_now
from clearstem.settings import Settings
from tests.emulator import Account

SETTINGS = Settings("table", "uploads", "work", "tracks", "drop", progress_interval_s=0.5)


def session_of(aws: Account) -> boto3.Session:
    """A new session, as a new process has one."""
    return boto3.Session(
        botocore_session=botocore.session.Session(),
        aws_access_key_id=aws.number,
        aws_secret_access_key="local",
        region_name=aws.region,
    )


@pytest.fixture
def many_switches() -> Iterator[None]:
    """Threads that take turns as often as they can."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.usefixtures("many_switches")
def test_every_thread_knows_the_same_errors_from_the_first_call_on(aws: Account):
    # botocore makes a client's error classes when they are first asked for: made
    # twice, one thread's `except` would let the other's errors through.
    for _ in range(8):
        service = Service.over(SETTINGS, session=session_of(aws))
        gate = Barrier(8)

        def error(client=service.jobs.client, gate=gate) -> type[Exception]:
            gate.wait()
            return client.exceptions.TransactionCanceledException

        with ThreadPoolExecutor(8) as pool:
            assert len({future.result() for future in [pool.submit(error) for _ in range(8)]}) == 1


def test_a_reporter_keeps_the_interval_of_the_settings(aws: Account):
    service = Service.over(SETTINGS, session=session_of(aws))
    assert service.reporter("job-1", stage="normalization", monotonic=float).interval_s == 0.5


def test_times_are_in_utc_and_ids_are_uuids():
    assert utc_now().utcoffset().total_seconds() == 0
    assert len({new_id() for _ in range(10)}) == 10
    assert len(new_id()) == 36

"""A sweep with more to do than fits into its time."""

import json
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from clearstem.jobs import JobState
from clearstem.options import SeparateOptions
from clearstem.service import Service
from functions import sweep
from tests.emulator import until
from tests.fakes import Invocation, recorded
from tests.submitted import uploaded


@dataclass
class Hurried(Invocation):
    """An invocation in which two seconds pass from each look at the clock to the next."""

    remaining_ms: int = 240_000

    def get_remaining_time_in_millis(self) -> int:
        self.remaining_ms -= 2_000
        return self.remaining_ms


def swept(capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, int], list[str], bool]:
    """What a turn answers, what it counted, and whether its time sufficed."""
    capsys.readouterr()
    invocation = Hurried()
    found = sweep.handler(recorded("schedule_sweep"), invocation)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line[0] == "{"]
    return found, [name for line in lines for name in line], invocation.remaining_ms > 0


def test_a_part_with_too_much_to_do_stops_in_time_and_the_next_turn_goes_on(
    deployed: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each has its share, and the sweep is complete: nobody needs to be woken."""
    # Recorded an hour ago, and their executions ended without a word.
    old = replace(deployed, now=lambda: deployed.now() - timedelta(hours=1))
    jobs = []
    for _ in range(60):
        upload = deployed.uploads.get(uploaded(deployed), owner="local")
        jobs.append(old.intake.submit_upload(upload, SeparateOptions()).job_id)
    until(lambda: deployed.executions["separate"].at_work() == frozenset())
    # One that comes last in the order of the parts has expired besides.
    expired = deployed.jobs.change(jobs[-1], lambda j: j.cancel(at=deployed.now()))
    past = deployed.now() - timedelta(minutes=1)
    deployed.jobs.change(expired.job_id, lambda j: replace(j, expires_at=past))

    found, counted, in_time = swept(capsys)
    assert in_time
    assert set(found) == {"silence_s", "woken", "ended", "swept", "stirred", "removed"}
    assert 0 < found["swept"] < 59
    assert found["removed"] == 1
    assert {"SweepsCompleted", "SweepPartsCutShort"} <= set(counted)

    settled = found["swept"]
    for _ in range(10):
        if settled == 59:
            break
        found, _, in_time = swept(capsys)
        assert in_time
        settled += found["swept"]
    assert settled == 59
    assert all(deployed.jobs.get(job).state is JobState.FAILED for job in jobs[:-1])
    _, counted, _ = swept(capsys)
    assert "SweepPartsCutShort" not in counted

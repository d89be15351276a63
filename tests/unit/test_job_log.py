"""A job's log: what is written into it, and that nothing is lost or doubled."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from clearstem.errors import InvalidRequest
from clearstem.facts import Failure
from clearstem.job_events import EventKind, JobEvent, logged
from clearstem.job_log import LARGEST_NUMBER, JobLog
from clearstem.job_table import JobTable
from clearstem.jobs import Job
from clearstem.recipes import DECOMPOSITION, SEPARATION
from clearstem.table_keys import event_sort
from tests.unit.examples import JOB_ID, STAGES, a_job, after, at, result_of

TABLE = "clearstem"


@pytest.fixture
def table(dynamodb: Any) -> JobTable:
    return JobTable(dynamodb, TABLE)


@pytest.fixture
def log(dynamodb: Any) -> JobLog:
    return JobLog(dynamodb, TABLE)


def separating() -> Job:
    return a_job().start_stage(SEPARATION, at=at(1))


def made(before: Job | None, after: Job) -> list[tuple[EventKind, str | None]]:
    """Kind and stage of the events that a change makes."""
    return [(event.kind, event.stage) for event in logged(before, after)[1]]


def test_a_job_that_is_new_is_queued():
    job, (event,) = logged(None, a_job())
    assert event == JobEvent(1, EventKind.QUEUED, at(0), attempt=1, percent=0.0)
    assert job.logged == 1


def test_the_first_stage_starts_the_job():
    kinds = [(EventKind.STARTED, None), (EventKind.STAGE_STARTED, SEPARATION)]
    assert made(a_job(), separating()) == kinds


def test_a_stage_that_is_done_is_told_with_how_far_the_job_is():
    before = separating()
    job = before.complete_stage(SEPARATION, result_of(SEPARATION), at=at(9))
    _, (event,) = logged(before, job)
    assert (event.kind, event.stage, event.at) == (EventKind.STAGE_COMPLETED, SEPARATION, at(9))
    assert event.percent == job.percent


def test_a_stage_that_is_going_to_be_run_again_says_why():
    before = separating()
    _, (event,) = logged(before, before.stumble(SEPARATION, error="killed", at=at(2)))
    assert (event.kind, event.error) == (EventKind.STAGE_INTERRUPTED, "killed")


@pytest.mark.parametrize(
    ("end", "kind"),
    [
        (lambda job: job.cancel(at=at(3)), EventKind.CANCELLED),
        (lambda job: job.fail(Failure(SEPARATION, "X", "no sound"), at=at(3)), EventKind.FAILED),
    ],
)
def test_an_end_is_one_event_whatever_it_does_to_the_stage(
    end: Callable[[Job], Job], kind: EventKind
):
    _, (event,) = logged(separating(), end(separating()))
    assert event.kind is kind and event.kind.ends
    assert event.error == ("no sound" if kind is EventKind.FAILED else None)


def test_the_last_stage_is_told_before_the_success():
    before = after(a_job(), *STAGES[:3]).start_stage(STAGES[3], at=at(5))
    kinds = [kind for kind, _ in made(before, after(before, STAGES[3]))]
    assert kinds == [EventKind.STAGE_COMPLETED, EventKind.SUCCEEDED]


def test_only_every_tenth_of_the_work_is_an_event():
    job, events = separating(), []
    for step in range(1000):
        moved = job.advance(SEPARATION, fraction=step / 1000, at=at(step))
        job, made_now = logged(job, moved)
        events += made_now
    # The first stage is six elevenths of the work: it passes 10, 20 … 50 %.
    assert [int(event.percent) for event in events] == [10, 20, 30, 40, 50]
    assert {event.kind for event in events} == {EventKind.PROGRESS}


def test_results_that_are_deleted_are_told_with_their_time():
    done = after(a_job(), *STAGES)
    _, (event,) = logged(done, done.delete_results(at=at(99)))
    assert (event.kind, event.at) == (EventKind.RESULTS_DELETED, at(99))


def test_a_retry_is_one_event_that_names_the_stage_it_goes_on_from():
    failed = after(a_job(), SEPARATION).start_stage(DECOMPOSITION, at=at(2))
    failed = failed.fail(Failure(DECOMPOSITION, "X", "?"), at=at(3))
    _, (event,) = logged(failed, failed.retry(at=at(4)))
    assert (event.kind, event.stage, event.attempt) == (EventKind.RETRIED, DECOMPOSITION, 2)


def test_a_life_is_logged_in_order_and_without_a_gap(table, log):
    table.create(a_job())
    for stage in STAGES:
        table.change(JOB_ID, lambda job, s=stage: job.start_stage(s, at=at(1)))
        table.change(JOB_ID, lambda job, s=stage: job.advance(s, fraction=0.3, at=at(2)))
        table.change(JOB_ID, lambda job, s=stage: job.complete_stage(s, result_of(s), at=at(3)))
    events = log.after(0, job_id=JOB_ID)
    assert [event.number for event in events] == list(range(1, len(events) + 1))
    assert table.get(JOB_ID).logged == len(events)
    assert events[0].kind is EventKind.QUEUED and events[-1].kind is EventKind.SUCCEEDED
    assert all(one.at <= two.at and one.percent <= two.percent for one, two in pairwise(events))


def test_a_reader_goes_on_where_it_stopped(table, log):
    table.create(a_job())
    table.change(JOB_ID, lambda job: after(job, *STAGES[:2]))
    table.change(JOB_ID, lambda job: job.cancel(at=at(9)))
    whole = log.after(0, job_id=JOB_ID)
    seen: list[JobEvent] = []
    while page := log.after(len(seen), job_id=JOB_ID, limit=2):
        assert len(page) <= 2
        seen += page
    assert tuple(seen) == whole
    assert log.after(0, job_id="nobody") == ()


def test_entries_sort_as_their_numbers_do():
    numbers = [1, 2, 9, 10, 99, 100, 12345, LARGEST_NUMBER]
    assert sorted(map(event_sort, numbers)) == [event_sort(number) for number in numbers]


@pytest.mark.parametrize(("number", "limit"), [(-1, 5), (LARGEST_NUMBER, 5), (0, 0), (0, 101)])
def test_a_place_that_no_log_has_is_refused(log, number, limit):
    with pytest.raises(InvalidRequest, match="is outside"):
        log.after(number, job_id=JOB_ID, limit=limit)


def test_a_change_that_is_not_stored_leaves_no_event(table, log, aws):
    # One transaction: the record cannot change without the event, nor the event stand alone.
    table.create(a_job())
    client = aws.client("dynamodb")
    record = client.get_item(
        TableName=TABLE, Key={"pk": {"S": f"JOB#{JOB_ID}"}, "sk": {"S": "JOB"}}
    )
    with Stubber(client) as answers:
        answers.add_response("get_item", {"Item": record["Item"]})
        answers.add_client_error("transact_write_items", "InternalServerError")
        with pytest.raises(ClientError):
            JobTable(client, TABLE).change(JOB_ID, lambda job: job.cancel(at=at(1)))
    assert [event.kind for event in log.after(0, job_id=JOB_ID)] == [EventKind.QUEUED]

"""Jobs in DynamoDB: who wins, who waits, and what a list shows.

The first part is the contract that the table shares with its stand-in in memory.
"""

import base64
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from botocore.stub import Stubber
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clearstem.errors import (
    Contention,
    IllegalTransition,
    InvalidRequest,
    JobExists,
    JobNotFound,
)
from clearstem.facts import Failure
from clearstem.job_table import JobTable, Page
from clearstem.jobs import Job, JobState
from clearstem.recipes import COMPOSITION, SEPARATION
from tests.unit.examples import JOB_ID, STAGES, a_job, after, at
from tests.unit.memory_jobs import MemoryJobs

TABLE = "clearstem"


@pytest.fixture(params=["memory", "dynamodb"])
def jobs(request: pytest.FixtureRequest) -> MemoryJobs | JobTable:
    if request.param == "memory":
        return MemoryJobs()
    return JobTable(request.getfixturevalue("dynamodb"), TABLE)


@pytest.fixture
def table(dynamodb: Any) -> JobTable:
    return JobTable(dynamodb, TABLE)


def started(job: Job) -> Job:
    return job.start_stage(SEPARATION, at=at(1))


def slightly_on(job: Job) -> Job:
    """Progress too small to be an event: a write of the record alone."""
    return job.advance(SEPARATION, fraction=0.01, at=at(9))


def test_a_job_is_stored_whole_with_the_next_ticket(jobs):
    first, second = (jobs.create(a_job(name)) for name in ("one", "two"))
    assert 0 < first.ticket < second.ticket
    assert first == replace(a_job("one"), ticket=first.ticket, logged=1)
    assert jobs.get("one") == first


def test_a_second_job_of_the_same_id_is_refused_and_the_first_is_left(jobs):
    first = jobs.create(a_job())
    with pytest.raises(JobExists, match=JOB_ID):
        jobs.create(replace(a_job(), owner="eve"))
    assert jobs.get(JOB_ID) == first


def test_a_job_that_nobody_submitted_is_not_found(jobs):
    with pytest.raises(JobNotFound):
        jobs.get("nobody")
    with pytest.raises(JobNotFound):
        jobs.change("nobody", started)


def test_a_change_is_stored_and_counted(jobs):
    ticket = jobs.create(a_job()).ticket
    changed = jobs.change(JOB_ID, started)
    assert changed == replace(started(a_job()), ticket=ticket, version=1, logged=3)
    assert jobs.get(JOB_ID) == changed
    done = jobs.change(JOB_ID, lambda _: after(changed, *STAGES))
    assert (done.state, done.version) == (JobState.SUCCEEDED, 2)


def test_what_changes_nothing_is_not_counted(jobs):
    jobs.create(a_job())
    before = jobs.change(JOB_ID, started)
    assert jobs.change(JOB_ID, started) == before
    assert jobs.get(JOB_ID).version == 1


def test_a_change_that_is_illegal_leaves_the_job_as_it_is(jobs):
    before = jobs.create(a_job())
    with pytest.raises(IllegalTransition):
        jobs.change(JOB_ID, lambda job: job.start_stage(COMPOSITION, at=at(1)))
    assert jobs.get(JOB_ID) == before


def test_those_before_it_in_the_queue_are_ahead_of_a_job(jobs):
    queue = [jobs.create(a_job(f"job-{n}")) for n in range(4)]
    assert [jobs.jobs_ahead(job) for job in queue] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "leave",
    [
        started,
        lambda job: job.cancel(at=at(1)),
        lambda job: job.fail(Failure(None, "X", "?"), at=at(1)),
    ],
    ids=["start", "cancel", "fail"],
)
def test_a_job_that_leaves_the_queue_lets_the_others_move_up_once(jobs, leave):
    first, second, third = (jobs.create(a_job(f"job-{n}")) for n in range(3))
    gone = jobs.change(first.job_id, leave)
    jobs.change(first.job_id, lambda job: job.advance(SEPARATION, fraction=0.5, at=at(2)))
    jobs.change(first.job_id, lambda job: job.cancel(at=at(3)))
    assert [jobs.jobs_ahead(job) for job in (gone, second, third)] == [0, 0, 1]


def test_a_refused_submission_takes_no_place_in_the_queue(jobs):
    jobs.create(a_job())
    with pytest.raises(JobExists):
        jobs.create(a_job())
    assert jobs.jobs_ahead(jobs.create(a_job("next"))) == 1


def line(jobs, table_jobs):
    """The names of the jobs that wait, in the order of their turns."""
    waiting = [jobs.get(name) for name in table_jobs]
    ahead = {job.job_id: jobs.jobs_ahead(job) for job in waiting if job.state is JobState.QUEUED}
    assert sorted(ahead.values()) == list(range(len(ahead)))
    return sorted(ahead, key=ahead.__getitem__)


def test_owners_take_turns_however_many_jobs_they_bring(jobs):
    names = [f"ada-{n}" for n in range(4)] + ["bob-0", "bob-1", "eve-0"]
    for name in names:
        jobs.create(a_job(name, owner=name[:3]))
    assert line(jobs, names) == ["ada-0", "bob-0", "eve-0", "ada-1", "bob-1", "ada-2", "ada-3"]


def test_who_comes_late_waits_for_the_round_that_is_served_and_no_more(jobs):
    names = [f"ada-{n}" for n in range(5)]
    for name in names:
        jobs.create(a_job(name, owner="ada"))
    for name in names[:3]:
        jobs.change(name, started)
    for n in range(2):
        jobs.create(a_job(f"bob-{n}", owner="bob"))
    assert line(jobs, [*names, "bob-0", "bob-1"]) == ["ada-3", "bob-0", "ada-4", "bob-1"]


def test_the_place_of_a_job_is_known_before_it_is_made(table):
    for n in range(3):
        table.create(a_job(f"ada-{n}", owner="ada"))
    for owner in ("bob", "ada"):
        expected = table.jobs_before_next("separate", owner)
        assert table.jobs_ahead(table.create(a_job(f"{owner}-next", owner=owner))) == expected
    assert table.jobs_before_next("denoise", "ada") == 0


def test_work_done_while_nobody_waited_is_not_held_against_anyone(jobs):
    for n in range(9):
        jobs.create(a_job(f"ada-{n}", owner="ada"))
        jobs.change(f"ada-{n}", started)
    names = ["bob-0", "bob-1", "ada-9"]
    for name in names:
        jobs.create(a_job(name, owner=name[:3]))
    assert line(jobs, names) == ["bob-0", "ada-9", "bob-1"]


def test_a_job_that_runs_has_nobody_ahead(jobs):
    for n in range(3):
        jobs.create(a_job(f"job-{n}"))
    assert jobs.jobs_ahead(jobs.change("job-2", started)) == 0


def test_unfinished_jobs_are_those_that_are_not_over_and_have_long_been_quiet(jobs):
    for seconds, name in ((30, "queued"), (10, "running"), (20, "over"), (50, "young")):
        jobs.create(a_job(name, created_at=at(seconds)))
    jobs.change("running", lambda job: job.start_stage(SEPARATION, at=at(40)))
    jobs.change("over", lambda job: job.cancel(at=at(21)))
    assert [job.job_id for job in jobs.unfinished("separate", before=at(50))] == [
        "queued",
        "running",
    ]
    assert list(jobs.unfinished("denoise", before=at(50))) == []


def test_a_job_that_ends_while_the_unfinished_are_read_is_left_out(jobs):
    for seconds in range(3):
        jobs.create(a_job(f"job-{seconds}", created_at=at(seconds)))
    found = jobs.unfinished("separate", before=at(60))
    assert next(found).job_id == "job-0"
    jobs.change("job-1", lambda job: job.cancel(at=at(5)))
    assert [job.job_id for job in found] == ["job-2"]


def test_a_job_that_is_deleted_while_the_unfinished_are_read_is_left_out(table):
    for seconds in range(3):
        table.create(a_job(f"job-{seconds}", created_at=at(seconds)))
    found = table.unfinished("separate", before=at(60))
    assert next(found).job_id == "job-0"
    record = {"pk": {"S": "JOB#job-1"}, "sk": {"S": "JOB"}}
    table.client.delete_item(TableName=table.table, Key=record)
    assert [job.job_id for job in found] == ["job-2"]


def test_a_job_that_is_over_drops_out_of_the_index_of_unfinished_ones(table):
    # It would be read, and paid for, at every sweep for as long as it is kept.
    for name in ("over", "open"):
        table.create(a_job(name))
    table.change("over", lambda job: job.cancel(at=at(1)))
    indexed = table.client.scan(TableName=table.table, IndexName="by_open")["Items"]
    assert [item["pk"]["S"] for item in indexed if item["sk"]["S"] == "JOB"] == ["JOB#open"]


def interfering(table: JobTable, *, times: int) -> Callable[[Job], Job]:
    """A transition during which somebody else changes the job, so many times."""
    left = [times]

    def advance(job: Job) -> Job:
        if left[0]:
            left[0] -= 1
            moved = job.stages[0].fraction + 0.01
            table.change(JOB_ID, lambda j: j.advance(SEPARATION, fraction=moved, at=at(2)))
        return job.stumble(SEPARATION, error="killed", at=at(3))

    return advance


@pytest.mark.parametrize("times", [1, 3])
def test_who_loses_a_race_decides_again_on_what_is_there_now(table, times):
    table.create(a_job())
    table.change(JOB_ID, started)
    job = table.change(JOB_ID, interfering(table, times=times))
    assert job.stage(SEPARATION).error == "killed"
    assert job.stage(SEPARATION).fraction == pytest.approx(0.01 * times)
    assert job == table.get(JOB_ID)
    assert job.version == 1 + times + 1


def test_who_loses_every_race_says_so_and_writes_nothing(table):
    table.create(a_job())
    table.change(JOB_ID, started)
    with pytest.raises(Contention, match=f"job {JOB_ID} changed under 12 attempts"):
        table.change(JOB_ID, interfering(table, times=100))
    assert table.get(JOB_ID).stage(SEPARATION).error is None


def test_two_who_take_a_job_from_the_queue_count_once(table):
    table.create(a_job())
    waiting = table.create(a_job("next"))

    def cancelled_while_starting(job: Job) -> Job:
        table.change(JOB_ID, lambda j: j.cancel(at=at(1)))
        return started(job)

    job = table.change(JOB_ID, cancelled_while_starting)
    assert job.state is JobState.CANCELLED
    assert table.jobs_ahead(waiting) == 0
    assert table.jobs_ahead(table.create(a_job("last"))) == 1


def cancelled_for(*codes: str) -> dict[str, Any]:
    """What a cancelled transaction says of each of its items."""
    return {"modeled_fields": {"CancellationReasons": [{"Code": code} for code in codes]}}


def a_ticket_for(answers: Stubber) -> None:
    """An empty queue; the owner's turn is in the third round, with the seventh ticket."""
    answers.add_response("query", {"Items": []})
    answers.add_response("get_item", {"Item": {"turn": {"N": "2"}}})
    answers.add_response("update_item", {"Attributes": {"turn": {"N": "3"}}})
    answers.add_response("update_item", {"Attributes": {"issued": {"N": "7"}}})


def test_a_submission_that_meets_another_transaction_is_made_a_moment_later(aws):
    # DynamoDB cancels one of two transactions on an item; the emulator has no such moment.
    client = aws.client("dynamodb")
    with Stubber(client) as answers:
        a_ticket_for(answers)
        answers.add_response("get_item", {})  # limits of the owner's own
        reasons = cancelled_for("TransactionConflict", "None")
        answers.add_client_error("transact_write_items", "TransactionCanceledException", **reasons)
        answers.add_response("batch_get_item", {"Responses": {TABLE: []}})
        answers.add_response("get_item", {})
        answers.add_response("transact_write_items", {})
        assert JobTable(client, TABLE).create(a_job()).ticket == 3_000_000_000_007
        answers.assert_no_pending_responses()


def test_a_transaction_that_fails_for_good_is_not_tried_again(aws):
    client = aws.client("dynamodb")
    with Stubber(client) as answers:
        a_ticket_for(answers)
        answers.add_response("get_item", {})
        reasons = cancelled_for("ValidationError", "None")
        answers.add_client_error("transact_write_items", "TransactionCanceledException", **reasons)
        with pytest.raises(client.exceptions.TransactionCanceledException):
            JobTable(client, TABLE).create(a_job())


def test_the_next_in_the_queue_are_known_by_name(table):
    queue = [table.create(a_job(f"job-{n}")) for n in range(5)]
    table.change("job-2", lambda job: job.cancel(at=at(1)))
    behind = table.jobs_behind("separate", ticket=queue[0].ticket, limit=2)
    assert behind == ("job-1", "job-3")
    assert table.jobs_behind("separate", ticket=queue[-1].ticket, limit=2) == ()
    assert table.jobs_behind("denoise", ticket=0, limit=2) == ()


LEAVING = {
    "start": started,
    "cancel": lambda job: job.cancel(at=at(1)),
    "fail": lambda job: job.fail(Failure(None, "X", "?"), at=at(1)),
    "finish": lambda job: after(job, *STAGES),
}


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(st.tuples(st.sampled_from(["submit", *LEAVING]), st.integers(0, 9))))
def test_whatever_comes_and_goes_in_whatever_order_those_ahead_are_counted(jobs, steps):
    submitted: list[str] = []
    for step, which in steps:
        if step == "submit":
            submitted.append(jobs.create(a_job(str(uuid4()))).job_id)
        elif submitted:
            jobs.change(submitted[which % len(submitted)], LEAVING[step])
    stored = [jobs.get(job_id) for job_id in submitted]
    waiting = [job for job in stored if job.state is JobState.QUEUED]
    told = {job.job_id: jobs.jobs_ahead(job) for job in stored}
    for job in waiting:
        jobs.change(job.job_id, LEAVING["cancel"])  # the next example finds an empty queue
    assert [told[job.job_id] for job in waiting] == list(range(len(waiting)))
    assert all(told[job.job_id] == 0 for job in stored if job not in waiting)


@pytest.mark.parametrize(
    "error", ["TransactionConflictException", "ConditionalCheckFailedException"]
)
def test_a_write_that_is_refused_for_the_moment_is_tried_again(table, aws, error):
    table.create(a_job())
    table.change(JOB_ID, started)
    client = aws.client("dynamodb")
    record = client.get_item(
        TableName=TABLE, Key={"pk": {"S": f"JOB#{JOB_ID}"}, "sk": {"S": "JOB"}}
    )
    with Stubber(client) as answers:
        answers.add_response("get_item", {"Item": record["Item"]})
        answers.add_client_error("put_item", error)
        answers.add_response("get_item", {"Item": record["Item"]})
        answers.add_response("put_item", {})
        job = JobTable(client, TABLE).change(JOB_ID, slightly_on)
        answers.assert_no_pending_responses()
    assert job.version == 2


def test_the_history_is_an_owners_own_newest_first(table):
    for seconds in (2, 0, 1):
        table.create(a_job(f"ada-{seconds}", created_at=at(seconds)))
        table.create(a_job(f"bob-{seconds}", owner="bob", created_at=at(seconds)))
    page = table.history("ada", limit=10)
    assert [job.job_id for job in page.jobs] == ["ada-2", "ada-1", "ada-0"]
    assert page.cursor is None
    assert table.history("eve", limit=10).jobs == ()


def test_the_history_shows_jobs_as_they_are_now(table):
    table.create(a_job())
    running = table.change(JOB_ID, started)
    assert table.history("ada", limit=1).jobs == (running,)


def test_fractions_of_a_second_keep_the_order_of_the_history(table):
    # "…00+00:00" and "…00.5+00:00" must sort as the times do.
    for seconds in (1.0, 0.5, 0.000001, 0.0):
        table.create(a_job(f"at-{seconds}", created_at=at(seconds)))
    names = [job.job_id for job in table.history("ada", limit=10).jobs]
    assert names == ["at-1.0", "at-0.5", "at-1e-06", "at-0.0"]


def paged(table: JobTable, *, limit: int) -> Iterator[Page]:
    """The pages of Ada's history, each asked for by the cursor of the one before."""
    page = table.history("ada", limit=limit)
    yield page
    while page.cursor is not None:
        page = table.history("ada", limit=limit, cursor=page.cursor)
        yield page


def test_pages_of_the_history_give_every_job_once(table):
    for seconds in range(7):
        table.create(a_job(f"job-{seconds}", created_at=at(seconds)))
    for limit in (1, 2, 3, 7, 8):
        pages = list(paged(table, limit=limit))
        assert max(len(page.jobs) for page in pages) <= limit
        names = [job.job_id for page in pages for job in page.jobs]
        assert names == [f"job-{n}" for n in (6, 5, 4, 3, 2, 1, 0)]


def test_a_limit_outside_1_to_100_is_refused(table):
    for limit in (0, -1, 101):
        with pytest.raises(InvalidRequest, match=f"limit {limit} is outside 1 to 100"):
            table.history("ada", limit=limit)


def encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


def test_a_cursor_that_this_api_never_gave_out_is_refused(table):
    no_text = ("x", "%%%", "кот", "/w==", "=")
    no_place = ("null", "[" * 5000, "JOB#2026", "JOB##", "JOB#2026#1#2", "KEY#2026#abc")
    no_place += ("JOB#2026#" + "a" * 2000, "JOB#" + "0" * 2000 + "#abc", "JOB#2026#кот")
    for cursor in (*no_text, *map(encoded, no_place)):
        with pytest.raises(InvalidRequest, match="is not one this API gave out"):
            table.history("ada", limit=1, cursor=cursor)


def test_a_cursor_of_a_job_that_is_no_more_goes_on_from_its_place(table):
    for seconds in range(3):
        table.create(a_job(f"job-{seconds}", created_at=at(seconds)))
    gone = encoded(f"JOB#{at(1.5).isoformat()}#job-gone")
    names = [job.job_id for job in table.history("ada", limit=10, cursor=gone).jobs]
    assert names == ["job-1", "job-0"]


def test_another_owners_cursor_opens_none_of_their_jobs(table):
    for seconds in range(3):
        table.create(a_job(f"ada-{seconds}", created_at=at(seconds)))
        table.create(a_job(f"bob-{seconds}", owner="bob", created_at=at(seconds)))
    stolen = table.history("ada", limit=1).cursor
    assert {job.owner for job in table.history("bob", limit=10, cursor=stolen).jobs} == {"bob"}


def test_many_jobs_are_read_at_once_and_what_is_not_there_is_left_out(table):
    stored = {name: table.create(a_job(name)) for name in ("one", "two")}
    assert table.get_many(["two", "nobody", "one"]) == stored
    assert table.get_many([]) == {}


def test_a_list_is_asked_for_until_it_is_whole(table, aws):
    created = table.create(a_job())
    client = aws.client("dynamodb")
    key = {"pk": {"S": f"JOB#{JOB_ID}"}, "sk": {"S": "JOB"}}
    record = client.get_item(TableName=TABLE, Key=key)["Item"]
    with Stubber(client) as answers:
        nothing = {"Responses": {}, "UnprocessedKeys": {TABLE: {"Keys": [key]}}}
        answers.add_response("batch_get_item", nothing)
        answers.add_response("batch_get_item", {"Responses": {TABLE: [record]}})
        assert JobTable(client, TABLE).get_many([JOB_ID]) == {JOB_ID: created}

"""Jobs in DynamoDB: what is stored, who wins a race, and what a list shows.

What the fixture `jobs` is asked is the contract the table shares with its stand-in in memory.
"""

import base64
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from botocore.stub import Stubber

from clearstem.errors import Contention, IllegalTransition, InvalidRequest, JobExists, JobNotFound
from clearstem.job_table import JobTable, Page
from clearstem.jobs import Job, JobState
from clearstem.recipes import COMPOSITION, SEPARATION
from tests.unit.examples import JOB_ID, STAGES, a_job, after, at, started

TABLE = "clearstem"


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
        for _ in ("why it was lost", "as of the first"):
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

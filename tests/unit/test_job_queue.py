"""The jobs that wait, in DynamoDB: whose turn it is, who is ahead, and who is left over.

What the fixture `jobs` is asked is the contract the table shares with its stand-in in memory.
"""

from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clearstem.errors import JobExists
from clearstem.facts import Failure
from clearstem.jobs import Job, JobState
from clearstem.recipes import SEPARATION
from tests.unit.examples import JOB_ID, STAGES, a_job, after, at, started


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
    found = jobs.unfinished("separate", before=at(50), without={"queued"})
    assert [job.job_id for job in found] == ["running"]


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

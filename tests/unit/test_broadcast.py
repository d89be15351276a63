"""Snapshots to everyone who watches, and what becomes of those who left."""

import threading
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest

from clearstem.broadcast import Broadcast
from clearstem.connections import Connection, ConnectionTable
from clearstem.job_table import JobTable
from clearstem.jobs import Job
from clearstem.recipes import SEPARATION
from tests.unit.examples import JOB_ID, STAGES, START, a_job, after, at


class Gone(Exception):
    """Stands for API Gateway's GoneException."""


@dataclass
class Sockets:
    """A management API on which some connections are gone, for so many calls."""

    gone: dict[str, int] = field(default_factory=dict)
    frames: list[tuple[str, bytes]] = field(default_factory=list)
    hung_up: list[str] = field(default_factory=list)
    exceptions: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(GoneException=Gone))

    def post_to_connection(self, *, ConnectionId: str, Data: bytes) -> None:
        self._reach(ConnectionId)
        self.frames.append((ConnectionId, Data))

    def delete_connection(self, *, ConnectionId: str) -> None:
        self._reach(ConnectionId)
        self.hung_up.append(ConnectionId)

    def _reach(self, connection_id: str) -> None:
        if self.gone.get(connection_id, 0) > 0:
            self.gone[connection_id] -= 1
            raise Gone


@pytest.fixture
def broadcast(dynamodb: Any) -> Broadcast:
    """Tells in two dialects, and waits for nobody."""
    table = dynamodb, "clearstem"
    JobTable(*table).create(a_job())
    render = {
        "pipeline": lambda job, ahead: f"{job.state} {job.percent}",
        "audo": lambda job, ahead: f"état {job.state}",
    }
    return Broadcast(JobTable(*table), ConnectionTable(*table), Sockets(), render, lambda _: None)


def watch(
    broadcast: Broadcast,
    name: str,
    *,
    job_id: str | None = None,
    dialect: str = "pipeline",
    greeted: bool = True,
) -> Connection:
    connection = Connection(name, "ada", dialect, job_id)
    broadcast.connections.open(connection, at=START)
    broadcast.connections.watch(connection, job_id=JOB_ID, at=START)
    if greeted:
        broadcast.connections.greet(name, job_id=JOB_ID)
    return connection


def finish(broadcast: Broadcast) -> None:
    broadcast.jobs.change(JOB_ID, lambda job: after(job, *STAGES))


def test_everyone_who_watches_is_told_in_their_own_dialect(broadcast):
    watch(broadcast, "one")
    watch(broadcast, "two", dialect="audo")
    assert broadcast.tell_watchers(JOB_ID) == 2
    frames = sorted(broadcast.sockets.frames)  # nobody is told before another
    assert frames == [("one", b"queued 0.0"), ("two", "état queued".encode())]


def test_a_late_record_of_the_stream_tells_the_job_as_it_is_now(broadcast):
    watch(broadcast, "one")
    broadcast.jobs.change(JOB_ID, lambda job: job.start_stage(SEPARATION, at=at(1)))
    broadcast.tell_watchers(JOB_ID)
    broadcast.tell_watchers(JOB_ID)
    assert [frame for _, frame in broadcast.sockets.frames] == [b"running 0.0"] * 2


def test_a_connection_of_one_job_is_closed_after_the_last_frame(broadcast):
    watch(broadcast, "one", job_id=JOB_ID)
    watch(broadcast, "all")
    broadcast.tell_watchers(JOB_ID)
    assert broadcast.sockets.hung_up == []
    finish(broadcast)
    assert broadcast.tell_watchers(JOB_ID) == 2
    assert sorted(broadcast.sockets.frames[2:]) == [
        ("all", b"succeeded 100.0"),
        ("one", b"succeeded 100.0"),
    ]
    assert broadcast.sockets.hung_up == ["one"]


def test_who_comes_after_the_end_is_told_the_end(broadcast):
    finish(broadcast)
    assert broadcast.greet(watch(broadcast, "late", job_id=JOB_ID), job_id=JOB_ID)
    assert broadcast.sockets.frames == [("late", b"succeeded 100.0")]
    assert broadcast.sockets.hung_up == ["late"]


def test_a_new_watcher_is_greeted_before_it_is_told_of_changes(broadcast):
    new = watch(broadcast, "new", greeted=False)
    assert broadcast.tell_watchers(JOB_ID) == 0
    assert broadcast.greet(new, job_id=JOB_ID)
    assert broadcast.tell_watchers(JOB_ID) == 1
    assert broadcast.sockets.frames == [("new", b"queued 0.0")] * 2


def test_what_changes_while_a_watcher_is_greeted_is_sent_after_it_and_once(broadcast):
    """The change's own push passed over who was not greeted yet."""
    new = watch(broadcast, "new", greeted=False)

    def started(job: Job) -> Job:
        return job.start_stage(SEPARATION, at=at(1))

    post, changes = broadcast.sockets.post_to_connection, iter([started])

    def slow(**frame: Any) -> None:
        post(**frame)
        for change in changes:
            broadcast.jobs.change(JOB_ID, change)
            assert broadcast.tell_watchers(JOB_ID) == 0

    broadcast.sockets.post_to_connection = slow
    assert broadcast.greet(new, job_id=JOB_ID)
    assert broadcast.sockets.frames == [("new", b"queued 0.0"), ("new", b"running 0.0")]


def test_who_left_while_it_was_greeted_does_not_come_back(broadcast):
    new = watch(broadcast, "new", greeted=False)
    broadcast.connections.close("new")
    broadcast.greet(new, job_id=JOB_ID)
    assert broadcast.connections.watchers(JOB_ID) == ()


@pytest.mark.parametrize("refusals", [1, 2])
def test_a_connection_whose_handshake_is_not_over_is_waited_for(broadcast, refusals):
    connection = watch(broadcast, "new")
    broadcast.sockets.gone["new"] = refusals
    assert broadcast.greet(connection, job_id=JOB_ID)
    assert broadcast.sockets.frames == [("new", b"queued 0.0")]
    assert broadcast.connections.get("new") == connection


def test_a_connection_that_stays_gone_is_forgotten_and_the_others_are_told(broadcast):
    for name in ("gone", "here"):
        watch(broadcast, name)
    broadcast.sockets.gone["gone"] = 99
    assert broadcast.tell_watchers(JOB_ID) == 1
    assert [c.connection_id for c in broadcast.connections.watchers(JOB_ID)] == ["here"]
    assert broadcast.connections.get("gone") is None


def test_a_watcher_who_is_slow_to_reach_keeps_nobody_waiting(broadcast):
    told = threading.Event()
    names = [f"watcher {n}" for n in range(5)]
    for name in names:
        watch(broadcast, name)
    broadcast.sockets.gone[names[0]] = 1

    def until_the_others_are_told(_: float) -> None:
        assert told.wait(10)

    def post(*, ConnectionId: str, Data: bytes) -> None:
        Sockets.post_to_connection(broadcast.sockets, ConnectionId=ConnectionId, Data=Data)
        if len(broadcast.sockets.frames) == len(names) - 1:
            told.set()

    broadcast.sockets.post_to_connection = post
    assert replace(broadcast, sleep=until_the_others_are_told).tell_watchers(JOB_ID) == len(names)
    assert broadcast.sockets.frames[-1][0] == names[0]


def test_of_a_job_that_is_not_there_nobody_is_told(broadcast):
    connection = watch(broadcast, "one")
    assert broadcast.tell_watchers("nobody") == 0
    assert not broadcast.greet(connection, job_id="nobody")
    assert broadcast.sockets.frames == []

"""Sources that come from an address, results that go to one."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clearstem.errors import JobIsOver, SourceNotFetched
from clearstem.guarded import GuardedClient
from clearstem.jobs import JobState
from clearstem.options import DenoiseOptions
from clearstem.recipes import EXTRACTION
from clearstem.service import Service
from containers.remote import deliver, fetch_source
from containers.workspace import Workspace
from tests.hostile import RECORDING, HostileServer, hostile_server

SIGNED = "X-Amz-Signature=s3cret"


@pytest.fixture(scope="module")
def running() -> Iterator[HostileServer]:
    with hostile_server() as server:
        yield server


@pytest.fixture
def server(running: HostileServer) -> HostileServer:
    running.asked.clear()
    running.puts.clear()
    running.failures = 0
    return running


@pytest.fixture
def near(service: Service) -> Service:
    """A service whose users' addresses may lead to this machine."""
    settings = replace(
        service.settings,
        url_allow_loopback=True,
        url_idle_s=0.3,
        url_total_s=20.0,
        max_upload_bytes=100_000,
    )
    return replace(service, settings=settings)


@pytest.fixture
def space(near: Service, server: HostileServer, tmp_path: Path) -> Callable[..., Workspace]:
    """A running extraction of the recording at an address of the server."""

    def begun(path: str = "/a.wav", *, output: str | None = None) -> Workspace:
        job = near.intake.submit_url(
            server.url(path),
            DenoiseOptions(),
            owner="ada",
            output_url=server.url(output) if output else None,
        )
        reporter = near.reporter(job.job_id, stage=EXTRACTION, monotonic=time.monotonic)
        job = reporter.start()
        return Workspace(job, EXTRACTION, near.store, near.settings, tmp_path, {}, reporter.fetched)

    return begun


class Pauses:
    """Takes no time, and remembers how much it would have been."""

    def __init__(self) -> None:
        self.asked: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)


def fetch(space: Workspace, *, progress: Any = lambda *_: None) -> list[float]:
    pauses = Pauses()
    fetch_source(space, progress, sleep=pauses)
    return pauses.asked


def stored(space: Workspace) -> list[str]:
    bucket = space.settings.uploads_bucket
    found = space.store.client.list_objects_v2(Bucket=bucket).get("Contents", [])
    return [entry["Key"] for entry in found]


def test_a_fetched_source_lies_where_the_job_says_and_its_record_knows(near, space):
    running = space(f"/My%20song.wav?{SIGNED}")
    assert running.job.downloading
    assert fetch(running) == []
    assert running.job == near.jobs.get(running.job.job_id)
    source = running.job.source
    assert not running.job.downloading and running.job.state is JobState.RUNNING
    assert (source.file_name, source.extension) == ("My song.wav", "wav")
    assert source.size_bytes == len(RECORDING)
    assert running.source().read_bytes() == RECORDING
    assert stored(running) == [f"uploads/ada/{running.job.job_id}/source"]


def test_a_source_that_is_there_is_not_fetched_again(space, server):
    running = space()
    fetch(running)
    fetch(running)
    assert server.asked == ["/a.wav"]


def test_progress_counts_the_bytes_that_came(space):
    told: list[tuple[int, int]] = []
    fetch(space(), progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (len(RECORDING), len(RECORDING))
    assert told == sorted(told)


@pytest.mark.parametrize(
    ("path", "name", "extension"),
    [
        ("/get?id=1&name=attachment;%20filename%3D%22b.flac%22", "b.flac", "flac"),
        ("/get.php?name=attachment;%20filename%3D%22..%2F..%2Fb.mp3%22", "b.mp3", "mp3"),
        ("/get?type=audio/mpeg", "get.mp3", "mp3"),
        ("/get?type=audio/x-m4a;codecs%3Dmp4a", "get.m4a", "m4a"),
        ("/redirect?to=/c.ogg", "c.ogg", "ogg"),
        ("/?type=audio/wav", "recording.wav", "wav"),
    ],
)
def test_the_format_comes_from_the_address_or_from_its_answer(space, path, name, extension):
    running = space(path)
    assert running.job.source.extension == ""
    fetch(running)
    assert (running.job.source.file_name, running.job.source.extension) == (name, extension)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/404", "the address answered 404"),
        ("/403", "the address answered 403"),
        ("/page/a.wav", r"a web page \(HTML\)"),
        ("/text/a.wav", "a.wav is not a readable audio file"),
        ("/empty/a.wav", "a.wav is empty"),
        ("/a.txt", "names a format out of wav, mp3"),
        ("/announced/a.wav", "more than 100000 bytes"),
        ("/endless/a.wav", "more than 100000 bytes"),
        ("/slow-body/a.wav", "took longer than 1 s"),
        ("/slow-headers/a.wav", "took longer than 1 s"),
        ("/redirect?to=http://169.254.169.254/a.wav", "redirects to one that is not called"),
        ("/loop", "redirects more than 5 times"),
    ],
)
def test_an_address_that_gives_no_recording_fails_for_good_with_its_reason(space, path, reason):
    running = space(path + ("&" if "?" in path else "?") + SIGNED)
    hurried = GuardedClient(allow_loopback=True, total_s=1.0, idle_s=0.5)
    with pytest.raises(SourceNotFetched, match=reason) as caught:
        fetch_source(running, lambda *_: None, client=hurried)
    assert str(caught.value).startswith("the recording could not be fetched: ")
    assert "s3cret" not in str(caught.value)
    assert stored(running) == []
    assert running.job.source.size_bytes == 0


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/500", "the address answered 500"),
        ("/429", "the address answered 429"),
        ("/cut/a.wav", "the address broke off the connection"),
        ("/silent/a.wav", r"sent or took nothing for 0\.3 s"),
    ],
)
def test_what_may_pass_is_tried_four_times(space, server, path, reason):
    running = space(path)
    pauses, patient = Pauses(), GuardedClient(allow_loopback=True, total_s=60, idle_s=0.3)
    with pytest.raises(SourceNotFetched, match=rf"{reason} \(tried 4 times\)"):
        fetch_source(running, lambda *_: None, client=patient, sleep=pauses)
    assert (len(server.asked), pauses.asked) == (4, [1.0, 5.0, 20.0])
    assert stored(running) == []


def test_a_peer_that_uses_up_its_time_gets_no_more_attempts(space, server):
    running = space("/500")
    busy = GuardedClient(allow_loopback=True, total_s=0.5, idle_s=0.5)
    with pytest.raises(SourceNotFetched, match=r"\(tried 2 times\)"):
        fetch_source(running, lambda *_: None, client=busy, sleep=lambda _: time.sleep(0.6))
    assert len(server.asked) == 2


def test_a_source_that_comes_at_the_second_attempt_is_a_source(space, server):
    server.failures = 1
    running = space("/flaky/a.wav")
    assert fetch(running) == [1.0]
    assert running.source().read_bytes() == RECORDING


def test_a_job_cancelled_while_its_source_comes_leaves_nothing_behind(near, space):
    running = space()

    def cancelled(*_: int) -> None:
        near.jobs.change(running.job.job_id, lambda job: job.cancel(at=near.now()))
        raise JobIsOver("cancelled")

    with pytest.raises(JobIsOver):
        fetch(running, progress=cancelled)
    assert stored(running) == []


def test_a_job_cancelled_at_the_last_byte_does_not_go_on(near, space):
    running = space()

    def cancelled(done: int, total: int) -> None:
        if done == total:
            near.jobs.change(running.job.job_id, lambda job: job.cancel(at=near.now()))

    with pytest.raises(JobIsOver):
        fetch(running, progress=cancelled)


def put(space: Workspace, *, size: int = 5_000_000) -> tuple[str | None, list[float], bytes]:
    """What became of putting a result of that many bytes."""
    path = space.scratch / "clean.wav"
    path.write_bytes(RECORDING * (size // len(RECORDING)))
    pauses = Pauses()
    note = deliver(space, path, content_type="audio/wav", sleep=pauses)
    return note, pauses.asked, path.read_bytes()


def test_a_job_without_an_output_address_has_nothing_to_deliver(space, server):
    assert put(space())[0] is None
    assert server.puts == []


def test_a_delivered_result_came_whole_with_type_and_length(space, server):
    note, pauses, data = put(space(output=f"/taken?{SIGNED}"))
    assert (note, pauses) == (None, [])
    (taken,) = server.puts
    assert taken.body == data
    assert taken.headers["Content-Type"] == "audio/wav"
    assert taken.headers["Content-Length"] == str(len(data))
    assert "Transfer-Encoding" not in taken.headers


def test_a_result_that_is_taken_at_the_third_attempt_came_whole(space, server):
    server.failures = 2
    note, pauses, data = put(space(output="/flaky"))
    assert (note, pauses) == (None, [1.0, 5.0])
    assert [taken.body for taken in server.puts] == [data] * 3


@pytest.mark.parametrize(
    ("path", "attempts", "reason"),
    [
        ("/403", 1, "the address answered 403"),
        ("/404", 1, "the address answered 404"),
        ("/moved/303", 1, "the address answered 303"),
        ("/500", 4, "the address answered 500 (tried 4 times)"),
        ("/close", 4, "the address broke off the connection (tried 4 times)"),
    ],
)
def test_a_result_that_is_not_taken_is_a_note_and_no_failure(space, server, path, attempts, reason):
    note, pauses, _ = put(space(output=f"{path}?{SIGNED}"))
    assert note == f"the result was not put to the output address, only kept here: {reason}"
    assert (len(server.asked), len(pauses)) == (attempts, attempts - 1)


def test_an_output_name_that_turns_out_internal_is_a_note(near, space, server):
    running = space(output="/taken")
    strict = replace(near.settings, url_allow_loopback=False)
    running.settings = strict
    running.job = replace(running.job, output_url="https://localhost/taken")
    note, pauses, _ = put(running)
    assert note is not None and note.endswith("the address does not lead to a public host")
    assert (server.puts, pauses) == ([], [])

"""A job watched by whatever way gets through, to its end."""

from typing import Any

import pytest

from clearstem.client import Client, NotFound, Way
from clearstem.client.sse import EventNumbers
from tests.client.documents import JOB_ID, PATH, completed, running
from tests.client.driven import QUICK, Driven
from tests.client.scripted import Frames, Says, Scripted, Streams

DONE = completed()


def percents(states: list[Any]) -> list[float]:
    return [state["percent"] for state in states]


def test_states_are_pushed_up_to_the_last(client: Driven, server: Scripted) -> None:
    server.sockets = [Frames([running(1), running(1), running(40), DONE, running(99)])]
    states, watch = client.watch(server.url, JOB_ID)
    assert percents(states) == [1, 40, 100]
    assert (watch.way, watch.fallbacks) == (Way.WEBSOCKET, [])
    assert server.asked == []


def test_a_socket_that_breaks_is_opened_again_and_the_end_is_seen(
    client: Driven, server: Scripted
) -> None:
    server.sockets = [Frames([running(1)]), Frames([]), Frames([running(1), running(70)])]
    server.sockets += [Frames([DONE])]
    states, watch = client.watch(server.url, JOB_ID)
    assert percents(states) == [1, 70, 100]
    assert (watch.way, server.handshakes) == (Way.WEBSOCKET, 4)


def test_a_socket_that_brings_news_between_its_breaks_is_kept(
    client: Driven, server: Scripted
) -> None:
    percents_told = range(1, 2 * QUICK.attempts)
    server.sockets = [*(Frames([running(percent)]) for percent in percents_told), Frames([DONE])]
    states, watch = client.watch(server.url, JOB_ID)
    assert percents(states) == [*percents_told, 100]
    assert (watch.way, watch.fallbacks) == (Way.WEBSOCKET, [])


def test_an_open_socket_that_says_nothing_hides_no_end(client: Driven, server: Scripted) -> None:
    server.sockets = [Frames([running(1)], then_silent=True)]
    server.on("GET", PATH, Says(200, running(1)), Says(200, DONE))
    states, watch = client.watch(server.url, JOB_ID, quiet_s=0.05)
    assert percents(states) == [1, 100]
    assert watch.way is Way.WEBSOCKET


def test_other_messages_than_the_jobs_are_passed_over(client: Driven, server: Scripted) -> None:
    other = {**running(77), "job_id": "another"}
    server.sockets = [Frames([{"detail": "hello"}, [1], other, DONE])]
    assert percents(client.watch(server.url, JOB_ID)[0]) == [100]


def test_where_no_socket_opens_events_tell_of_each_change(client: Driven, server: Scripted) -> None:
    server.on("GET", f"{PATH}/events", Streams([1, 2, 3]))
    server.on("GET", PATH, *(Says(200, state) for state in (running(1), running(30), DONE)))
    states, watch = client.watch(server.url, JOB_ID)
    assert percents(states)[0] == 1 and percents(states)[-1] == 100
    assert watch.way is Way.EVENTS
    assert len(watch.fallbacks) == 1 and watch.fallbacks[0].startswith("websocket: ")
    # A handshake that is refused by its status is not tried again.
    assert server.handshakes == 1


def test_a_stream_that_breaks_goes_on_behind_the_last_event(
    client: Driven, server: Scripted
) -> None:
    path = f"{PATH}/events"
    cut = Says(
        200,
        b"id: 4\nevent: x\ndata: {}\n\nid: 5\nda",
        {"content-type": "text/event-stream"},
        cut_after=36,
    )
    server.on("GET", path, cut, Streams([5, 6]))
    server.on("GET", PATH, Says(200, running(1)), Says(200, running(10)), Says(200, DONE))
    states, watch = client.watch(server.url, JOB_ID)
    assert percents(states)[-1] == 100 and watch.way is Way.EVENTS
    first, second = server.of("GET", path)
    assert "last-event-id" not in first.headers
    assert second.headers["last-event-id"] == "4"
    assert second.headers["accept"] == "text/event-stream"


def test_a_stream_that_brings_news_between_its_breaks_is_kept(
    client: Driven, server: Scripted
) -> None:
    breaks = 2 * QUICK.attempts
    server.on("GET", f"{PATH}/events", *(Streams([number]) for number in range(1, breaks + 1)))
    # Two looks a stream: when it begins, and when it tells something.
    looks = [Says(200, running(number // 2)) for number in range(2 * breaks - 1)]
    server.on("GET", PATH, *looks, Says(200, DONE))
    states, watch = client.watch(server.url, JOB_ID)
    assert (percents(states)[-1], watch.way) == (100, Way.EVENTS)
    last_ids = [asked.headers.get("last-event-id") for asked in server.of("GET", f"{PATH}/events")]
    assert last_ids == [None, *map(str, range(1, breaks))]


def test_a_stream_without_news_time_and_again_is_given_up_for_polling(
    client: Driven, server: Scripted
) -> None:
    # As behind API Gateway: what there is, and the end.
    server.on("GET", f"{PATH}/events", Streams([1]))
    looks = [Says(200, running(1))] * (2 * QUICK.attempts + 2)
    server.on("GET", PATH, *looks, Says(200, running(60)), Says(200, DONE))
    states, watch = client.watch(server.url, JOB_ID, poll_s=0.01)
    assert percents(states) == [1, 60, 100]
    assert watch.way is Way.POLLING
    assert [reason.partition(":")[0] for reason in watch.fallbacks] == ["websocket", "events"]


@pytest.mark.parametrize(
    "answer", [Says(501, {"detail": "cannot stream"}), Says(200, {"events": []})]
)
def test_where_nothing_streams_the_job_is_polled(
    client: Driven, server: Scripted, answer: Says
) -> None:
    server.on("GET", f"{PATH}/events", answer)
    server.on(
        "GET", PATH, Says(200, running(1)), Says(503), Says(200, running(60)), Says(200, DONE)
    )
    states, watch = client.watch(server.url, JOB_ID, poll_s=0.01)
    assert percents(states) == [1, 60, 100]
    assert watch.way is Way.POLLING
    assert len(server.of("GET", f"{PATH}/events")) == 1


def test_a_finished_jobs_empty_stream_tells_its_end(client: Driven, server: Scripted) -> None:
    server.on("GET", f"{PATH}/events", Says(204))
    server.on("GET", PATH, Says(200, DONE))
    states, watch = client.watch(server.url, JOB_ID)
    assert (percents(states), watch.way) == ([100], Way.EVENTS)


def test_a_job_that_is_not_there_is_told_as_such(client: Driven, server: Scripted) -> None:
    with pytest.raises(NotFound):
        client.watch(server.url, JOB_ID)


def test_a_watch_that_is_left_closes_its_socket(server: Scripted) -> None:
    server.sockets = [Frames([running(1)], then_silent=True)]
    with Client(server.url) as client:
        watch = client.watch(JOB_ID)
        assert next(watch)["percent"] == 1
        watch.close()
        assert list(watch) == []


@pytest.mark.parametrize("ends", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_numbers_are_read_whatever_the_pieces_and_the_ends_of_lines(ends: bytes, size: int) -> None:
    lines = [b": ping", b"", b"id: 8", b"data: {}", b"", b"id:9", b"data: a", b"", b"data: b", b""]
    # A last line that shows the CR before it to be whole.
    text = ends.join([*lines, b"id: 10", b"data: not whole"])
    numbers = EventNumbers()
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    assert [number for piece in pieces for number in numbers.feed(piece)] == [8, 9]

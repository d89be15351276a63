"""A job's states as they come: pushed, else by its events, else by asking.

Three ways lead to the same documents. A way that breaks is tried again as long
as it still brings news; then the next one takes over. Whatever way it is, a
connection begins with the job's present state, so what happened while none was
open, the end above all, is not missed.
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from enum import StrEnum
from http import HTTPStatus
from typing import Final, cast
from urllib.parse import urlsplit, urlunsplit

from clearstem.client.calling import Caller
from clearstem.client.calls import Call, Socket, Streamed, is_error
from clearstem.client.documents import JobDocument, is_final
from clearstem.client.errors import ClientError, Refused, Unreachable
from clearstem.client.retrying import is_transient
from clearstem.client.sse import EventNumbers

# A socket may be open and dead; after so long without a word the job is read.
QUIET_S: Final = 30.0
POLL_S: Final = 1.0
# The server says something every 15 s on an event stream.
_SILENCE_S: Final = 45.0
_EVENT_STREAM: Final = "text/event-stream"

States = AsyncGenerator[JobDocument, None]


class Way(StrEnum):
    """How a watcher hears of a job."""

    WEBSOCKET = "websocket"
    EVENTS = "events"
    POLLING = "polling"


class WayFailed(Exception):
    """A way that leads nowhere; the message says why."""


class Watch(AsyncIterator[JobDocument]):
    """The states of one job, up to the final one; an asynchronous iterator.

    States that are equal to the one before are left out.

    Attributes
    ----------
    way : Way
        The way in use, or to be tried first.
    fallbacks : list of str
        Why the ways before it were given up.
    """

    def __init__(self, caller: Caller, job_id: str, *, quiet_s: float, poll_s: float) -> None:
        self.way = Way.WEBSOCKET
        self.fallbacks: list[str] = []
        self._caller = caller
        self._job_id = job_id
        self._quiet_s = quiet_s
        self._poll_s = poll_s
        self._last: JobDocument | None = None
        self._states = self._all()

    async def __anext__(self) -> JobDocument:
        return await anext(self._states)

    async def aclose(self) -> None:
        """Stop watching."""
        await self._states.aclose()

    async def _all(self) -> States:
        ways: dict[Way, Callable[[], States]] = {
            Way.WEBSOCKET: self._pushed,
            Way.EVENTS: self._by_events,
            Way.POLLING: self._polled,
        }
        for way, states in ways.items():
            self.way = way
            try:
                async with aclosing(states()) as found:
                    async for job in found:
                        if job == self._last:
                            continue
                        self._last = job
                        yield job
                        if is_final(job):
                            return
            except WayFailed as exc:
                self.fallbacks.append(f"{way.value}: {exc}")

    async def _pushed(self) -> States:
        """States as the server pushes them over a WebSocket."""
        url, failures = _socket_url(self._caller.url, self._job_id), 0
        while True:
            before, broken = self._last, None
            headers = await self._caller.identity()
            try:
                async with (
                    self._caller.io.socket(url, headers) as socket,
                    aclosing(self._frames(socket)) as frames,
                ):
                    async for job in frames:
                        yield job
            except (Refused, Unreachable) as exc:
                broken = exc
            # A server that says the same and closes, time and again, tells nothing.
            failures = failures + 1 if self._last == before else 1
            await self._pause(failures, broken)

    async def _frames(self, socket: Socket) -> States:
        while True:
            try:
                frame = await socket.receive(within_s=self._quiet_s)
            except TimeoutError:
                yield await self._look()
                continue
            if frame is None:
                return
            job = _job_in(frame, self._job_id)
            if job is not None:
                yield job

    async def _by_events(self) -> States:
        """States read whenever the job's log tells of something new."""
        seen, failures = 0, 0
        while True:
            before, broken = seen, None
            headers = {**await self._caller.identity(), "Accept": _EVENT_STREAM}
            if seen:
                headers["Last-Event-ID"] = str(seen)
            url = f"{self._caller.url}/job/{self._job_id}/events"
            call = Call("GET", url, headers, silence_s=_SILENCE_S)
            try:
                async with self._caller.io.stream(call) as answer:
                    await self._check_stream(answer)
                    yield await self._look()
                    numbers = EventNumbers()
                    async for piece in answer.pieces():
                        new = numbers.feed(piece)
                        if new:
                            seen = new[-1]
                            yield await self._look()
            except (Refused, Unreachable) as exc:
                broken = exc
            failures = failures + 1 if seen == before else 1
            await self._pause(failures, broken)

    async def _check_stream(self, answer: Streamed) -> None:
        if is_error(answer.status):
            body = b"".join([piece async for piece in answer.pieces()])
            self._caller.check(answer.status, answer.headers, body)
        over = answer.status == HTTPStatus.NO_CONTENT
        if not over and _EVENT_STREAM not in answer.headers.get("content-type", ""):
            raise WayFailed(f"not {_EVENT_STREAM} but {answer.headers.get('content-type')}")

    async def _polled(self) -> States:
        """States asked for, one after the other; what ends this is told to the caller."""
        while True:
            yield await self._look()
            await self._caller.io.sleep(self._poll_s)

    async def _look(self) -> JobDocument:
        return await self._caller.get(f"/job/{self._job_id}", JobDocument)

    async def _pause(self, failures: int, broken: ClientError | None) -> None:
        """Wait before the way is tried again; `WayFailed` where it has failed too often."""
        wait_s = self._caller.retry.wait_s(failures, broken)
        if wait_s is None:
            often = "" if broken and not is_transient(broken) else f", {failures} times in a row"
            raise WayFailed(f"{broken or 'closed before the end of the job'}{often}")
        await self._caller.io.sleep(wait_s)


def _socket_url(url: str, job_id: str) -> str:
    scheme, *rest = urlsplit(f"{url}/v1/wss/job/{job_id}")
    return urlunsplit(("wss" if scheme == "https" else "ws", *rest))


def _job_in(frame: str | bytes, job_id: str) -> JobDocument | None:
    """The job that a frame tells of; None where it is another message."""
    try:
        found = json.loads(frame)
    except ValueError:
        return None
    if not isinstance(found, dict) or found.get("job_id") != job_id:
        return None
    return cast("JobDocument", found)

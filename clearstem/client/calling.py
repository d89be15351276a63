"""Calls of one server: its address, the caller's key, and attempts until one succeeds."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, TypedDict, TypeVar, cast
from urllib.parse import urlsplit

from clearstem.client.calls import Answer, Call, Io, is_error
from clearstem.client.errors import (
    ClientError,
    Refused,
    UnexpectedAnswer,
    Unreachable,
    refusal,
)
from clearstem.client.retrying import (
    IDEMPOTENCY_KEY,
    Retry,
    has_twin,
    is_repeatable,
    retry_after_s,
)


class Paged(TypedDict):
    """What every document has that comes page after page."""

    next_cursor: str | None


Document = TypeVar("Document")
Page = TypeVar("Page", bound=Paged)
Query = Mapping[str, str | int | list[str] | None]
Token = str | Callable[[], str]
"""A bearer token, or what gives one that is good at the moment; it may block."""

Identity = Callable[[], Awaitable[Mapping[str, str]]]

_MOST_MOVES: Final = 5
_SHOWN: Final = 80


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls which server, and how patiently.

    Attributes
    ----------
    url : str
        The server's base URL, without a slash at its end.
    key, token : str or None, Token or None
        What the caller shows to this server, and to no other; one of them at most.
    new_key : callable
        A fresh idempotency key.
    now : callable
        The time, with a zone.
    """

    io: Io
    url: str
    key: str | None
    token: Token | None
    retry: Retry
    new_key: Callable[[], str]
    now: Callable[[], datetime]

    async def identity(self) -> Mapping[str, str]:
        """The headers by which this server knows the caller; asked for before each attempt.

        Raises
        ------
        ClientError
            No header can hold the key or the token.
        """
        if self.key is not None:
            return {"x-api-key": _printable(self.key, "key")}
        token = self.token
        if callable(token):
            token = await self.io.offload(token)
        return {} if token is None else {"Authorization": f"Bearer {_printable(token, 'token')}"}

    async def get(self, path: str, kind: type[Document], *, query: Query | None = None) -> Document:
        """A document of the API; raises as `ask` does, and `UnexpectedAnswer`."""
        call = Call("GET", self.url + path, params=_params(query or {}))
        return document(await self.ask(call), kind, url=self.url)

    async def pages(self, path: str, kind: type[Page], *, query: Query) -> AsyncIterator[Page]:
        """Documents page after page, as they are read, to the last; raises as `get` does."""
        cursor: str | None = None
        while True:
            page = await self.get(path, kind, query={**query, "cursor": cursor})
            yield page
            cursor = page["next_cursor"]
            if cursor is None:
                return

    async def post(
        self,
        path: str,
        kind: type[Document],
        *,
        body: Mapping[str, Any] | None = None,
        key: str | None = None,
        silence_s: float = 60.0,
    ) -> Document:
        """Have something done, once, however many attempts it takes; raises as `get` does.

        Parameters
        ----------
        key : str or None
            The idempotency key; None draws a fresh one. All attempts bear the same.
        """
        headers = {IDEMPOTENCY_KEY: key or self.new_key()}
        call = _bearing(body, Call("POST", self.url + path, headers, silence_s=silence_s))
        return document(await self.ask(call), kind, url=self.url)

    async def patch(self, path: str, kind: type[Document], *, body: Mapping[str, Any]) -> Document:
        """Have something changed to given values; raises as `get` does."""
        call = _bearing(body, Call("PATCH", self.url + path))
        return document(await self.ask(call), kind, url=self.url)

    async def put(self, path: str, kind: type[Document], *, body: Mapping[str, Any]) -> Document:
        """Have something be as given; raises as `get` does."""
        call = _bearing(body, Call("PUT", self.url + path))
        return document(await self.ask(call), kind, url=self.url)

    async def delete(self, path: str, kind: type[Document]) -> Document:
        """Delete something; raises as `get` does."""
        call = Call("DELETE", self.url + path)
        return document(await self.ask(call), kind, url=self.url)

    async def remove(self, path: str) -> None:
        """Delete something of which nothing is told; raises as `ask` does."""
        await self.ask(Call("DELETE", self.url + path))

    async def ask(self, call: Call) -> Answer:
        """Make a call of this server in the caller's name; as `send` otherwise."""
        return await self._patiently(call, self.identity)

    async def send(self, call: Call) -> Answer:
        """Make a call until it succeeds, is refused for good, or patience ends.

        Raises
        ------
        Refused
            By status; after the last attempt, where another might have succeeded.
        Unreachable
            No attempt was answered, or one whose repetition might do a thing twice.
        """
        return await self._patiently(call, _nobody)

    async def _patiently(self, call: Call, identity: Identity) -> Answer:
        failures, waited_s = 0, 0.0
        while True:
            headers = {**call.headers, **await identity()}
            try:
                return await self._once(replace(call, headers=headers))
            except (Refused, Unreachable) as exc:
                if has_twin(exc):
                    wait_s = self.retry.twin_wait_s(waited_s, exc)
                    waited_s += wait_s or 0.0
                else:
                    failures, waited_s = failures + 1, 0.0
                    wait_s = self.retry.wait_s(failures, exc)
                if wait_s is None or not is_repeatable(call.method, call.headers):
                    raise
                await self.io.sleep(wait_s)

    def check(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Raise the `Refused` that an answer stands for, unless it is a success."""
        if is_error(status):
            wait_s = retry_after_s(headers.get("retry-after"), now=self.now())
            raise refusal(status, headers, body, retry_after_s=wait_s)

    async def _once(self, call: Call) -> Answer:
        for _ in range(_MOST_MOVES):
            answer = await self.io.exchange(call)
            moved = call.moved(answer.status, answer.headers)
            if moved is None:
                self.check(answer.status, answer.headers, answer.body)
                return answer
            call = moved
        raise UnexpectedAnswer(f"more than {_MOST_MOVES} redirects, the last to {call.url}")


async def _nobody() -> Mapping[str, str]:
    """What shows nothing of the caller: a link into storage carries its own permission."""
    return {}


def _bearing(body: Mapping[str, Any] | None, call: Call) -> Call:
    if body is None:
        return call
    headers = {**call.headers, "Content-Type": "application/json"}
    return replace(call, headers=headers, content=json.dumps(body).encode())


def document(answer: Answer, kind: type[Document], *, url: str) -> Document:
    """An answer's JSON object, which has all fields that its type requires.

    Parameters
    ----------
    url : str
        Of the server, for the error.

    Raises
    ------
    UnexpectedAnswer
        It is none, or lacks one.
    """
    required: frozenset[str] = getattr(kind, "__required_keys__", frozenset())
    try:
        found = json.loads(answer.body)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not required <= found.keys():
        begin = answer.body[:_SHOWN].decode(errors="replace")
        raise UnexpectedAnswer(
            f"{url} answered with something else than the {kind.__name__} of a clearstem server: "
            f"{begin!r}"
        )
    return cast("Document", found)


def _printable(secret: str, what: str) -> str:
    """A key or token that a header can hold; the error does not show it."""
    if not secret.isascii() or not secret.isprintable() or secret != secret.strip():
        raise ClientError(
            f"the {what} has characters that none has: give it as it was made, "
            "in printable ASCII and without spaces around it"
        )
    return secret


def base_url(text: str) -> str:
    """A server's address without a slash at its end.

    Raises
    ------
    ClientError
        It is not of the form ``http://host`` or ``https://host``.
    """
    if not _is_address(text):
        raise ClientError(f"server address {text!r} is not http:// or https:// and a host")
    return text.rstrip("/")


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname or "", parts.port
        host.encode("idna")
    except ValueError:  # no IPv6 address in brackets, no such port, a name that none can have
        return False
    # urlsplit drops line breaks, and httpx refuses what cannot be seen.
    return parts.scheme in ("http", "https") and bool(host) and text.isprintable()


def _params(query: Query) -> tuple[tuple[str, str], ...]:
    found: list[tuple[str, str]] = []
    for name, value in query.items():
        values = value if isinstance(value, list) else [value]
        found += [(name, str(each)) for each in values if each not in (None, "")]
    return tuple(found)

"""`Idempotency-Key`: a POST that is sent again is answered again, and done once.

In front of the routes, so that every dialect has it and no route knows of it.
What makes two requests the same is what they hold, not their bytes: a client
that sends a form again draws a new boundary. So forms are taken apart here as
they pass by, and nothing is held back but the answer.

Powertools' idempotency hashes a payload before it calls a function; here the
payload is half a gigabyte that is on its way to storage.
"""

import hashlib
from collections.abc import Awaitable, Callable
from typing import Final

from fastapi import Request
from fastapi.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clearstem.errors import ClearstemError, KeyReused
from clearstem.idempotency import Claim, IdempotencyTable, Kept
from clearstem.scopes import needed_scope
from clearstem.service import Service
from functions.blocking import Blocking
from functions.multipart import FormEvent, FormReader, PartBegins, PartData
from functions.routes.calls import caller_of, count_caller

HEADER: Final = "idempotency-key"
REPLAYED: Final = "Idempotency-Replayed"
# An item has 400 KB; documents compress to a fifth.
_LARGEST_ANSWER: Final = 1 << 20

Problem = Callable[[Request, Exception], Awaitable[Response]]


class Idempotent:
    """ASGI middleware that answers a repeated POST from what is kept."""

    def __init__(self, app: ASGIApp, *, problem: Problem) -> None:
        self._app = app
        self._problem = problem

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        request = Request(scope) if scope["type"] == "http" else None
        key = request.headers.get(HEADER) if request else None
        if request is None or key is None or request.method != "POST":
            await self._app(scope, receive, send)
            return
        try:
            await self._once(request, key, receive=receive, send=send)
        except ClearstemError as exc:
            answer = await self._problem(request, exc)
            await answer(scope, receive, send)

    async def _once(self, request: Request, key: str, *, receive: Receive, send: Send) -> None:
        service: Service = request.app.state.service
        blocking: Blocking = request.app.state.blocking
        table = service.idempotency
        caller = await caller_of(request)
        # An answer may hold what only such a caller is shown.
        caller.require(needed_scope(request.method, request.url.path))
        # Before the claim, which is a write, and an answer that is given again counts too.
        await count_caller(request, owner=caller.owner)
        claim = await blocking.call(
            table.claim, key, owner=caller.owner, new_id=service.new_id(), at=service.now()
        )
        body = _Body(request, receive)
        if isinstance(claim, Kept):
            await _replay(claim, body, request.scope, send)
            return
        request.state.reserved_ids = claim.ids()
        answer = _Answer()
        try:
            await self._app(request.scope, body.receive, answer.send)
            if getattr(request.state, "left_open", False):
                await blocking.call(table.abandon, claim)
            else:
                await _settle(claim, answer, body, table=table, blocking=blocking)
        except Exception:
            # An answer that could not be kept is found anew by the next try.
            await blocking.call(table.abandon, claim)
            raise
        await answer.pass_on(send)


def leave_open(request: Request) -> None:
    """Keep no answer to a request, good though it is: the same again does what is left of it."""
    request.state.left_open = True


async def _replay(kept: Kept, body: "_Body", scope: Scope, send: Send) -> None:
    await body.drain()
    if body.fingerprint() != kept.fingerprint:
        raise KeyReused("this Idempotency-Key was used for another request; draw a new one")
    headers = {"Content-Type": kept.content_type, REPLAYED: "true"}
    await Response(kept.body, kept.status, headers)(scope, body.receive, send)


async def _settle(
    claim: Claim,
    answer: "_Answer",
    body: "_Body",
    *,
    table: IdempotencyTable,
    blocking: Blocking,
) -> None:
    """Keep a good answer; a refusal frees the key, after a fault it may be tried again."""
    if not answer.is_good:
        forget = table.release if answer.is_refusal else table.abandon
        await blocking.call(forget, claim)
        return
    await body.drain()
    kept = Kept(body.fingerprint(), answer.status, answer.content_type, answer.body)
    await blocking.call(table.keep, claim, kept)


class _Answer:
    """An answer that is held back until it is kept."""

    def __init__(self) -> None:
        self._messages: list[Message] = []

    async def send(self, message: Message) -> None:
        self._messages.append(message)

    async def pass_on(self, send: Send) -> None:
        for message in self._messages:
            await send(message)

    @property
    def status(self) -> int:
        return int(self._messages[0]["status"])

    @property
    def content_type(self) -> str:
        found = dict(self._messages[0].get("headers", ()))
        return str(found.get(b"content-type", b"application/json").decode("latin-1"))

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self._messages[1:])

    @property
    def is_refusal(self) -> bool:
        return bool(self._messages) and 400 <= self.status < 500

    @property
    def is_good(self) -> bool:
        began = bool(self._messages)
        return began and 200 <= self.status < 300 and len(self.body) <= _LARGEST_ANSWER


class _Body:
    """A request's body on its way to the route, and what it holds."""

    def __init__(self, request: Request, receive: Receive) -> None:
        self._receive = receive
        self._more = True
        self._digest = hashlib.sha256()
        self._part = hashlib.sha256()
        self._form = _form_of(request.headers.get("content-type", ""))
        self._take(f"{request.url.path}?{request.url.query}")

    async def receive(self) -> Message:
        message = await self._receive()
        self._more = message["type"] == "http.request" and message.get("more_body", False)
        if message["type"] == "http.request":
            self._look_at(message.get("body", b""))
        return message

    async def drain(self) -> None:
        """Read what the route did not."""
        while self._more:
            await self.receive()

    def fingerprint(self) -> str:
        """What was read so far, in a form's case whatever its boundary was."""
        return self._digest.hexdigest()

    def _look_at(self, data: bytes) -> None:
        if self._form is None:
            self._digest.update(data)
            return
        try:
            for event in self._form.feed(data):
                self._look_into(event)
        except ClearstemError:
            # A broken form is refused by the route, and nothing is kept of it.
            self._form = None

    def _look_into(self, event: FormEvent) -> None:
        match event:
            case PartBegins(name=name, file_name=file_name):
                self._part = hashlib.sha256()
                self._take(name)
                self._take("" if file_name is None else f"file:{file_name}")
            case PartData(data=data):
                self._part.update(data)
            case _:
                self._take(self._part.hexdigest())

    def _take(self, text: str) -> None:
        # With its length, or two texts could be cut in another place.
        self._digest.update(f"{len(text)}:{text}".encode(errors="surrogatepass"))


def _form_of(content_type: str) -> FormReader | None:
    if not content_type.startswith("multipart/form-data"):
        return None
    try:
        return FormReader(content_type)
    except ClearstemError:
        return None

"""What every route needs: the core, the threads for it, and who is calling."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Final
from uuid import UUID

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPBearer

from clearstem.answering import Budget
from clearstem.errors import JobNotFound, Unauthorized
from clearstem.identity import Credentials
from clearstem.jobs import Job
from clearstem.scopes import ALL_SCOPES, Caller, caller, needed_scope
from clearstem.service import Service
from functions import dialects
from functions.blocking import Blocking
from functions.dialects import job_life
from functions.envelope import gateway_context
from functions.job_reads import JobReads, Snapshot
from functions.routes.rates import count_call

_API_KEY = APIKeyHeader(
    name="x-api-key",
    auto_error=False,
    description="Made by `clearstem keys create OWNER`. A deployment may let calls in without one.",
)
_TOKEN = HTTPBearer(
    auto_error=False, description="A token of the issuer that the deployment trusts."
)

# The Audo client would wait and send the file again from where it has read it to, which is
# its end. What an upload makes work of, a job, is limited, and so are stored bytes.
_NEVER_429: Final = "/v1/upload"


@dataclass(frozen=True, slots=True)
class Call:
    """One request's way to the core.

    Attributes
    ----------
    owner : str
        Who is calling.
    """

    service: Service
    blocking: Blocking
    reads: JobReads
    owner: str

    def with_next_id(self) -> "Call":
        """The same call for one of several jobs, with the next of the ids reserved for them."""
        if self.service.reserved_id is None:
            return self
        reserved = self.service.reserved_id()
        return replace(self, service=replace(self.service, reserved_id=lambda: reserved))

    def of_several(self) -> "Call":
        """The same call for several jobs, which share what a request may have copied."""
        return replace(self, service=replace(self.service, copying=Budget()))

    async def snapshot(self, job_id: str) -> Snapshot:
        """The caller's job, with its renderings.

        Raises
        ------
        JobNotFound
            There is none of that id, or it is another owner's.
        """
        snapshot = await self.reads.get(job_uuid(job_id))
        if snapshot.job.owner != self.owner:
            raise JobNotFound("Job not found")
        return snapshot

    async def job(self, job_id: str) -> Job:
        """The caller's job; raises as `snapshot` does."""
        return (await self.snapshot(job_id)).job

    async def told(self, job_id: str) -> Snapshot:
        """The caller's job, as the native dialect tells of it.

        Raises
        ------
        JobNotFound
            As of `snapshot`.
        JobDeleted
            It was the caller's, and is deleted.
        """
        try:
            return await self.snapshot(job_id)
        except JobNotFound:
            receipt = self.service.removal.receipt
            found = await self.blocking.call(receipt, job_uuid(job_id), owner=self.owner)
        raise job_life.deleted(found)


def job_uuid(text: str) -> str:
    """A job's id in its stored form; `JobNotFound` where it cannot be one."""
    try:
        parsed = str(UUID(text))
    except ValueError as exc:
        raise JobNotFound("Job not found") from exc
    if parsed != text.lower():
        raise JobNotFound("Job not found")
    return parsed


async def _call(
    request: Request,
    _: Annotated[str | None, Security(_API_KEY)],
    __: Annotated[object, Security(_TOKEN)],
) -> Call:
    service: Service = request.app.state.service
    blocking: Blocking = request.app.state.blocking
    caller = await caller_of(request)
    caller.require(needed_scope(request.method, request.url.path))
    owner = caller.owner
    await count_caller(request, owner=owner)
    reserved = getattr(request.state, "reserved_ids", None)
    if reserved is not None:
        service = replace(service, reserved_id=reserved)
    return Call(service, blocking, request.app.state.reads, owner)


async def count_caller(request: Request, *, owner: str) -> None:
    """Count a request against its caller's rate, once however often this is asked.

    Raises
    ------
    TooManyRequests
        There was nothing left.
    """
    if request.url.path == _NEVER_429 or getattr(request.state, "counted", False):
        return
    request.state.counted = True
    service: Service = request.app.state.service
    keyless = _is_keyless(request, owner=owner, service=service)
    await count_call(request, owner=owner, keyless=keyless)


def _is_keyless(request: Request, *, owner: str, service: Service) -> bool:
    """Whether the caller was let in without having shown anything."""
    return owner == service.settings.keyless_owner and _shown(request) == Credentials()


def _shown(request: Request) -> Credentials:
    return Credentials.of_request(
        request.headers, request.query_params, method=request.method, path=request.url.path
    )


CurrentCall = Annotated[Call, Depends(_call)]


def shared_reads(request: Request) -> JobReads:
    """What reads jobs for requests that nobody in particular makes."""
    reads: JobReads = request.app.state.reads
    return reads


async def caller_of(request: Request) -> Caller:
    """Who calls: as API Gateway's authorizer found, or by what the request carries.

    A request is looked at once, however many ask: a ticket is good once.

    Raises
    ------
    Unauthorized, IssuerUnavailable
        As `Identity.identify` does.
    """
    known: Caller | None = getattr(request.state, "caller", None)
    if known is None:
        known = _gateway_caller(request) or await _identified(request)
        request.state.caller = known
    return known


def _gateway_caller(request: Request) -> Caller | None:
    found = _authorized(request)
    if not found or not found.get("owner"):
        return None
    # An authorizer of before there were scopes let everybody do everything.
    return caller(str(found["owner"]), str(found.get("scopes", " ".join(ALL_SCOPES))).split())


def _authorized(request: Request) -> Mapping[str, object] | None:
    """What API Gateway's authorizer found; None where it was not asked."""
    found = gateway_context(request.scope).get("authorizer")
    return found if isinstance(found, dict) else None


async def _identified(request: Request) -> Caller:
    service: Service = request.app.state.service
    blocking: Blocking = request.app.state.blocking
    keyed = dialects.needs_key(dialects.dialect_of(request.url.path))
    shown = _shown(request)
    if shown.ticket is not None and _authorized(request) is not None:
        # The authorizer has used it up and knew nobody by it; who streams may use up none.
        raise Unauthorized("Invalid or used ticket")
    return await blocking.call(service.identity.identify, shown, keyed=keyed)

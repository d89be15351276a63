"""What every route needs: the core, the threads for it, and who is calling."""

from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader

from clearstem.errors import JobNotFound, Unauthorized
from clearstem.jobs import Job
from clearstem.service import Service
from functions import dialects
from functions.blocking import Blocking
from functions.job_reads import JobReads, Snapshot
from functions.routes.rates import count_call

_API_KEY = APIKeyHeader(
    name="x-api-key",
    auto_error=False,
    description="Made by `clearstem keys create OWNER`. A deployment may let calls in without one.",
)


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


def job_uuid(text: str) -> str:
    """A job's id in its stored form; `JobNotFound` where it cannot be one."""
    try:
        parsed = str(UUID(text))
    except ValueError as exc:
        raise JobNotFound("Job not found") from exc
    if parsed != text.lower():
        raise JobNotFound("Job not found")
    return parsed


async def _call(request: Request, key: Annotated[str | None, Security(_API_KEY)]) -> Call:
    service: Service = request.app.state.service
    blocking: Blocking = request.app.state.blocking
    owner = gateway_owner(request) or await _owner_of(
        key,
        service=service,
        blocking=blocking,
        keyed=dialects.needs_key(dialects.dialect_of(request.url.path)),
    )
    if not _uploads(request.url.path):
        keyless = _is_keyless(request, key, owner=owner, service=service)
        await count_call(request, owner=owner, keyless=keyless)
    return Call(service, blocking, request.app.state.reads, owner)


def _is_keyless(request: Request, key: str | None, *, owner: str, service: Service) -> bool:
    """Whether the caller was let in without having shown anything."""
    named = key is not None or "authorization" in request.headers
    return owner == service.settings.keyless_owner and not named


def _uploads(path: str) -> bool:
    """Whether a path takes a recording.

    Those are never answered 429: the Audo client would wait and send the file
    again from where it has read it to, which is its end. What an upload makes
    work of, a job, is limited.
    """
    return "upload" in path.split("/")


CurrentCall = Annotated[Call, Depends(_call)]


def shared_reads(request: Request) -> JobReads:
    """What reads jobs for requests that nobody in particular makes."""
    reads: JobReads = request.app.state.reads
    return reads


def gateway_owner(request: Request) -> str | None:
    """The owner that API Gateway's authorizer found; None where there is no gateway."""
    event: dict[str, Any] = request.scope.get("aws.event") or {}
    found = (event.get("requestContext", {}).get("authorizer") or {}).get("owner")
    return str(found) if found else None


async def _owner_of(key: str | None, *, service: Service, blocking: Blocking, keyed: bool) -> str:
    if key:
        return await blocking.call(service.accounts.authenticate, key, at=service.now())
    if keyed or not service.settings.keyless_owner:
        raise Unauthorized("Invalid or missing API key")
    return service.settings.keyless_owner

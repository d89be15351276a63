"""The client's operations, on asyncio.

They are written here once; `Client` runs these very coroutines without a loop,
over connections that block.
"""

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import uuid4

from clearstem.client import downloading
from clearstem.client.asyncio_io import AsyncioIo
from clearstem.client.calling import Caller, Token, base_url
from clearstem.client.calls import Io
from clearstem.client.config_documents import ConfigDocument
from clearstem.client.documents import (
    JobAsked,
    JobDocument,
    Options,
    TrackDocument,
    UsageDocument,
)
from clearstem.client.errors import ClientError, NotFound
from clearstem.client.job_calls import JobCalls
from clearstem.client.retrying import Retry
from clearstem.client.submission_documents import BatchDocument, QuoteDocument, ResultDocument
from clearstem.client.uploading import Unfinished, Uploads
from clearstem.client.watching import POLL_S, QUIET_S, Watch
from clearstem.client.webhooks import AsyncWebhooks

SEPARATE = "separate"
DENOISE = "denoise"
AnyPath = str | os.PathLike[str]
# Of one call; more go in several.
_MOST_JOBS = 100


class AsyncClient(JobCalls):
    """One clearstem server, on asyncio; what it does with submitted jobs, it has from `JobCalls`.

    Every call may raise `Refused` (by status a subclass), `Unreachable` and
    `UnexpectedAnswer`, after as many attempts as `retry` allows. Each POST bears
    an idempotency key, drawn once a call, so that no repetition does a thing twice.

    Parameters
    ----------
    url : str
        The server's base URL.
    key : str or None
        The API key, where the server asks for one.
    token : str, callable or None
        A bearer token instead; or what gives one, asked before each attempt: it
        decides when a token is too old. It may block, and runs in a thread.
    retry : Retry
        How patient it is.
    state_dir : str, PathLike or None
        Where the ids of unfinished uploads are kept; None: in the user's cache.
    io : Io or None
        The connections; None: its own, on asyncio.

    Raises
    ------
    ClientError
        `url` is none, or there are a key and a token.

    Attributes
    ----------
    webhooks : AsyncWebhooks
        The owner's webhooks.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        token: Token | None = None,
        retry: Retry | None = None,
        state_dir: AnyPath | None = None,
        io: Io | None = None,
    ) -> None:
        if key is not None and token is not None:
            raise ClientError("a call is made with a key or with a token, not with both")
        caller = Caller(
            io=io or AsyncioIo(),
            url=base_url(url),
            key=key,
            token=token,
            retry=retry or Retry(),
            new_key=lambda: str(uuid4()),
            now=lambda: datetime.now(UTC),
        )
        super().__init__(caller)
        self._uploads = Uploads(caller, Unfinished(Path(state_dir or _cache())))
        self.webhooks = AsyncWebhooks(caller)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Give the connections up."""
        await self._caller.io.close()

    async def config(self) -> ConfigDocument:
        """What the server takes, and which engine it would choose now."""
        return await self._caller.get("/config", ConfigDocument)

    async def upload(self, file: AnyPath, *, recipe: str = SEPARATE) -> str:
        """Send a recording to storage; the upload's id, for `submit` and `quote`.

        A large one goes in parts. Where that was interrupted, by an error or by
        the end of the process, the same call sends the parts that are missing.

        Parameters
        ----------
        file : str or PathLike
            Where it lies.

        Raises
        ------
        FileChanged, UploadStalled
            See there.
        """
        return await self._uploads.send(Path(file), recipe=recipe)

    async def submit(
        self,
        upload_id: str,
        *,
        recipe: str = SEPARATE,
        options: Options | None = None,
        labels: Mapping[str, str] | None = None,
        retention_hours: float | None = None,
        callback_url: str | None = None,
        idempotency_key: str | None = None,
    ) -> JobDocument:
        """Start a job on what was uploaded; the job.

        Parameters
        ----------
        labels : mapping or None
            What the job is called by.
        retention_hours : float or None
            After so long the job is deleted with all its files; None: as the owner settled it.
        callback_url : str or None
            Is told of the job's events by signed webhooks.
        idempotency_key : str or None
            For a program that may be started again before it has the answer: within a day, the
            same key with the same arguments is the same job. None draws a fresh one.
        """
        asked: JobAsked = {
            "upload_id": upload_id,
            "recipe": recipe,
            "options": options or {},
            "labels": dict(labels or {}),
            "retention_hours": retention_hours,
            "callback_url": callback_url,
        }
        body = _body(asked)
        return await self._caller.post("/jobs", JobDocument, body=body, key=idempotency_key)

    async def submit_many(
        self, jobs: Sequence[JobAsked], *, idempotency_key: str | None = None
    ) -> list[ResultDocument]:
        """Start many jobs, of which each is accepted or refused by itself; what became of each.

        They go by hundreds: an error on the way leaves those before it started.

        Parameters
        ----------
        idempotency_key : str or None
            As of `submit`, for all of them.
        """
        key, results = idempotency_key or self._caller.new_key(), []
        for first in range(0, len(jobs), _MOST_JOBS):
            body = {"jobs": [_body(job) for job in jobs[first : first + _MOST_JOBS]]}
            found = await self._caller.post(
                "/jobs/batch", BatchDocument, body=body, key=_key(key, first=first)
            )
            results += found["results"]
        return results

    async def quote(
        self, upload_id: str, *, recipe: str = SEPARATE, options: Options | None = None
    ) -> QuoteDocument:
        """What a job on an upload would take: engine, seconds, jobs ahead. None is made."""
        body = {"upload_id": upload_id, "recipe": recipe, "dry_run": True, **(options or {})}
        return await self._caller.post("/jobs", QuoteDocument, body=body)

    async def separate(
        self,
        file: AnyPath,
        options: Options | None = None,
        *,
        labels: Mapping[str, str] | None = None,
        retention_hours: float | None = None,
        callback_url: str | None = None,
    ) -> JobDocument:
        """Send a song and start its separation; as `upload` and `submit`."""
        upload_id = await self.upload(file)
        return await self.submit(
            upload_id,
            options=options,
            labels=labels,
            retention_hours=retention_hours,
            callback_url=callback_url,
        )

    async def denoise(
        self,
        file: AnyPath,
        options: Options | None = None,
        *,
        labels: Mapping[str, str] | None = None,
        retention_hours: float | None = None,
        callback_url: str | None = None,
    ) -> JobDocument:
        """Send a recording, audio or video, and start its noise removal; as `separate`."""
        upload_id = await self.upload(file, recipe=DENOISE)
        return await self.submit(
            upload_id,
            recipe=DENOISE,
            options=options,
            labels=labels,
            retention_hours=retention_hours,
            callback_url=callback_url,
        )

    async def usage(self) -> UsageDocument:
        """What the caller uses, and may use."""
        return await self._caller.get("/usage", UsageDocument)

    def watch(self, job_id: str, *, quiet_s: float = QUIET_S, poll_s: float = POLL_S) -> Watch:
        """The job's states as they come, up to the final one; `Watch.way` tells how they come.

        Parameters
        ----------
        quiet_s : float
            After so long without a word of an open WebSocket the job is read.
        poll_s : float
            Between two reads, where nothing but asking is left.
        """
        return Watch(self._caller, job_id, quiet_s=quiet_s, poll_s=poll_s)

    async def download(self, job: JobDocument, track: str, *, to: AnyPath) -> None:
        """Fetch a track of a completed job to a file, which appears when it is whole and right.

        What an interrupted call has brought is not fetched again, where the server allows.

        Parameters
        ----------
        to : str or PathLike
            The file; its folder is there already.

        Raises
        ------
        NotFound
            The job has no such track, or not yet.
        DamagedDownload
            The bytes are not of the size and sha256 that the job tells.
        """
        await downloading.fetch(self._caller, _track(job, track), to=Path(to))

    async def download_all(
        self, job: JobDocument, folder: AnyPath, *, tracks: Sequence[str] | None = None
    ) -> dict[str, Path]:
        """Fetch a job's tracks to a folder, one after the other; their files by track.

        Parameters
        ----------
        folder : str or PathLike
            Made if it is not there.
        tracks : sequence of str or None
            Those of these names; None: all.

        Raises
        ------
        NotFound, DamagedDownload
            As `download` does; where a track is not there, before any is fetched.
        """
        wanted = job["tracks"] if tracks is None else [_track(job, name) for name in tracks]
        into = Path(folder)
        await self._caller.io.offload(lambda: into.mkdir(parents=True, exist_ok=True))
        files = {}
        for track in wanted:
            files[track["name"]] = to = into / f"{track['name']}.{track['format']}"
            await downloading.fetch(self._caller, track, to=to)
        return files


def _track(job: JobDocument, name: str) -> TrackDocument:
    """A track of a job; raises as `AsyncClient.download` does where it has none of that name."""
    found = next((each for each in job["tracks"] if each["name"] == name), None)
    if found is None:
        names = ", ".join(each["name"] for each in job["tracks"]) or "none"
        message = f"job {job['job_id']} has no track {name!r}; it has: {names}"
        raise NotFound(message, status=404, name="Not Found")
    return found


def _body(job: JobAsked) -> dict[str, object]:
    """A job's request; its options are fields beside the others."""
    body: dict[str, object] = {name: value for name, value in job.items() if name != "options"}
    return body | dict(job.get("options") or {})


def _key(key: str, *, first: int) -> str:
    """The key of the jobs from `first` on, in one call; the caller's own may be as long as any."""
    return sha256(f"{key} {first}".encode()).hexdigest() if first else key


def _cache() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "clearstem" / "uploads"

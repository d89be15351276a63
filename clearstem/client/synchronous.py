"""The client's operations for programs without an event loop.

Signatures and nothing else: each runs the operation of the same name of
`AsyncClient`, over connections that block.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from clearstem.client.asynchronous import SEPARATE, AnyPath, AsyncClient
from clearstem.client.blocking_io import BlockingIo, iterate, run
from clearstem.client.calling import Token
from clearstem.client.config_documents import ConfigDocument
from clearstem.client.documents import (
    EventDocument,
    JobAsked,
    JobDocument,
    Options,
    ReceiptDocument,
    RetentionDocument,
    UsageDocument,
)
from clearstem.client.job_calls import UNCHANGED, Unchanged
from clearstem.client.retrying import Retry
from clearstem.client.submission_documents import QuoteDocument, ResultDocument
from clearstem.client.watching import POLL_S, QUIET_S, Watch, Way
from clearstem.client.webhook_documents import (
    DeliveryDocument,
    NewWebhookDocument,
    SecretDocument,
    WebhookDocument,
)
from clearstem.client.webhooks import CALLBACKS, AsyncWebhooks


class BlockingWatch(Iterator[JobDocument]):
    """The states of one job, up to the final one; an iterator.

    See `Watch`, whose blocking face it is.
    """

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._states = iterate(watch)

    def __next__(self) -> JobDocument:
        return next(self._states)

    @property
    def way(self) -> Way:
        """The way in use, or to be tried first."""
        return self._watch.way

    @property
    def fallbacks(self) -> list[str]:
        """Why the ways before it were given up."""
        return self._watch.fallbacks

    def close(self) -> None:
        """Stop watching."""
        run(self._watch.aclose())


class Webhooks:
    """An owner's webhooks; see `AsyncWebhooks`, whose blocking face it is."""

    def __init__(self, calls: AsyncWebhooks) -> None:
        self._calls = calls

    def register(self, url: str, *, events: Sequence[str] | None = None) -> NewWebhookDocument:
        """Have an address told of all jobs; the webhook with its secret."""
        return run(self._calls.register(url, events=events))

    def registered(self) -> list[WebhookDocument]:
        """The webhooks that there are, the oldest first."""
        return run(self._calls.registered())

    def secret(self, webhook_id: str = CALLBACKS) -> SecretDocument:
        """What a webhook's messages are signed with, or those of all jobs' callbacks."""
        return run(self._calls.secret(webhook_id))

    def rotate(self, webhook_id: str = CALLBACKS) -> SecretDocument:
        """Sign with a new secret, and for a day with the one before it as well."""
        return run(self._calls.rotate(webhook_id))

    def delete(self, webhook_id: str) -> None:
        """Send nothing to a webhook any more."""
        run(self._calls.delete(webhook_id))

    def deliveries(self, webhook_id: str, *, page: int = 20) -> Iterator[DeliveryDocument]:
        """What was sent to a webhook, newest first, page after page as they are read."""
        return iterate(self._calls.deliveries(webhook_id, page=page))

    def redeliver(self, webhook_id: str, event_id: str) -> DeliveryDocument:
        """Send an event once more, by the whole schedule; the delivery as it is then."""
        return run(self._calls.redeliver(webhook_id, event_id))


class Client:
    """One clearstem server; parameters, errors and what else there is to know as of `AsyncClient`.

    Not to be used by two threads at a time.

    Attributes
    ----------
    webhooks : Webhooks
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
    ) -> None:
        self._calls = AsyncClient(
            url, key=key, token=token, retry=retry, state_dir=state_dir, io=BlockingIo()
        )
        self.webhooks = Webhooks(self._calls.webhooks)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections up."""
        run(self._calls.aclose())

    def config(self) -> ConfigDocument:
        """What the server takes, and which engine it would choose now."""
        return run(self._calls.config())

    def upload(self, file: AnyPath, *, recipe: str = SEPARATE) -> str:
        """Send a recording to storage, what is missing of it; the upload's id."""
        return run(self._calls.upload(file, recipe=recipe))

    def submit(
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
        """Start a job on what was uploaded; the job."""
        return run(
            self._calls.submit(
                upload_id,
                recipe=recipe,
                options=options,
                labels=labels,
                retention_hours=retention_hours,
                callback_url=callback_url,
                idempotency_key=idempotency_key,
            )
        )

    def submit_many(
        self, jobs: Sequence[JobAsked], *, idempotency_key: str | None = None
    ) -> list[ResultDocument]:
        """Start many jobs, of which each is accepted or refused by itself; what became of each."""
        return run(self._calls.submit_many(jobs, idempotency_key=idempotency_key))

    def quote(
        self, upload_id: str, *, recipe: str = SEPARATE, options: Options | None = None
    ) -> QuoteDocument:
        """What a job on an upload would take. None is made."""
        return run(self._calls.quote(upload_id, recipe=recipe, options=options))

    def separate(
        self,
        file: AnyPath,
        options: Options | None = None,
        *,
        labels: Mapping[str, str] | None = None,
        retention_hours: float | None = None,
        callback_url: str | None = None,
    ) -> JobDocument:
        """Send a song and start its separation; the job."""
        return run(
            self._calls.separate(
                file,
                options,
                labels=labels,
                retention_hours=retention_hours,
                callback_url=callback_url,
            )
        )

    def denoise(
        self,
        file: AnyPath,
        options: Options | None = None,
        *,
        labels: Mapping[str, str] | None = None,
        retention_hours: float | None = None,
        callback_url: str | None = None,
    ) -> JobDocument:
        """Send a recording, audio or video, and start its noise removal; the job."""
        return run(
            self._calls.denoise(
                file,
                options,
                labels=labels,
                retention_hours=retention_hours,
                callback_url=callback_url,
            )
        )

    def job(self, job_id: str) -> JobDocument:
        """The job as it is now."""
        return run(self._calls.job(job_id))

    def jobs(
        self,
        *,
        status: str = "",
        recipe: str = "",
        labels: Mapping[str, str] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        page: int = 20,
    ) -> Iterator[JobDocument]:
        """The caller's jobs that are like that, newest first, page after page as they are read."""
        return iterate(
            self._calls.jobs(
                status=status, recipe=recipe, labels=labels, since=since, until=until, page=page
            )
        )

    def amend(
        self,
        job_id: str,
        *,
        labels: Mapping[str, str] | None = None,
        retention_hours: float | Unchanged | None = UNCHANGED,
    ) -> JobDocument:
        """Change what a job is called by, or how long it is kept; the job as it is then."""
        return run(self._calls.amend(job_id, labels=labels, retention_hours=retention_hours))

    def usage(self) -> UsageDocument:
        """What the caller uses, and may use."""
        return run(self._calls.usage())

    def cancel(self, job_id: str) -> JobDocument:
        """Stop a job; the job as it is then."""
        return run(self._calls.cancel(job_id))

    def retry(self, job_id: str) -> JobDocument:
        """Take a failed job up again where it stopped; the job as it is then."""
        return run(self._calls.retry(job_id))

    def delete(self, job_id: str) -> ReceiptDocument:
        """Delete a job with all its files, cancelled first if it is not over; the receipt."""
        return run(self._calls.delete(job_id))

    def deleted(self, *, page: int = 20) -> Iterator[ReceiptDocument]:
        """The receipts of the caller's deleted jobs, the last submitted first, for 90 days."""
        return iterate(self._calls.deleted(page=page))

    def retention(self) -> RetentionDocument:
        """How long jobs are kept that say nothing of it themselves."""
        return run(self._calls.retention())

    def keep(self, retention_hours: float | None) -> RetentionDocument:
        """Settle it for jobs to come; None keeps them."""
        return run(self._calls.keep(retention_hours))

    def events(self, job_id: str, *, after: int = 0) -> Iterator[EventDocument]:
        """What happened to a job so far, behind the event of that number."""
        return iterate(self._calls.events(job_id, after=after))

    def watch(
        self, job_id: str, *, quiet_s: float = QUIET_S, poll_s: float = POLL_S
    ) -> BlockingWatch:
        """The job's states as they come, up to the final one."""
        return BlockingWatch(self._calls.watch(job_id, quiet_s=quiet_s, poll_s=poll_s))

    def download(self, job: JobDocument, track: str, *, to: AnyPath) -> None:
        """Fetch a track of a completed job to a file, which appears when it is whole and right."""
        run(self._calls.download(job, track, to=to))

    def download_all(
        self, job: JobDocument, folder: AnyPath, *, tracks: Sequence[str] | None = None
    ) -> dict[str, Path]:
        """Fetch a job's tracks to a folder; their files by track."""
        return run(self._calls.download_all(job, folder, tracks=tracks))

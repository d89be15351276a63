"""The composition of the core: which client stands behind which port.

Entry points call `Service.from_env` once and take from it what they need;
tests build a `Service` of their own clients.
"""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import boto3
from botocore.config import Config

from clearstem import __version__
from clearstem.accounts import Accounts
from clearstem.broadcast import Broadcast, Render
from clearstem.connections import ConnectionTable
from clearstem.entry_tickets import EntryTickets
from clearstem.executions import Executions
from clearstem.identity import Identity
from clearstem.job_table import JobTable
from clearstem.quotas import Quota
from clearstem.recipes import DENOISE, SEPARATE
from clearstem.retention import RetentionTable
from clearstem.settings import Settings
from clearstem.tokens import KeySet, Tokens, fetch_keys
from clearstem.track_store import TrackStore
from clearstem.uploads import UploadTable

# What only some entry points compose is imported when it is asked for: a door
# that opens WebSockets or checks keys never takes a recording in, and would
# pay for it at every cold start.
if TYPE_CHECKING:
    from clearstem.answering import Answers, Budget
    from clearstem.control import JobControl
    from clearstem.counted import CountedTable
    from clearstem.idempotency import IdempotencyTable
    from clearstem.intake import Intake
    from clearstem.job_log import JobLog
    from clearstem.limits import RateLimits
    from clearstem.removal import Removal
    from clearstem.reporting import StageReporter
    from clearstem.settling import Settler
    from clearstem.unclaimed import Unclaimed
    from clearstem.webhook_deliveries import DeliveryTable
    from clearstem.webhook_endpoints import EndpointTable
    from clearstem.webhooks import Announcer, Courier, Post

# boto3 still presigns with version 2 unless told otherwise; path addresses
# work for AWS and for an emulator, where bucket host names do not resolve. In
# us-east-1 the region's own host is not boto3's choice either, but pages may call no other.
# Fifty connections carry twenty parallel clients with downloads among them.
CLIENT_CONFIG: Final = Config(
    signature_version="s3v4",
    s3={"addressing_style": "path", "us_east_1_regional_endpoint": "regional"},
    retries={"mode": "standard", "max_attempts": 4},
    max_pool_connections=50,
)


def _quota(settings: Settings) -> Quota:
    return Quota(
        unfinished_jobs=settings.quota_unfinished_jobs,
        minutes_per_month=settings.quota_minutes_per_month,
        stored_bytes=settings.quota_stored_bytes,
    )


def _maker(settings: Settings) -> str:
    """What decides results beside recording, options and engine."""
    return f"clearstem {__version__} {settings.separator_precision}"


def utc_now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


def new_id() -> str:
    """A fresh random UUID in text form."""
    return str(uuid.uuid4())


@dataclass(frozen=True, slots=True)
class Service:
    """Everything an entry point may need of the core.

    Attributes
    ----------
    executions : Mapping[str, Executions]
        The state machines, by the recipe's name.
    tokens : Tokens or None
        What verifies bearer tokens, and keeps the issuer's keys.
    reserved_id : callable or None
        Ids reserved for what one request makes; see `clearstem.idempotency`.
    copying : Budget or None
        What the jobs of one request may have copied, all together.
    client : callable
        ``client(name)`` or ``client(name, endpoint_url=…)`` makes a boto3 client.
    """

    settings: Settings
    jobs: JobTable
    uploads: UploadTable
    connections: ConnectionTable
    accounts: Accounts
    store: TrackStore
    executions: Mapping[str, Executions]
    client: Callable[..., Any]
    tokens: Tokens | None = None
    reserved_id: Callable[[], str] | None = None
    copying: "Budget | None" = None
    now: Callable[[], datetime] = utc_now
    new_id: Callable[[], str] = new_id

    @classmethod
    def from_env(cls) -> "Service":
        """The service of this process's environment and AWS credentials."""
        return cls.over(Settings.from_env(), session=boto3.Session())

    @classmethod
    def over(cls, settings: Settings, *, session: boto3.Session) -> "Service":
        """The service of given settings and a given session."""

        def client(name: Any, **options: Any) -> Any:
            made = session.client(name, config=CLIENT_CONFIG, **options)
            # botocore builds its error classes at their first use, without a
            # lock: two threads would build two sets, and one thread's `except`
            # would not know the other set's errors.
            _ = made.exceptions
            return made

        table = client("dynamodb"), settings.table
        steps = client("stepfunctions")
        machines = {
            SEPARATE.name: settings.separate_state_machine_arn,
            DENOISE.name: settings.denoise_state_machine_arn,
        }
        return cls(
            settings=settings,
            jobs=JobTable(*table, quota=_quota(settings), maker=_maker(settings)),
            uploads=UploadTable(*table, quota=_quota(settings)),
            connections=ConnectionTable(*table),
            accounts=Accounts(*table),
            store=TrackStore(client("s3")),
            executions={name: Executions(steps, arn) for name, arn in machines.items()},
            client=client,
            tokens=_tokens(settings),
        )

    @property
    def identity(self) -> Identity:
        """What finds out who is calling."""
        return Identity(
            self.accounts,
            self.entry_tickets,
            tokens=self.tokens,
            keyless_owner=self.settings.keyless_owner,
            now=self.now,
        )

    @property
    def entry_tickets(self) -> EntryTickets:
        """What lets browsers' sockets and event streams in."""
        return EntryTickets(self.jobs.client, self.jobs.table)

    def next_id(self) -> str:
        """The id of what a request makes next: one that is reserved for it, else a fresh one."""
        return (self.reserved_id or self.new_id)()

    @property
    def intake(self) -> "Intake":
        """The ways in."""
        from clearstem.intake import Intake

        return Intake(
            settings=self.settings,
            jobs=self.jobs,
            uploads=self.uploads,
            store=self.store,
            executions=self.executions,
            now=self.now,
            new_id=self.new_id,
            reserved_id=self.reserved_id,
            answers=self.answers,
        )

    @property
    def unclaimed(self) -> "Unclaimed":
        """What ends uploads that no job is made of."""
        from clearstem.unclaimed import Unclaimed

        return Unclaimed(self.uploads, self.store, now=self.now)

    @property
    def answers(self) -> "Answers":
        """What gives jobs the stored results of others."""
        from clearstem.answering import Answers

        return Answers(self.jobs, self.store, now=self.now, budget=self.copying)

    @property
    def idempotency(self) -> "IdempotencyTable":
        """What answers repeated requests."""
        from clearstem.idempotency import IdempotencyTable

        return IdempotencyTable(self.jobs.client, self.jobs.table)

    @property
    def log(self) -> "JobLog":
        """What happened to jobs."""
        from clearstem.job_log import JobLog

        return JobLog(self.jobs.client, self.jobs.table)

    @property
    def control(self) -> "JobControl":
        """What stops jobs and takes them up again."""
        from clearstem.control import JobControl

        return JobControl(
            jobs=self.jobs, store=self.store, executions=self.executions, now=self.now
        )

    @property
    def retention(self) -> RetentionTable:
        """How long jobs are kept, and what is left of those that were not."""
        return RetentionTable(self.jobs.client, self.jobs.table)

    @property
    def removal(self) -> "Removal":
        """What deletes jobs, and what has outlived its time."""
        from clearstem.removal import Removal

        return Removal(
            jobs=self.jobs,
            retention=self.retention,
            store=self.store,
            control=self.control,
            deliveries=self.deliveries,
            settings=self.settings,
            now=self.now,
        )

    @property
    def endpoints(self) -> "EndpointTable":
        """Where owners want to be told of their jobs."""
        from clearstem.webhook_endpoints import EndpointTable

        return EndpointTable(self.jobs.client, self.jobs.table)

    @property
    def deliveries(self) -> "DeliveryTable":
        """What was sent there, and what came of it."""
        from clearstem.webhook_deliveries import DeliveryTable

        return DeliveryTable(self.jobs.client, self.jobs.table)

    @property
    def announcer(self) -> "Announcer":
        """What sets events on their way to webhooks."""
        from clearstem.webhooks import Announcer, OrderQueue

        queue = OrderQueue(self.client("sqs"), self.settings.webhook_queue_url)
        return Announcer(self.endpoints, self.deliveries, queue, self.retention, now=self.now)

    def courier(self, post: "Post") -> "Courier":
        """What brings them there, by means of a guarded client."""
        from clearstem.webhooks import Courier, OrderQueue

        client, settings = self.client("sqs"), self.settings
        return Courier(
            self.endpoints,
            self.deliveries,
            queue=OrderQueue(client, settings.webhook_queue_url),
            dead_letters=OrderQueue(client, settings.webhook_dead_letters_url),
            post=post,
            now=self.now,
        )

    @property
    def counted(self) -> "CountedTable":
        """Which changes of jobs are in the metrics."""
        from clearstem.counted import CountedTable

        return CountedTable(self.jobs.client, self.jobs.table)

    @property
    def limits(self) -> "RateLimits":
        """How often each owner may call."""
        from clearstem.limits import RateLimits

        per_s, burst = self.settings.rate_per_s, self.settings.rate_burst
        return RateLimits(self.jobs.client, self.jobs.table, per_s=per_s, burst=burst)

    @property
    def keyless_limits(self) -> "RateLimits":
        """How often each network address may call without a key."""
        from clearstem.limits import RateLimits

        per_s, burst = self.settings.keyless_rate_per_s, self.settings.keyless_rate_burst
        return RateLimits(self.jobs.client, self.jobs.table, per_s=per_s, burst=burst)

    @property
    def settler(self) -> "Settler":
        """What ends jobs that nobody works on."""
        from clearstem.settling import Settler

        return Settler(jobs=self.jobs, executions=self.executions, now=self.now)

    def broadcast(self, render: dict[str, Render]) -> Broadcast:
        """What tells watchers, speaking the given dialects."""
        sockets = self.client("apigatewaymanagementapi", endpoint_url=self.settings.websocket_url)
        return Broadcast(self.jobs, self.connections, sockets, render)

    def reporter(
        self, job_id: str, *, stage: str, monotonic: Callable[[], float]
    ) -> "StageReporter":
        """What a stage task tells of itself through."""
        from clearstem.reporting import StageReporter

        return StageReporter(
            jobs=self.jobs,
            job_id=job_id,
            stage=stage,
            now=self.now,
            monotonic=monotonic,
            interval_s=self.settings.progress_interval_s,
        )


def _tokens(settings: Settings) -> Tokens | None:
    url = settings.oidc_jwks_url
    # Without any one of them a token of anybody's, or for anybody, would do.
    if not (settings.oidc_issuer and settings.oidc_audience and url):
        return None
    return Tokens(
        settings.oidc_issuer,
        settings.oidc_audience,
        KeySet(lambda: fetch_keys(url)),
        leeway_s=settings.oidc_leeway_s,
    )

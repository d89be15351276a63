"""Where an owner's events go: the endpoints registered, and the callbacks of single jobs.

Items, all under ``HOOKS#<owner>``: ``HOOK#<id>`` is an endpoint, registered by
its owner; ``CALLBACK#<id>`` the one that a job's `callback_url` is, made by the
job's first event; ``SECRETS`` what callbacks are signed with. So one query
finds what an owner registered, however many jobs had a callback.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from clearstem.addresses import check_address
from clearstem.errors import Conflict, InvalidRequest, UrlRefused, WebhookNotFound
from clearstem.job_events import EventKind
from clearstem.jobs import Job
from clearstem.records import Item, from_item, to_item
from clearstem.settings import Settings
from clearstem.table_keys import Partition
from clearstem.webhook_secrets import Secrets, new_secret

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# What is told; the log knows more, which nobody waits for.
SENT_KINDS: Final = (
    EventKind.QUEUED,
    EventKind.STARTED,
    EventKind.STAGE_COMPLETED,
    EventKind.SUCCEEDED,
    EventKind.FAILED,
    EventKind.CANCELLED,
    EventKind.RETRIED,
)
# The name by which an owner reaches the secret of his jobs' callbacks.
CALLBACKS: Final = "callbacks"
_CALLBACK_MARK: Final = "cb_"
# A mark and a UUID's text have 39.
_LONGEST_ID: Final = 100
# Each event of each job asks them all.
_MOST_ENDPOINTS: Final = 10
# Longer than any delivery is logged.
_CALLBACK_LASTS: Final = timedelta(days=90)
# Nothing of that key is there yet.
_NEW: Final = "attribute_not_exists(pk)"
# It was not removed in between.
_THERE: Final = "attribute_exists(pk)"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address that events are sent to.

    Attributes
    ----------
    events : tuple of EventKind
        The kinds it wants.
    secrets : Secrets or None
        What its messages are signed with; None: what all callbacks of its owner are.
    disabled_at : datetime or None
        When it answered 410, and was sent nothing any more.
    """

    webhook_id: str
    owner: str
    url: str
    created_at: datetime
    events: tuple[EventKind, ...] = SENT_KINDS
    secrets: Secrets | None = None
    disabled_at: datetime | None = None

    @property
    def is_callback(self) -> bool:
        """Whether it belongs to one job."""
        return self.webhook_id.startswith(_CALLBACK_MARK)

    def wants(self, kind: EventKind) -> bool:
        """Whether an event of that kind is sent to it."""
        return self.disabled_at is None and kind in self.events


def callback_of(job: Job) -> Endpoint | None:
    """The endpoint that a job's own callback is; None where it has none."""
    if job.callback_url is None:
        return None
    name = _CALLBACK_MARK + job.job_id
    return Endpoint(name, job.owner, job.callback_url, created_at=job.created_at)


def check_callback(url: str, *, settings: Settings) -> None:
    """Refuse an address that events are never sent to; `UrlRefused` says why."""
    try:
        check_address(url, allow_loopback=settings.webhook_allow_loopback)
    except UrlRefused as exc:
        raise UrlRefused(f"callback_url: {exc}") from exc


def event_kinds(names: list[str] | None) -> tuple[EventKind, ...]:
    """The kinds of those names; all of them where none are named.

    Raises
    ------
    InvalidRequest
        One is not sent; the message says which are.
    """
    known = {kind.value: kind for kind in SENT_KINDS}
    for name in names or ():
        if name not in known:
            raise InvalidRequest(f"event {name[:60]!r} is not one of {', '.join(known)}")
    return tuple(known[name] for name in dict.fromkeys(names or known))


@dataclass(frozen=True, slots=True)
class EndpointTable:
    """The table's endpoints and their secrets."""

    client: "DynamoDBClient"
    table: str

    def register(self, endpoint: Endpoint) -> Endpoint:
        """Store a new endpoint; as it is stored, or was under its id.

        Raises
        ------
        Conflict
            Its owner has as many as he may.
        """
        registered = {known.webhook_id: known for known in self.registered(endpoint.owner)}
        if endpoint.webhook_id in registered:
            return registered[endpoint.webhook_id]
        if len(registered) >= _MOST_ENDPOINTS:
            raise Conflict(f"{endpoint.owner} has {_MOST_ENDPOINTS} webhooks; delete one first")
        try:
            self._put(endpoint, condition=_NEW)
        except self.client.exceptions.ConditionalCheckFailedException:
            return self.get(endpoint.webhook_id, owner=endpoint.owner)
        return endpoint

    def registered(self, owner: str) -> tuple[Endpoint, ...]:
        """What an owner registered, the oldest first."""
        answer = self.client.query(
            TableName=self.table,
            KeyConditionExpression="pk = :owner AND begins_with(sk, :hooks)",
            ExpressionAttributeValues={":owner": {"S": _pk(owner)}, ":hooks": {"S": "HOOK#"}},
            # Consistent: the first job after a registration is told of.
            ConsistentRead=True,
        )
        found = (from_item(item, Endpoint) for item in answer["Items"])
        return tuple(sorted(found, key=lambda endpoint: endpoint.created_at))

    def get(self, webhook_id: str, *, owner: str) -> Endpoint:
        """An owner's endpoint; `WebhookNotFound` also where it is another's."""
        # DynamoDB refuses keys of more than 1 KB in words of its own.
        named = webhook_id.isascii() and len(webhook_id) <= _LONGEST_ID
        item = self._item(_key(owner, _sort(webhook_id))) if named else None
        if item is None:
            raise WebhookNotFound(f"no webhook {webhook_id[:100]}")
        return from_item(item, Endpoint)

    def known(self, callback: Endpoint) -> Endpoint:
        """A job's callback as it is stored; stored now, where it was not."""
        item = self._item(_key(callback.owner, _sort(callback.webhook_id)))
        if item is not None:
            return from_item(item, Endpoint)
        expiry = int((callback.created_at + _CALLBACK_LASTS).timestamp())
        try:
            self._put(callback, condition=_NEW, ttl=expiry)
        except self.client.exceptions.ConditionalCheckFailedException:
            return self.get(callback.webhook_id, owner=callback.owner)
        return callback

    def delete(self, webhook_id: str, *, owner: str, at: datetime) -> None:
        """Forget an endpoint; what is still on its way to it is dropped.

        A job's callback is disabled instead: forgotten, the job's next event
        would bring it back.
        """
        endpoint = self.get(webhook_id, owner=owner)
        if endpoint.is_callback:
            self.disable(endpoint, at=at)
            return
        self.client.delete_item(TableName=self.table, Key=_key(owner, _sort(webhook_id)))

    def disable(self, endpoint: Endpoint, *, at: datetime) -> None:
        """Send nothing to an endpoint any more, unless it was removed meanwhile."""
        try:
            self.client.update_item(
                TableName=self.table,
                Key=_key(endpoint.owner, _sort(endpoint.webhook_id)),
                UpdateExpression="SET disabled_at = :at",
                ConditionExpression=_THERE,
                ExpressionAttributeValues={":at": {"S": at.isoformat()}},
            )
        except self.client.exceptions.ConditionalCheckFailedException:
            return

    def secrets_of(self, endpoint: Endpoint) -> Secrets:
        """What messages to an endpoint are signed with."""
        return endpoint.secrets or self.callback_secrets(endpoint.owner)

    def callback_secrets(self, owner: str) -> Secrets:
        """What an owner's callbacks are signed with; made now, where there was nothing."""
        key = _key(owner, "SECRETS")
        made = Secrets(new_secret())
        try:
            self.client.put_item(
                TableName=self.table,
                Item={**to_item(made), **key},
                ConditionExpression=_NEW,
            )
        except self.client.exceptions.ConditionalCheckFailedException:
            item = self._item(key)
            return made if item is None else from_item(item, Secrets)
        return made

    def rotate(self, webhook_id: str, *, owner: str, rotation: str, at: datetime) -> Secrets:
        """Give an endpoint, or all callbacks, a new secret; the one before signs for a day more.

        Parameters
        ----------
        rotation : str
            The rotation's id: what it made last, it makes no second time.

        Raises
        ------
        WebhookNotFound, Conflict
            There is no such endpoint; somebody else rotates it this moment.
        """
        if webhook_id == CALLBACKS:
            return self._rotated_callbacks(owner, rotation=rotation, at=at)
        endpoint = self.get(webhook_id, owner=owner)
        if endpoint.secrets is None:
            raise InvalidRequest(f"a job's callback is signed with the secret of {CALLBACKS!r}")
        rotated = endpoint.secrets.rotated(new_secret(), rotation=rotation, at=at)
        self._replace(
            to_item(replace(endpoint, secrets=rotated)) | _key(owner, _sort(webhook_id)),
            current="secrets.#current",
            seen=endpoint.secrets,
            rotated=rotated,
        )
        return rotated

    def _rotated_callbacks(self, owner: str, *, rotation: str, at: datetime) -> Secrets:
        seen = self.callback_secrets(owner)
        rotated = seen.rotated(new_secret(), rotation=rotation, at=at)
        item = to_item(rotated) | _key(owner, "SECRETS")
        self._replace(item, current="#current", seen=seen, rotated=rotated)
        return rotated

    def _replace(self, item: Item, *, current: str, seen: Secrets, rotated: Secrets) -> None:
        try:
            self.client.put_item(
                TableName=self.table,
                Item=item,
                # Or it is there already: botocore writes again where an answer was lost.
                ConditionExpression=f"{current} = :seen OR {current} = :rotated",
                ExpressionAttributeNames={"#current": "current"},
                ExpressionAttributeValues={
                    ":seen": {"S": seen.current},
                    ":rotated": {"S": rotated.current},
                },
            )
        except self.client.exceptions.ConditionalCheckFailedException as exc:
            raise Conflict("the secret was changed this very moment; look at it again") from exc

    def _put(self, endpoint: Endpoint, *, condition: str | None = None, **extra: int) -> None:
        key = _key(endpoint.owner, _sort(endpoint.webhook_id))
        options: Any = {} if condition is None else {"ConditionExpression": condition}
        item = to_item(endpoint, **extra) | key
        self.client.put_item(TableName=self.table, Item=item, **options)

    def _item(self, key: Item) -> Item | None:
        answer = self.client.get_item(TableName=self.table, Key=key, ConsistentRead=True)
        return answer.get("Item")


def _pk(owner: str) -> str:
    return f"{Partition.HOOKS}{owner}"


def _sort(webhook_id: str) -> str:
    kind = "CALLBACK#" if webhook_id.startswith(_CALLBACK_MARK) else "HOOK#"
    return kind + webhook_id


def _key(owner: str, sort: str) -> Item:
    return {"pk": {"S": _pk(owner)}, "sk": {"S": sort}}

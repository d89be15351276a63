"""What functions may do to items of the one table: which actions, in which partitions.

A partition is as fine as DynamoDB's policies see (`dynamodb:LeadingKeys`); so
what different functions write lies in partitions of different kinds. The
indexes hold keys alone, and whoever asks one may ask for any.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms

from clearstem.table_keys import Partition
from infra.functions import ZipFunction
from infra.handlers import Handlers
from infra.storage import Storage

_KEYS: Final = "dynamodb:LeadingKeys"

_GET: Final = "dynamodb:GetItem"
_PUT: Final = "dynamodb:PutItem"
_UPDATE: Final = "dynamodb:UpdateItem"
_DELETE: Final = "dynamodb:DeleteItem"
_CHANGE: Final = (_GET, _PUT, _UPDATE, _DELETE)
_QUERY: Final = "dynamodb:Query"
_GET_MANY: Final = "dynamodb:BatchGetItem"
# The log of a job that is deleted, in batches.
_WRITE_MANY: Final = "dynamodb:BatchWriteItem"

# What is written in one transaction when a job is queued, goes on or ends; whether AWS judges a
# part of a transaction by its own key or by the keys of all parts, nobody says.
_JOBS: Final = (Partition.JOB, Partition.SOURCE, Partition.USAGE, Partition.QUEUE)


def only_in(keys: Iterable[str]) -> Mapping[str, Any]:
    """The condition that a call names items of these partitions, and of no others.

    Parameters
    ----------
    keys : iterable of str
        Patterns of partition keys, in which ``*`` stands for anything.
    """
    return {
        "ForAllValues:StringLike": {_KEYS: list(keys)},
        # All values of a key that a call does not have are like anything.
        "Null": {_KEYS: "false"},
    }


@dataclass(frozen=True, slots=True)
class TableGrants:
    """Gives actions on the one table, and the use of its key.

    Attributes
    ----------
    key : aws_kms.IKey or None
        What the table is encrypted with; None: DynamoDB's own.
    """

    storage: Storage
    key: kms.IKey | None

    def allow(self, grantee: iam.IGrantable, *actions: str, within: Collection[Partition]) -> None:
        """Grant actions on the items of some partitions, queries of the table included."""
        self._add(
            grantee,
            iam.PolicyStatement(
                actions=list(actions),
                resources=[self.storage.table.table_arn],
                conditions=only_in(partition.any for partition in within),
            ),
        )

    def search(self, grantee: iam.IGrantable, index: str) -> None:
        """Grant queries of one index; `Table.grant` would grant every action on all of them."""
        where = f"{self.storage.table.table_arn}/index/{index}"
        self._add(grantee, iam.PolicyStatement(actions=[_QUERY], resources=[where]))

    def _add(self, grantee: iam.IGrantable, statement: iam.PolicyStatement) -> None:
        grantee.grant_principal.add_to_principal_policy(statement)
        if self.key is not None:
            self.key.grant_encrypt_decrypt(grantee)


def use_table(table: TableGrants, *, handlers: Handlers) -> None:
    """Give each function what it does to items, where it does it, and the index that it asks."""
    _let_api(table, handlers=handlers)
    _let_sockets(table, handlers=handlers)
    _let_jobs_begin_and_end(table, handlers=handlers)
    _let_webhooks(table, handlers=handlers)


def read_record(table: TableGrants, *, by: iam.IGrantable) -> None:
    """Let somebody read jobs' records."""
    table.allow(by, _GET, within=[Partition.JOB])


def delete_logs(table: TableGrants, *, by: ZipFunction) -> None:
    """Let a function that removes jobs delete their logs."""
    table.allow(by, _WRITE_MANY, within=[Partition.JOB])


def _let_api(table: TableGrants, *, handlers: Handlers) -> None:
    rest, stream = handlers.rest, handlers.stream
    of_owners = (Partition.OWNER, Partition.CACHE, Partition.HOOKS, Partition.DELIVERY)
    of_calls = (Partition.UPLOAD, Partition.RATE, Partition.ONCE, Partition.ENTRY)
    table.allow(rest, *_CHANGE, within=[*_JOBS, *of_owners, *of_calls])
    searched = (Partition.HOOKS, Partition.DELIVERY, Partition.SOURCE, Partition.QUEUE)
    table.allow(rest, _QUERY, within=[Partition.JOB, *searched])
    table.search(rest, "by_owner")
    # It reads and tells. Keys it looks up itself, so it notes their use too.
    table.allow(stream, _GET, within=[Partition.JOB, Partition.OWNER])
    table.allow(stream, _QUERY, within=[Partition.JOB])
    table.search(stream, "by_owner")
    table.allow(stream, _UPDATE, within=[Partition.RATE])
    # A key is made by its operator; a call only notes when it was last used.
    for caller in (rest, stream):
        table.allow(caller, _GET, _UPDATE, within=[Partition.KEY])
        table.allow(caller, _GET_MANY, within=[Partition.JOB])
    table.allow(handlers.authorizer, _GET, _UPDATE, within=[Partition.KEY])
    # On a ticket it notes that it is used up.
    table.allow(handlers.authorizer, _UPDATE, within=[Partition.ENTRY])


def _let_sockets(table: TableGrants, *, handlers: Handlers) -> None:
    push, websocket = handlers.push, handlers.websocket
    told = (Partition.CONNECTION, Partition.WATCH)
    table.allow(websocket, _GET, within=[Partition.JOB, Partition.CONNECTION])
    table.allow(websocket, _PUT, within=told)
    table.allow(push, _GET, within=[Partition.JOB])
    table.allow(push, _QUERY, within=[Partition.WATCH, Partition.QUEUE])
    # New watchers are greeted by the push; silent ones are new again to the sweep.
    table.allow(push, _UPDATE, within=[Partition.WATCH])
    table.allow(handlers.sweep, _UPDATE, _QUERY, within=[Partition.WATCH])
    # Who finds a connection gone forgets it with all it watched.
    for watcher in (websocket, push):
        table.allow(watcher, _DELETE, within=told)
        table.search(watcher, "by_connection")


def _let_jobs_begin_and_end(table: TableGrants, *, handlers: Handlers) -> None:
    drop, settle, sweep = handlers.drop, handlers.settle, handlers.sweep
    for changer in (drop, settle):
        table.allow(changer, *_CHANGE, within=_JOBS)
    # Uploads of no job count for their owners until they are ended.
    table.allow(sweep, *_CHANGE, within=[*_JOBS, Partition.UPLOAD])
    # A new job's place in the queue, its owner's terms and limits, and whether it is there already.
    table.allow(drop, _QUERY, within=[Partition.QUEUE])
    table.allow(drop, _GET, within=[Partition.OWNER])
    table.allow(drop, _GET_MANY, within=[Partition.JOB])
    # What goes with a job: the answer it is to others, and what webhooks were told of it.
    table.allow(sweep, _GET, _PUT, _DELETE, within=[Partition.CACHE, Partition.DELIVERY])
    table.allow(sweep, _QUERY, within=[Partition.JOB, Partition.SOURCE, Partition.DELIVERY])
    table.search(sweep, "by_open")


def _let_webhooks(table: TableGrants, *, handlers: Handlers) -> None:
    changes, courier = handlers.changes, handlers.courier
    sent = (Partition.HOOKS, Partition.DELIVERY)
    # That a job's events went to a webhook is noted with the job, which may be deleted already.
    table.allow(changes, _GET, _PUT, within=[Partition.JOB, *sent])
    table.allow(changes, _PUT, within=[Partition.COUNTED])
    # An owner's webhooks stand under his name: no index is asked.
    table.allow(changes, _QUERY, within=[Partition.HOOKS])
    # It notes what came of an attempt, and disables what answers 410.
    table.allow(courier, _GET, _PUT, within=sent)
    table.allow(courier, _UPDATE, within=[Partition.HOOKS])

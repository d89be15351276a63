"""Jobs in DynamoDB: conditional writes, history, queue position.

The record holds the whole `Job`. A change reads it, asks the pure transition,
and writes the answer back on condition that nobody wrote in between; whoever
lost the race reads again. So the transitions of `jobs` are the only rules, and
late, repeated or reordered events meet them like any other.

Key: ``JOB#<id>`` / ``JOB``. What a change makes besides is written in its own
transaction: the ticket of a job that waits (`clearstem.tickets`), the entries
of its log (`clearstem.job_events`), so that this has neither gap nor double,
what stands for its retention (`clearstem.retention`), what its owner uses
(`clearstem.quotas`), and what its result answers (`clearstem.result_cache`).
"""

from collections.abc import Callable, Collection, Container, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from clearstem.cursors import decoded, encoded
from clearstem.errors import Contention, InvalidRequest, JobExists, JobNotFound
from clearstem.job_events import JobEvent, logged
from clearstem.job_filter import EVERY, JobFilter
from clearstem.jobs import Job, JobState
from clearstem.quotas import NO_LIMITS, Quota, Quotas
from clearstem.records import Item, from_item, to_item
from clearstem.result_cache import ResultCache
from clearstem.retention import FILES_LAST, due_item, source_reference
from clearstem.table_keys import EXPIRY, FADING, JOB, Partition, event_sort, job_key
from clearstem.tickets import Tickets
from clearstem.transactions import ATTEMPTS, back_off, transacted
from clearstem.uploads import Upload, UploadTable

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

Transition = Callable[[Job], Job]

# Nothing of that key is there yet: a second submission of one id is refused.
_NEW: Final = "attribute_not_exists(pk)"
# Nobody wrote since the record was read: what was decided on is still true.
_UNCHANGED: Final = "version = :seen"

LISTABLE: Final = 100  # BatchGetItem takes that many keys
# Of the pages of an owner's jobs that one call goes through for the ones wanted.
_LOOKS: Final = 10
# Of the index in one go while skipping: some 200 KB of keys, a fifth of what a query answers.
_SKIPPED_AT_ONCE: Final = 1000


@dataclass(frozen=True, slots=True)
class Page:
    """Some jobs, newest first, and where the next page begins (None at the end)."""

    jobs: tuple[Job, ...]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class JobTable:
    """The table's jobs; methods raise what botocore raises when AWS does not answer.

    Attributes
    ----------
    quota : Quota
        Of owners who have none of their own.
    maker : str
        What results are made by; see `ResultCache`.
    """

    client: "DynamoDBClient"
    table: str
    quota: Quota = NO_LIMITS
    maker: str = ""

    @property
    def quotas(self) -> Quotas:
        """What owners use, and may use."""
        return Quotas(self.client, self.table, self.quota)

    @property
    def cache(self) -> ResultCache:
        """Which finished jobs answer new ones."""
        return ResultCache(self.client, self.table, self.maker)

    def create(self, job: Job, *, upload: Upload | None = None) -> Job:
        """Store a new job with the next ticket of its queue.

        Parameters
        ----------
        upload : Upload or None
            The announced upload that is its recording: the first job made of it
            counts for its bytes from here on.

        Raises
        ------
        JobExists
            A job of this id is stored already; it is left as it is.
        UploadNotFound
            The upload has ended meanwhile.
        TooManyJobs, QuotaUsedUp
            Its owner has used up what he may.
        """
        ticketed = replace(job, ticket=self._tickets.issue(job.recipe_name, job.owner))
        ticketed, events = logged(None, ticketed)
        put = self._put(Item=_item(ticketed), ConditionExpression=_NEW)
        parts = [put, self._put(Item=source_reference(job))]
        uploads = UploadTable(self.client, self.table)
        for attempt in range(ATTEMPTS):
            # Another job may have been made of the upload since: then it holds nothing.
            held = uploads.held(upload, at=job.created_at)
            beside = self._beside(None, ticketed, events, freed_bytes=held.size_bytes)
            if transacted(self.client, [*parts, *held.ending, *beside]):
                return ticketed
            if self.get_many([job.job_id]):
                # The number is lost; nobody counts numbers, only tickets.
                raise JobExists(f"Job {job.job_id} exists already")
            self.quotas.check(None, job, freed_bytes=held.size_bytes)
            back_off(attempt)
        raise Contention(f"job {job.job_id} was written to under {ATTEMPTS} attempts to make it")

    def get(self, job_id: str) -> Job:
        """The job as it is now (a consistent read); `JobNotFound` if there is none."""
        answer = self.client.get_item(TableName=self.table, Key=_key(job_id), ConsistentRead=True)
        if "Item" not in answer:
            raise JobNotFound("Job not found")
        return from_item(answer["Item"], Job)

    def get_many(self, job_ids: Collection[str]) -> dict[str, Job]:
        """Up to 100 jobs as they are now, by id, in one read; what is not there is left out."""
        return {job.job_id: job for job in self._many([_key(job_id) for job_id in job_ids])}

    def change(self, job_id: str, transition: Transition) -> Job:
        """Apply a transition to the stored job and return what is stored then.

        Nothing is written where the transition returns its argument. A job that
        enters the queue again gets a new ticket, and so its owner's last place.

        Raises
        ------
        JobNotFound, IllegalTransition
            From the read, from the transition.
        TooManyJobs, QuotaUsedUp
            The job enters the queue again, and its owner has used up what he may.
        Contention
            Another writer won every one of the attempts.
        """
        for attempt in range(ATTEMPTS):
            seen = self.get(job_id)
            changed = transition(seen)
            if changed == seen:
                return seen
            if _waits(changed) and not _waits(seen):
                changed = replace(changed, ticket=self._tickets.issue(seen.recipe_name, seen.owner))
            changed, events = logged(seen, replace(changed, version=seen.version + 1))
            if self._replaced(seen, changed, events):
                return changed
            if _waits(changed) and not _waits(seen) and self.get(job_id) == seen:
                self.quotas.check(seen, changed)
            back_off(attempt)
        raise Contention(f"job {job_id} changed under {ATTEMPTS} attempts to write it")

    def jobs_ahead(self, job: Job) -> int:
        """How many jobs of its recipe wait in front of this one, exactly."""
        return self._tickets.ahead(job) if _waits(job) else 0

    def jobs_before_next(self, recipe_name: str, owner: str) -> int:
        """How many jobs of a recipe the next one of an owner would have ahead of it."""
        return self._tickets.before_next(recipe_name, owner)

    def jobs_behind(self, recipe_name: str, *, ticket: int, limit: int) -> tuple[str, ...]:
        """The ids of the jobs, at most so many, that wait next behind a ticket."""
        return self._tickets.behind(recipe_name, ticket, limit=limit)

    def history(
        self, owner: str, *, limit: int, cursor: str | None = None, only: JobFilter = EVERY
    ) -> Page:
        """An owner's jobs, newest first.

        Parameters
        ----------
        limit : int
            1 to 100.
        cursor : str or None
            `Page.cursor` of the page before.
        only : JobFilter
            Which of them. Where few are wanted of many, a page may hold fewer
            than `limit`, or none, and yet have a next one: one call looks at
            a thousand jobs and no more.

        Raises
        ------
        InvalidRequest
            The limit is out of its range, or the cursor is of no list of those jobs.
        """
        if not 1 <= limit <= LISTABLE:
            raise InvalidRequest(f"limit {limit} is outside 1 to {LISTABLE}")
        place: Any = decoded(cursor, owner=owner, kind=JOB, within=only.bounds) if cursor else None
        found: list[Job] = []
        for _ in range(_LOOKS):
            start = {"ExclusiveStartKey": place} if place else {}
            at_once = LISTABLE if only.looks_inside else limit
            answer = self.client.query(**self._owned(owner, only), Limit=at_once, **start)
            for key, job in self._keyed(answer["Items"]):
                if only.matches(job):
                    found.append(job)
                if len(found) == limit:
                    more = key != answer["Items"][-1] or "LastEvaluatedKey" in answer
                    return Page(tuple(found), cursor=encoded(key) if more else None)
            place = answer.get("LastEvaluatedKey")
            if place is None:
                return Page(tuple(found), cursor=None)
        return Page(tuple(found), cursor=encoded(place))

    def _keyed(self, keys: Any) -> Iterator[tuple[Item, Job]]:
        """The jobs of an index's keys, with them; what is gone is left out."""
        jobs = {j.job_id: j for j in self._many([{"pk": k["pk"], "sk": k["sk"]} for k in keys])}
        for key in keys:
            job = jobs.get(key["pk"]["S"].removeprefix(Partition.JOB))
            if job is not None:
                yield key, job

    def history_from(
        self, owner: str, *, offset: int, limit: int | None
    ) -> Iterator[tuple[Job, ...]]:
        """An owner's jobs, newest first, some at a time.

        What is skipped is skipped in the index, without reading the jobs.

        Parameters
        ----------
        offset : int
            How many to skip, 0 or more.
        limit : int or None
            How many to give at the most; None gives all.
        """
        end = None if limit is None else offset + limit
        page_size = min(end or _SKIPPED_AT_ONCE, _SKIPPED_AT_ONCE)
        pages = self.client.get_paginator("query").paginate(
            **self._owned(owner), PaginationConfig={"PageSize": page_size}
        )
        found = ({"pk": i["pk"], "sk": i["sk"]} for page in pages for i in page["Items"])
        wanted = islice(found, offset, end)
        while keys := list(islice(wanted, LISTABLE)):
            yield self._many(keys)

    def unfinished(
        self, recipe_name: str, *, before: datetime, without: Container[str] = ()
    ) -> Iterator[Job]:
        """Jobs that are not over and have not changed since `before`, oldest first.

        Parameters
        ----------
        without : Container of str
            Ids of jobs that are of no interest: they are not read.
        """
        pages = self.client.get_paginator("query").paginate(
            TableName=self.table,
            IndexName="by_open",
            KeyConditionExpression="#open = :recipe AND updated_at < :before",
            ExpressionAttributeNames={"#open": "open"},
            ExpressionAttributeValues={
                ":recipe": {"S": recipe_name},
                ":before": {"S": before.isoformat()},
            },
        )
        for page in pages:
            for found in page["Items"]:
                # The index is behind the record it names, which may have been deleted.
                job_id = found["pk"]["S"].removeprefix(Partition.JOB)
                if job_id in without:
                    continue
                try:
                    job = self.get(job_id)
                except JobNotFound:
                    continue
                if not job.state.is_final and job.updated_at < before:
                    yield job

    @property
    def _tickets(self) -> Tickets:
        return Tickets(self.client, self.table)

    def _owned(self, owner: str, only: JobFilter = EVERY) -> Any:
        """The query for an owner's jobs of a time, newest first."""
        first, last = only.bounds
        return {
            "TableName": self.table,
            "IndexName": "by_owner",
            "KeyConditionExpression": "#owner = :owner AND owner_sort BETWEEN :first AND :last",
            "ExpressionAttributeNames": {"#owner": "owner"},
            "ExpressionAttributeValues": {
                ":owner": {"S": owner},
                ":first": {"S": first},
                ":last": {"S": last},
            },
            "ScanIndexForward": False,
        }

    def _replaced(self, seen: Job, changed: Job, events: tuple[JobEvent, ...]) -> bool:
        put: Any = {
            "Item": _item(changed),
            "ConditionExpression": _UNCHANGED,
            "ExpressionAttributeValues": {":seen": {"N": str(seen.version)}},
        }
        beside = self._beside(seen, changed, events)
        if beside:
            return transacted(self.client, [self._put(**put), *beside])
        errors = self.client.exceptions
        try:
            self.client.put_item(TableName=self.table, **put)
        except (errors.ConditionalCheckFailedException, errors.TransactionConflictException):
            return False
        return True

    def _beside(
        self,
        seen: Job | None,
        changed: Job,
        events: tuple[JobEvent, ...],
        *,
        freed_bytes: int = 0,
    ) -> list[Any]:
        """What is written with a record, in one transaction.

        A crash in between would leave everyone's place in the queue wrong for
        ever, or a hole in the log.
        """
        keys = [{"pk": job_key(changed.job_id), "sk": event_sort(e.number)} for e in events]
        parts = [self._put(Item=to_item(e, **key)) for e, key in zip(events, keys, strict=True)]
        waited = seen is not None and _waits(seen)
        if _waits(changed) and not waited:
            parts.append(self._tickets.taken(changed))
        elif seen is not None and waited and not _waits(changed):
            parts.append(self._tickets.given_back(seen))
        if changed.expires_at != (seen.expires_at if seen else None):
            parts.append(self._expiry(changed))
        if seen is None:
            fading = due_item(changed, sort=FADING, at=changed.created_at + FILES_LAST)
            parts.append(self._put(Item=fading))
        used = self.quotas.parts(seen, changed, freed_bytes=freed_bytes)
        return parts + used + self.cache.parts(seen, changed)

    def _expiry(self, job: Job) -> Any:
        """What has the job found when its time is over; nothing where it has no end."""
        if job.expires_at is not None:
            return self._put(Item=due_item(job, sort=EXPIRY, at=job.expires_at))
        key = {"pk": {"S": job_key(job.job_id)}, "sk": {"S": EXPIRY}}
        return {"Delete": {"TableName": self.table, "Key": key}}

    def _put(self, **put: Any) -> Any:
        return {"Put": {"TableName": self.table, **put}}

    def _many(self, keys: list[Item]) -> tuple[Job, ...]:
        found: dict[str, Job] = {}
        asked: Any = keys
        while asked:
            # Consistent: no list may show a job older than the last look at it did.
            request: Any = {self.table: {"Keys": asked, "ConsistentRead": True}}
            answer = self.client.batch_get_item(RequestItems=request)
            for item in answer["Responses"].get(self.table, []):
                found[item["pk"]["S"]] = from_item(item, Job)
            unread = answer.get("UnprocessedKeys", {}).get(self.table)
            asked = unread["Keys"] if unread else []
        # BatchGetItem answers in no order; the index's order is the one asked for.
        return tuple(found[k["pk"]["S"]] for k in keys if k["pk"]["S"] in found)


def _key(job_id: str) -> Item:
    return {"pk": {"S": job_key(job_id)}, "sk": {"S": JOB}}


def _item(job: Job) -> Item:
    sort = f"JOB#{job.created_at.isoformat()}#{job.job_id}"
    keys = {"pk": job_key(job.job_id), "sk": JOB, "owner_sort": sort}
    # The index of unfinished jobs is sparse: a finished one drops out of it.
    opened = {} if job.state.is_final else {"open": job.recipe_name}
    return to_item(job, **keys, **opened)


def _waits(job: Job) -> bool:
    return job.state is JobState.QUEUED

"""Which finished job answers a new one: the same recording, asked for the same thing.

Item: ``CACHE#<owner>`` / ``RESULT#<key>``, written in the transaction by which a
job succeeds. It says where a result was made, not that it still is there: who
takes it looks (`clearstem.answering`). The key is a hash over everything that
decides what a result holds, the content of the recording and the code of each
stage included; what a client says of that content is never part of it.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from clearstem.facts import Location
from clearstem.jobs import Job, JobState
from clearstem.recipes import StageSpec
from clearstem.records import dumps, from_item, to_item
from clearstem.retention import FILES_LAST
from clearstem.table_keys import RESULT, cache_key

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# Options that change nothing of a result: which engine was settled on is in the
# key itself, and the length is held against the result that is found.
_WITHOUT_EFFECT: Final = ("engine", "cache", "max_duration_s")


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a result was made.

    Attributes
    ----------
    results : Location
        Bucket and prefix of its files.
    until : datetime
        When they may be gone.
    """

    job_id: str
    results: Location
    until: datetime


@dataclass(frozen=True, slots=True)
class ResultCache:
    """The table's entries.

    Attributes
    ----------
    maker : str
        What results are made by beside the engine: the release, the precision. Results of
        another maker are not found.
    """

    client: "DynamoDBClient"
    table: str
    maker: str

    def find(self, job: Job, *, at: datetime) -> Entry | None:
        """The entry that answers a job, if there is one whose files should still be there."""
        key = key_of(job, made_by=self._makers(job))
        if key is None:
            return None
        # Consistent: who sends a file again the moment it was done gets it at once.
        answer = self.client.get_item(
            TableName=self.table, Key=_key(job.owner, key), ConsistentRead=True
        )
        entry = from_item(answer["Item"], Entry) if "Item" in answer else None
        # DynamoDB takes up to two days to remove what is over.
        return entry if entry is not None and at < entry.until else None

    def parts(self, seen: Job | None, changed: Job) -> list[Any]:
        """What a change of a record means for the cache, as parts of its transaction.

        A job that succeeds by work of its own leaves an entry, in the place of
        an older one: its files are there for longer. It leaves none where a stage
        was done before a deployment changed it: nobody would get such a mixture today.
        """
        made_by = tuple(run.made_by for run in changed.stages)
        if not _was_made(seen, changed) or made_by != self._makers(changed):
            return []
        key = key_of(changed, made_by=made_by)
        if key is None:
            return []
        last = changed.created_at + FILES_LAST
        until = min(last, changed.expires_at or last)
        entry = Entry(changed.job_id, changed.destination, until)
        keys = {name: value["S"] for name, value in _key(changed.owner, key).items()}
        item = to_item(entry, **keys, ttl=int(until.timestamp()))
        return [{"Put": {"TableName": self.table, "Item": item}}]

    def forget(self, job: Job) -> None:
        """Delete the entry that a job left; one that another job has put in its place stays."""
        key = key_of(job, made_by=[run.made_by for run in job.stages])
        if key is None or not _was_made(None, job):
            return
        try:
            self.client.delete_item(
                TableName=self.table,
                Key=_key(job.owner, key),
                ConditionExpression="job_id = :job",
                ExpressionAttributeValues={":job": {"S": job.job_id}},
            )
        except self.client.exceptions.ConditionalCheckFailedException:
            return

    def _makers(self, job: Job) -> tuple[str, ...]:
        """The code that would run a job's stages today."""
        return tuple(maker_of(stage, maker=self.maker) for stage in job.recipe.stages)


def maker_of(stage: StageSpec, *, maker: str) -> str:
    """The code that makes what a stage leaves: the release, the precision, its revision."""
    return f"{maker} {stage.name} {stage.revision}"


def key_of(job: Job, *, made_by: Sequence[str | None]) -> str | None:
    """What a job's result is found by; None where the job takes no part in the cache.

    The file's name is not in it, but its extension is: it says what to read, and often
    what to write.

    Parameters
    ----------
    made_by : Sequence[str or None]
        The code of each stage, in order; see `maker_of`.
    """
    if not job.options.cache or job.source.sha256 is None:
        return None
    options = json.loads(dumps(job.options))
    made_of = {
        "owner": job.owner,
        "source": [job.source.sha256, job.source.extension],
        "recipe": job.recipe_name,
        "stages": list(made_by),
        "options": {k: v for k, v in options.items() if k not in _WITHOUT_EFFECT},
        "engine": [job.engine.name, job.engine.model, job.engine.sha256],
    }
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()


def _was_made(seen: Job | None, changed: Job) -> bool:
    before = None if seen is None else seen.state
    succeeded = changed.state is JobState.SUCCEEDED and before is not JobState.SUCCEEDED
    return succeeded and changed.cached_from is None


def _key(owner: str, key: str) -> Any:
    return {"pk": {"S": cache_key(owner)}, "sk": {"S": f"{RESULT}{key}"}}

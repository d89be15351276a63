"""What a stage may touch: its own job, and nothing of any other.

The role that a stage's container or function has can read a job's record and
take a second role; that one may do to storage and table what stages do, and a
stage takes it with a policy that names its job. Whatever then goes wrong in
the stage (a key put together from the wrong id, a path out of a stranger's
file) meets AWS's refusal, not another owner's recording. docs/operations.md
says what this does not hold against.
"""

import json
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, Final

import boto3
import botocore.session
from botocore.credentials import CredentialProvider, CredentialResolver, RefreshableCredentials

from clearstem.drops import DONE_PREFIX
from clearstem.errors import JobNotFound
from clearstem.facts import Location
from clearstem.job_table import JobTable
from clearstem.jobs import Job
from clearstem.recipes import work_prefix
from clearstem.result_cache import Entry
from clearstem.service import CLIENT_CONFIG, Service
from clearstem.settings import Settings
from clearstem.table_keys import cache_key, job_key, usage_key
from clearstem.tickets import queue_key

# The most that AWS gives a role that takes another; an attempt may last for many times as long.
_SESSION_S: Final = 3600
# Of a key under uploads/OWNER/ID/ and under drop/OWNER/: what is of one owner's.
_UPLOAD_PARTS: Final = 3
_DROP_PARTS: Final = 2

# Of whichever key the role may use.
_KEY_USES: Final = ("kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*")

Statement = dict[str, Any]


def service_of(job_id: str, *, settings: Settings, session: boto3.Session) -> Service:
    """The core with credentials for one job.

    Where no second role is set (tests of a stage alone), or no such job is
    there, it is the core with the credentials of `session`.

    Raises
    ------
    botocore.exceptions.ClientError
        AWS refused the read of the record, or the role.
    """
    if not settings.stage_role_arn:
        return Service.over(settings, session=session)
    table: Any = session.client("dynamodb", config=CLIENT_CONFIG)
    try:
        job = JobTable(table, settings.table).get(job_id)
    except JobNotFound:
        return Service.over(settings, session=session)
    policy = session_policy(job, settings=settings)
    return _limited(job, policy, settings=settings, session=session)


def copying_service(
    job: Job, entry: Entry, *, settings: Settings, session: boto3.Session
) -> Service:
    """The core with credentials that copy one stored result to a job's place.

    They read the record of the job that made it, which tells whose it is, its files, and
    nothing else of it.

    Raises
    ------
    botocore.exceptions.ClientError
        AWS refused the role.
    """
    if not settings.stage_role_arn:
        return Service.over(settings, session=session)
    policy = copying_policy(job, entry, settings=settings)
    return _limited(job, policy, settings=settings, session=session)


def _limited(job: Job, policy: str, *, settings: Settings, session: boto3.Session) -> Service:
    """The core with the role of stages as a policy narrows it, taken in a job's name.

    The role is taken again, with the same policy, before its credentials expire.
    """
    sts: Any = session.client("sts", config=CLIENT_CONFIG)

    def taken() -> dict[str, str]:
        answer = sts.assume_role(
            RoleArn=settings.stage_role_arn,
            # CloudTrail tells by it which job read or wrote what.
            RoleSessionName=job.job_id,
            Policy=policy,
            DurationSeconds=_SESSION_S,
        )
        return _as_metadata(answer["Credentials"])

    scoped = botocore.session.Session()
    renewed = RefreshableCredentials.create_from_metadata(
        taken(), refresh_using=taken, method=_JobRole.METHOD
    )
    scoped.register_component("credential_provider", CredentialResolver([_JobRole(renewed)]))
    session = boto3.Session(botocore_session=scoped, region_name=session.region_name)
    return Service.over(settings, session=session)


def _as_metadata(given: dict[str, Any]) -> dict[str, str]:
    """What STS answers, under the names that botocore reads."""
    return {
        "access_key": given["AccessKeyId"],
        "secret_key": given["SecretAccessKey"],
        "token": given["SessionToken"],
        "expiry_time": given["Expiration"].isoformat(),
    }


class _JobRole(CredentialProvider):
    """The only credentials of a session: none are looked for anywhere else."""

    METHOD = "job-role"

    def __init__(self, credentials: RefreshableCredentials) -> None:
        super().__init__()
        self._credentials = credentials

    def load(self) -> RefreshableCredentials:
        return self._credentials


def session_policy(job: Job, *, settings: Settings) -> str:
    """What a stage of a job may do, as an IAM policy of at most 2,048 characters.

    It can only narrow what the role may; so the table, the key that encrypts
    and whatever else is the same for all jobs is named there.
    """
    return _document(_statements(job, settings))


def copying_policy(job: Job, entry: Entry, *, settings: Settings) -> str:
    """What it takes to copy an entry's result to a job's place, as an IAM policy."""
    return _document(_copying(job, entry, settings))


def _document(statements: Iterator[Statement]) -> str:
    document = {"Version": "2012-10-17", "Statement": list(statements)}
    return json.dumps(document, separators=(",", ":"))


def _copying(job: Job, entry: Entry, settings: Settings) -> Iterator[Statement]:
    partition = settings.stage_role_arn.split(":")[1]
    made = _opened(entry.results, job_id=entry.job_id)
    own = _opened(job.destination, job_id=job.job_id)
    read = [_arn(partition, where.bucket, f"{where.key}*") for where in (made, own)]
    yield _allow("s3:GetObject", on=read)
    yield _allow("s3:PutObject", "s3:AbortMultipartUpload", on=read[1:])
    yield _listing(partition, made, own)
    yield {**_allow("dynamodb:GetItem"), "Condition": _leading(job_key(entry.job_id))}
    yield _allow(*_KEY_USES)


def _statements(job: Job, settings: Settings) -> Iterator[Statement]:
    partition = settings.stage_role_arn.split(":")[1]
    work = Location(settings.work_bucket, work_prefix(job.job_id))
    results = _opened(job.destination, job_id=job.job_id)
    own = [_arn(partition, where.bucket, f"{where.key}*") for where in (work, results)]
    yield _allow("s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload", on=own)
    source = _source(job)
    # A recording that is named by its address is fetched to where uploads lie.
    fetches = ("s3:PutObject", "s3:AbortMultipartUpload") if job.source.url is not None else ()
    yield _allow("s3:GetObject", *fetches, on=[_arn(partition, source.bucket, f"{source.key}*")])
    yield _listing(partition, work, results)
    record, cache = job_key(job.job_id), cache_key(job.owner)
    yield {**_allow("dynamodb:GetItem"), "Condition": _leading(record, cache)}
    # Its ticket, what its owner uses and what its result answers go in one transaction with the
    # change of the record: the condition sees the keys of all its parts at once.
    changes = {
        **_leading(record, queue_key(job.recipe_name), usage_key(job.owner), cache),
        "StringEqualsIfExists": {"dynamodb:ReturnValues": "NONE"},
    }
    writes = ("dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem")
    yield {**_allow(*writes), "Condition": changes}
    yield _allow(*_KEY_USES)


def _allow(*actions: str, on: list[str] | None = None) -> Statement:
    return {"Effect": "Allow", "Action": list(actions), "Resource": on or "*"}


def _listing(partition: str, *places: Location) -> Statement:
    listed = {"StringLike": {"s3:prefix": [f"{where.key}*" for where in places]}}
    buckets = [_arn(partition, where.bucket) for where in places]
    return {**_allow("s3:ListBucket", on=buckets), "Condition": listed}


def _leading(*partitions: str) -> dict[str, Any]:
    return {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": list(partitions)}}


def _source(job: Job) -> Location:
    """Below which the source lies; by ids alone, since a policy has no room for long names."""
    where = job.source.location
    parts = PurePosixPath(where.key).parts
    own = parts[: _UPLOAD_PARTS if parts[0] == "uploads" else _DROP_PARTS]
    return Location(where.bucket, "/".join(own) + "/")


def _opened(where: Location, *, job_id: str) -> Location:
    """Below which a job's tracks go; the name of a dropped file is left open."""
    if not where.key.startswith(DONE_PREFIX):
        return where
    owner = PurePosixPath(where.key).parts[1]
    return Location(where.bucket, f"{DONE_PREFIX}{owner}/*/{job_id}/")


def _arn(partition: str, bucket: str, key: str = "") -> str:
    return f"arn:{partition}:s3:::{bucket}" + (f"/{key}" if key else "")

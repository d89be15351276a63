"""A stage works with credentials of its own job, by which it reaches nothing of another.

Against the emulator with IAM enforced: the roles are the committed template's, the credentials are
those that the stage entry takes.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from clearstem.facts import Location
from clearstem.jobs import Job, JobState
from clearstem.options import SeparateOptions
from clearstem.queueing import queued_job
from clearstem.recipes import SEPARATE, work_key
from clearstem.result_cache import Entry
from clearstem.service import Service
from containers.credentials import copying_service, service_of
from tests.infra.enforced import Deployed
from tests.unit.examples import SPECTRAL, START, a_job

FIRST = SEPARATE.stages[0].name


@dataclass(frozen=True)
class Two:
    """Two owners' jobs with all their files, and the core as a stage of the first has it."""

    mine: Job
    other: Job
    stage: Service
    operator: Service

    def artifact(self, job: Job) -> Location:
        key = work_key(job.job_id, stage=FIRST, artifact="vocals.wav")
        return Location(self.stage.settings.work_bucket, key)

    def track(self, job: Job) -> Location:
        return Location(job.destination.bucket, f"{job.destination.key}vocals.wav")


def made(operator: Service, owner: str, *, dropped: bool = False) -> Job:
    """A queued job whose source is in storage; nothing runs it."""
    job_id, settings = str(uuid.uuid4()), operator.settings
    source = Location(settings.uploads_bucket, f"uploads/{owner}/{uuid.uuid4()}/source.wav")
    results = Location(settings.tracks_bucket, f"jobs/{job_id}/")
    if dropped:
        source = Location(settings.drop_bucket, f"drop/{owner}/al*bum/so?ng.wav")
        results = Location(settings.drop_bucket, f"done/{owner}/so?ng.wav/{job_id}/")
    job = queued_job(
        job_id=job_id,
        owner=owner,
        recipe=SEPARATE,
        source=replace(a_job().source, location=source),
        destination=results,
        options=SeparateOptions(),
        engine=SPECTRAL,
        at=START,
    )
    operator.store.write_text(owner, to=source, content_type="text/plain")
    return operator.jobs.create(job)


def two_of(enforced: Deployed, operator: Service, *, dropped: bool) -> Two:
    mine, other = (made(operator, owner, dropped=dropped) for owner in ("alice", "bob"))
    # Just what a container starts with.
    task = enforced.session_as("StagesRole")
    stage = service_of(mine.job_id, settings=operator.settings, session=task)
    two = Two(mine, other, stage, operator)
    for job in (mine, other):
        for where in (two.artifact(job), two.track(job)):
            operator.store.write_text(job.owner, to=where, content_type="text/plain")
    return two


@pytest.fixture(scope="module", params=[False, True], ids=["uploaded", "dropped"])
def two(enforced: Deployed, operator: Service, request: pytest.FixtureRequest) -> Two:
    return two_of(enforced, operator, dropped=request.param)


def test_a_stage_may_do_its_own_jobs_work(two: Two) -> None:
    store = two.stage.store
    assert store.read_text(two.artifact(two.mine)) == "alice"
    assert store.client.get_object(
        Bucket=two.mine.source.location.bucket, Key=two.mine.source.location.key
    )["ContentLength"]
    for where in (two.artifact(two.mine), two.track(two.mine)):
        store.write_text("again", to=where, content_type="text/plain")
        store.write_text("alice", to=where, content_type="text/plain")
    nothing = replace(
        two.artifact(two.mine), key=work_key(two.mine.job_id, stage="x", artifact="y")
    )
    assert store.read_text(nothing) is None


def test_a_stage_takes_its_job_out_of_the_queue(enforced: Deployed, operator: Service) -> None:
    two = two_of(enforced, operator, dropped=False)
    assert two.mine.job_id in operator.jobs.jobs_behind(SEPARATE.name, ticket=0, limit=100)
    job = two.stage.jobs.change(two.mine.job_id, lambda j: j.start_stage(FIRST, at=START))
    assert job.state is JobState.RUNNING
    assert two.mine.job_id not in operator.jobs.jobs_behind(SEPARATE.name, ticket=0, limit=100)


def _read(where: Callable[[Two], Location]) -> Callable[[Two], object]:
    def call(two: Two) -> object:
        found = where(two)
        return two.stage.store.client.get_object(Bucket=found.bucket, Key=found.key)

    return call


def _write(where: Callable[[Two], Location]) -> Callable[[Two], object]:
    return lambda two: two.stage.store.write_text("x", to=where(two), content_type="text/plain")


def _list(prefix: Callable[[Two], str], bucket: str = "work_bucket") -> Callable[[Two], object]:
    def call(two: Two) -> object:
        name = getattr(two.stage.settings, bucket)
        return two.stage.store.client.list_objects_v2(Bucket=name, Prefix=prefix(two))

    return call


def _delete(where: Callable[[Two], Location]) -> Callable[[Two], object]:
    def call(two: Two) -> object:
        found = where(two)
        return two.stage.store.client.delete_object(Bucket=found.bucket, Key=found.key)

    return call


def _get_item(partition: str, sort: str) -> Callable[[Two], object]:
    def call(two: Two) -> object:
        key: Any = {"pk": {"S": partition}, "sk": {"S": sort}}
        return two.stage.jobs.client.get_item(TableName=two.stage.jobs.table, Key=key)

    return call


def _with_own_put(two: Two) -> object:
    """A transaction of which one part is the stage's own, and another is not."""
    jobs = two.stage.jobs
    items: Any = [
        {"Put": {"TableName": jobs.table, "Item": {"pk": {"S": f"JOB#{job_id}"}, "sk": {"S": "X"}}}}
        for job_id in (two.mine.job_id, two.other.job_id)
    ]
    return jobs.client.transact_write_items(TransactItems=items)


REFUSED: dict[str, Callable[[Two], object]] = {
    "read another's recording": _read(lambda two: two.other.source.location),
    "read another's artifact": _read(lambda two: two.artifact(two.other)),
    "read another's track": _read(lambda two: two.track(two.other)),
    "write another's artifact": _write(lambda two: two.artifact(two.other)),
    "write another's track": _write(lambda two: two.track(two.other)),
    "write another's recording": _write(lambda two: two.other.source.location),
    "write its own recording": _write(lambda two: two.mine.source.location),
    "list another's work": _list(lambda two: f"jobs/{two.other.job_id}/"),
    "list all work": _list(lambda _: ""),
    "list all jobs": _list(lambda _: "jobs/"),
    "list recordings": _list(lambda _: "uploads/bob/", "uploads_bucket"),
    "list what was dropped": _list(lambda _: "drop/bob/", "drop_bucket"),
    "delete its own track": _delete(lambda two: two.track(two.mine)),
    "read another's record": lambda two: two.stage.jobs.get(two.other.job_id),
    "write another's record": lambda two: two.stage.jobs.client.put_item(
        TableName=two.stage.jobs.table,
        Item={"pk": {"S": f"JOB#{two.other.job_id}"}, "sk": {"S": "JOB"}},
    ),
    "write another's record beside its own": _with_own_put,
    "find what another owner has stored": _get_item("CACHE#bob", "RESULT#" + "0" * 64),
    "leave another owner a result": lambda two: two.stage.jobs.client.put_item(
        TableName=two.stage.jobs.table,
        Item={"pk": {"S": "CACHE#bob"}, "sk": {"S": "RESULT#0"}},
    ),
    "read a ticket": _get_item("QUEUE#separate", "TICKET#000000000001"),
    "read a key": _get_item("KEY#" + "0" * 64, "KEY"),
    "search the table": lambda two: two.stage.jobs.jobs_before_next(SEPARATE.name, "zoe"),
}


@pytest.mark.parametrize("attempt", REFUSED)
def test_a_stage_reaches_nothing_of_another_job(two: Two, attempt: str) -> None:
    with pytest.raises(ClientError) as refused:
        REFUSED[attempt](two)
    assert refused.value.response["Error"]["Code"] in ("AccessDenied", "AccessDeniedException")


@pytest.mark.parametrize("job_role_session", ["other", "task", "jobs"])
def test_the_job_role_is_taken_in_a_jobs_name_alone(
    enforced: Deployed, operator: Service, job_role_session: str
) -> None:
    sts = enforced.acting_as("StagesRole")("sts")
    with pytest.raises(ClientError, match="AccessDenied"):
        sts.assume_role(RoleArn=operator.settings.stage_role_arn, RoleSessionName=job_role_session)


def test_only_a_stage_takes_the_job_role(enforced: Deployed, operator: Service) -> None:
    for role in ("PushHandlerRole", "RestHandlerRole", "DropHandlerRole"):
        with pytest.raises(ClientError, match="AccessDenied"):
            enforced.acting_as(role)("sts").assume_role(
                RoleArn=operator.settings.stage_role_arn, RoleSessionName=str(uuid.uuid4())
            )


def test_who_has_the_whole_job_role_still_finds_no_job(
    enforced: Deployed, operator: Service
) -> None:
    """What is left where the code of a stage is an attacker's: ids that he has to know."""
    made(operator, "bob")
    answer = enforced.acting_as("StagesRole")("sts").assume_role(
        RoleArn=operator.settings.stage_role_arn, RoleSessionName=str(uuid.uuid4())
    )
    given = answer["Credentials"]
    whole = boto3.Session(
        given["AccessKeyId"],
        given["SecretAccessKey"],
        given["SessionToken"],
        enforced.target.region,
    )
    service, settings = Service.over(operator.settings, session=whole), operator.settings
    for bucket, prefix in (
        (settings.uploads_bucket, "uploads/bob/"),
        (settings.work_bucket, "jobs/"),
        (settings.tracks_bucket, "jobs/"),
        (settings.drop_bucket, "drop/"),
        (settings.drop_bucket, "done/bob/"),
    ):
        with pytest.raises(ClientError, match="AccessDenied"):
            service.store.client.list_objects_v2(Bucket=bucket, Prefix=prefix)
    ticket: Any = {"pk": {"S": "QUEUE#separate"}, "sk": {"S": "TICKET#000000000001"}}
    with pytest.raises(ClientError, match="AccessDenied"):
        service.jobs.client.get_item(TableName=settings.table, Key=ticket)
    with pytest.raises(ClientError, match="AccessDenied"):
        service.jobs.jobs_before_next(SEPARATE.name, "zoe")


def test_what_is_lent_to_copy_a_result_copies_that_one(
    enforced: Deployed, operator: Service
) -> None:
    source, job, third = (made(operator, "alice") for _ in range(3))
    task = enforced.session_as("StagesRole")
    for each in (source, third):
        where = Location(each.destination.bucket, f"{each.destination.key}vocals.wav")
        operator.store.write_text(each.job_id, to=where, content_type="audio/wav")
    entry = Entry(source.job_id, source.destination, until=START)
    lent = copying_service(job, entry, settings=operator.settings, session=task)
    place = Location(job.destination.bucket, f"{job.destination.key}vocals.wav")

    def vocals(of: Job) -> Location:
        return replace(place, key=f"{of.destination.key}vocals.wav")

    lent.store.copy(vocals(source), to=place, content_type="audio/wav")
    assert operator.store.read_text(place) == source.job_id
    assert lent.store.size_bytes(place) == len(source.job_id)
    assert lent.jobs.get(source.job_id).owner == "alice"
    for refused in (
        lambda: lent.store.copy(vocals(third), to=place, content_type="audio/wav"),
        lambda: lent.store.copy(place, to=vocals(source), content_type="audio/wav"),
        lambda: lent.jobs.get(third.job_id),
    ):
        with pytest.raises(ClientError) as told:
            refused()
        assert told.value.response["Error"]["Code"] in (
            "AccessDenied",
            "AccessDeniedException",
            "403",
        )

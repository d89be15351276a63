"""The policy by which a stage is kept to its own job."""

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest

from clearstem.facts import Location
from clearstem.result_cache import Entry
from clearstem.settings import Settings
from containers.credentials import copying_policy, copying_service, session_policy
from tests.unit.examples import a_job

LONGEST = 63  # characters of a bucket's name, and of an owner's but one
ROLE = "arn:aws-us-gov:iam::123456789012:role/" + "r" * 64
SETTINGS = Settings(
    table="t" * 255,
    uploads_bucket="u" * LONGEST,
    work_bucket="w" * LONGEST,
    tracks_bucket="r" * LONGEST,
    drop_bucket="d" * LONGEST,
    stage_role_arn=ROLE,
)
OWNER = "o" * (LONGEST + 1)
JOB = replace(
    a_job(owner=OWNER),
    source=replace(
        a_job().source,
        location=Location(SETTINGS.uploads_bucket, f"uploads/{OWNER}/{a_job().job_id}/source.wav"),
        url="https://example.org/talk.wav",
    ),
    destination=Location(SETTINGS.tracks_bucket, f"jobs/{a_job().job_id}/"),
)


def dropped(name: str):
    """A job of an object that somebody dropped under a name."""
    source = Location(SETTINGS.drop_bucket, f"drop/{OWNER}/{name}")
    results = Location(SETTINGS.drop_bucket, f"done/{OWNER}/{name}/{JOB.job_id}/")
    return replace(JOB, source=replace(JOB.source, location=source, url=None), destination=results)


def resources(job):
    document = json.loads(session_policy(job, settings=SETTINGS))
    found = (statement["Resource"] for statement in document["Statement"])
    return {arn for each in found if each != "*" for arn in each}


@pytest.mark.parametrize("job", [JOB, dropped("n" * 900 + ".wav")], ids=["by address", "dropped"])
def test_the_longest_names_leave_the_policy_as_short_as_sts_takes_it(job):
    assert len(session_policy(job, settings=SETTINGS)) <= 2048


@pytest.mark.parametrize("name", ["*", "?/../*", "${aws:userid}/x.wav", "jobs/*"])
def test_a_dropped_files_name_says_nothing_in_the_policy(name):
    drop = f"arn:aws-us-gov:s3:::{SETTINGS.drop_bucket}"
    assert {arn for arn in resources(dropped(name)) if arn.startswith(drop)} == {
        drop,
        f"{drop}/drop/{OWNER}/*",
        f"{drop}/done/{OWNER}/*/{JOB.job_id}/*",
    }


def test_every_object_that_is_named_is_the_jobs_own():
    for arn in resources(JOB):
        _, _, key = arn.partition(":::")[2].partition("/")
        assert not key or JOB.job_id in key


def test_a_source_is_written_only_where_the_stage_fetches_it():
    def written(job):
        document = json.loads(session_policy(job, settings=SETTINGS))
        return {
            arn
            for statement in document["Statement"]
            if "s3:PutObject" in statement["Action"]
            for arn in statement["Resource"]
        }

    uploads = f"arn:aws-us-gov:s3:::{SETTINGS.uploads_bucket}"
    assert any(arn.startswith(uploads) for arn in written(JOB))
    uploaded = replace(JOB, source=replace(JOB.source, url=None))
    assert not any(arn.startswith(uploads) for arn in written(uploaded))


def made(results: Location) -> Entry:
    """Where another job of the same owner left its result."""
    return Entry("7d1e7a4a-0c43-4a55-8f0d-1a3f5b1c9e55", results, until=a_job().created_at)


MADE = made(Location(SETTINGS.tracks_bucket, f"jobs/{made(JOB.destination).job_id}/"))
DROPPED_RESULTS = f"done/{OWNER}/{'n*' * 450}.wav/{MADE.job_id}/"


def test_a_copy_reads_one_stored_result_and_writes_to_the_jobs_place_alone():
    statements = json.loads(copying_policy(JOB, MADE, settings=SETTINGS))["Statement"]
    tracks = f"arn:aws-us-gov:s3:::{SETTINGS.tracks_bucket}"
    theirs, own = (f"{tracks}/jobs/{job_id}/*" for job_id in (MADE.job_id, JOB.job_id))
    may = {action: each for each in statements for action in each["Action"]}
    assert may["s3:GetObject"]["Resource"] == [theirs, own]
    assert may["s3:PutObject"]["Resource"] == [own]
    assert may["s3:ListBucket"]["Condition"]["StringLike"]["s3:prefix"] == [
        f"jobs/{MADE.job_id}/*",
        f"jobs/{JOB.job_id}/*",
    ]
    keys = may["dynamodb:GetItem"]["Condition"]["ForAllValues:StringEquals"]
    assert keys == {"dynamodb:LeadingKeys": [f"JOB#{MADE.job_id}"]}
    assert {action for action in may if not action.startswith("kms:")} == {
        "s3:GetObject",
        "s3:PutObject",
        "s3:AbortMultipartUpload",
        "s3:ListBucket",
        "dynamodb:GetItem",
    }


def test_a_copy_of_what_was_dropped_names_no_files_name():
    entry = made(Location(SETTINGS.drop_bucket, DROPPED_RESULTS))
    policy = copying_policy(dropped("n" * 900 + ".wav"), entry, settings=SETTINGS)
    assert len(policy) <= 2048
    assert f"{SETTINGS.drop_bucket}/done/{OWNER}/*/{entry.job_id}/*" in policy
    assert "n*" not in policy.replace(f"{OWNER}/*", "")


def test_a_stage_finds_and_leaves_entries_of_its_own_owner_alone():
    for statement in json.loads(session_policy(JOB, settings=SETTINGS))["Statement"]:
        if any(action.startswith("dynamodb:") for action in statement["Action"]):
            keys = statement["Condition"]["ForAllValues:StringEquals"]["dynamodb:LeadingKeys"]
            assert [key for key in keys if key.startswith("CACHE#")] == [f"CACHE#{OWNER}"]


@dataclass
class Sts:
    """Gives credentials that are good for a time each, and keeps what it was asked for."""

    lives: list[timedelta]
    asked: list[dict] = field(default_factory=list)

    def assume_role(self, **asked):
        self.asked.append(asked)
        number = len(self.asked)
        return {
            "Credentials": {
                "AccessKeyId": f"KEY{number}",
                "SecretAccessKey": "secret",
                "SessionToken": f"token{number}",
                "Expiration": datetime.now(UTC) + self.lives[number - 1],
            }
        }


def signed_by(service):
    """The key id that a request to storage is signed with now."""
    link = service.store.client.generate_presigned_url(
        "get_object", Params={"Bucket": "tracks", "Key": "x"}
    )
    (credential,) = parse_qs(urlsplit(link).query)["X-Amz-Credential"]
    return credential.split("/")[0]


def test_a_stage_that_outlasts_its_credentials_takes_the_role_again():
    sts = Sts([timedelta(hours=1), timedelta(hours=1)])
    session = SimpleNamespace(client=lambda name, config: sts, region_name="us-east-1")
    service = copying_service(JOB, MADE, settings=SETTINGS, session=session)
    assert [signed_by(service), signed_by(service)] == ["KEY1", "KEY1"]

    sts = Sts([timedelta(minutes=1), timedelta(hours=1)])
    service = copying_service(JOB, MADE, settings=SETTINGS, session=session)
    assert [signed_by(service), signed_by(service)] == ["KEY2", "KEY2"]
    first, second = sts.asked
    assert first == second and first["RoleSessionName"] == JOB.job_id

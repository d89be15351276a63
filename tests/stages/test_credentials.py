"""The policy by which a stage is kept to its own job."""

import json
from dataclasses import replace

import pytest

from clearstem.facts import Location
from clearstem.settings import Settings
from containers.credentials import session_policy
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

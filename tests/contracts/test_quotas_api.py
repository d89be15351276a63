"""An owner beyond his quota, in the words of each dialect."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from clearstem import cli
from clearstem.facts import Location, Source
from clearstem.retention import FILES_LAST
from clearstem.service import Service
from functions.rest import create_app
from tests.problems import refusal
from tests.submitted import finish, long_wav, submit, wav

OWNER = "ada"
LATER = FILES_LAST * 1.01


@pytest.fixture
def api(service: Service) -> Iterator[TestClient]:
    key, _ = service.accounts.create_key(OWNER, at=service.now())
    with TestClient(create_app(service), headers={"x-api-key": key}) as client:
        yield client


def uploaded(api: TestClient, content: bytes) -> str:
    answer = api.post("/v1/upload", files={"file": ("talk.wav", content)})
    return str(answer.json()["fileId"])


def test_a_job_too_many_is_told_in_every_dialect_when_to_ask_again(
    api: TestClient, service: Service
) -> None:
    service.jobs.quotas.settle(OWNER, unfinished_jobs=1)
    file_id = uploaded(api, wav())
    assert api.post("/process", files={"file": ("a.wav", wav())}).status_code == 200
    native = api.post("/process", files={"file": ("a.wav", wav())})
    audo = api.post("/v1/remove-noise", json={"input": file_id})
    munsit = api.post("/api/v1/denoise", files={"audio": ("a.wav", wav())})
    sentence = "the limit of unfinished jobs, 1, is reached; ask again when one has ended"
    assert refusal(native) == (429, sentence)
    assert (native.json()["limit"], native.json()["value"]) == ("unfinished_jobs", 1)
    assert (audo.status_code, audo.json()) == (429, {"detail": sentence})
    assert munsit.json() == {"errorCode": "42901", "errorMessage": sentence}
    assert {answer.headers["Retry-After"] for answer in (native, audo, munsit)} == {"30"}


def test_used_up_minutes_are_a_lack_of_credits_where_clients_know_that_word(
    api: TestClient, service: Service
) -> None:
    service.jobs.quotas.settle(OWNER, minutes_per_month=0.5)
    file_id = uploaded(api, long_wav(40))
    room = api.post("/uploads", json={"file_name": "a.wav"}).json()
    native = api.post("/process", files={"file": ("a.wav", long_wav(40))})
    audo = api.post("/v1/remove-noise", json={"input": file_id})
    munsit = api.post("/api/v1/denoise", files={"audio": ("a.wav", long_wav(40))})
    assert refusal(native)[0] == 403
    told = native.json()
    assert (told["limit"], told["value"], told["used"]) == ("minutes_per_month", 0.5, 0.0)
    assert told["resets_at"].endswith("-01T00:00:00+00:00")
    # The published client takes any 400 for `InsufficientCredits`.
    assert (audo.status_code, list(audo.json())) == (400, ["detail"])
    assert (munsit.status_code, munsit.json()["errorCode"]) == (403, "40301")
    assert room["upload_id"]
    assert service.jobs.history(OWNER, limit=10).jobs == ()


def test_one_job_of_a_batch_that_does_not_fit_is_refused_alone(
    api: TestClient, service: Service
) -> None:
    service.jobs.quotas.settle(OWNER, unfinished_jobs=1)
    ids = [uploaded(api, wav()) for _ in range(3)]
    answer = api.post("/jobs/batch", json={"jobs": [{"upload_id": each} for each in ids]})
    results = sorted(answer.json()["results"], key=lambda result: result["status"])
    assert [result["status"] for result in results] == [200, 429, 429]
    assert results[0]["problem"] is None
    for result in results[1:]:
        problem = result["problem"]
        assert (problem["detail"], problem["status"]) == (result["detail"], 429)
        assert problem["name"] == "Clearstem.TooManyJobs"
        assert (problem["limit"], problem["value"], problem["used"]) == ("unfinished_jobs", 1, 1)
        assert (problem["resets_at"], problem["retry_after_s"]) == (None, 30)


def test_files_count_until_their_bucket_lets_them_go(service: Service) -> None:
    job = finish(service, submit(service, owner=OWNER))
    month = job.created_at.strftime("%Y-%m")
    quotas = service.jobs.quotas
    stored = quotas.used(OWNER, month=month).stored_bytes
    assert stored > 0
    later = replace(service, now=lambda: job.created_at + LATER)
    list(later.removal.sweep())
    assert quotas.used(OWNER, month=month).stored_bytes == stored
    _empty(service, job.destination, job.source)
    latest = replace(service, now=lambda: job.created_at + LATER * 1.1)
    list(latest.removal.sweep())
    assert quotas.used(OWNER, month=month).stored_bytes == 0
    assert service.jobs.get(job.job_id).deleted_at is not None


def _empty(service: Service, destination: Location, source: Source) -> None:
    client = service.store.client
    found = client.list_objects_v2(Bucket=destination.bucket, Prefix=destination.key)
    for entry in found["Contents"]:
        client.delete_object(Bucket=destination.bucket, Key=entry["Key"])
    client.delete_object(Bucket=source.location.bucket, Key=source.location.key)


def test_an_operator_sees_and_settles_what_an_owner_may(
    deployed: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(deployed, owner=OWNER)
    runner = CliRunner()
    settled = runner.invoke(cli.app, ["quotas", "set", OWNER, "--jobs", "7", "--minutes", "90"])
    assert settled.exit_code == 0, settled.output
    shown = runner.invoke(cli.app, ["quotas", "show", OWNER]).output
    rows = [line.split() for line in shown.splitlines() if "unfinished" in line]
    assert [row for row in rows[0] if row.isdecimal()] == ["1", "7"]
    assert deployed.jobs.quotas.of(OWNER).minutes_per_month == 90
    rated = runner.invoke(
        cli.app, ["quotas", "set", OWNER, "--requests-per-s", "2.5", "--burst", "9"]
    )
    assert rated.exit_code == 0, rated.output
    own = deployed.jobs.quotas.of(OWNER)
    # What is not named is the deployment's again.
    assert (own.requests_per_s, own.request_burst, own.unfinished_jobs) == (2.5, 9, 0)
    shown = runner.invoke(cli.app, ["quotas", "show", OWNER]).output
    assert [line.split()[-2] for line in shown.splitlines() if "calls" in line] == ["2.5", "9"]
    refused = runner.invoke(cli.app, ["quotas", "set", OWNER, "--stored", "-1"])
    assert refused.exit_code == 1
    for option in ("--requests-per-s", "--burst"):
        assert runner.invoke(cli.app, ["quotas", "set", OWNER, option, "-1"]).exit_code == 1
    assert runner.invoke(cli.app, ["quotas", "set", OWNER, "--burst", "0"]).exit_code == 1

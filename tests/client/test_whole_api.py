"""The client's newer calls against the real application, and a receiver's verification.

The application stands on a real socket over an emulated AWS, so that both drivers are used as
they are; the twin is not needed, since nothing of these calls runs a stage.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from clearstem.client import UNCHANGED, ClientError, NotAllowed, NotFound, NotGenuine, verify
from clearstem.job_events import EventKind, logged
from clearstem.service import Service
from clearstem.tokens import KeySet, Tokens
from clearstem.webhook_secrets import Secrets, new_secret, signed_headers
from functions.dialects.webhooks import event_body
from functions.rest import create_app
from tests.client.driven import Driven
from tests.issuer import Issuer
from tests.serving import served
from tests.submitted import submit, wav
from tests.unit.examples import a_job


@pytest.fixture
def issuer() -> Issuer:
    issuer = Issuer()
    issuer.ec("k1")
    return issuer


@pytest.fixture
def core(service: Service, issuer: Issuer) -> Service:
    """A core that knows keys and tokens, and lets nobody in without."""
    tokens = Tokens("https://issuer.example.org/", "clearstem", KeySet(issuer.document), leeway_s=1)
    settings = replace(service.settings, keyless_owner="")
    return replace(service, settings=settings, tokens=tokens)


@pytest.fixture
def url(core: Service) -> Iterator[str]:
    with served(create_app(core)) as address:
        yield address


@pytest.fixture
def key(core: Service) -> str:
    return core.accounts.create_key("ada", at=core.now())[0]


def uploaded(core: Service) -> str:
    upload = core.intake.announce(owner="ada", file_name="song.wav")
    with core.intake.writer(upload) as writer:
        writer.write(wav())
    return upload.upload_id


def test_a_batch_is_told_of_one_by_one_and_repeated_it_is_the_same(
    client: Driven, core: Service, url: str, key: str
) -> None:
    upload_id = uploaded(core)
    asked = [
        {"upload_id": upload_id, "options": {"format": "flac"}, "labels": {"n": "1"}},
        {"upload_id": "11111111-1111-4111-8111-111111111111"},
        {"upload_id": upload_id, "recipe": "denoise", "retention_hours": 2},
    ]
    for _ in range(2):
        results = client.call(
            url, "submit_many", asked, key=key, idempotency_key=f"batch-{client.kind}"
        )
        assert [each["status"] for each in results] == [200, 404, 200]
    assert [each["job"]["recipe"] for each in results if each["job"]] == ["separate", "denoise"]
    assert results[0]["job"]["labels"] == {"n": "1"}
    jobs = core.jobs.history("ada", limit=10).jobs
    assert {job.job_id for job in jobs} == {each["job"]["job_id"] for each in results[::2]}
    separated = next(job for job in jobs if job.recipe_name == "separate")
    assert separated.options.output_format == "flac"


def test_more_jobs_than_a_call_takes_go_in_several(client: Driven, url: str, key: str) -> None:
    asked = [{"upload_id": f"upload-{n}"} for n in range(205)]
    results = client.call(url, "submit_many", asked, key=key)
    assert [each["status"] for each in results] == [404] * 205
    assert client.call(url, "submit_many", [], key=key) == []


def test_a_job_is_amended_by_what_is_given_alone(
    client: Driven, core: Service, url: str, key: str
) -> None:
    job_id = submit(core, owner="ada").job_id
    kept = client.call(url, "amend", job_id, labels={"a": "1"}, retention_hours=5, key=key)
    created = core.jobs.get(job_id).created_at
    assert core.jobs.get(job_id).expires_at == created + timedelta(hours=5)
    relabelled = client.call(url, "amend", job_id, labels={"b": "2"}, key=key)
    assert (relabelled["labels"], relabelled["expires_at"]) == ({"b": "2"}, kept["expires_at"])
    same = client.call(url, "amend", job_id, retention_hours=UNCHANGED, key=key)
    assert same == relabelled
    freed = client.call(url, "amend", job_id, retention_hours=None, key=key)
    assert (freed["labels"], freed["expires_at"]) == ({"b": "2"}, None)


def test_an_owner_settles_how_long_jobs_to_come_are_kept(
    client: Driven, core: Service, url: str, key: str
) -> None:
    assert client.call(url, "retention", key=key) == {"retention_hours": None}
    assert client.call(url, "keep", 12.5, key=key) == {"retention_hours": 12.5}
    job = submit(core, owner="ada")
    assert job.expires_at == job.created_at + timedelta(hours=12.5)
    assert client.call(url, "keep", None, key=key) == client.call(url, "retention", key=key)
    assert core.retention.owners_hours("ada") is None


def test_receipts_of_deleted_jobs_come_page_after_page(
    client: Driven, core: Service, url: str, key: str
) -> None:
    ids = [submit(core, owner="ada").job_id for _ in range(3)]
    receipts = [client.call(url, "delete", job_id, key=key) for job_id in ids]
    assert client.call(url, "deleted", page=2, key=key) == receipts[::-1]
    with pytest.raises(NotFound, match="was deleted at") as gone:
        client.call(url, "job", ids[0], key=key)
    assert gone.value.status == 410


def test_usage_tells_what_is_used_of_each_limit(
    client: Driven, core: Service, url: str, key: str
) -> None:
    free = client.call(url, "usage", key=key)
    assert (free["owner"], free["requests_per_s"]) == ("ada", None)
    assert free["unfinished_jobs"] == {"used": 0, "limit": None}
    core.jobs.quotas.settle(
        "ada",
        unfinished_jobs=3,
        minutes_per_month=90.5,
        stored_bytes=10**12,
        requests_per_s=50,
        request_burst=500,
    )
    job = submit(core, owner="ada")
    used = client.call(url, "usage", key=key)
    assert used["unfinished_jobs"] == {"used": 1, "limit": 3}
    assert used["stored_bytes"] == {"used": job.source.size_bytes, "limit": 10**12}
    assert used["minutes_per_month"]["limit"] == 90.5
    assert used["minutes_per_month"]["resets_at"][8:] == "01T00:00:00+00:00"
    assert used["requests_per_s"] == {"limit": 50.0, "burst": 500}


def test_a_token_is_shown_and_a_fresh_one_is_asked_for_before_each_attempt(
    client: Driven, core: Service, url: str, issuer: Issuer
) -> None:
    asked = []

    def token() -> str:
        asked.append(1)
        return issuer.token("k1")

    job_id = submit(core, owner="ada").job_id
    assert client.call(url, "job", job_id, token=token)["job_id"] == job_id
    assert client.call(url, "job", job_id, token=issuer.token("k1"))["job_id"] == job_id
    assert len(asked) == 1
    with pytest.raises(NotAllowed):
        client.call(url, "job", job_id, token=issuer.token("k1", exp=1))
    with pytest.raises(ClientError, match="not with both"):
        client.call(url, "job", job_id, key="cs_x", token="y")


def test_a_webhook_lives_from_its_registration_to_its_removal(
    client: Driven, core: Service, url: str, key: str
) -> None:
    made = client.call(
        url, "webhooks.register", "http://127.0.0.1:9", events=["job.queued"], key=key
    )
    listed = client.call(url, "webhooks.registered", key=key)
    assert [each["webhook_id"] for each in listed] == [made["webhook_id"]]
    assert listed[0]["events"] == ["job.queued"]
    rotated = client.call(url, "webhooks.rotate", made["webhook_id"], key=key)
    assert rotated["secret"] != made["secret"]
    assert (
        client.call(url, "webhooks.secret", made["webhook_id"], key=key)["secret"]
        == (rotated["secret"])
    )
    assert client.call(url, "webhooks.secret", key=key)["secret"] != rotated["secret"]
    for _ in range(3):
        job = submit(core, owner="ada")
        event = replace(logged(None, job)[1][0], number=1)
        core.announcer.announce(job, event, body="{}")
    found = client.call(url, "webhooks.deliveries", made["webhook_id"], page=2, key=key)
    assert [each["type"] for each in found] == ["job.queued"] * 3
    again = client.call(
        url, "webhooks.redeliver", made["webhook_id"], found[0]["event_id"], key=key
    )
    assert (again["event_id"], again["status"]) == (found[0]["event_id"], "pending")
    assert client.call(url, "webhooks.delete", made["webhook_id"], key=key) is None
    with pytest.raises(NotFound):
        client.call(url, "webhooks.secret", made["webhook_id"], key=key)


def message(secret: str) -> tuple[str, dict[str, str]]:
    """A message as a receiver is sent it, and its headers."""
    job = a_job()
    body = event_body(job, replace(logged(None, job)[1][0], kind=EventKind.SUCCEEDED))
    signed = signed_headers(body, event_id="evt_1", signing=Secrets(secret), at=datetime.now(UTC))
    return body, {name.title(): value for name, value in signed.items()}


def test_a_receiver_is_given_what_is_genuine_and_nothing_else() -> None:
    secret = new_secret()
    body, headers = message(secret)
    told = verify(body.encode(), headers, secret=secret)
    assert (told["type"], told["data"]["job_id"]) == ("job.succeeded", a_job().job_id)
    assert told["number"] == 1
    old = {**headers, "Webhook-Timestamp": "1700000000"}
    for what, with_headers, by in (
        (body + " ", headers, secret),
        (body, {}, secret),
        (body, old, secret),
        (body, headers, new_secret()),
    ):
        with pytest.raises(NotGenuine):
            verify(what, with_headers, secret=by)


@pytest.mark.parametrize("body", ["[]", '"text"', "{}"])
def test_what_is_signed_and_no_message_is_not_genuine(body: str) -> None:
    secret = new_secret()
    signed = signed_headers(body, event_id="e", signing=Secrets(secret), at=datetime.now(UTC))
    with pytest.raises(NotGenuine, match="not a message of clearstem's"):
        verify(body, signed, secret=secret)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_!", "whsec_a", "whsec_ä"])
def test_what_is_no_secret_is_told_of_and_not_taken_for_a_bad_signature(secret: str) -> None:
    body, headers = message(new_secret())
    with pytest.raises(ClientError, match="secret of the webhook") as told:
        verify(body, headers, secret=secret)
    assert not isinstance(told.value, NotGenuine)

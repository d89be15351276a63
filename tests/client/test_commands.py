"""The commands that the client's calls stand behind, against the real application."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from clearstem import cli
from clearstem.job_events import logged
from clearstem.service import Service
from functions.rest import create_app
from tests.serving import served
from tests.submitted import submit

URL = "http://127.0.0.1:9/hook"


@pytest.fixture
def core(service: Service) -> Service:
    return replace(service, settings=replace(service.settings, keyless_owner=""))


@pytest.fixture(autouse=True)
def server(core: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The application, and the environment in which commands find it."""
    with served(create_app(core)) as url:
        monkeypatch.setenv("CLEARSTEM_URL", url)
        monkeypatch.setenv("CLEARSTEM_KEY", core.accounts.create_key("ada", at=core.now())[0])
        # COLUMNS would be read when the module is imported, which another test may have done.
        monkeypatch.setattr(cli._console, "width", 300)
        yield


def said(*arguments: str, fails: bool = False) -> str:
    done = CliRunner().invoke(cli.app, list(arguments))
    assert done.exit_code == int(fails), done.output
    return done.output


def test_webhooks_are_added_listed_rotated_and_removed(core: Service) -> None:
    webhook_id, secret = said("webhooks", "add", URL, "--event", "job.queued").split()
    assert secret.startswith("whsec_")
    assert URL in said("webhooks", "list") and "job.queued" in said("webhooks", "list")
    assert said("webhooks", "secret", webhook_id).strip() == secret
    rotated = said("webhooks", "rotate", webhook_id).strip()
    assert rotated.startswith("whsec_") and rotated != secret
    assert said("webhooks", "secret").strip() not in (secret, rotated)
    job = submit(core, owner="ada")
    core.announcer.announce(job, logged(None, job)[1][0], body="{}")
    event_id = f"evt_{job.job_id}_1"
    assert event_id in said("webhooks", "deliveries", webhook_id, "--limit", "5")
    assert said("webhooks", "redeliver", webhook_id, event_id).split() == [
        event_id,
        "is",
        "pending",
    ]
    said("webhooks", "remove", webhook_id)
    assert URL not in said("webhooks", "list")
    assert "no webhook" in said("webhooks", "rotate", webhook_id, fails=True)


def test_a_job_is_labelled_and_kept_for_some_hours_or_for_ever(core: Service) -> None:
    job_id = submit(core, owner="ada").job_id
    told = said("amend", job_id, "--label", "album:Demos", "--label", "take:1:2", "--hours", "5")
    assert "album:Demos take:1:2" in told
    assert core.jobs.get(job_id).expires_at is not None
    said("amend", job_id, "--forever")
    job = core.jobs.get(job_id)
    assert (dict(job.labels), job.expires_at) == ({"album": "Demos", "take": "1:2"}, None)
    assert "not both" in said("amend", job_id, "--forever", "--hours", "2", fails=True)


def test_usage_is_printed_with_its_limits(core: Service) -> None:
    core.jobs.quotas.settle("ada", unfinished_jobs=4, requests_per_s=100)
    submit(core, owner="ada")
    rows = {line[2:18].strip(): line.split() for line in said("usage").splitlines()}
    assert [word for word in rows["unfinished jobs"] if word.isdecimal()] == ["1", "4"]
    assert "any" in rows["stored bytes"] and "100" in rows["calls a second"]


def test_a_token_of_the_environment_stands_in_for_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEARSTEM_TOKEN", "no.good.token")
    said("usage")  # the key goes first
    monkeypatch.delenv("CLEARSTEM_KEY")
    assert "token" in said("usage", fails=True)

"""The commands that the client's calls stand behind, against the real application."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clearstem import cli
from clearstem.job_events import logged
from clearstem.scopes import Scope
from clearstem.service import Service
from functions.rest import create_app
from tests.serving import served
from tests.submitted import finish, submit, wav

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


@pytest.mark.timeout(30)  # it would listen for ever
@pytest.mark.parametrize("secret", ["", "whsec_a"])
def test_a_receiver_does_not_begin_with_what_is_no_secret(secret: str) -> None:
    told = said("webhooks", "verify", "--secret", secret, "--port", "0", fails=True)
    assert "secret of the webhook" in told and "Register" not in told


def test_a_job_is_labelled_and_kept_for_some_hours_or_for_ever(core: Service) -> None:
    job_id = submit(core, owner="ada").job_id
    told = said("amend", job_id, "--label", "album:Demos", "--label", "take:1:2", "--hours", "5")
    assert "album:Demos take:1:2" in told
    assert core.jobs.get(job_id).expires_at is not None
    said("amend", job_id, "--forever")
    job = core.jobs.get(job_id)
    assert (dict(job.labels), job.expires_at) == ({"album": "Demos", "take": "1:2"}, None)
    assert "not both" in said("amend", job_id, "--forever", "--hours", "2", fails=True)


def test_the_tracks_of_a_completed_job_are_fetched(core: Service, tmp_path: Path) -> None:
    waiting, job = submit(core, owner="ada"), finish(core, submit(core, owner="ada"))
    assert "it has no tracks" in said("download", waiting.job_id, fails=True)
    said("download", job.job_id, "-o", str(tmp_path / "all"))
    assert {path.stem for path in (tmp_path / "all").iterdir()} == set(job.track_names)
    one = tmp_path / "one"
    said("download", job.job_id, "-o", str(one), "--track", "main")
    assert [path.read_bytes()[:5] for path in one.iterdir()] == [b"main "]
    assert "it has: " in said("download", job.job_id, "--track", "choir", fails=True)


def test_ids_are_whole_on_a_narrow_terminal(core: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli._console, "width", 60)
    webhook_id, _ = said("webhooks", "add", URL).split()
    done, waits = finish(core, submit(core, owner="ada")), submit(core, owner="ada")
    assert {done.job_id, waits.job_id} <= set(said("list").split())
    assert webhook_id in said("webhooks", "list").split()
    said("delete", done.job_id)
    assert done.job_id in said("deleted").split()


def test_names_are_shown_as_they_are(core: Service) -> None:
    name, label = "song [live] :smile: [red].wav", "mood:[/b] :smile: [red]"
    job_id = submit(core, owner="ada", file_name=name).job_id
    assert label in said("amend", job_id, "--label", label)
    row = next(line for line in said("list").splitlines() if job_id in line)
    assert name in row and label in row
    assert "label '[/b]' is not" in said("list", "--label", "[/b]", fails=True)


@pytest.mark.parametrize(
    "address",
    ["http://[/x]", "http://host:99999", "http://host:port", "http://a..b", "http://a\n", "host"],
)
def test_an_address_that_is_none_is_told_with_what_would_be_one(address: str) -> None:
    told = said("usage", "--url", address, fails=True)
    assert told == f"error: server address {address!r} is not http:// or https:// and a host\n"


def test_deleted_jobs_are_listed_with_what_went(core: Service) -> None:
    job = finish(core, submit(core, owner="ada"))
    assert job.job_id not in said("deleted")
    said("delete", job.job_id)
    row = next(line for line in said("deleted").splitlines() if job.job_id in line)
    assert "succeeded" in row and " 10 " in row
    assert "was deleted" in said("status", job.job_id, fails=True)


def test_more_may_be_listed_than_a_page_has(core: Service) -> None:
    job_id = submit(core, owner="ada").job_id
    assert job_id in said("list", "--limit", "101")
    said("delete", job_id)
    assert job_id in said("deleted", "--limit", "101")


def test_how_long_jobs_are_kept_is_settled_and_told(core: Service) -> None:
    assert said("retention").strip() == "jobs are kept until they are deleted"
    assert said("retention", "--hours", "36").strip() == "jobs are kept for 36 hours"
    assert core.retention.owners_hours("ada") == 36
    assert said("retention").strip() == "jobs are kept for 36 hours"
    assert said("retention", "--forever").strip() == "jobs are kept until they are deleted"
    assert "not both" in said("retention", "--forever", "--hours", "2", fails=True)


@pytest.mark.parametrize("recipe", ["separate", "denoise"])
def test_what_is_asked_for_beside_the_options_goes_with_the_recording(
    core: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: str
) -> None:
    song = tmp_path / "song.wav"
    song.write_bytes(wav())
    # Nothing works on jobs here: the command is let go when it begins to wait.
    monkeypatch.setattr(cli, "follow", lambda _, __, job: {**job, "status": "failed"})
    beside = ["--label", "album:Demos", "--retention-hours", "5", "--callback-url"]
    said(recipe, str(song), *beside, "http://127.0.0.1:9/", fails=True)
    (job,) = core.jobs.history("ada", limit=2).jobs
    assert (job.recipe_name, dict(job.labels)) == (recipe, {"album": "Demos"})
    assert job.expires_at == job.created_at + timedelta(hours=5)
    assert job.callback_url == "http://127.0.0.1:9/"
    assert "name:value" in said(recipe, str(song), "--label", "album", fails=True)


def test_keys_are_listed_with_what_they_may_be_used_for(
    core: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    core.accounts.create_key("bob", at=core.now(), scopes=(Scope.READ,))
    monkeypatch.setenv("CLEARSTEM_TABLE", core.settings.table)
    monkeypatch.setattr(Service, "from_env", lambda: core)
    assert "jobs:read " in said("keys", "list", "bob")
    assert "jobs:write" not in said("keys", "list", "bob")
    assert "admin jobs:read jobs:write" in said("keys", "list", "ada")


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

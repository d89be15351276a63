"""The AsyncAPI document against what the senders of messages really write."""

import json
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from clearstem.facts import Failure, StageResult
from clearstem.job_events import EventKind, JobEvent, logged
from clearstem.jobs import Job
from clearstem.options import DenoiseOptions
from clearstem.queueing import queued_job
from clearstem.recipes import CLEAN, DENOISE, SEPARATION
from clearstem.service import Service
from clearstem.webhook_endpoints import SENT_KINDS
from clearstem.webhook_secrets import Secrets, new_secret, signed_headers
from clearstem.webhooks import event_id_of
from functions.asyncapi import asyncapi_document
from functions.dialects import RENDERERS, munsit
from functions.dialects.webhooks import event_body
from functions.messages import CHANNELS
from functions.rest import create_app
from functions.routes import job_stream
from infra import descriptions
from tests.described import assert_described, document, named, sent
from tests.unit.examples import SPECTRAL, STAGES, START, a_job, a_track, after, at

CHANNEL_OF = {"pipeline": "job", "audo": "audoStatus"}


def a_denoise() -> Job:
    """A noise removal as it enters the queue, of a recording that lies at an address."""
    job = a_job()
    return queued_job(
        job_id=job.job_id,
        owner=job.owner,
        recipe=DENOISE,
        source=replace(job.source, url="https://example.org/talk.wav", size_bytes=0),
        destination=job.destination,
        options=DenoiseOptions(),
        engine=SPECTRAL,
        at=START,
        download_token="token",
        source_token="other",
    )


def lives(job: Job) -> Iterator[Job]:
    """A job in all states that tell something of their own."""
    first = job.stages[0].name
    running = job.start_stage(first, at=at(1))
    yield from (job, running, running.advance(first, fraction=0.31, at=at(2)))
    yield running.stumble(first, error="the machine was lost", at=at(2))
    yield running.fail(Failure(first, "Clearstem.NoAudio", "there is no sound in it"), at=at(3))
    yield job.fail(Failure(None, "States.Timeout", "too long"), at=at(3))
    yield running.cancel(at=at(3))


def done() -> Job:
    """A job with its tracks, and terms."""
    job = after(a_job(), *STAGES)
    return replace(job, labels={"album": "Demos"}, expires_at=at(3600), download_token="token")


def all_jobs() -> list[Job]:
    deleted = done().delete_results(at=at(9))
    return [*lives(a_job()), *lives(a_denoise()), done(), deleted, denoised()]


def denoised() -> Job:
    """A noise removal that is done."""
    job = a_denoise()
    for spec in DENOISE.stages:
        last = spec is DENOISE.stages[-1]
        result = StageResult(tracks=(a_track(CLEAN),) if last else ())
        job = job.start_stage(spec.name, at=at(1)).complete_stage(spec.name, result, at=at(2))
    return job


@pytest.mark.parametrize("dialect", RENDERERS)
def test_every_frame_of_a_websocket_is_described(dialect: str) -> None:
    seen = set()
    for job in all_jobs():
        frame = json.loads(RENDERERS[dialect](job, 3))
        (name,) = named(CHANNEL_OF[dialect], frame)
        seen.add(name)
    assert seen == set(sent(CHANNEL_OF[dialect])) - {"refusal"}


def test_every_event_of_a_munsit_stream_is_described() -> None:
    seen = set()
    for job in all_jobs():
        told = json.loads(munsit.event_text(job, base_url="https://api.example"))
        (name,) = named("munsitProgress", told)
        seen.add(name)
    assert seen == set(sent("munsitProgress"))


@pytest.mark.parametrize("kind", EventKind)
def test_every_event_of_a_log_is_described(kind: EventKind) -> None:
    event = JobEvent(3, kind, START, attempt=1, percent=12.5, stage=SEPARATION, error="lost")
    for each in (event, replace(event, stage=None, error=None)):
        fields = dict(
            line.split(": ", 1) for line in job_stream._text(each).splitlines() if line.strip()
        )
        headers = {"id": int(fields["id"]), "event": fields["event"]}
        assert named("jobEvents", json.loads(fields["data"]), headers) == [f"event.{kind}"]


@pytest.mark.parametrize("kind", SENT_KINDS)
@pytest.mark.parametrize("rotated", [False, True])
def test_every_webhook_is_described_with_its_headers(kind: EventKind, rotated: bool) -> None:
    secrets = Secrets(new_secret())
    changed = secrets.rotated(new_secret(), rotation="r1", at=START)
    signing = changed if rotated else secrets
    for job in all_jobs():
        event = replace(logged(None, job)[1][0], kind=kind)
        body = event_body(job, event)
        event_id = event_id_of(event, job_id=job.job_id)
        signed = signed_headers(body, event_id=event_id, signing=signing, at=START)
        headers = {"content-type": "application/json", **signed}
        assert named("webhooks", json.loads(body), headers) == [f"webhook.{kind}"]


def test_what_is_not_described_is_found_out() -> None:
    frame = json.loads(RENDERERS["pipeline"](a_job(), 0))
    assert named("job", frame) == ["job"]
    for wrong in (
        {**frame, "more": 1},
        {**frame, "percent": "12"},
        {**frame, "engine": {**frame["engine"], "more": 1}},
        {name: value for name, value in frame.items() if name != "receipt"},
    ):
        with pytest.raises(AssertionError, match="is no message"):
            assert_described(("job",), wrong)


def test_no_kind_of_event_is_left_out() -> None:
    assert len(sent("jobEvents")) == len(EventKind)
    assert len(sent("webhooks")) == len(SENT_KINDS)


def test_it_is_served_with_the_address_that_the_caller_used(service: Service) -> None:
    keyed = replace(service, settings=replace(service.settings, keyless_owner=""))
    with TestClient(create_app(keyed), base_url="https://stems.example:8443") as api:
        answer = api.get("/asyncapi.json")
    assert answer.status_code == 200
    assert answer.json() == asyncapi_document("https://stems.example:8443")
    servers = answer.json()["servers"]
    assert servers["sockets"]["protocol"] == "wss"
    assert servers["streams"]["host"] == "stems.example:8443"


def test_streams_have_the_addresses_of_the_routes(service: Service) -> None:
    routes = {
        path.replace("{denoise_id}", "{job_id}") for path in create_app(service).openapi()["paths"]
    }
    streams = [c.address for c in CHANNELS if c.place == "streams"]
    assert streams and set(streams) <= routes


def test_sockets_have_the_addresses_of_the_edge() -> None:
    from infra.local.edge import query_of

    job_id = a_job().job_id
    found = {
        c.name: query_of((c.address or "").replace("{job_id}", job_id), "")
        for c in CHANNELS
        if c.place == "sockets"
    }
    assert found == {
        "job": f"job_id={job_id}&dialect=pipeline",
        "jobs": "",
        "audoStatus": f"job_id={job_id}&dialect=audo",
    }


def test_every_reference_leads_somewhere() -> None:
    assert list(descriptions.dangling(document())) == []
    broken = deepcopy(document())
    del broken["components"]["schemas"]["JobDocument"]
    assert list(descriptions.dangling(broken)) == ["#/components/schemas/JobDocument leads nowhere"]


def test_it_is_good_by_asyncapis_own_schema() -> None:
    why, problems = descriptions.asyncapi_problems()
    if why:
        pytest.skip(why)
    assert problems == []
    broken = deepcopy(document())
    broken["operations"]["send.job"]["action"] = "shout"
    assert descriptions.asyncapi_problems(broken)[1]


def test_the_openapi_document_is_good_by_its_own_schema() -> None:
    good = descriptions.openapi_document()
    assert descriptions.openapi_problems(good) == []
    broken = deepcopy(good)
    broken["paths"]["/health"]["get"]["responses"] = []
    assert descriptions.openapi_problems(broken)

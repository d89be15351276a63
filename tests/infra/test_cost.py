"""The cost model adds up, agrees with the receipts, and meets quotas in a plausible order."""

from dataclasses import replace

import pytest

from clearstem.facts import Engine, StageResult
from clearstem.quotes import quoted
from clearstem.receipts import receipt
from clearstem.recipes import NORMALIZATION, EngineName
from functions.dialects.job_life import quote_document
from functions.dialects.pipeline import job_document
from infra import cost
from tests.unit.examples import AUDIO, a_job, a_track, at

ENGINE = Engine(EngineName.DEMUCS, "htdemucs", None, preview=False, reason="it is there")


@pytest.fixture
def finished():
    """The model's song: a finished job whose stages took what the model says."""
    job, clock = replace(a_job(), engine=ENGINE), 0.0
    for stage, seconds in cost.SONG.stage_seconds.items():
        job = job.start_stage(stage, at=at(clock))
        clock += seconds
        names = job.track_names if stage == NORMALIZATION else ()
        result = StageResult(audio=AUDIO, tracks=tuple(a_track(name) for name in names))
        job = job.complete_stage(stage, result, at=at(clock))
    return job


def test_the_model_and_the_receipt_of_the_same_job_agree(finished):
    priced = cost.parts()
    assert receipt(finished).dollars == pytest.approx(priced["GPU"] + priced["CPU stages"])


def test_a_job_shows_its_receipt_with_the_models_prices(finished):
    shown, priced = job_document(finished)["receipt"], cost.parts()
    assert shown["seconds"] == sum(cost.SONG.stage_seconds.values())
    assert shown["dollars"] == pytest.approx(priced["GPU"] + priced["CPU stages"], abs=1e-6)
    assert {stage["name"]: stage["seconds"] for stage in shown["stages"]} == dict(
        cost.SONG.stage_seconds
    )
    assert [stage["machine"] for stage in shown["stages"]] == ["gpu", *["function"] * 3]
    assert shown["stages"][0]["dollars"] == pytest.approx(priced["GPU"], abs=1e-6)


def test_a_quote_for_the_song_that_was_just_made_has_the_models_price(finished):
    quote = quoted(
        replace(a_job(), engine=ENGINE),
        audio_s=AUDIO.duration_s,
        jobs_ahead=0,
        past=[finished],
    )
    priced = cost.parts()
    assert quote.dollars == pytest.approx(priced["GPU"] + priced["CPU stages"])
    assert quote_document(quote)["dollars"] == pytest.approx(quote.dollars, abs=1e-6)


def test_a_job_costs_a_few_cents_mostly_for_bytes():
    priced = cost.parts()
    assert 0.01 < sum(priced.values()) < 0.05
    assert max(priced, key=priced.__getitem__) == "egress"
    assert all(dollars > 0 for dollars in priced.values())


@pytest.mark.parametrize(
    ("jobs_per_day", "biting"),
    [
        (1_000, set()),
        (100_000, {"G vCPUs (Spot)"}),
        (
            10_000_000,
            {
                "G vCPUs (Spot)",
                "Lambda concurrency",
                "batch:SubmitJob per s",
                "DynamoDB writes per s",
                "state transitions per s",
                "states:StartExecution per s",
            },
        ),
    ],
)
def test_quotas_bite_as_the_documents_say(jobs_per_day, biting):
    found = cost.quotas(jobs_per_day)
    assert {quota.name for quota in found if quota.share > 1} == biting
    assert [quota.share for quota in found] == sorted((q.share for q in found), reverse=True)


def test_the_report_names_every_part_and_what_to_do(capsys):
    assert cost.main(["--jobs-per-day", "100000"]) == 0
    said = capsys.readouterr().out
    assert all(part in said for part in cost.parts())
    assert "BITES G vCPUs" in said and "gpu=none" in said


@pytest.mark.parametrize("given", ["0", "-5"])
def test_no_jobs_at_all_are_refused(given, capsys):
    with pytest.raises(SystemExit):
        cost.main(["--jobs-per-day", given])
    assert "not above 0" in capsys.readouterr().err

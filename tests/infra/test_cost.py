"""The cost model adds up, agrees with the receipts, and meets quotas in a plausible order."""

import json
import random
from dataclasses import replace

import pytest

from clearstem.facts import Engine, StageResult
from clearstem.quotes import quoted
from clearstem.receipts import GPU_DISK_GB, receipt
from clearstem.recipes import NORMALIZATION, EngineName
from functions.dialects.job_life import quote_document
from functions.dialects.pipeline import job_document
from infra import cost, synth
from tests.infra.reading import of_type, only
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
    assert all(part in said for part in cost.parts() | cost.standing(100_000))
    assert "BITES G vCPUs" in said and "gpu=none" in said


@pytest.mark.parametrize("given", ["0", "-5"])
def test_no_jobs_at_all_are_refused(given, capsys):
    with pytest.raises(SystemExit):
        cost.main(["--jobs-per-day", given])
    assert "not above 0" in capsys.readouterr().err


def test_what_waits_to_expire_is_paid_for_until_it_is_gone():
    """The days of the buckets' own rules: what is over stays a week longer as a version."""
    template = json.loads(synth.TEMPLATE_FILE.read_text())
    buckets = of_type(template, "AWS::S3::Bucket").items()
    days = {
        name: _days(only({k: v for k, v in buckets if k.startswith(f"Storage{name}")}))
        for name in ("Uploads", "Work", "Tracks")
    }
    song = cost.SONG
    mb_days = (
        song.track_mb * days["Uploads"]
        + song.artifact_mb * days["Work"]
        + song.tracks * song.track_mb * days["Tracks"]
    )
    assert cost.parts()["storage"] == pytest.approx(mb_days / 1e3 / 30 * 0.023)


def _days(bucket):
    (rule,) = bucket["LifecycleConfiguration"]["Rules"]
    replaced = rule.get("NoncurrentVersionExpiration", {}).get("NoncurrentDays", 0)
    return rule["ExpirationInDays"] + replaced


def _simulated(per_s, *, work_s, boot_s, delay_s, jobs=40_000):
    """Seconds on a job of one machine, followed job by job."""
    chance = random.Random(1)
    arrived = on_s = free_at = 0.0
    off = True
    for _ in range(jobs):
        arrived += chance.expovariate(per_s)
        if not off and arrived > free_at + delay_s:
            on_s, off = on_s + delay_s, True
        if off:
            free_at, off = arrived + boot_s, False
            on_s += boot_s
        elif arrived > free_at:
            on_s, free_at = on_s + arrived - free_at, arrived
        free_at += work_s
        on_s += work_s
    return on_s / jobs


@pytest.mark.parametrize("jobs_per_day", [20, 300, 1000])
def test_a_machine_is_paid_for_as_one_that_is_followed_job_by_job(jobs_per_day):
    per_s, times = jobs_per_day / 86_400, {"work_s": 40.0, "boot_s": 240.0, "delay_s": 300.0}
    assert cost.gpu_machines(per_s, work_s=40.0) == 1
    told = cost.gpu_seconds(per_s, **times)
    assert told == pytest.approx(_simulated(per_s, **times), rel=0.03)


def test_a_machine_that_never_goes_is_paid_for_all_day():
    per_s = 1000 / 86_400
    told = cost.gpu_seconds(per_s, work_s=40.0, delay_s=10 * 86_400)
    assert told == pytest.approx(86.4)


def test_a_lonely_job_pays_for_boot_and_idling_and_a_crowd_hardly_does():
    lonely = cost.gpu_seconds(1e-9, work_s=40.0, boot_s=240.0, delay_s=300.0)
    assert lonely == pytest.approx(40 + 240 + 300, rel=1e-3)
    crowd = cost.gpu_seconds(10_000_000 / 86_400, work_s=40.0)
    assert 40 < crowd < 42


def test_the_gpu_of_a_thousand_jobs_a_day_is_paid_for_twice_over():
    standing = cost.standing(1000)
    gpu = cost.parts()["GPU"] + standing["GPU boot and idle"]
    assert gpu == pytest.approx(0.0053, rel=0.05)
    assert cost.standing(1000, idle_minutes=60)["GPU boot and idle"] > standing["GPU boot and idle"]
    assert cost.standing(10)["GPU boot and idle"] > 0.02


def test_an_open_event_stream_costs_what_its_function_does():
    template = json.loads(synth.TEMPLATE_FILE.read_text())
    functions = of_type(template, "AWS::Lambda::Function").items()
    stream = only({name: f for name, f in functions if name.startswith("StreamHandler")})
    assert stream["MemorySize"] == cost.STREAM_MEMORY_MB
    assert stream["Architectures"] == ["x86_64"]
    # Three cents for the function, a tenth of it for its looks at the record.
    assert cost.watching()["event stream"] == pytest.approx(0.033, rel=1e-3)


def test_who_asks_or_listens_costs_a_fraction_of_an_open_event_stream():
    ways = cost.watching()
    assert ways["WebSocket"] < ways["asking every 10 s"] < ways["event stream"] / 10


def test_a_gpu_machine_has_the_disk_that_it_is_priced_with():
    template = json.loads(synth.TEMPLATE_FILE.read_text())
    machine = only(of_type(template, "AWS::EC2::LaunchTemplate"))["LaunchTemplateData"]
    (disk,) = machine["BlockDeviceMappings"]
    assert (disk["Ebs"]["VolumeType"], disk["Ebs"]["VolumeSize"]) == ("gp3", GPU_DISK_GB)


def test_the_document_shows_what_the_model_says(capsys):
    assert cost.main([]) == 0
    said = capsys.readouterr().out
    assert said in (synth.ROOT / "docs" / "cost.md").read_text()


def test_a_machine_cannot_idle_for_less_than_no_time(capsys):
    with pytest.raises(SystemExit):
        cost.main(["--gpu-idle-minutes", "-1"])
    assert "not 0 or more" in capsys.readouterr().err

"""However an execution goes, the job ends in the state it should.

The committed template, deployed; its state machines, queues, rule, settle function and stage entry
are the real ones. Only the stages' work is replaced (`tests.infra.faulty_stage`).
"""

import json
import random
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import boto3
import pytest

from clearstem.facts import StageResult
from clearstem.jobs import Job, JobState
from clearstem.options import DenoiseOptions, SeparateOptions
from clearstem.receipts import Machine, receipt
from clearstem.recipes import DENOISE, RECIPES, SEPARATE, EngineName
from clearstem.service import Service
from clearstem.settings import Settings
from clearstem.stage_runs import StageState
from infra.local.deploy import Target, deploy, read_snapshot
from infra.local.emulator import Emulator
from tests.emulator import FAULTY_IMAGE, until
from tests.submitted import finish, wav

STAGES = [stage.name for stage in SEPARATE.stages]
FIRST, LAST = STAGES[0], STAGES[-1]
QUICK = [stage.name for stage in DENOISE.stages]
_PATIENCE_S, _POLL_S = 60.0, 0.15

Definition = dict[str, Any]


@dataclass
class Deployed:
    """A deployment whose stages obey."""

    target: Target
    settings: Settings

    @cached_property
    def service(self) -> Service:
        session = boto3.Session(
            aws_access_key_id=self.target.account,
            aws_secret_access_key="local",
            region_name=self.target.region,
        )
        return Service.over(self.settings, session=session)

    def submit(
        self,
        faults: dict[str, str],
        *,
        recipe: str = SEPARATE.name,
        model: str = "",
        cache: bool = False,
    ) -> Job:
        """A job under way whose stages do what `faults` asks of them, attempt by attempt.

        `model` is the one whose weights the stage image has. All jobs are of one recording:
        only without the cache are they all worked on.
        """
        job_id = str(uuid.uuid4())
        for stage, words in faults.items():
            self.target.client("s3").put_object(
                Bucket=self.settings.work_bucket,
                Key=f"faults/{job_id}/{stage}",
                Body=words.replace(" ", "\n").encode(),
            )
        settings = replace(self.settings, separator_model=model)
        intake = replace(self.service.intake, settings=settings, new_id=lambda: job_id)
        upload = intake.announce(owner="local", file_name="song.wav", recipe=RECIPES[recipe])
        with intake.writer(upload) as writer:
            writer.write(wav())
        kind = DenoiseOptions if recipe == DENOISE.name else SeparateOptions
        options = kind(cache=cache)
        return intake.submit_upload(upload, options)

    def ended(self, job: Job) -> Job:
        """The job once it is over."""
        self.wait(lambda: self.job(job).state.is_final)
        return self.job(job)

    def wait(self, condition: Callable[[], object]) -> None:
        """`until`, but asking no more often than the stages can use the processors beside it."""
        until(lambda: condition() or time.sleep(_POLL_S), timeout_s=_PATIENCE_S)

    def job(self, job: Job) -> Job:
        return self.service.jobs.get(job.job_id)

    @contextmanager
    def as_deployed(self) -> Iterator["Deployed"]:
        """Itself, whose state machines are what they were at the end."""
        states = self.target.client("stepfunctions")
        arns = [self.settings.separate_state_machine_arn, self.settings.denoise_state_machine_arn]
        before = [states.describe_state_machine(stateMachineArn=arn) for arn in arns]
        yield self
        for arn, machine in zip(arns, before, strict=True):
            states.update_state_machine(stateMachineArn=arn, definition=machine["definition"])

    def redefine(
        self, change: Callable[[Definition], None], *, recipe: str = SEPARATE.name
    ) -> None:
        """Change a deployed state machine as a deployment would."""
        states = self.target.client("stepfunctions")
        arn = getattr(self.settings, f"{recipe}_state_machine_arn")
        document = json.loads(states.describe_state_machine(stateMachineArn=arn)["definition"])
        change(document)
        states.update_state_machine(stateMachineArn=arn, definition=json.dumps(document))

    def execution(self, job: Job) -> dict[str, Any]:
        arn = self.settings.separate_state_machine_arn.replace(":stateMachine:", ":execution:")
        described: dict[str, Any] = self.target.client("stepfunctions").describe_execution(
            executionArn=f"{arn}:{job.job_id}"
        )
        return described


def _deployed(emulator: Emulator, **parameters: str) -> Deployed:
    template, assets = read_snapshot()
    # Every stage's container and function is the one that obeys.
    text = json.dumps(template).replace(
        '"containers.stage.handler"', '"tests.infra.faulty_stage.handler"'
    )
    for image in (":stage-cpu", ":stage"):
        text = text.replace(f'{image}"', f':{FAULTY_IMAGE}"')
    target = Target(emulator.url, str(random.randrange(10**11, 10**12)))
    parameters = {"KeylessOwner": "local", **parameters}
    outputs = deploy(json.loads(text), assets=assets, parameters=parameters, target=target)
    function = target.client("lambda").get_function_configuration(
        FunctionName=outputs["RestFunction"]
    )
    return Deployed(target, Settings.from_env(function["Environment"]["Variables"]))


@pytest.fixture(scope="module")
def deployments(emulator: Emulator) -> Iterator[dict[str, Deployed]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", emulator.url)
        yield {mode: _deployed(emulator, StageFunctions=mode) for mode in ("off", "on")}


@pytest.fixture
def batch_only(deployments: dict[str, Deployed]) -> Iterator[Deployed]:
    with deployments["off"].as_deployed() as deployed:
        yield deployed


@pytest.fixture
def with_functions(deployments: dict[str, Deployed]) -> Iterator[Deployed]:
    with deployments["on"].as_deployed() as deployed:
        yield deployed


def _beginning_with(deployed: Deployed, stage: str, job_faults: dict[str, str]) -> Job:
    """A job whose earlier stages are done and whose execution begins with `stage`."""
    deployed.redefine(lambda document: document.update(StartAt=stage))
    job = deployed.submit(job_faults)
    done = STAGES[: STAGES.index(stage)]

    def earlier_done(seen: Job) -> Job:
        for name in done:
            at = deployed.service.now()
            seen = seen.start_stage(name, at=at).complete_stage(name, StageResult(), at=at)
        return seen

    # The stage's process takes longer to start than this write.
    return deployed.service.jobs.change(job.job_id, earlier_done)


@pytest.mark.parametrize("stage", STAGES)
def test_a_permanent_failure_ends_the_job_at_once_with_its_reason(
    batch_only: Deployed, stage: str
) -> None:
    job = batch_only.ended(_beginning_with(batch_only, stage, {stage: "permanent permanent"}))
    assert job.state is JobState.FAILED
    assert job.failure is not None and job.failure.stage == stage
    assert job.failure.name == "Clearstem.UnreadableAudio"
    assert "does not decode" in job.failure.message
    batch_only.wait(lambda: batch_only.execution(job)["status"] == "FAILED")


def test_every_stage_may_stumble_once_and_the_job_succeeds(batch_only: Deployed) -> None:
    words = ("retryable", "killed", "retryable", "retryable")
    job = batch_only.ended(batch_only.submit(dict(zip(STAGES, words, strict=True))))
    assert job.state is JobState.SUCCEEDED, job.failure
    assert {run.state for run in job.stages} == {StageState.SUCCEEDED}


@pytest.mark.parametrize(
    ("stage", "word"), [(FIRST, "retryable"), (FIRST, "killed"), (LAST, "retryable")]
)
def test_a_stage_that_never_recovers_fails_the_job_after_three_attempts(
    batch_only: Deployed, stage: str, word: str
) -> None:
    job = batch_only.ended(_beginning_with(batch_only, stage, {stage: " ".join([word] * 3)}))
    assert job.state is JobState.FAILED
    assert job.failure is not None and job.failure.stage == stage
    said = "storage did not answer" if word == "retryable" else "exit code 137"
    assert said in job.failure.message


@pytest.mark.parametrize("stage", [FIRST, LAST])
def test_a_stage_that_outlasts_its_time_fails_the_job(batch_only: Deployed, stage: str) -> None:
    batch_only.redefine(lambda document: document["States"][stage].update(TimeoutSeconds=1))
    job = batch_only.ended(_beginning_with(batch_only, stage, {stage: "hangs"}))
    assert job.state is JobState.FAILED
    assert job.failure is not None
    assert (job.failure.stage, job.failure.name) == (stage, "States.Timeout")
    assert not _running_jobs(batch_only)


def test_an_execution_that_outlasts_all_of_its_time_fails_the_job(batch_only: Deployed) -> None:
    batch_only.redefine(lambda document: document.update(TimeoutSeconds=1))
    job = batch_only.ended(batch_only.submit({FIRST: "hangs"}))
    assert job.state is JobState.FAILED
    assert batch_only.execution(job)["status"] == "TIMED_OUT"


def _running_jobs(deployed: Deployed) -> list[str]:
    """Batch jobs that still run, a moment after they were told to end."""
    batch = deployed.target.client("batch")

    def running() -> list[str]:
        queues = [queue["jobQueueName"] for queue in batch.describe_job_queues()["jobQueues"]]
        return [
            summary["jobId"]
            for queue in queues
            for summary in batch.list_jobs(jobQueue=queue, jobStatus="RUNNING")["jobSummaryList"]
        ]

    deployed.wait(lambda: not running())
    return running()


# Each stage, and each end by turns: what a stage hears of either is the same.
@pytest.mark.parametrize(
    ("stage", "cancelled"),
    [(stage, number % 2 == 0) for number, stage in enumerate(STAGES)],
    ids=[f"{stage}-{('cancelled', 'aborted')[number % 2]}" for number, stage in enumerate(STAGES)],
)
def test_a_stopped_execution_ends_its_stage_and_its_job(
    batch_only: Deployed, stage: str, cancelled: bool
) -> None:
    job = _beginning_with(batch_only, stage, {stage: "hangs hangs hangs"})
    batch_only.wait(lambda: batch_only.job(job).stage(stage).state is StageState.RUNNING)
    if cancelled:
        at = batch_only.service.now()
        batch_only.service.jobs.change(job.job_id, lambda seen: seen.cancel(at=at))
    batch_only.service.executions[SEPARATE.name].stop(job.job_id, cause="by a test")
    done = batch_only.ended(job)
    assert done.state is (JobState.CANCELLED if cancelled else JobState.FAILED)
    assert not _running_jobs(batch_only)
    assert batch_only.execution(job)["status"] == "ABORTED"
    assert batch_only.job(job) == done


def test_short_stages_run_as_functions_and_the_job_succeeds(with_functions: Deployed) -> None:
    job = with_functions.ended(with_functions.submit({}, recipe=DENOISE.name))
    assert job.state is JobState.SUCCEEDED, job.failure
    assert not with_functions.target.client("logs").describe_log_streams(
        logGroupName=_batch_log(with_functions)
    )["logStreams"]


def _batch_log(deployed: Deployed) -> str:
    definitions = deployed.target.client("batch").describe_job_definitions()["jobDefinitions"]
    (group,) = {
        definition["containerProperties"]["logConfiguration"]["options"]["awslogs-group"]
        for definition in definitions
    }
    return str(group)


def _batch_jobs_of(deployed: Deployed, job: Job, *, queue: str = "") -> set[str]:
    """The names of the Batch jobs that have ended well for a job, in queues of that name."""
    batch = deployed.target.client("batch")
    return {
        summary["jobName"]
        for each in batch.describe_job_queues()["jobQueues"]
        if queue in each["jobQueueName"]
        for summary in batch.list_jobs(jobQueue=each["jobQueueName"], jobStatus="SUCCEEDED")[
            "jobSummaryList"
        ]
        if job.job_id in summary["jobName"]
    }


def test_what_turns_out_to_be_long_goes_on_in_batch(with_functions: Deployed) -> None:
    """Only decoding tells: the first stage is a function's by its bytes, the later ones are not."""
    first, *later = (stage.name for stage in DENOISE.stages)
    submitted = with_functions.submit({first: "long"}, recipe=DENOISE.name)
    job = with_functions.ended(submitted)
    assert job.state is JobState.SUCCEEDED, job.failure
    # A stage tells of its end a moment before Batch does.
    expected = {f"{stage}-{job.job_id}" for stage in later}
    with_functions.wait(lambda: _batch_jobs_of(with_functions, job) == expected)
    assert [stage.machine for stage in receipt(job).stages] == [
        Machine.FUNCTION,
        *[Machine.BATCH] * len(later),
    ]


@pytest.mark.parametrize(
    ("stage", "words", "state"),
    [
        (QUICK[1], "retryable retryable", JobState.SUCCEEDED),
        *[(stage, "permanent", JobState.FAILED) for stage in QUICK],
    ],
)
def test_a_function_is_retried_by_the_name_of_its_error(
    with_functions: Deployed, stage: str, words: str, state: JobState
) -> None:
    job = with_functions.ended(with_functions.submit({stage: words}, recipe=DENOISE.name))
    assert job.state is state, job.failure
    if job.failure is not None:
        assert (job.failure.stage, job.failure.name) == (stage, "Clearstem.UnreadableAudio")


@pytest.mark.parametrize("word", ["hangs_as_function", "fills_the_functions_disk"])
def test_what_a_function_does_not_finish_is_done_by_batch(
    with_functions: Deployed, word: str
) -> None:
    stage = QUICK[0]

    def impatient(document: Definition) -> None:
        document["States"][f"{stage}_at_once"]["TimeoutSeconds"] = 2

    with_functions.redefine(impatient, recipe=DENOISE.name)
    job = with_functions.ended(with_functions.submit({stage: word}, recipe=DENOISE.name))
    assert job.state is JobState.SUCCEEDED, job.failure
    with_functions.wait(lambda: _batch_jobs_of(with_functions, job) == {f"{stage}-{job.job_id}"})


@pytest.mark.parametrize("cancelled", [True, False], ids=["cancelled", "aborted"])
def test_a_function_whose_execution_was_stopped_changes_nothing_any_more(
    with_functions: Deployed, cancelled: bool
) -> None:
    """Lambda runs to its end what Step Functions no longer waits for."""
    stage, service = QUICK[0], with_functions.service
    job = with_functions.submit({stage: "slow"}, recipe=DENOISE.name)
    with_functions.wait(lambda: with_functions.job(job).stage(stage).state is StageState.RUNNING)
    if cancelled:
        service.jobs.change(job.job_id, lambda seen: seen.cancel(at=service.now()))
    service.executions[DENOISE.name].stop(job.job_id, cause="by a test")
    done = with_functions.ended(job)
    assert done.state is (JobState.CANCELLED if cancelled else JobState.FAILED)
    time.sleep(1.5)  # the function ends meanwhile
    assert with_functions.job(job) == done


def test_a_separation_without_a_network_is_done_by_functions_alone(
    with_functions: Deployed,
) -> None:
    job = with_functions.ended(with_functions.submit({}))
    assert job.state is JobState.SUCCEEDED, job.failure
    assert {stage.machine for stage in receipt(job).stages} == {Machine.FUNCTION}
    assert _batch_jobs_of(with_functions, job) == set()


def test_a_separation_by_a_network_waits_in_the_queue_for_gpus(with_functions: Deployed) -> None:
    submitted = with_functions.submit({}, model="htdemucs")
    assert submitted.engine.name is EngineName.DEMUCS
    job = with_functions.ended(submitted)
    assert job.state is JobState.SUCCEEDED, job.failure
    assert [stage.machine for stage in receipt(job).stages][:2] == [Machine.GPU, Machine.FUNCTION]
    with_functions.wait(lambda: _batch_jobs_of(with_functions, job, queue="Gpu"))
    assert _batch_jobs_of(with_functions, job) == {f"{FIRST}-{job.job_id}"}


class _Unstarted:
    """Executions of jobs that a test ends by itself."""

    def start(self, job_id: str, *, owner: str, engine: str, attempt: int = 1) -> None:
        del job_id, owner, engine, attempt


def test_an_execution_ends_after_the_stage_that_found_the_answer(batch_only: Deployed) -> None:
    executions: Any = dict.fromkeys(RECIPES, _Unstarted())
    service = replace(batch_only.service, executions=executions)
    upload = service.intake.announce(owner="local", file_name="song.wav")
    with service.intake.writer(upload) as writer:
        writer.write(wav())
    known = replace(upload, sha256=writer.sha256)
    made = finish(service, service.intake.submit_upload(known, SeparateOptions()))
    job = batch_only.ended(batch_only.submit({}, cache=True))
    assert (job.state, job.cached_from) == (JobState.SUCCEEDED, made.job_id)
    batch_only.wait(lambda: batch_only.execution(job)["status"] == "SUCCEEDED")
    assert _batch_jobs_of(batch_only, job) == {f"{FIRST}-{job.job_id}"}

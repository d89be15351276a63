"""The state machines as documents: every way through them, and what they retry and catch."""

import json
from dataclasses import replace

import pytest
from statelint.linter import Linter

from clearstem.errors import PermanentStageError, RetryableStageError, ScratchFull
from clearstem.recipes import DENOISE, RECIPES, SEPARATE, SEPARATION, EngineName
from infra.definition import QuickWay, definition
from infra.steps import StageJob, steps

QUICK = QuickWay("arn:function", "table", "1000", "2000")
CPU = StageJob("arn:queue", "arn:definition", "stage-cpu", attempt_s=3600)
GPU = StageJob("arn:gpu-queue", "arn:gpu-definition", "stage-gpu", attempt_s=7200)
DEMUCS, SPECTRAL = EngineName.DEMUCS.value, EngineName.SPECTRAL.value
# Where the record has what the tests below call by one word.
IN_RECORD = {"source.M.size_bytes.N": "bytes", "audio.M.frames.N": "frames", "state.S": "state"}
THROTTLED = "Lambda.TooManyRequestsException"
NOT_READY = {
    "Lambda.CodeArtifactUserPendingException",
    "Lambda.CodeArtifactUserDeletedException",
    "Lambda.ResourceNotReadyException",
    "Lambda.ResourceConflictException",
}
NEVER_READY = "Lambda.CodeArtifactUserFailedException"
ENGINES = [None, *(engine.value for engine in EngineName)]


def document(recipe, *, fused=False, gpu=GPU):
    names = [stage.name for stage in recipe.stages]
    jobs = {name: gpu if name == SEPARATION else CPU for name in names}
    light = {name: CPU for name in names if name == SEPARATION}
    quick = frozenset(names) - {SEPARATION}
    planned = steps(recipe, jobs=jobs, light=light, quick=quick, fused=fused)
    return json.loads(definition(recipe.name, planned, quick=QUICK))


def walk(machine, record, *, engine=None):
    """The tasks an execution goes through, for a record with these bytes and frames.

    `engine` is what stands in its input; None: it was begun by a version that said nothing of it.
    """
    told = {} if engine is None else {"engine": engine}
    tasks, name = [], machine["StartAt"]
    while name:
        state = machine["States"][name]
        if state["Type"] == "Choice":
            met = (rule["Next"] for rule in state["Choices"] if _holds(rule, told, record))
            name = next(met, state.get("Default"))
            continue
        if state["Type"] == "Pass":
            told = {k: v for k, v in record.items() if f"{k}.$" in state["Parameters"]}
        elif state["Type"] == "Task" and "dynamodb" not in state["Resource"]:
            tasks.append(name)
        name = state.get("Next")
    return tasks


def _holds(rule, told, record):
    if "And" in rule:
        return all(_holds(part, told, record) for part in rule["And"])
    if "Not" in rule:
        return not _holds(rule["Not"], told, record)
    path = rule["Variable"].removeprefix("$.")
    seen = told
    if path.startswith("record."):
        path, seen = IN_RECORD[path.removeprefix("record.Item.")], record
    if "IsPresent" in rule:
        return (path in seen) is rule["IsPresent"]
    # AWS fails an execution that compares what is not there.
    value = seen[path]
    if "StringEquals" in rule:
        return value == rule["StringEquals"]
    if "NumericGreaterThan" in rule:
        return value > rule["NumericGreaterThan"]
    return value <= rule["NumericLessThanEquals"]


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda recipe: recipe.name)
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("record", [{}, {"bytes": 1, "frames": 1}, {"bytes": 10**9, "frames": 1}])
def test_every_way_runs_the_recipes_stages_once_and_in_order(recipe, engine, fused, record):
    machine = document(recipe, fused=fused)
    tasks = walk(machine, record, engine=engine)
    run = [stage for task in tasks for stage in _stages_of(machine, task)]
    assert run == [stage.name for stage in recipe.stages]


def _stages_of(machine, task):
    parameters = machine["States"][task]["Parameters"]
    if "Payload" in parameters:
        return parameters["Payload"]["stages"]
    words = parameters["ContainerOverrides"]["Command.$"].removeprefix("States.Array(").split(", ")
    return [word.strip("'") for word in words[: words.index("'--job-id'")]]


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda recipe: recipe.name)
@pytest.mark.parametrize("size", [{}, {"bytes": 1, "frames": 1}, {"bytes": 10**9, "frames": 10**9}])
def test_a_job_that_its_first_stage_answered_has_no_further_ones(recipe, size):
    """Each would be the start of a container, for nothing."""
    # The walk knows one state of the record: that of after the first stage.
    run = walk(document(recipe), {**size, "state": "succeeded"})
    assert run == ([SEPARATION] if recipe is SEPARATE else [])
    unfinished = walk(document(recipe), {**size, "state": "running"})
    assert len(unfinished) == len(recipe.stages)


@pytest.mark.parametrize(
    ("record", "quick"),
    [
        ({"bytes": 1000, "frames": 2000}, [True, True, True]),
        ({"bytes": 1001, "frames": 2000}, [False, True, True]),
        ({"bytes": 1000, "frames": 2001}, [True, False, False]),
        # The source lies at an address nobody has asked yet.
        ({"bytes": 0, "frames": 2000}, [False, True, True]),
        # What is not known goes where there is room.
        ({"bytes": 1000}, [True, False, False]),
        ({}, [False, False, False]),
    ],
)
def test_what_is_short_enough_runs_as_a_function(record, quick):
    tasks = walk(document(DENOISE), record)
    assert [task.endswith("_at_once") for task in tasks] == quick


def _queues(machine, tasks):
    return {machine["States"][task]["Parameters"].get("JobQueue") for task in tasks}


@pytest.mark.parametrize("engine", [None, DEMUCS])
def test_separation_by_a_network_waits_for_a_gpu_and_is_never_a_function(engine):
    machine = document(SEPARATE)
    tasks = walk(machine, {"bytes": 1, "frames": 1}, engine=engine)
    assert tasks[0] == SEPARATION and all(task.endswith("_at_once") for task in tasks[1:])
    assert _queues(machine, tasks[:1]) == {GPU.queue_arn}


@pytest.mark.parametrize("record", [{}, {"bytes": 1, "frames": 1}, {"bytes": 10**9}])
def test_separation_without_a_network_keeps_no_gpu_busy(record):
    machine = document(SEPARATE)
    tasks = walk(machine, record, engine=SPECTRAL)
    assert _queues(machine, tasks) <= {CPU.queue_arn, None}
    assert tasks[0].endswith("_at_once") is (record.get("bytes") == 1)


def test_a_job_has_one_name_in_batch_whatever_machine_it_waits_for():
    states = document(SEPARATE)["States"]
    names = {
        states[task]["Parameters"]["JobName.$"]
        for task in (SEPARATION, f"{SEPARATION}_without_gpu")
    }
    assert names == {f"States.Format('{SEPARATION}-{{}}', $.job_id)"}


def test_fused_stages_are_one_task_that_names_them_all():
    assert len(walk(document(DENOISE, fused=True), {"bytes": 1})) == 1
    assert walk(document(SEPARATE, fused=True), {}) == [
        SEPARATION,
        "harmonic_percussive_separation_to_normalization",
    ]


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda recipe: recipe.name)
@pytest.mark.parametrize("fused", [False, True])
def test_the_only_catch_leads_to_the_same_stages_in_batch(recipe, fused):
    """Anything else would end a failed execution well, and none could be redriven."""
    machine = document(recipe, fused=fused)
    for name, state in machine["States"].items():
        for catch in state.get("Catch", ()):
            assert _stages_of(machine, catch["Next"]) == _stages_of(machine, name)
            assert "batch" in machine["States"][catch["Next"]]["Resource"]
            assert set(catch["ErrorEquals"]) == {
                "States.Timeout",
                "Sandbox.Timedout",
                "Lambda.Unknown",
                "Runtime.ExitError",
                "Runtime.OutOfMemory",
                "ScratchFull",
                THROTTLED,
                *NOT_READY,
                NEVER_READY,
            }


def test_a_function_without_a_slot_is_asked_again_before_batch_is():
    """A slot may come free within seconds; a task of Batch takes most of a minute to start."""
    for name, state in document(DENOISE)["States"].items():
        if name.endswith("_at_once"):
            (retry,) = (r for r in state["Retry"] if THROTTLED in r["ErrorEquals"])
            waits = [
                min(retry["MaxDelaySeconds"], retry["IntervalSeconds"] * retry["BackoffRate"] ** n)
                for n in range(retry["MaxAttempts"])
            ]
            assert 60 < sum(waits) < 120


@pytest.mark.parametrize("error", sorted(NOT_READY))
def test_a_function_that_slept_for_weeks_is_waited_for_before_batch_is(error):
    """Its image is prepared anew from the first call on: 40 to 106 s where it was timed."""
    for name, state in document(DENOISE)["States"].items():
        if name.endswith("_at_once"):
            (retry,) = (r for r in state["Retry"] if error in r["ErrorEquals"])
            assert retry["BackoffRate"] == 1
            # Soon enough for whom it is ready after seconds.
            assert retry["IntervalSeconds"] <= 10
            assert 106 < retry["MaxAttempts"] * retry["IntervalSeconds"] < 180


def test_a_function_whose_image_cannot_be_prepared_is_not_asked_again():
    for state in document(DENOISE)["States"].values():
        assert all(NEVER_READY not in retry["ErrorEquals"] for retry in state.get("Retry", ()))


def test_a_function_is_retried_for_what_another_attempt_mends_and_for_nothing_else():
    for name, state in document(DENOISE)["States"].items():
        if not name.endswith("_at_once"):
            continue
        retried = {error for retry in state["Retry"] for error in retry["ErrorEquals"]}
        mendable = {RetryableStageError, *RetryableStageError.__subclasses__()} - {ScratchFull}
        assert {kind.__name__ for kind in mendable} <= retried
        # The next function would have no more disk: Batch has.
        assert ScratchFull.__name__ not in retried
        assert not {kind.__name__ for kind in PermanentStageError.__subclasses__()} & retried
        assert not retried & {"States.ALL", "States.TaskFailed"}


@pytest.mark.parametrize("fused", [False, True])
def test_a_jobs_id_goes_through_every_state(fused):
    for state in document(DENOISE, fused=fused)["States"].values():
        if state["Type"] == "Task":
            assert state["ResultPath"] in (None, "$.record")
        if state["Type"] == "Pass":
            assert state["Parameters"]["job_id.$"] == "$.job_id"


def test_a_step_may_ask_for_more_than_its_definition_gives():
    big = replace(CPU, vcpus=4, memory_mb=16_384)
    state = document(SEPARATE, gpu=big)["States"][SEPARATION]
    assert state["Parameters"]["ContainerOverrides"]["ResourceRequirements"] == [
        {"Type": "VCPU", "Value": "4"},
        {"Type": "MEMORY", "Value": "16384"},
    ]


@pytest.mark.parametrize("fused", [False, True])
def test_a_task_waits_for_all_the_attempts_of_all_its_stages(fused):
    machine = document(SEPARATE, fused=fused)
    for name, state in machine["States"].items():
        if "batch" in state.get("Resource", ""):
            stages = _stages_of(machine, name)
            gpu = state["Parameters"]["JobQueue"] == GPU.queue_arn
            attempt_s = GPU.attempt_s if gpu else CPU.attempt_s * len(stages)
            assert state["Parameters"]["Timeout"] == {"AttemptDurationSeconds": attempt_s}
            assert state["TimeoutSeconds"] > 3 * attempt_s


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda recipe: recipe.name)
@pytest.mark.parametrize("fused", [False, True])
def test_every_document_is_one_that_step_functions_takes(recipe, fused):
    machine = document(recipe, fused=fused)
    assert Linter.validate(json.dumps(machine)) == []
    assert all(len(name) <= 80 for name in machine["States"])

"""The state machines as documents: every way through them, and what they retry and catch."""

import json

import pytest
from statelint.linter import Linter

from clearstem.errors import PermanentStageError, RetryableStageError
from clearstem.recipes import DENOISE, RECIPES, SEPARATE, SEPARATION
from infra.definition import QuickWay, StageJob, definition, steps

QUICK = QuickWay("arn:function", "table", "1000", "2000")
JOB = StageJob("arn:queue", "arn:definition", "stage-cpu")


def document(recipe, *, fused=False, job=JOB):
    names = [stage.name for stage in recipe.stages]
    jobs = dict.fromkeys(names, job)
    planned = steps(recipe, jobs=jobs, quick=frozenset(names) - {SEPARATION}, fused=fused)
    return json.loads(definition(recipe.name, planned, quick=QUICK))


def walk(machine, record):
    """The tasks an execution goes through, for a record with these bytes and frames."""
    known, tasks, name = {}, [], machine["StartAt"]
    while name:
        state = machine["States"][name]
        if state["Type"] == "Choice":
            met = (c["Next"] for c in state["Choices"] if _holds(c, known, record))
            name = next(met, state.get("Default"))
            continue
        if state["Type"] == "Pass":
            known = {k: v for k, v in record.items() if f"{k}.$" in state["Parameters"]}
        elif "dynamodb" not in state.get("Resource", "dynamodb"):
            tasks.append(name)
        name = state.get("Next")
    return tasks


def _holds(choice, known, record):
    if choice.get("Next") == "answered":
        return record.get("state") == choice["And"][1]["StringEquals"]
    if "And" not in choice:  # is it in the record at all?
        return ("frames" if "frames" in choice["Variable"] else "bytes") in record
    is_there, above, upto = choice["And"]
    amount = known.get(is_there["Variable"].removeprefix("$."))
    return amount is not None and (
        above["NumericGreaterThan"] < amount <= upto["NumericLessThanEquals"]
    )


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda recipe: recipe.name)
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("record", [{}, {"bytes": 1, "frames": 1}, {"bytes": 10**9, "frames": 1}])
def test_every_way_runs_the_recipes_stages_once_and_in_order(recipe, fused, record):
    machine = document(recipe, fused=fused)
    run = [stage for task in walk(machine, record) for stage in _stages_of(machine, task)]
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


def test_separation_by_gpu_is_never_a_function():
    tasks = walk(document(SEPARATE), {"bytes": 1, "frames": 1})
    assert tasks[0] == SEPARATION and all(task.endswith("_at_once") for task in tasks[1:])


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
            assert catch["ErrorEquals"] == [
                "States.Timeout",
                "Sandbox.Timedout",
                "Lambda.Unknown",
                "Runtime.ExitError",
            ]


def test_a_function_is_retried_for_what_another_attempt_mends_and_for_nothing_else():
    for name, state in document(DENOISE)["States"].items():
        if not name.endswith("_at_once"):
            continue
        retried = {error for retry in state["Retry"] for error in retry["ErrorEquals"]}
        assert {kind.__name__ for kind in RetryableStageError.__subclasses__()} <= retried
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
    big = StageJob("arn:queue", "arn:definition", "stage-cpu", vcpus=4, memory_mb=16_384)
    state = document(SEPARATE, job=big)["States"][SEPARATION]
    assert state["Parameters"]["ContainerOverrides"]["ResourceRequirements"] == [
        {"Type": "VCPU", "Value": "4"},
        {"Type": "MEMORY", "Value": "16384"},
    ]


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda recipe: recipe.name)
@pytest.mark.parametrize("fused", [False, True])
def test_every_document_is_one_that_step_functions_takes(recipe, fused):
    machine = document(recipe, fused=fused)
    assert Linter.validate(json.dumps(machine)) == []
    assert all(len(name) <= 80 for name in machine["States"])

"""A recipe's stages by task: which run together, where, and what stands in for a GPU."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from clearstem.recipes import Recipe


@dataclass(frozen=True, slots=True)
class StageJob:
    """What a stage is submitted as.

    Attributes
    ----------
    queue_arn : str
        The queue it waits in.
    definition_arn : str
        The job definition, of this revision.
    name : str
        The definition's name, whatever its revision.
    attempt_s : int
        Seconds after which Batch ends an attempt, for good.
    vcpus, memory_mb : int
        What it asks for where that is not the definition's own; 0: it is.
    """

    queue_arn: str
    definition_arn: str
    name: str
    attempt_s: int
    vcpus: int = 0
    memory_mb: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """Stages that one task runs, one after the other.

    Attributes
    ----------
    stages : tuple of str
        In order.
    job : StageJob
        The Batch job.
    as_function : bool
        Whether it may run as a function instead.
    priority : int
        In Batch's queue, among the jobs of one share: how many stages came before, so that
        what was begun is finished before more is.
    light : Step or None
        What is done instead for a job whose engine is of no use on a GPU.
    is_light : bool
        Whether it is done instead of another.
    """

    stages: tuple[str, ...]
    job: StageJob
    as_function: bool
    priority: int
    light: "Step | None" = None
    is_light: bool = False

    @property
    def work(self) -> str:
        """What its Batch jobs are called."""
        if len(self.stages) == 1:
            return self.stages[0]
        return f"{self.stages[0]}_to_{self.stages[-1]}"

    @property
    def name(self) -> str:
        """What its Batch task is called."""
        return f"{self.work}_without_gpu" if self.is_light else self.work

    @property
    def function_name(self) -> str:
        """What its function's task is called."""
        return f"{self.name}_at_once"


def steps(
    recipe: Recipe,
    *,
    jobs: Mapping[str, StageJob],
    light: Mapping[str, StageJob],
    quick: frozenset[str],
    fused: bool,
) -> tuple[Step, ...]:
    """A recipe's stages by task.

    Parameters
    ----------
    jobs : mapping of str to StageJob
        Where each stage is submitted; `KeyError` where one is missing.
    light : mapping of str to StageJob
        Where stages are submitted for jobs whose engine is of no use on a GPU; it may be a
        function then. Stages that are the same for every engine are not in it.
    quick : frozenset of str
        The stages that may run as a function.
    fused : bool
        One task for quick stages in a row, which saves a start each.
    """
    made: list[Step] = []
    for place, stage in enumerate(spec.name for spec in recipe.stages):
        is_quick = stage in quick
        if fused and is_quick and made and made[-1].as_function:
            before = made.pop()
            stages = (*before.stages, stage)
            job = replace(jobs[stage], attempt_s=before.job.attempt_s + jobs[stage].attempt_s)
            made.append(Step(stages, job, as_function=True, priority=before.priority))
        else:
            step = Step((stage,), jobs[stage], as_function=is_quick, priority=place)
            made.append(_with_light(step, job=light.get(stage)))
    return tuple(made)


def _with_light(step: Step, *, job: StageJob | None) -> Step:
    if job is None:
        return step
    return replace(step, light=replace(step, job=job, as_function=True, is_light=True))

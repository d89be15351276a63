"""A job, and every change it may go through.

A `Job` is a frozen value. Each transition is a method that returns the next
value, returns the same value where an event is late or a repeat, or raises
`IllegalTransition` where it makes no sense. Nothing here does I/O or knows the
time: adapters write what comes back with a condition on `Job.version`, so what
these methods allow is what can happen.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from clearstem.errors import IllegalTransition
from clearstem.facts import (
    AudioFormat,
    Denoising,
    Engine,
    Failure,
    Location,
    Loudness,
    Separation,
    Source,
    StageResult,
    Track,
)
from clearstem.options import Options
from clearstem.recipes import RECIPES, Recipe
from clearstem.stage_runs import StageRun, StageState


class JobState(StrEnum):
    """Where a job stands; the last three are final, until a failed job is retried."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether nothing can happen to the job any more."""
        return self not in (JobState.QUEUED, JobState.RUNNING)


@dataclass(frozen=True, slots=True)
class Job:
    """A recording on its way through a recipe.

    Attributes
    ----------
    owner : str
        Whose key submitted it; nobody else sees it.
    destination : Location
        Bucket and prefix the tracks go to.
    ticket : int
        Its place in the order of submission.
    version : int
        Counts the changes; every write is conditional on it.
    notes : tuple of str
        Conversions and repairs the user should know of.
    download_token : str
        What makes the address of a result that needs no key unguessable; empty
        where the job has no such address.
    deleted_at : datetime or None
        When the owner had the results deleted; they are given out no more.
    output_url, callback_url : str or None
        Where the client wants the result put as well, and to be told of its events.
    attempt : int
        Counts from 1 how often the job was taken up; see `retry`.
    logged : int
        Events in its log.
    expires_at : datetime or None
        When it is deleted with all its files; None: they end by their bucket's rules.
    labels : Mapping[str, str]
        Its owner's.
    source_token : str
        The same as `download_token`, of the recording that was handed in: who
        is given the result is not given that.
    counted : bool
        Whether its owner's counters know of it; jobs older than them are not told.
    undelivered : str or None
        Why the result is not where `output_url` leads.
    cached_from : str or None
        The job whose stored result this one was given instead of being worked on.
    """

    job_id: str
    owner: str
    recipe_name: str
    state: JobState
    created_at: datetime
    updated_at: datetime
    source: Source
    destination: Location
    options: Options
    engine: Engine
    stages: tuple[StageRun, ...]
    ticket: int = 0
    version: int = 0
    audio: AudioFormat | None = None
    separation: Separation | None = None
    loudness: Loudness | None = None
    tracks: tuple[Track, ...] = ()
    notes: tuple[str, ...] = ()
    failure: Failure | None = None
    denoising: Denoising | None = None
    download_token: str = ""
    deleted_at: datetime | None = None
    output_url: str | None = None
    callback_url: str | None = None
    attempt: int = 1
    logged: int = 0
    expires_at: datetime | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    source_token: str = ""
    counted: bool = False
    undelivered: str | None = None
    cached_from: str | None = None

    @property
    def recipe(self) -> Recipe:
        """The recipe the job follows."""
        return RECIPES[self.recipe_name]

    @property
    def track_names(self) -> tuple[str, ...]:
        """The tracks that the job has once it has succeeded, in order."""
        return self.options.tracks

    @property
    def percent(self) -> float:
        """Work done over all stages, 0 to 100 with one decimal; it never falls.

        It is 100 when the job has succeeded and not before: the last block of
        the last stage is not the end of its work.
        """
        if self.state is JobState.SUCCEEDED:
            return 100.0
        specs = self.recipe.stages
        done = sum(s.weight * r.fraction for s, r in zip(specs, self.stages, strict=True))
        return min(round(100 * done / sum(s.weight for s in specs), 1), 99.9)

    def track(self, name: str) -> Track | None:
        """The output of exactly that name, or None."""
        return next((t for t in self.tracks if t.name == name), None)

    @property
    def duration_s(self) -> float | None:
        """How long the source is: as decoded, else as its header says; None if unknown."""
        return self.source.duration_s if self.audio is None else self.audio.duration_s

    @property
    def result(self) -> Track | None:
        """The one track that a dialect with a single result shows; None until it may be had."""
        if self.state is not JobState.SUCCEEDED or self.deleted_at is not None:
            return None
        return self.track(self.recipe.voice)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What the user should know of: the notes, and why the result was not put anywhere."""
        return self.notes if self.undelivered is None else (*self.notes, self.undelivered)

    @property
    def downloading(self) -> bool:
        """Whether the source is on its way from its address."""
        awaited = self.source.url is not None and self.source.size_bytes == 0
        return awaited and self.state is JobState.RUNNING

    @property
    def message(self) -> str:
        """What is being done, in words for a watcher."""
        if self.state is JobState.QUEUED:
            return "Waiting to start"
        if self.downloading:
            return "Downloading"
        stage = self.current_stage()
        specs = self.recipe.stages
        return specs[-1 if stage is None else self._position(stage)].message

    def stage(self, name: str) -> StageRun:
        """The run of a stage; `IllegalTransition` if the recipe has none of that name."""
        return self.stages[self._position(name)]

    def start_stage(self, name: str, *, at: datetime) -> "Job":
        """Begin a stage.

        A start of a stage that runs or is done already (begun again after a
        kill, or told twice), or of a job that is over, changes nothing.
        """
        index = self._position(name)
        if self.state.is_final or self.stages[index].state is not StageState.PENDING:
            return self
        unfinished = [r.name for r in self.stages[:index] if r.state is not StageState.SUCCEEDED]
        if unfinished:
            raise IllegalTransition(f"stage {name} cannot start before {unfinished[0]} is done")
        run = self.stages[index]
        started = replace(run, state=StageState.RUNNING, started_at=self._not_before(at))
        return self._with_stage(index, started, at=at, state=JobState.RUNNING)

    def fetched(self, source: Source, *, at: datetime) -> "Job":
        """Note that the source has come from its address; told again, nothing changes."""
        if self.state.is_final or not self.downloading:
            return self
        return replace(self, source=source, updated_at=self._not_before(at))

    def advance(self, name: str, *, fraction: float, at: datetime) -> "Job":
        """Note work done in a running stage; anything late or smaller changes nothing."""
        if not 0.0 <= fraction <= 1.0:
            raise IllegalTransition(f"fraction {fraction!r} is outside 0 to 1")
        index = self._position(name)
        run = self.stages[index]
        if self.state.is_final or run.state is not StageState.RUNNING or fraction <= run.fraction:
            return self
        return self._with_stage(index, replace(run, fraction=fraction), at=at)

    def stumble(self, name: str, *, error: str, at: datetime) -> "Job":
        """Note a failure that is going to be retried."""
        index = self._position(name)
        run = self.stages[index]
        if self.state.is_final or run.state is not StageState.RUNNING or run.error == error:
            return self
        return self._with_stage(index, replace(run, error=error), at=at)

    def complete_stage(self, name: str, result: StageResult, *, at: datetime) -> "Job":
        """End a stage well; the last one ends the job, if every track is there."""
        index = self._position(name)
        run = self.stages[index]
        if self.state.is_final or run.state is StageState.SUCCEEDED:
            return self
        if run.state is not StageState.RUNNING:
            raise IllegalTransition(f"stage {name} cannot complete before it started")
        done = replace(
            run,
            state=StageState.SUCCEEDED,
            completed_at=self._not_before(at),
            fraction=1.0,
            error=None,
            made_by=result.made_by,
        )
        job = self._with_stage(index, done, at=at)._with_result(result)
        return job._succeeded() if index == len(self.stages) - 1 else job

    def answered(self, result: StageResult, *, by: str, at: datetime) -> "Job":
        """End the job well with the result of another; a job that is over stays as it ended.

        Stages that were not begun are done without a time: nobody ran them.

        Parameters
        ----------
        result : StageResult
            All that the stages of job `by` found out, with tracks of this job's own.

        Raises
        ------
        IllegalTransition
            A track is missing.
        """
        if self.state.is_final:
            return self
        at = self._not_before(at)
        runs = tuple(
            run if run.state is StageState.SUCCEEDED else run.spared(at=at) for run in self.stages
        )
        job = replace(self, stages=runs, tracks=(), notes=(), cached_from=by, updated_at=at)
        return job._with_result(result)._succeeded()

    def fail(self, failure: Failure, *, at: datetime) -> "Job":
        """End the job badly; a job that is over stays as it ended.

        So does a stage that is done: its artifacts are there, whatever a second
        run of it met.
        """
        if self.state.is_final:
            return self
        at = self._not_before(at)
        job = replace(self, state=JobState.FAILED, failure=failure, updated_at=at)
        if failure.stage is None:
            return job
        index = self._position(failure.stage)
        run = self.stages[index]
        if run.state is StageState.SUCCEEDED:
            return job
        failed = replace(
            run,
            state=StageState.FAILED,
            started_at=run.started_at or at,
            completed_at=at,
            error=failure.message,
        )
        return job._with_stage(index, failed, at=at)

    def cancel(self, *, at: datetime) -> "Job":
        """End the job at its owner's wish; a job that is over stays as it ended."""
        if self.state.is_final:
            return self
        return replace(self, state=JobState.CANCELLED, updated_at=self._not_before(at))

    def retry(self, *, at: datetime) -> "Job":
        """Queue a failed job again, to go on from there; any other is an `IllegalTransition`."""
        if self.state is not JobState.FAILED:
            raise IllegalTransition(f"the job is {self.state}; only a failed job is retried")
        if self.deleted_at is not None:
            raise IllegalTransition("the job's results were deleted; it is not retried")
        done = StageState.SUCCEEDED
        again = (r if r.state is done else StageRun(r.name, error=r.error) for r in self.stages)
        return replace(
            self,
            state=JobState.QUEUED,
            attempt=self.attempt + 1,
            stages=tuple(again),
            failure=None,
            updated_at=self._not_before(at),
        )

    def delete_results(self, *, at: datetime) -> "Job":
        """Give the results out no more; a job that is not over, or was told before, stays."""
        if not self.state.is_final or self.deleted_at is not None:
            return self
        return replace(self, deleted_at=self._not_before(at))

    def current_stage(self) -> str | None:
        """The first stage that is not done; None when all are."""
        return next((r.name for r in self.stages if r.state is not StageState.SUCCEEDED), None)

    def _not_before(self, at: datetime) -> datetime:
        """The time of a change; the clocks of two writers may disagree, a job's own may not."""
        return max(at, self.updated_at)

    def _position(self, stage: str) -> int:
        try:
            return self.recipe.position(stage)
        except KeyError as exc:
            raise IllegalTransition(f"recipe {self.recipe_name} has no stage {stage!r}") from exc

    def _with_stage(
        self, index: int, run: StageRun, *, at: datetime, state: JobState | None = None
    ) -> "Job":
        stages = (*self.stages[:index], run, *self.stages[index + 1 :])
        updated_at = self._not_before(at)
        return replace(self, stages=stages, state=state or self.state, updated_at=updated_at)

    def _with_result(self, result: StageResult) -> "Job":
        sha256 = result.source_sha256 or self.source.sha256
        return replace(
            self,
            source=replace(self.source, sha256=sha256),
            audio=result.audio or self.audio,
            separation=result.separation or self.separation,
            loudness=result.loudness or self.loudness,
            tracks=self.tracks + result.tracks,
            notes=self.notes + result.notes,
            denoising=result.denoising or self.denoising,
            undelivered=result.undelivered or self.undelivered,
        )

    def _succeeded(self) -> "Job":
        missing = sorted(set(self.track_names) - {t.name for t in self.tracks})
        if missing:
            raise IllegalTransition(f"a job cannot succeed without its track {missing[0]}")
        return replace(self, state=JobState.SUCCEEDED)

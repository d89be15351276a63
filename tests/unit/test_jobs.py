"""A job over histories as late and muddled as AWS delivers them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clearstem.errors import IllegalTransition
from clearstem.facts import Failure, StageResult
from clearstem.jobs import Job, JobState
from clearstem.recipes import SEPARATE
from clearstem.stage_runs import StageRun, StageState
from tests.unit.examples import (
    STAGES,
    a_job,
    at,
    result_of,
)


@dataclass(frozen=True)
class Event:
    """A transition that somebody asks for, as it reads in a failing example."""

    kind: str
    stage: str | None = None
    fraction: float = 0.0
    text: str = ""
    seconds: float = 0.0

    def __call__(self, job: Job) -> Job:
        when = at(self.seconds)
        stage = self.stage or ""
        transitions: dict[str, Callable[[], Job]] = {
            "start": lambda: job.start_stage(stage, at=when),
            "advance": lambda: job.advance(stage, fraction=self.fraction, at=when),
            "stumble": lambda: job.stumble(stage, error=self.text, at=when),
            "complete": lambda: job.complete_stage(stage, result_of(stage), at=when),
            "complete empty": lambda: job.complete_stage(stage, StageResult(), at=when),
            "fail": lambda: job.fail(Failure(self.stage, "Clearstem.Test", self.text), at=when),
            "cancel": lambda: job.cancel(at=when),
            "answered": lambda: job.answered(STORED, by="another", at=when),
        }
        return transitions[self.kind]()


# All that the stages of another job found out.
STORED = replace(
    result_of(STAGES[0]),
    loudness=result_of(STAGES[-1]).loudness,
    tracks=result_of(STAGES[-1]).tracks,
)
WORK = ("start", "advance", "stumble", "complete")
ANY_KIND = (*WORK, "complete empty", "fail", "cancel", "answered")


def events(kinds: Iterable[str]) -> st.SearchStrategy[Event]:
    """Events of any stage at any time, the times in no order."""
    return st.builds(
        Event,
        kind=st.sampled_from(tuple(kinds)),
        stage=st.sampled_from(STAGES),
        fraction=st.floats(0, 1),
        text=st.sampled_from(("out of memory", "host reclaimed")),
        seconds=st.floats(-5, 600),
    )


def ordinary_life() -> list[Event]:
    """Start, half way and end of every stage, in order."""
    return [
        Event(kind, stage, fraction=0.5, seconds=60.0 * index + step)
        for index, stage in enumerate(STAGES)
        for step, kind in enumerate(("start", "advance", "complete"))
    ]


@st.composite
def muddled_life(draw: st.DrawFn, *, noise: Iterable[str]) -> list[Event]:
    """An ordinary life in which events are repeated, come late, and strangers come between."""
    life = ordinary_life()
    for extra in draw(st.lists(st.one_of(events(noise), st.sampled_from(life)), max_size=15)):
        life.insert(draw(st.integers(0, len(life))), extra)
    return life


HISTORIES = st.one_of(st.lists(events(ANY_KIND), max_size=30), muddled_life(noise=ANY_KIND))


def lived(history: Iterable[Event]) -> list[Job]:
    """The job before, between and after the events; illegal ones are refused and change nothing."""
    states = [a_job()]
    for event in history:
        try:
            states.append(event(states[-1]))
        except IllegalTransition:
            states.append(states[-1])
    return states


def runs_of(states: list[Job]) -> Iterable[tuple[StageRun, StageRun]]:
    """Each stage's run before and after each event."""
    for before, now in pairwise(states):
        yield from zip(before.stages, now.stages, strict=True)


over_histories = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


@given(HISTORIES)
@over_histories
def test_a_job_that_is_over_never_changes_again(history):
    for before, now in pairwise(lived(history)):
        if before.state.is_final:
            assert now is before


@given(HISTORIES)
@over_histories
def test_a_job_comes_to_one_end_at_most(history):
    assert len({job.state for job in lived(history) if job.state.is_final}) <= 1


@given(HISTORIES)
@over_histories
def test_the_percentage_never_falls_and_is_100_only_on_success(history):
    states = lived(history)
    for before, now in pairwise(states):
        assert 0.0 <= before.percent <= now.percent <= 100.0
    for job in states:
        assert (job.percent == 100.0) == (job.state is JobState.SUCCEEDED)


@given(HISTORIES)
@over_histories
def test_a_job_succeeds_only_with_all_stages_done_and_all_nine_tracks(history):
    job = lived(history)[-1]
    if job.state is JobState.SUCCEEDED:
        assert all(run.state is StageState.SUCCEEDED for run in job.stages)
        assert sorted(t.name for t in job.tracks) == sorted(SEPARATE.tracks)
        assert job.failure is None


@given(HISTORIES)
@over_histories
def test_stages_are_done_in_order_and_run_one_at_a_time(history):
    for job in lived(history):
        states = [run.state for run in job.stages]
        done = states.count(StageState.SUCCEEDED)
        assert states[:done] == [StageState.SUCCEEDED] * done
        assert StageState.RUNNING not in states[done + 1 :]


@given(HISTORIES)
@over_histories
def test_a_stage_that_is_done_stays_as_it_is(history):
    for before, now in runs_of(lived(history)):
        if before.state is StageState.SUCCEEDED:
            assert now == before


@given(HISTORIES)
@over_histories
def test_work_done_in_a_stage_never_falls(history):
    for before, now in runs_of(lived(history)):
        assert before.fraction <= now.fraction


@given(HISTORIES)
@over_histories
def test_time_never_runs_back_in_a_job_whatever_clocks_tell(history):
    states = lived(history)
    for before, now in pairwise(states):
        assert before.updated_at <= now.updated_at
    for run in states[-1].stages:
        assert run.duration_s is None or run.duration_s >= 0
        ended = run.state in (StageState.SUCCEEDED, StageState.FAILED)
        # Of a job that was answered, stages are done that nobody began.
        begun = run.started_at is not None or states[-1].cached_from is None
        assert (run.completed_at is not None) == (ended and begun)


@given(HISTORIES)
@over_histories
def test_a_job_says_whose_result_it_has_and_no_other_job_does(history):
    for before, now in pairwise(lived(history)):
        assert before.cached_from in (None, now.cached_from)
        assert now.cached_from is None or now.state is JobState.SUCCEEDED


@given(HISTORIES)
@over_histories
def test_a_failed_job_says_why_and_no_other_job_does(history):
    for job in lived(history):
        assert (job.failure is not None) == (job.state is JobState.FAILED)


@given(HISTORIES)
@over_histories
def test_an_event_told_twice_gives_the_very_same_job_the_second_time(history):
    states = lived(history)
    for event, (before, now) in zip(history, pairwise(states), strict=True):
        if now is not before:
            assert event(now) is now


@given(HISTORIES)
@over_histories
def test_an_event_gives_the_same_job_or_a_different_one_never_an_equal_copy(history):
    # A copy would be written, counted as a change and pushed to every watcher.
    for before, now in pairwise(lived(history)):
        assert now is before or now != before


@given(muddled_life(noise=WORK))
@over_histories
def test_no_repeat_nor_late_nor_early_event_keeps_a_job_from_success(history):
    assert lived(history)[-1].state is JobState.SUCCEEDED


@given(muddled_life(noise=WORK), st.integers(0, 40), st.sampled_from(("fail", "cancel")))
@over_histories
def test_an_end_is_the_end_wherever_it_comes(history, position, kind):
    before = lived(history[:position])[-1].state
    ended = JobState.CANCELLED if kind == "cancel" else JobState.FAILED
    job = lived([*history[:position], Event(kind, text="stopped"), *history[position:]])[-1]
    assert job.state is (before if before.is_final else ended)

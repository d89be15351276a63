"""Every change of a job, by example."""

from dataclasses import replace

import pytest

from clearstem.errors import IllegalTransition
from clearstem.facts import Failure, StageResult
from clearstem.jobs import JobState
from clearstem.options import SeparateOptions
from clearstem.recipes import COMPOSITION, DECOMPOSITION, NORMALIZATION, SEPARATE, SEPARATION
from clearstem.stage_runs import StageRun, StageState
from tests.unit.examples import (
    AUDIO,
    LOUDNESS,
    SEPARATION_MADE,
    STAGES,
    a_job,
    a_track,
    after,
    at,
    result_of,
)


def test_a_new_job_is_queued_with_nothing_done():
    job = a_job()
    assert (job.state, job.percent, job.version) == (JobState.QUEUED, 0.0, 0)
    assert [run.name for run in job.stages] == list(STAGES)
    assert {run.state for run in job.stages} == {StageState.PENDING}


def test_the_first_start_sets_the_job_running():
    job = a_job().start_stage(SEPARATION, at=at(3))
    assert job.state is JobState.RUNNING
    assert job.stage(SEPARATION) == StageRun(SEPARATION, StageState.RUNNING, started_at=at(3))
    assert job.updated_at == at(3)


def test_a_stage_begun_again_after_a_kill_keeps_its_first_start_and_its_progress():
    job = a_job().start_stage(SEPARATION, at=at(1)).advance(SEPARATION, fraction=0.4, at=at(2))
    stumbled = job.stumble(SEPARATION, error="host reclaimed", at=at(3))
    again = stumbled.start_stage(SEPARATION, at=at(9))
    assert again.stage(SEPARATION) == StageRun(
        SEPARATION, StageState.RUNNING, at(1), None, 0.4, "host reclaimed"
    )


def test_a_stage_cannot_start_before_the_one_ahead_of_it_is_done():
    with pytest.raises(IllegalTransition) as refused:
        a_job().start_stage(COMPOSITION, at=at(0))
    assert str(refused.value) == (
        "stage composite_track_creation cannot start before audio_separation is done"
    )


def test_a_stage_cannot_complete_before_it_started():
    with pytest.raises(IllegalTransition, match="normalization cannot complete before it started"):
        a_job().complete_stage(NORMALIZATION, StageResult(), at=at(0))


@pytest.mark.parametrize(
    "transition",
    [
        lambda job: job.start_stage("mastering", at=at(0)),
        lambda job: job.advance("mastering", fraction=0.5, at=at(0)),
        lambda job: job.stumble("mastering", error="?", at=at(0)),
        lambda job: job.complete_stage("mastering", StageResult(), at=at(0)),
        lambda job: job.fail(Failure("mastering", "X", "?"), at=at(0)),
        lambda job: job.stage("mastering"),
    ],
    ids=["start", "advance", "stumble", "complete", "fail", "stage"],
)
def test_a_stage_the_recipe_has_not_is_refused_by_name(transition):
    with pytest.raises(IllegalTransition, match="recipe separate has no stage 'mastering'"):
        transition(a_job())


@pytest.mark.parametrize("fraction", [-0.01, 1.01, float("nan"), float("inf")])
def test_a_fraction_outside_0_to_1_is_refused_with_its_value(fraction):
    running = a_job().start_stage(SEPARATION, at=at(0))
    with pytest.raises(IllegalTransition, match=f"fraction {fraction!r} is outside 0 to 1"):
        running.advance(SEPARATION, fraction=fraction, at=at(1))


def test_a_late_progress_report_never_moves_the_bar_back():
    job = a_job().start_stage(SEPARATION, at=at(0)).advance(SEPARATION, fraction=0.6, at=at(2))
    assert job.advance(SEPARATION, fraction=0.3, at=at(3)) is job
    done = job.complete_stage(SEPARATION, result_of(SEPARATION), at=at(4))
    assert done.advance(SEPARATION, fraction=0.9, at=at(5)) is done


def test_progress_of_a_stage_that_has_not_started_counts_for_nothing():
    job = a_job()
    assert job.advance(SEPARATION, fraction=0.5, at=at(1)) is job


def test_the_percentage_weighs_stages_by_their_share_of_the_time():
    weights = {spec.name: spec.weight for spec in SEPARATE.stages}
    half = a_job().start_stage(SEPARATION, at=at(0)).advance(SEPARATION, fraction=0.5, at=at(1))
    assert half.percent == round(50 * weights[SEPARATION] / sum(weights.values()), 1)
    done = after(a_job(), SEPARATION, DECOMPOSITION)
    share = (weights[SEPARATION] + weights[DECOMPOSITION]) / sum(weights.values())
    assert done.percent == round(100 * share, 1)


def test_the_last_block_of_the_last_stage_is_not_yet_100_percent():
    job = after(a_job(), *STAGES[:-1]).start_stage(NORMALIZATION, at=at(1))
    assert job.advance(NORMALIZATION, fraction=1.0, at=at(2)).percent == 99.9
    assert job.advance(NORMALIZATION, fraction=0.9999, at=at(2)).percent == 99.9


def test_completing_a_stage_ends_its_run_and_forgets_the_error_it_survived():
    job = a_job().start_stage(SEPARATION, at=at(1)).stumble(SEPARATION, error="killed", at=at(2))
    run = job.complete_stage(SEPARATION, result_of(SEPARATION), at=at(11)).stage(SEPARATION)
    assert run == StageRun(SEPARATION, StageState.SUCCEEDED, at(1), at(11), 1.0, None)
    assert run.duration_s == 10.0


def test_a_run_that_has_not_ended_has_no_duration():
    job = a_job().start_stage(SEPARATION, at=at(1))
    assert job.stage(SEPARATION).duration_s is None
    assert job.stage(DECOMPOSITION).duration_s is None


def test_what_the_stages_find_out_gathers_in_the_job():
    job = after(a_job(), *STAGES)
    assert (job.audio, job.separation, job.loudness) == (AUDIO, SEPARATION_MADE, LOUDNESS)
    assert job.notes == ("resampled",)
    assert job.track("main_harmonic") == a_track("main_harmonic")
    assert job.track("harm") is None
    assert job.audio.duration_s == 10.0


def test_the_last_stage_with_every_track_ends_the_job_well():
    job = after(a_job(), *STAGES)
    assert (job.state, job.percent, job.current_stage()) == (JobState.SUCCEEDED, 100.0, None)


def test_the_last_stage_cannot_complete_without_every_track():
    job = after(a_job(), *STAGES[:-1]).start_stage(NORMALIZATION, at=at(1))
    eight = tuple(a_track(name) for name in SEPARATE.tracks if name != "main_percussive")
    with pytest.raises(IllegalTransition, match="cannot succeed without its track main_percussive"):
        job.complete_stage(NORMALIZATION, StageResult(tracks=eight), at=at(2))


def test_a_job_that_asked_for_the_residual_cannot_succeed_without_it():
    job = replace(a_job(), options=SeparateOptions(residual=True))
    job = after(job, *STAGES[:-1]).start_stage(NORMALIZATION, at=at(1))
    nine = tuple(a_track(name) for name in SEPARATE.tracks)
    with pytest.raises(IllegalTransition, match="cannot succeed without its track residual"):
        job.complete_stage(NORMALIZATION, StageResult(tracks=nine), at=at(2))
    ten = StageResult(tracks=(*nine, a_track("residual")))
    assert job.complete_stage(NORMALIZATION, ten, at=at(2)).state is JobState.SUCCEEDED


def test_a_completed_stage_told_again_adds_no_second_set_of_notes():
    job = after(a_job(), SEPARATION)
    assert job.complete_stage(SEPARATION, result_of(SEPARATION), at=at(9)) is job


def test_a_stumble_is_remembered_while_the_stage_goes_on():
    job = a_job().start_stage(SEPARATION, at=at(1)).stumble(SEPARATION, error="killed", at=at(2))
    assert (job.state, job.stage(SEPARATION).error) == (JobState.RUNNING, "killed")
    assert job.stage(SEPARATION).state is StageState.RUNNING


def test_the_same_stumble_told_twice_changes_nothing():
    job = a_job().start_stage(SEPARATION, at=at(1)).stumble(SEPARATION, error="killed", at=at(2))
    assert job.stumble(SEPARATION, error="killed", at=at(3)) is job
    assert job.stumble(SEPARATION, error="killed again", at=at(3)) is not job


def test_tracks_and_notes_of_several_stages_stand_together():
    first = StageResult(tracks=(a_track("vocals"),), notes=("mono",))
    second = StageResult(tracks=(a_track("harmonic"),), notes=("repaired",))
    job = a_job().start_stage(SEPARATION, at=at(0)).complete_stage(SEPARATION, first, at=at(1))
    job = job.start_stage(DECOMPOSITION, at=at(2)).complete_stage(DECOMPOSITION, second, at=at(3))
    assert job.tracks == (a_track("vocals"), a_track("harmonic"))
    assert job.notes == ("mono", "repaired")


def test_a_failure_ends_job_and_stage_and_says_why():
    job = after(a_job(), SEPARATION).start_stage(DECOMPOSITION, at=at(5))
    failure = Failure(DECOMPOSITION, "Clearstem.NonFiniteOutput", "NaN in harmonic")
    failed = job.fail(failure, at=at(8))
    assert (failed.state, failed.failure) == (JobState.FAILED, failure)
    assert failed.stage(DECOMPOSITION) == StageRun(
        DECOMPOSITION, StageState.FAILED, at(5), at(8), 0.0, "NaN in harmonic"
    )
    assert failed.current_stage() == DECOMPOSITION


def test_a_failure_before_any_stage_touches_none():
    failed = a_job().fail(Failure(None, "Clearstem.NotStarted", "no executions left"), at=at(1))
    assert failed.state is JobState.FAILED
    assert failed.stages == a_job().stages


def test_a_stage_that_fails_without_having_started_lasted_no_time():
    failed = a_job().fail(Failure(SEPARATION, "States.Timeout", "no host"), at=at(7))
    assert failed.stage(SEPARATION).duration_s == 0.0


def test_a_second_run_that_fails_leaves_the_stage_done_and_fails_the_job():
    job = after(a_job(), SEPARATION)
    failed = job.fail(Failure(SEPARATION, "Clearstem.UnreadableAudio", "cut off"), at=at(9))
    assert failed.state is JobState.FAILED
    assert failed.stage(SEPARATION) == job.stage(SEPARATION)


def test_a_cancelled_job_keeps_what_it_had():
    job = after(a_job(), SEPARATION).start_stage(DECOMPOSITION, at=at(5))
    cancelled = job.cancel(at=at(6))
    assert (cancelled.state, cancelled.percent) == (JobState.CANCELLED, job.percent)
    assert cancelled.audio == AUDIO
    assert cancelled.updated_at == at(6)


@pytest.mark.parametrize("state", list(JobState))
def test_three_states_are_final(state):
    final = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)
    assert state.is_final == (state in final)


def test_a_job_knows_its_current_stage():
    assert a_job().current_stage() == SEPARATION
    assert after(a_job(), SEPARATION).current_stage() == DECOMPOSITION


def test_a_source_with_an_address_is_downloading_until_it_has_come():
    plain = a_job()
    awaited = replace(plain.source, url="https://example.org/a.wav", size_bytes=0)
    running = replace(plain, source=awaited).start_stage(SEPARATION, at=at(1))
    assert (running.downloading, running.message) == (True, "Downloading")
    come = running.fetched(replace(awaited, size_bytes=9), at=at(2))
    assert (come.downloading, come.source.size_bytes, come.updated_at) == (False, 9, at(2))
    assert come.fetched(replace(awaited, size_bytes=7), at=at(3)) is come


def test_a_source_that_was_handed_in_is_never_downloading():
    assert not a_job().start_stage(SEPARATION, at=at(1)).downloading


def an_answer() -> StageResult:
    made = after(a_job("made"), *STAGES, when=at(1))
    return StageResult(
        made.audio, made.separation, made.loudness, made.tracks, made.notes, source_sha256="ab"
    )


def test_an_answered_job_knows_all_that_the_other_found_out():
    job = a_job().answered(an_answer(), by="made", at=at(2))
    assert (job.state, job.percent, job.cached_from) == (JobState.SUCCEEDED, 100.0, "made")
    assert (job.audio, job.separation, job.loudness) == (AUDIO, SEPARATION_MADE, LOUDNESS)
    assert [track.name for track in job.tracks] == list(SEPARATE.tracks)
    assert (job.notes, job.source.sha256, job.updated_at) == (("resampled",), "ab", at(2))


def test_stages_that_an_answer_spared_took_no_time():
    job = a_job().answered(an_answer(), by="made", at=at(2))
    assert {(run.state, run.started_at, run.duration_s) for run in job.stages} == {
        (StageState.SUCCEEDED, None, None)
    }


def test_the_stage_that_found_the_answer_took_its_time():
    begun = a_job().start_stage(SEPARATION, at=at(1)).advance(SEPARATION, fraction=0.2, at=at(2))
    job = begun.answered(an_answer(), by="made", at=at(4))
    assert job.stage(SEPARATION) == StageRun(
        SEPARATION, StageState.SUCCEEDED, at(1), at(4), fraction=1.0
    )
    assert job.stage(NORMALIZATION).completed_at is None


def test_an_answer_without_all_tracks_is_none():
    few = replace(an_answer(), tracks=an_answer().tracks[1:])
    with pytest.raises(IllegalTransition, match="cannot succeed without its track vocals"):
        a_job().answered(few, by="made", at=at(2))


def test_why_a_result_was_not_put_anywhere_is_told_with_the_notes():
    job = a_job().answered(replace(an_answer(), undelivered="it answered 403"), by="made", at=at(2))
    assert job.remarks == ("resampled", "it answered 403")

"""Recipes: their stages, tracks and keys."""

import pytest

from clearstem.recipes import (
    MAIN,
    RECIPES,
    SEPARATE,
    SEPARATION,
    STEMS,
    manifest_key,
    work_key,
)


def test_the_recipe_has_its_four_stages_in_the_order_of_the_contract():
    assert [(s.name, s.processor_type) for s in SEPARATE.stages] == [
        ("audio_separation", "separator"),
        ("harmonic_percussive_separation", "decomposition"),
        ("composite_track_creation", "composition"),
        ("normalization", "audio_processing"),
    ]


def test_the_recipe_makes_nine_tracks_of_different_names():
    assert len(set(SEPARATE.tracks)) == len(SEPARATE.tracks) == 9
    assert {*STEMS, MAIN} < set(SEPARATE.tracks)


def test_every_stage_has_a_share_of_the_time():
    assert all(spec.weight > 0 for spec in SEPARATE.stages)


def test_a_stage_is_found_by_its_name_only():
    assert [SEPARATE.position(s.name) for s in SEPARATE.stages] == [0, 1, 2, 3]
    with pytest.raises(KeyError, match="separation"):
        SEPARATE.position("separation")


def test_every_recipe_has_the_track_that_stands_for_it():
    assert all(recipe.voice in recipe.tracks for recipe in RECIPES.values())


def test_a_stages_files_lie_under_its_job_and_its_name():
    assert work_key("j1", stage=SEPARATION, artifact="vocals.wav") == (
        "jobs/j1/audio_separation/vocals.wav"
    )
    assert manifest_key("j1", stage=SEPARATION) == "jobs/j1/audio_separation/manifest.json"

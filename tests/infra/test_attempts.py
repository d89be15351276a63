"""An attempt lasts as long as what it is asked of the longest recording that is taken."""

import pytest

from clearstem.receipts import BATCH_DISK_GB
from clearstem.recipes import NOISE_REDUCTION, NORMALIZATION, SEPARATION
from infra import attempts, cost

SONG_S = 180
LOADING_S = 10  # a network, once a task


@pytest.mark.parametrize("stage", list(cost.SONG.stage_seconds))
def test_an_attempt_holds_the_longest_recording_at_the_cost_models_pace(stage):
    song_s, attempt_s = cost.SONG.stage_seconds[stage], attempts.light_attempt_s(stage)
    if stage == SEPARATION:
        # As many networks as a bag has.
        song_s, attempt_s = 4 * (song_s - LOADING_S), attempts.GPU_SEPARATION_S
    # Some machines are slower than others.
    assert attempt_s > 1.2 * song_s / SONG_S * attempts.LONGEST_S


def test_networks_on_cpus_have_what_they_take_there():
    assert attempts.light_attempt_s(NOISE_REDUCTION) > 2 * attempts.LONGEST_S
    assert attempts.CPU_SEPARATION_S > 4 * attempts.LONGEST_S
    assert attempts.light_attempt_s(SEPARATION) == attempts.light_attempt_s(NORMALIZATION)


def test_the_longest_recording_is_about_what_a_tasks_disk_holds():
    bytes_a_frame = 150  # ten tracks in stereo, as float32 and encoded
    held_s = BATCH_DISK_GB * 1e9 / bytes_a_frame / 44_100
    assert attempts.LONGEST_S <= held_s < 1.1 * attempts.LONGEST_S

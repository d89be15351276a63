"""A process that works on one job after the other keeps nothing of those that are over."""

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from clearstem.recipes import DENOISE
from clearstem.service import Service
from containers import stage
from containers.workspace import Workspace
from tests.recipes import submitted_noisy
from tests.stages.memory import noise

_SECONDS = 2
_RATE_HZ = 16_000
_STAGES = [spec.name for spec in DENOISE.stages]
# One channel as float32: the least that a stage would keep of a job by holding on to sound.
_RECORDING_BYTES = 4 * _SECONDS * _RATE_HZ


def _work(service: Service, path: Path) -> None:
    """One job through all its stages, as the function of the stages is called."""
    job = submitted_noisy(service, path, cache=False)
    stage.handler({"stages": _STAGES, "job_id": job.job_id}, None)
    assert service.jobs.get(job.job_id).result is not None


def _held() -> tuple[int, int]:
    """Bytes of all arrays that anything holds, and the number of stages' workspaces.

    Not the process's size: the emulator keeps the jobs' files in this very process.
    """
    gc.collect()
    holders = gc.get_objects()
    arrays: dict[int, int] = {}
    for holder in holders:
        for each in _within(gc.get_referents(holder)):
            if type(each) is np.ndarray and each.base is None:
                arrays[id(each)] = each.nbytes
    # By type alone: `isinstance` asks what stands in for others, torch's deprecated names, too.
    return sum(arrays.values()), sum(type(each) is Workspace for each in holders)


def _within(referents: list[Any]) -> list[Any]:
    # Python stops tracking tuples of what holds nothing itself, arrays among it.
    inside = [each for found in referents if type(found) is tuple for each in found]
    return referents + inside


def test_a_function_that_is_called_again_does_not_grow(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "_service", lambda _job_id: service)
    path = tmp_path / "talk.wav"
    soundfile.write(path, noise(1, _SECONDS * _RATE_HZ, amplitude=0.05).T, _RATE_HZ)
    _work(service, path)  # windows and filters are made once
    known, spaces = _held()
    for _ in range(2):
        _work(service, path)
    now, spaces_now = _held()
    assert now - known < _RECORDING_BYTES
    assert spaces_now == spaces

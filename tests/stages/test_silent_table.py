"""What becomes of a stage whose table no longer answers, to the news of that either."""

import signal
import types
from collections.abc import Iterator
from dataclasses import replace
from typing import NoReturn

import pytest
from botocore.exceptions import ClientError

from clearstem.errors import Contention, StorageUnavailable, UnreadableAudio
from clearstem.facts import StageResult
from clearstem.job_table import JobTable, Transition
from clearstem.jobs import Job, JobState
from clearstem.recipes import SEPARATION
from clearstem.service import Service
from containers import stage
from tests.submitted import submit

_THROTTLED = ClientError({"Error": {"Code": "ThrottlingException", "Message": "?"}}, "PutItem")
_CROWDED = Contention("job changed under 8 attempts to write it")


class Silent(JobTable):
    """A table that answers a stage's first write, and fails at all that come after it."""

    answers = 1
    error: Exception = _THROTTLED

    def change(self, job_id: str, transition: Transition) -> Job:
        if Silent.answers == 0:
            raise Silent.error
        Silent.answers -= 1
        return super().change(job_id, transition)


def _complete(_space: object, _progress: object) -> StageResult:
    return StageResult()


def _progress(_space: object, progress: stage.Progress) -> StageResult:
    progress(1, 2)
    return StageResult()


def _refuse(_space: object, _progress: object) -> NoReturn:
    raise UnreadableAudio("the source does not decode")


@pytest.fixture
def job(service: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[Job]:
    """A job of a deployment whose table falls silent."""
    jobs = Silent(service.jobs.client, service.jobs.table)
    monkeypatch.setattr(stage, "_service", lambda _job_id: replace(service, jobs=jobs))
    before = signal.getsignal(signal.SIGTERM)
    yield submit(service)
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("error", [_THROTTLED, _CROWDED], ids=["throttled", "crowded"])
@pytest.mark.parametrize(
    ("answers", "run"),
    [(0, _complete), (1, _progress), (1, _complete), (1, _refuse)],
    ids=["start", "progress", "complete", "fail"],
)
def test_a_stage_whose_table_stays_silent_is_worth_another_attempt(
    service: Service, job: Job, monkeypatch: pytest.MonkeyPatch, error, answers, run
) -> None:
    monkeypatch.setattr(stage, "_module", lambda _stage: types.SimpleNamespace(run=run))
    monkeypatch.setattr(Silent, "error", error)
    # Batch retries by the exit code, the state machine by the class of what a function raises.
    monkeypatch.setattr(Silent, "answers", answers)
    assert stage.main([SEPARATION, "--job-id", job.job_id]) == 75
    monkeypatch.setattr(Silent, "answers", answers)
    with pytest.raises(StorageUnavailable):
        stage.handler({"stages": [SEPARATION], "job_id": job.job_id}, None)
    assert service.jobs.get(job.job_id).state in (JobState.QUEUED, JobState.RUNNING)

"""Two runs of one stage at the same time: what the later one can do to the first one's result."""

from pathlib import Path

import pytest

from clearstem.errors import RetryableStageError
from clearstem.facts import Location, StageResult
from clearstem.jobs import Job
from clearstem.recipes import DECOMPOSITION, SEPARATION, manifest_key, work_key
from clearstem.records import dumps
from clearstem.service import Service
from containers.checksums import sha256_of
from containers.workspace import Artifact, Manifest, Workspace
from tests.submitted import submit


@pytest.fixture
def job(service: Service) -> Job:
    return submit(service)


class Run:
    """One run of a stage of the job, on a disk of its own."""

    def __init__(self, service: Service, job: Job, folder: Path, *, stage: str = SEPARATION):
        folder.mkdir()
        self.space = Workspace(job, stage, service.store, service.settings, folder, versions={})

    def keep(self, name: str, content: bytes) -> Artifact:
        return self.space.keep(name, self._file(name, content), frames=1)

    def put(self, name: str, content: bytes) -> Artifact:
        destination = self.space.job.destination
        to = Location(destination.bucket, f"{destination.key}{name}.wav")
        return self.space.put(name, self._file(name, content), frames=1, to=to)

    def _file(self, name: str, content: bytes) -> Path:
        path = self.space.scratch / f"{name}.wav"
        path.write_bytes(content)
        return path


def test_what_a_run_of_before_leaves_spoils_nothing_that_is_committed(
    service: Service, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its function's time was over for the state machine, and it went on."""
    first, again = Run(service, job, tmp_path / "a"), Run(service, job, tmp_path / "b")
    for name in ("source", "vocals"):
        again.keep(name, b"again" + bytes(100))
    put_file = type(service.store).put_file

    def commit_meanwhile(*args, **chosen) -> None:
        # Between the look and the last byte on its way the other one commits.
        monkeypatch.undo()
        again.space.commit(StageResult())
        put_file(*args, **chosen)

    monkeypatch.setattr(type(service.store), "put_file", commit_meanwhile)
    first.keep("source", b"first" + bytes(100))
    with pytest.raises(RetryableStageError, match="another run of audio_separation was faster"):
        first.keep("vocals", b"first" + bytes(100))
    with pytest.raises(RetryableStageError):
        first.space.commit(StageResult())
    after = Run(service, job, tmp_path / "c", stage=DECOMPOSITION).space
    for name in ("source", "vocals"):
        assert after.artifact(name, of=SEPARATION).read_bytes()[:5] == b"again"


def test_a_run_of_before_leaves_the_tracks_of_a_stage_that_is_done(
    service: Service, job: Job, tmp_path: Path
) -> None:
    first, again = Run(service, job, tmp_path / "a"), Run(service, job, tmp_path / "b")
    track = again.put("main", b"again")
    again.space.commit(StageResult())
    with pytest.raises(RetryableStageError):
        first.put("main", b"first")
    assert service.store.read_text(track.location) == "again"


def test_a_stage_whose_artifacts_are_gone_commits_anew(
    service: Service, job: Job, tmp_path: Path
) -> None:
    first, again = Run(service, job, tmp_path / "a"), Run(service, job, tmp_path / "b")
    gone = first.keep("source", b"first").location
    first.space.commit(StageResult())
    service.store.client.delete_object(Bucket=gone.bucket, Key=gone.key)
    again.keep("source", b"again")
    manifest = again.space.commit(StageResult())
    assert Run(service, job, tmp_path / "c").space.committed() == manifest


def test_a_manifest_of_an_earlier_release_is_read(
    service: Service, job: Job, tmp_path: Path
) -> None:
    """Its artifacts' keys ended with their names alone."""
    bucket, path = service.settings.work_bucket, tmp_path / "source.wav"
    path.write_bytes(b"before")
    place = Location(bucket, work_key(job.job_id, stage=SEPARATION, artifact="source.wav"))
    service.store.put_file(path, to=place, content_type="audio/wav")
    old = Artifact("source", place, size_bytes=6, sha256=sha256_of(path), frames=1)
    manifest = Manifest(job.job_id, SEPARATION, {}, (old,), StageResult())
    where = Location(bucket, manifest_key(job.job_id, stage=SEPARATION))
    service.store.write_text(dumps(manifest), to=where, content_type="application/json")
    assert Run(service, job, tmp_path / "a").space.committed() == manifest
    after = Run(service, job, tmp_path / "b", stage=DECOMPOSITION).space
    assert after.artifact("source", of=SEPARATION).read_bytes() == b"before"

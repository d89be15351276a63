"""Where one run of one stage works: its scratch folder, its artifacts, its commit.

A stage reads artifacts of earlier stages and leaves its own; they count from
the moment its manifest is written, and that is the last thing it does. So a
stage that is killed leaves nothing that anyone would take for a result, and
one that is run again after it committed finds its manifest and is done.

A run may still go on while another of the same stage is begun, after a timeout or a lost
host. The first to commit is the stage's; an artifact's key has the sum of its content, so
what the other leaves lies beside it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TypeVar

from clearstem import media, options, recipes
from clearstem.errors import RetryableStageError, StageCrashed
from clearstem.facts import Location, Source, StageResult
from clearstem.jobs import Job
from clearstem.records import dumps, loads
from clearstem.settings import Settings
from clearstem.track_store import TrackStore
from containers.checksums import sha256_of

Chosen = TypeVar("Chosen", bound=options.Options)


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file a stage wrote.

    Attributes
    ----------
    frames : int
        Samples per channel; 0 for what is no sound.
    """

    name: str
    location: Location
    size_bytes: int
    sha256: str
    frames: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a stage committed: its artifacts, what it found out, and with what code."""

    job_id: str
    stage: str
    versions: Mapping[str, str]
    artifacts: tuple[Artifact, ...]
    result: StageResult


def _no_record(source: Source) -> Job:
    raise StageCrashed(f"there is no record to tell that {source.file_name} was fetched")


@dataclass(slots=True)
class Workspace:
    """One run of one stage.

    Attributes
    ----------
    scratch : Path
        A folder of its own on local disk, gone after the run.
    tell_fetched : callable
        Tells the job's record that the source has come from its address;
        returns the job as it is then.
    made_by : str or None
        The code that runs, as `clearstem.result_cache.maker_of` tells it.
    """

    job: Job
    stage: str
    store: TrackStore
    settings: Settings
    scratch: Path
    versions: Mapping[str, str]
    tell_fetched: Callable[[Source], Job] = _no_record
    made_by: str | None = None
    _artifacts: list[Artifact] = field(default_factory=list, init=False)

    @property
    def is_first(self) -> bool:
        """Whether the stage is the job's first."""
        return self.job.recipe.position(self.stage) == 0

    def options(self, kind: type[Chosen]) -> Chosen:
        """The job's options, which are of the given kind; `StageCrashed` where they are not."""
        if not isinstance(self.job.options, kind):
            raise StageCrashed(f"stage {self.stage} has nothing to do for {self.job.recipe_name}")
        return self.job.options

    def committed(self) -> Manifest | None:
        """The manifest an earlier run of this stage committed, if it still holds."""
        manifest = self._manifest(self.stage)
        if manifest is None or not all(self._is_there(a) for a in manifest.artifacts):
            return None
        return manifest

    def source(self) -> Path:
        """The job's source, as it was handed in."""
        path = self.scratch / f"original.{self.job.source.extension}"
        if not path.exists():
            self.store.fetch(self.job.source.location, to=path)
        return path

    def artifacts_of(self, stage: str) -> frozenset[str]:
        """The names of what an earlier stage left; none if it has not committed."""
        manifest = self._manifest(stage)
        return frozenset(a.name for a in manifest.artifacts) if manifest else frozenset()

    def artifact(self, name: str, *, of: str) -> Path:
        """A local copy of what an earlier stage wrote, checked against its manifest.

        Raises
        ------
        RetryableStageError
            It is not there, or not what was written; another attempt reads anew.
        """
        manifest = self._manifest(of)
        found = next((a for a in manifest.artifacts if a.name == name), None) if manifest else None
        if found is None:
            raise RetryableStageError(f"stage {of} has not left {name}")
        path = self.scratch / PurePosixPath(found.location.key).name
        self.store.fetch(found.location, to=path)
        if (measured := sha256_of(path)) != found.sha256:
            raise RetryableStageError(f"{name} of {of} has sha256 {measured}, not {found.sha256}")
        return path

    def keep(self, name: str, path: Path, *, frames: int) -> Artifact:
        """Leave a file for later stages, in the work bucket; raises what `put` raises."""
        digest = sha256_of(path)
        artifact = f"{digest}/{path.name}"
        key = recipes.work_key(self.job.job_id, stage=self.stage, artifact=artifact)
        to = Location(self.settings.work_bucket, key)
        return self._store(path, Artifact(name, to, path.stat().st_size, digest, frames))

    def put(self, name: str, path: Path, *, frames: int, to: Location) -> Artifact:
        """Store a file where it is to stay; it counts once the stage commits.

        Raises
        ------
        RetryableStageError
            Another run of the stage has committed; the next attempt finds it done.
        """
        return self._store(path, Artifact(name, to, path.stat().st_size, sha256_of(path), frames))

    def _store(self, path: Path, artifact: Artifact) -> Artifact:
        # Places where a file is to stay are the same for every run.
        self._check_uncommitted()
        kind = media.content_type(path.suffix.removeprefix("."))
        self.store.put_file(path, to=artifact.location, content_type=kind)
        self._artifacts.append(artifact)
        return artifact

    def commit(self, result: StageResult) -> Manifest:
        """Write the manifest; from here on the stage is done.

        It says by what code, since a job retried after a deployment goes on from there.

        Raises
        ------
        RetryableStageError
            Another run of the stage has committed; the next attempt finds it done.
        """
        self._check_uncommitted()
        result = replace(result, made_by=self.made_by)
        artifacts = tuple(self._artifacts)
        manifest = Manifest(self.job.job_id, self.stage, self.versions, artifacts, result)
        where = self._manifest_location(self.stage)
        self.store.write_text(dumps(manifest), to=where, content_type="application/json")
        return manifest

    def _check_uncommitted(self) -> None:
        if self.committed() is not None:
            raise RetryableStageError(f"another run of {self.stage} was faster")

    def _manifest(self, stage: str) -> Manifest | None:
        text = self.store.read_text(self._manifest_location(stage))
        return loads(text, Manifest) if text is not None else None

    def _manifest_location(self, stage: str) -> Location:
        key = recipes.manifest_key(self.job.job_id, stage=stage)
        return Location(self.settings.work_bucket, key)

    def _is_there(self, artifact: Artifact) -> bool:
        return self.store.size_bytes(artifact.location) == artifact.size_bytes

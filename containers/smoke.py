"""A second of music through every stage of every recipe: ``python -m containers.smoke``.

What an image's build runs last, and who doubts one: the stages themselves, with a
folder for storage and no AWS. An image whose libraries do not load, whose codecs are
missing or whose DSP does not compile fails here and not in somebody's job.
"""

import importlib
import os
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import soundfile

from clearstem.facts import Engine, Location, Source
from clearstem.jobs import Job, JobState
from clearstem.options import DenoiseOptions, Options, SeparateOptions
from clearstem.queueing import queued_job
from clearstem.recipes import DENOISE, SEPARATE, EngineName, Recipe
from clearstem.settings import Settings
from clearstem.track_store import TrackStore
from containers.audio.song import RATE_HZ, Floats, song
from containers.kernels import lay_out
from containers.stage import MODULES
from containers.workspace import Workspace

_SOURCE: Final = Location("uploads", "source.wav")
_OPTIONS: Final[Mapping[str, Options]] = {
    SEPARATE.name: SeparateOptions(),
    DENOISE.name: DenoiseOptions(),
}
# The one engine that needs no weights; an image may hold none.
_ENGINE: Final = Engine(
    EngineName.SPECTRAL, "spectral-1", None, preview=True, reason="it needs no weights"
)


@dataclass(frozen=True, slots=True)
class FolderClient:
    """A folder that answers as far as `TrackStore` asks S3 for a stage."""

    folder: Path

    def _path(self, bucket: str, key: str) -> Path:
        path = self.folder / bucket / key
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def download_file(self, bucket: str, key: str, path: str) -> None:
        """Copy an object to a file."""
        shutil.copyfile(self._path(bucket, key), path)

    def upload_file(self, path: str, bucket: str, key: str, **_: Any) -> None:
        """Copy a file to an object."""
        shutil.copyfile(path, self._path(bucket, key))

    def put_object(self, *, Bucket: str, Key: str, Body: bytes, **_: Any) -> None:  # noqa: N803
        """Store bytes."""
        self._path(Bucket, Key).write_bytes(Body)

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803
        """An object's bytes."""
        return {"Body": BytesIO(self._path(Bucket, Key).read_bytes())}

    def list_objects_v2(self, *, Bucket: str, Prefix: str, **_: Any) -> dict[str, Any]:  # noqa: N803
        """The object of exactly that name, if it is there."""
        path = self._path(Bucket, Prefix)
        return {"Contents": [{"Key": Prefix, "Size": path.stat().st_size}]} if path.exists() else {}


def run(
    recipe: Recipe, folder: Path, *, options: Options | None = None, sound: Floats | None = None
) -> Job:
    """A second of music, taken through a recipe's stages in a folder.

    Parameters
    ----------
    recipe : Recipe
        Whose stages.
    folder : Path
        Takes the place of storage; empty.
    options : Options or None
        The recipe's; None: its own.
    sound : ndarray of float32, shape (channels, frames), or None
        At `RATE_HZ`; None: our own song, in stereo.
    """
    settings = Settings("table", "uploads", "work", "tracks", "drop")
    client: Any = FolderClient(folder)
    store = TrackStore(client)
    source = folder / "song.wav"
    soundfile.write(source, (song(1.0) if sound is None else sound).T, RATE_HZ, subtype="PCM_16")
    store.put_file(source, to=_SOURCE, content_type="audio/wav")
    job_id, now = str(uuid.uuid4()), datetime.now(UTC)
    job = queued_job(
        job_id=job_id,
        owner="smoke",
        recipe=recipe,
        source=Source(_SOURCE, "song.wav", "wav", source.stat().st_size),
        destination=Location(settings.tracks_bucket, f"jobs/{job_id}/"),
        options=options or _OPTIONS[recipe.name],
        engine=_ENGINE,
        at=now,
    )
    for spec in recipe.stages:
        job = job.start_stage(spec.name, at=now)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            space = Workspace(job, spec.name, store, settings, Path(scratch), {})
            done = importlib.import_module(MODULES[spec.name]).run(space, _silently)
            job = job.complete_stage(spec.name, space.commit(done).result, at=now)
    return job


def _silently(_done: int, _total: int) -> None:
    return None


def lines() -> Iterator[str]:
    """A line for each recipe, once it has passed; whatever fails raises."""
    for recipe in (SEPARATE, DENOISE):
        begun = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="clearstem-smoke-") as folder:
            job = run(recipe, Path(folder))
        if job.state is not JobState.SUCCEEDED:
            raise RuntimeError(f"{recipe.name} ended as {job.state}")
        seconds = time.perf_counter() - begun
        yield f"{recipe.name}: {len(job.tracks)} tracks in {seconds:.1f} s"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="clearstem-smoke-") as own:
        # What is compiled for the machine of the build stays out of the image: BuildKit keeps
        # what lies below a volume, and a task with kernels there would not lay out its own.
        os.environ["NUMBA_CACHE_DIR"] = f"{own}/numba"
        lay_out(os.environ)
        sys.stdout.writelines(f"{line}\n" for line in lines())

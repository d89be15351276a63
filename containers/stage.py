"""The entry of every stage task: ``python -m containers.stage STAGE… --job-id ID``.

Runs one stage of one job, or several in a row, and tells the job's record of
each. Exit codes follow ``sysexits.h``, and the job definition retries by them:
0 done, 65 failed for good (the record says why), 75 worth another attempt.

`handler` is the same as a Lambda function; the state machine retries by the
names of what it raises.
"""

import argparse
import contextlib
import errno
import importlib
import importlib.metadata
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any, Final, Protocol

import boto3
from aws_lambda_powertools import Logger
from boto3.exceptions import S3UploadFailedError
from botocore.exceptions import BotoCoreError, ClientError

from clearstem import __version__
from clearstem.errors import (
    ClearstemError,
    Contention,
    JobIsOver,
    ScratchFull,
    StageCrashed,
    StageError,
    StageInterrupted,
    StorageUnavailable,
    TooLongForDisk,
)
from clearstem.facts import StageResult
from clearstem.jobs import Job
from clearstem.recipes import (
    COMPOSITION,
    DECOMPOSITION,
    ENCODING,
    EXTRACTION,
    NOISE_REDUCTION,
    NORMALIZATION,
    SEPARATION,
)
from clearstem.reporting import StageReporter
from clearstem.result_cache import Entry, maker_of
from clearstem.service import Service
from clearstem.settings import Settings
from containers.beginning import Lend, answered, take_in
from containers.credentials import copying_service, service_of
from containers.kernels import lay_out
from containers.workspace import Manifest, Workspace

# Imported when asked for: torch, which only one stage needs, costs a second.
MODULES: Final = {
    SEPARATION: "containers.stages.separation",
    DECOMPOSITION: "containers.stages.decomposition",
    COMPOSITION: "containers.stages.composition",
    NORMALIZATION: "containers.stages.normalization",
    EXTRACTION: "containers.stages.extraction",
    NOISE_REDUCTION: "containers.stages.noise_reduction",
    ENCODING: "containers.stages.encoding",
}
# What every folder begins with that a stage has its files in.
_SCRATCH: Final = "clearstem-"
_LIBRARIES: Final = ("numpy", "scipy", "numba", "soundfile", "av", "soxr")


class StageModule(Protocol):
    """What each module of `containers.stages` offers."""

    def run(self, space: Workspace, progress: "Progress") -> StageResult:
        """Do the stage's work; artifacts are kept in `space`."""
        ...


class Progress(Protocol):
    """Called with (work done, work in all)."""

    def __call__(self, done: int, total: int, /) -> None:
        """Report."""
        ...


def run_stage(
    stage: str,
    job_id: str,
    *,
    service: Service,
    lend: Lend | None = None,
    goes_on_in_batch: bool = False,
) -> None:
    """Run a stage to its end, or find that it is done already.

    Parameters
    ----------
    lend : callable or None
        What gives the first stage the means to copy a stored result; None: `service` may.
    goes_on_in_batch : bool
        Whether a stage that fills the disk is begun again on a larger one; otherwise that is
        its end.

    Raises
    ------
    StageError
        Told to the job's record, if that is not what does not answer.
    """
    reporter = service.reporter(job_id, stage=stage, monotonic=time.monotonic)
    try:
        with _named_errors(goes_on_in_batch=goes_on_in_batch):
            job = reporter.start()
            if job.cached_from is not None:
                return  # its result is there; no stage has anything to do
            with tempfile.TemporaryDirectory(prefix=f"{_SCRATCH}{stage}-") as scratch:
                space = Workspace(
                    job,
                    stage,
                    service.store,
                    service.settings,
                    Path(scratch),
                    _versions(),
                    reporter.fetched,
                    _made_by(job, stage, maker=service.jobs.maker),
                )
                lending = lend or (lambda _job, _entry: service)
                manifest = space.committed() or _work(space, reporter, lend=lending)
            if manifest is not None:
                reporter.complete(manifest.result)
    except JobIsOver:
        raise
    except StageError as exc:
        # Where the record does not answer, that is worth another attempt, whatever came before.
        with _named_errors():
            reporter.fail(exc)
        raise


@contextlib.contextmanager
def _named_errors(*, goes_on_in_batch: bool = False) -> Iterator[None]:
    """Give every exception the name by which it is retried or told to the user."""
    try:
        yield
    except StageError:
        raise
    except (BotoCoreError, ClientError, S3UploadFailedError, Contention) as exc:
        raise StorageUnavailable(f"storage did not answer: {exc}") from exc
    except ClearstemError as exc:
        raise StageCrashed(str(exc)) from exc
    except Exception as exc:
        if isinstance(exc, OSError) and exc.errno == errno.ENOSPC:
            raise _disk_full(goes_on_in_batch) from exc
        raise StageCrashed(f"internal error: {type(exc).__name__}: {exc}") from exc


def _disk_full(goes_on_in_batch: bool) -> StageError:
    if goes_on_in_batch:
        return ScratchFull("the recording is too long for the disk of the function")
    return TooLongForDisk(
        "The recording is too long: what is made of it does not fit on the disk. "
        "Shorter parts of it may"
    )


def _work(space: Workspace, reporter: StageReporter, *, lend: Lend) -> Manifest | None:
    """What the stage commits; None where a stored result ended the job."""
    if not space.is_first:
        return space.commit(_module(space.stage).run(space, reporter.progress))
    progress = take_in(space, reporter.progress)
    if answered(space, reporter, lend=lend):
        return None
    result = _module(space.stage).run(space, progress)
    return space.commit(replace(result, source_sha256=space.job.source.sha256))


def _module(stage: str) -> StageModule:
    lay_out(os.environ)
    module: StageModule = importlib.import_module(MODULES[stage])
    return module


def _versions() -> dict[str, str]:
    installed = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    return {"clearstem": __version__, **installed}


def _made_by(job: Job, stage: str, *, maker: str) -> str:
    recipe = job.recipe
    return maker_of(recipe.stages[recipe.position(stage)], maker=maker)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    raise StageInterrupted(f"stopped by {signal.Signals(number).name}")


def _service(job_id: str) -> Service:
    """The core, with credentials that are good for one job."""
    with _named_errors():
        return service_of(job_id, settings=Settings.from_env(), session=boto3.Session())


def _lend(job: Job, entry: Entry) -> Service:
    """The core, with credentials that are good for copying one result to one job."""
    return copying_service(job, entry, settings=Settings.from_env(), session=boto3.Session())


def handler(event: Mapping[str, Any], _: object) -> None:
    """Run the stages of one job that an event names, as a Lambda function.

    Raises
    ------
    StageError
        Told to the job's record, if that is not what does not answer.
    """
    _remove_leftovers()
    for stage in event["stages"]:
        with _logged(stage, event["job_id"]):
            run_stage(
                stage,
                event["job_id"],
                service=_service(event["job_id"]),
                lend=_lend,
                goes_on_in_batch=True,
            )


def _remove_leftovers() -> None:
    """Remove the files of a stage that was killed here: they may be of another owner's job.

    Lambda keeps the disk of an environment whose function ran out of time or memory, and calls
    it for one event at a time. Elsewhere other stages work in the same folder.
    """
    if "AWS_LAMBDA_RUNTIME_API" in os.environ:
        for folder in Path(tempfile.gettempdir()).glob(f"{_SCRATCH}*"):
            shutil.rmtree(folder)


def main(argv: list[str] | None = None) -> int:
    """Parse the command line, run the stages, answer the exit code."""
    parser = argparse.ArgumentParser(prog="containers.stage", description=__doc__)
    parser.add_argument("stages", nargs="+", choices=sorted(MODULES), metavar="STAGE")
    parser.add_argument("--job-id", required=True)
    given = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, _interrupt)
    codes = (_run(stage, given.job_id) for stage in given.stages)
    return next((code for code in codes if code), 0)


def _run(stage: str, job_id: str) -> int:
    """Run one stage; the exit code it earns."""
    try:
        with _logged(stage, job_id):
            run_stage(stage, job_id, service=_service(job_id), lend=_lend)
    except StageError as exc:
        return exc.exit_code
    return 0


@contextlib.contextmanager
def _logged(stage: str, job_id: str) -> Iterator[None]:
    """Log how a stage ended, with the job's id, by which operators find it."""
    logger = Logger(service=stage)
    logger.append_keys(job_id=job_id, stage=stage)
    try:
        yield
    except StageError as exc:
        logger.exception("stage ended", extra={"error_name": exc.state_name})
        raise
    logger.info("stage done")


if __name__ == "__main__":
    sys.exit(main())

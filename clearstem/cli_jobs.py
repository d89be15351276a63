"""Commands for jobs that are there, for those that were, and for what there is of limits."""

import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from clearstem.client import UNCHANGED, Client, JobDocument, UsageDocument
from clearstem.errors import ClearstemError
from clearstem.terminal import follow, listing, outlived

DEFAULT_URL: Final = "http://localhost:8000"

Url = Annotated[
    str, typer.Option(envvar="CLEARSTEM_URL", help="Base URL of the server to talk to.")
]
Key = Annotated[
    str,
    typer.Option(
        envvar="CLEARSTEM_KEY",
        help="API key, where one is needed; instead of it, CLEARSTEM_TOKEN may hold a token.",
    ),
]
Output = Annotated[
    Path,
    typer.Option("--output", "-o", file_okay=False, writable=True, help="Folder for the tracks."),
]
JobId = Annotated[str, typer.Argument(metavar="JOB")]
AllLabels = Annotated[list[str] | None, typer.Option(help="name:value; all that it is to have.")]
Tracks = Annotated[
    list[str] | None, typer.Option(help="One by its name, any number; all if none is given.")
]

_COMMANDS: Final = (
    "list",
    "watch",
    "download",
    "cancel",
    "retry",
    "amend",
    "delete",
    "deleted",
    "retention",
    "events",
    "usage",
)

Told = Callable[..., AbstractContextManager[None]]
"""Turns what a user can mend, of a job if one is given, into one line and exit code 1."""


def connected(url: str, key: str) -> Client:
    """A client of a server, with the key given, else with the token that the environment holds."""
    token = "" if key else os.environ.get("CLEARSTEM_TOKEN", "")
    return Client(url, key=key or None, token=token or None)


class JobCommands:
    """The commands, over one console.

    Parameters
    ----------
    told_errors : callable
        A context manager in which every command runs.
    """

    def __init__(self, console: Console, *, told_errors: Told) -> None:
        self._console = console
        self._told_errors = told_errors

    def add_to(self, app: typer.Typer) -> None:
        """Register the commands."""
        for name in _COMMANDS:
            app.command(name)(getattr(self, name))

    def list(
        self,
        status: Annotated[str, typer.Option(help="processing, completed, failed …")] = "",
        recipe: Annotated[str, typer.Option(help="separate or denoise")] = "",
        label: Annotated[list[str] | None, typer.Option(help="name:value; all of them.")] = None,
        limit: Annotated[int, typer.Option(min=1)] = 20,
        url: Url = DEFAULT_URL,
        key: Key = "",
    ) -> None:
        """List the newest jobs."""
        with self._told_errors(), connected(url, key) as client:
            table = listing("job", "status", "submitted", "file", "labels")
            asked = labels_of(label or ())
            page = min(limit, 100)
            found = client.jobs(status=status, recipe=recipe, labels=asked, page=page)
            for job in islice(found, limit):
                far = f" {job['percent']:.0f} %" if 0 < job["percent"] < 100 else ""
                row = (job["status"] + far, job["created_at"][:19], job["file_name"])
                table.add_row(job["job_id"], *row, _labels(job))
            self._console.print(table)

    def watch(self, job_id: JobId, url: Url = DEFAULT_URL, key: Key = "") -> None:
        """Show a job's progress until it is over."""
        with self._told_errors(job_id), connected(url, key) as client:
            job = client.job(job_id)
            with outlived(job):
                job = follow(self._console, client, job)
            if job["status"] != "completed":
                raise ClearstemError(failure_of(job))
            self._console.print(f"{len(job['outputs'])} tracks are ready")

    def download(
        self,
        job_id: JobId,
        output: Output = Path("out"),
        track: Tracks = None,
        url: Url = DEFAULT_URL,
        key: Key = "",
    ) -> None:
        """Fetch the tracks of a completed job; what is there in part is continued."""
        with self._told_errors(job_id), connected(url, key) as client:
            job = client.job(job_id)
            if not job["tracks"]:
                raise ClearstemError(f"the job is {job['status']}: it has no tracks to fetch")
            # One by one, so that each is told of when it is there.
            for name in track or [each["name"] for each in job["tracks"]]:
                (to,) = client.download_all(job, output, tracks=[name]).values()
                self._console.print(str(to), highlight=False, soft_wrap=True)

    def cancel(self, job_id: JobId, url: Url = DEFAULT_URL, key: Key = "") -> None:
        """Stop a job."""
        with self._told_errors(job_id), connected(url, key) as client:
            client.cancel(job_id)
            self._console.print(f"cancelled {job_id}")

    def retry(self, job_id: JobId, url: Url = DEFAULT_URL, key: Key = "") -> None:
        """Take a failed job up again where it stopped."""
        with self._told_errors(job_id), connected(url, key) as client:
            job = client.retry(job_id)
            self._console.print(f"queued {job_id} again: attempt {job['attempt']}")

    def amend(
        self,
        job_id: JobId,
        label: AllLabels = None,
        hours: Annotated[
            float | None, typer.Option(help="From its submission to its deletion.")
        ] = None,
        forever: Annotated[bool, typer.Option("--forever", help="Keep it.")] = False,
        url: Url = DEFAULT_URL,
        key: Key = "",
    ) -> None:
        """Label a job, or say how long it is kept."""
        with self._told_errors(job_id), connected(url, key) as client:
            _check_either(hours, forever=forever)
            job = client.amend(
                job_id,
                labels=None if label is None else labels_of(label),
                retention_hours=UNCHANGED if hours is None and not forever else hours,
            )
            until = job["expires_at"] or "it is deleted"
            self._console.print(f"{job_id} is kept until {until}; labels: {_labels(job) or 'none'}")

    def delete(self, job_id: JobId, url: Url = DEFAULT_URL, key: Key = "") -> None:
        """Delete a job with all its files; one that is not over is cancelled."""
        with self._told_errors(job_id), connected(url, key) as client:
            receipt = client.delete(job_id)
            size = f"{receipt['size_bytes'] / 1e6:.1f} MB"
            self._console.print(f"deleted {job_id}: {receipt['files']} files, {size}")

    def deleted(
        self,
        limit: Annotated[int, typer.Option(min=1)] = 20,
        url: Url = DEFAULT_URL,
        key: Key = "",
    ) -> None:
        """List the receipts of deleted jobs, the last submitted first."""
        with self._told_errors(), connected(url, key) as client:
            table = listing("job", "state", "submitted", "deleted", "files", "MB")
            for receipt in islice(client.deleted(page=min(limit, 100)), limit):
                times = (receipt["created_at"][:19], receipt["deleted_at"][:19])
                size = (f"{receipt['files']}", f"{receipt['size_bytes'] / 1e6:.1f}")
                table.add_row(receipt["job_id"], receipt["state"], *times, *size)
            self._console.print(table)

    def retention(
        self,
        hours: Annotated[
            float | None, typer.Option(help="From a job's submission to its deletion.")
        ] = None,
        forever: Annotated[bool, typer.Option("--forever", help="Keep them.")] = False,
        url: Url = DEFAULT_URL,
        key: Key = "",
    ) -> None:
        """Say how long jobs to come are kept that say nothing of it themselves; or settle it."""
        with self._told_errors(), connected(url, key) as client:
            _check_either(hours, forever=forever)
            asked = hours is None and not forever
            settled = client.retention() if asked else client.keep(hours)
            kept = settled["retention_hours"]
            until = "until they are deleted" if kept is None else f"for {kept:g} hours"
            self._console.print(f"jobs are kept {until}")

    def events(self, job_id: JobId, url: Url = DEFAULT_URL, key: Key = "") -> None:
        """Print what happened to a job."""
        with self._told_errors(job_id), connected(url, key) as client:
            for event in client.events(job_id):
                about = " ".join(str(event[name]) for name in ("stage", "error") if event[name])
                head = f"{event['number']:>4} {event['at'][:23]} {event['percent']:>5.1f} %"
                self._console.print(f"{head} {event['type']} {about}", highlight=False)

    def usage(self, url: Url = DEFAULT_URL, key: Key = "") -> None:
        """Print what you use, and may use."""
        with self._told_errors(), connected(url, key) as client:
            self._console.print(_usage(client.usage()))


def _usage(used: UsageDocument) -> Table:
    table = Table("limit", "used", "of")
    minutes, rate = used["minutes_per_month"], used["requests_per_s"]
    rows: tuple[tuple[str, float, float | None], ...] = (
        ("unfinished jobs", used["unfinished_jobs"]["used"], used["unfinished_jobs"]["limit"]),
        (f"minutes in {used['month']}", minutes["used"], minutes["limit"]),
        ("stored bytes", used["stored_bytes"]["used"], used["stored_bytes"]["limit"]),
    )
    for name, now, limit in rows:
        table.add_row(name, f"{now:.12g}", "any" if limit is None else f"{limit:.12g}")
    table.add_row("calls a second", "-", "any" if rate is None else f"{rate['limit']:g}")
    return table


def labels_of(texts: Iterable[str]) -> dict[str, str]:
    """Labels as a user writes them, ``name:value``; `ClearstemError` where one is none."""
    labels = {}
    for text in texts:
        name, mark, value = text.partition(":")
        if not mark:
            raise ClearstemError(f"label {text!r} is not of the form name:value")
        labels[name] = value
    return labels


def _labels(job: JobDocument) -> str:
    """A job's labels as a user writes them."""
    return " ".join(f"{name}:{value}" for name, value in job["labels"].items())


def _check_either(hours: float | None, *, forever: bool) -> None:
    if hours is not None and forever:
        raise ClearstemError("a job is kept for some hours or for ever, not both")


def failure_of(job: JobDocument) -> str:
    """How a job ended that did not complete."""
    why = job["error"]["message"] if job["error"] else "for no reason that it told"
    return f"job {job['job_id']} failed: {why}"

"""Commands for jobs that are there: list, watch, cancel, retry, delete, events."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from itertools import islice
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from clearstem.client import Client, JobDocument
from clearstem.errors import ClearstemError
from clearstem.terminal import follow

_DEFAULT_URL: Final = "http://localhost:8000"

Url = Annotated[
    str, typer.Option(envvar="CLEARSTEM_URL", help="Base URL of the server to talk to.")
]
Key = Annotated[str, typer.Option(envvar="CLEARSTEM_KEY", help="API key, where one is needed.")]
JobId = Annotated[str, typer.Argument(metavar="JOB")]

Told = Callable[[], AbstractContextManager[None]]
"""Turns what a user can mend into one line and exit code 1."""


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
        for name in ("list", "watch", "cancel", "retry", "delete", "events"):
            app.command(name)(getattr(self, name))

    def list(
        self,
        status: Annotated[str, typer.Option(help="processing, completed, failed …")] = "",
        recipe: Annotated[str, typer.Option(help="separate or denoise")] = "",
        label: Annotated[list[str] | None, typer.Option(help="name:value; all of them.")] = None,
        limit: Annotated[int, typer.Option(min=1, max=100)] = 20,
        url: Url = _DEFAULT_URL,
        key: Key = "",
    ) -> None:
        """List the newest jobs."""
        with self._told_errors(), Client(url, key=key or None) as client:
            table = Table("job", "status", "%", "submitted", "file", "labels")
            asked = _labels(label or ())
            found = client.jobs(status=status, recipe=recipe, labels=asked, page=limit)
            for job in islice(found, limit):
                labels = " ".join(f"{name}:{value}" for name, value in job["labels"].items())
                row = (job["status"], f"{job['percent']:.0f}", job["created_at"][:19])
                table.add_row(job["job_id"], *row, job["file_name"], labels)
            self._console.print(table)

    def watch(self, job_id: JobId, url: Url = _DEFAULT_URL, key: Key = "") -> None:
        """Show a job's progress until it is over."""
        with self._told_errors(), Client(url, key=key or None) as client:
            job = follow(self._console, client, client.job(job_id))
            if job["status"] != "completed":
                raise ClearstemError(f"the job failed: {_why(job)}")
            self._console.print(f"{len(job['outputs'])} tracks are ready")

    def cancel(self, job_id: JobId, url: Url = _DEFAULT_URL, key: Key = "") -> None:
        """Stop a job."""
        with self._told_errors(), Client(url, key=key or None) as client:
            client.cancel(job_id)
            self._console.print(f"cancelled {job_id}")

    def retry(self, job_id: JobId, url: Url = _DEFAULT_URL, key: Key = "") -> None:
        """Take a failed job up again where it stopped."""
        with self._told_errors(), Client(url, key=key or None) as client:
            job = client.retry(job_id)
            self._console.print(f"queued {job_id} again: attempt {job['attempt']}")

    def delete(self, job_id: JobId, url: Url = _DEFAULT_URL, key: Key = "") -> None:
        """Delete a job with all its files; one that is not over is cancelled."""
        with self._told_errors(), Client(url, key=key or None) as client:
            receipt = client.delete(job_id)
            size = f"{receipt['size_bytes'] / 1e6:.1f} MB"
            self._console.print(f"deleted {job_id}: {receipt['files']} files, {size}")

    def events(self, job_id: JobId, url: Url = _DEFAULT_URL, key: Key = "") -> None:
        """Print what happened to a job."""
        with self._told_errors(), Client(url, key=key or None) as client:
            for event in client.events(job_id):
                about = " ".join(str(event[name]) for name in ("stage", "error") if event[name])
                head = f"{event['number']:>4} {event['at'][:23]} {event['percent']:>5.1f} %"
                self._console.print(f"{head} {event['type']} {about}", highlight=False)


def _labels(texts: Iterable[str]) -> dict[str, str]:
    labels = {}
    for text in texts:
        name, mark, value = text.partition(":")
        if not mark:
            raise ClearstemError(f"label {text!r} is not of the form name:value")
        labels[name] = value
    return labels


def _why(job: JobDocument) -> str:
    return job["error"]["message"] if job["error"] else "for no reason that it told"

"""How jobs look in a terminal: a bar per stage, and what came out."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from clearstem.client import Client, JobDocument
from clearstem.client.documents import CostDocument, LoudnessDocument


def plain_console(*, stderr: bool = False) -> Console:
    """A console that shows text as it is: brackets and colons of names and messages are no markup.

    Parameters
    ----------
    stderr : bool
        Whether it writes there.
    """
    return Console(stderr=stderr, markup=False, emoji=False)


class JobBars:
    """Live progress bars of one job, one per stage; a context manager.

    Parameters
    ----------
    job : JobDocument
        Its stages are the bars.
    """

    def __init__(self, console: Console, job: JobDocument) -> None:
        self._progress = Progress(
            TextColumn("{task.description:<31}", markup=False),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {
            stage["name"]: self._progress.add_task(stage["name"], total=100, start=False)
            for stage in job["stages"]
        }

    def __enter__(self) -> "JobBars":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, job: JobDocument) -> None:
        """Move the bars to where the job is."""
        for stage in job["stages"]:
            task = self._tasks[stage["name"]]
            if stage["status"] != "pending":
                self._progress.start_task(task)
            self._progress.update(task, completed=stage["percent"])
            if stage["completed_at"]:
                self._progress.stop_task(task)


def listing(*heads: str) -> Table:
    """A table of things by their ids, which are whole at any width: commands take them.

    Parameters
    ----------
    heads : str
        Of the columns; the first one is of the ids.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(heads[0], no_wrap=True)
    for head in heads[1:]:
        table.add_column(head, overflow="fold")
    return table


def follow(console: Console, client: Client, job: JobDocument) -> JobDocument:
    """Show a job's bars until it is over, and by what way they were told; its last state."""
    watch = client.watch(job["job_id"])
    with JobBars(console, job) as bars:
        for seen in watch:
            bars.show(seen)
            job = seen
    for reason in watch.fallbacks:
        console.print(f"note: progress came by {watch.way.value}: {reason}", highlight=False)
    return job


@contextmanager
def outlived(job: JobDocument) -> Iterator[None]:
    """Say, where Ctrl-C ends a command, that the job does not end with it."""
    try:
        yield
    except KeyboardInterrupt:
        told = "job {0} goes on at the server; see clearstem watch {0}, or cancel {0}"
        plain_console(stderr=True).print(told.format(job["job_id"]), soft_wrap=True)
        raise


def print_result(console: Console, job: JobDocument, *, folder: Path) -> None:
    """Say what was written, by which engine, and what the user should know of it."""
    engine, loudness = job["engine"], job["loudness"]
    label = " (a preview, not a finished separation)" if engine["preview"] else ""
    done = "separated" if job["recipe"] == "separate" else "noise removed"
    console.print(f"{done} by {engine['name']} {engine['model']}{label}: {engine['reason']}")
    if loudness is not None:
        console.print(_loudness_line(loudness, job["recipe"]))
    table = Table("track", "loudness", "true peak", "size")
    for track in job["tracks"]:
        table.add_row(
            track["name"],
            _number(track["loudness_lufs"], "LUFS"),
            _number(track["true_peak_dbtp"], "dBTP"),
            f"{track['size_bytes'] / 1e6:.1f} MB",
        )
    console.print(table)
    if job["cache"]["hit"]:
        made_by = job["cache"]["job_id"]
        console.print(f"this is the stored result of job {made_by}", highlight=False)
    console.print(_cost_line(job["receipt"]), highlight=False)
    for note in job["notes"]:
        console.print(f"note: {note}", highlight=False)
    count = len(job["tracks"])
    tracks = "1 track" if count == 1 else f"{count} tracks"
    console.print(f"{tracks} and report.json are in {folder.resolve()}/")


def _loudness_line(loudness: LoudnessDocument, recipe: str) -> str:
    main = _number(loudness["main_lufs"], "LUFS")
    several = recipe == "separate"
    every = " for every track" if several and loudness["gain"] == "common" else ""
    what = "main" if several else "it"
    line = f"{what} is at {main} (gain {loudness['gain_db']:+.1f} dB{every}"
    if loudness["held_back_by"]:
        ceiling = _number(loudness["ceiling_dbtp"], "dBTP")
        target = _number(loudness["target_lufs"], "LUFS")
        line += f"; held below {target} by the true peak of {loudness['held_back_by']}, {ceiling}"
    return line + ")"


def _cost_line(receipt: CostDocument) -> str:
    """A receipt in one line; a stage is named with what it runs on."""
    where = ", ".join(
        f"{stage['name']} {stage['seconds']:.1f} s ({stage['machine']})"
        for stage in receipt["stages"]
    )
    spent = f"about {receipt['dollars']:.4f} dollars at AWS's prices"
    return f"{spent}: {where}" if where else spent


def _number(value: float | None, unit: str) -> str:
    return "silent" if value is None else f"{value:.1f} {unit}"


@contextmanager
def download_bar(console: Console, name: str) -> Iterator[Callable[[int, int], None]]:
    """A bar for a download; yields what to call with (bytes so far, bytes in all)."""
    described = TextColumn("{task.description}", markup=False)
    columns = (described, BarColumn(), DownloadColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(name)
        yield lambda done, total: progress.update(task, completed=done, total=total)

"""Commands for operators: what an owner uses, and may use."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from clearstem.accounts import check_owner
from clearstem.cli_jobs import Told
from clearstem.limits import RateLimits
from clearstem.quotas import Quota
from clearstem.service import Service
from clearstem.twin import DEFAULT_STATE
from clearstem.usage import Usage, month_at

State = Annotated[Path, typer.Option("--state", help="Folder the local server keeps its state in.")]


class QuotaCommands:
    """The commands, over one console.

    Parameters
    ----------
    told_errors : callable
        A context manager in which every command runs.
    service : callable
        The core of the server whose state folder is given.
    """

    def __init__(
        self,
        console: Console,
        *,
        told_errors: Told,
        service: Callable[[Path], Service],
    ) -> None:
        self._console = console
        self._told_errors = told_errors
        self._service = service

    def add_to(self, app: typer.Typer) -> None:
        """Register the commands as a group."""
        group = typer.Typer(help="What owners use, and may use.", no_args_is_help=True)
        group.command("show")(self.show)
        group.command("set")(self.set)
        app.add_typer(group, name="quotas")

    def show(self, owner: str, state: State = DEFAULT_STATE) -> None:
        """Print an owner's limits and what is used of them."""
        with self._told_errors():
            service = self._service(state)
            quotas = service.jobs.quotas
            month = month_at(service.now())
            used = quotas.used(check_owner(owner), month=month)
            quota = quotas.of(owner)
            self._print(quota, used, month=month, rates=service.limits.of(quota))

    def set(
        self,
        owner: str,
        jobs: Annotated[int | None, typer.Option(help="Unfinished at a time; 0: any.")] = None,
        minutes: Annotated[float | None, typer.Option(help="Of audio a month; 0: any.")] = None,
        stored: Annotated[int | None, typer.Option(help="Bytes; 0: any.")] = None,
        requests_per_s: Annotated[
            float | None, typer.Option(help="Calls a second; 0: any.")
        ] = None,
        burst: Annotated[int | None, typer.Option(help="Calls at once.")] = None,
        state: State = DEFAULT_STATE,
    ) -> None:
        """Give an owner limits of his own; what is not named is the deployment's."""
        with self._told_errors():
            quotas = self._service(state).jobs.quotas
            quotas.settle(
                check_owner(owner),
                unfinished_jobs=jobs,
                minutes_per_month=minutes,
                stored_bytes=stored,
                requests_per_s=requests_per_s,
                request_burst=burst,
            )
            self._console.print(f"settled the limits of {owner}")

    def _print(self, quota: Quota, used: Usage, *, month: str, rates: RateLimits) -> None:
        table = Table("limit", "used", "of")
        rows = (
            ("unfinished jobs", f"{used.unfinished}", quota.unfinished_jobs),
            (f"minutes in {month}", f"{used.audio_minutes:.1f}", quota.minutes_per_month),
            ("stored bytes", f"{used.stored_bytes}", quota.stored_bytes),
            ("calls a second", "-", rates.per_s),
            ("calls at once", "-", rates.burst if rates.per_s else 0),
        )
        for name, now, limit in rows:
            table.add_row(name, now, f"{limit:g}" if limit else "any")
        self._console.print(table)

"""Commands for operators: who may call."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from clearstem.cli_jobs import Told
from clearstem.cli_quotas import State
from clearstem.scopes import ALL_SCOPES, Scope
from clearstem.service import Service
from clearstem.twin import DEFAULT_STATE


class KeyCommands:
    """The commands, over one console.

    Parameters
    ----------
    told_errors : callable
        A context manager in which every command runs.
    service : callable
        The core of the server whose state folder is given.
    """

    def __init__(
        self, console: Console, *, told_errors: Told, service: Callable[[Path], Service]
    ) -> None:
        self._console = console
        self._told_errors = told_errors
        self._service = service

    def add_to(self, app: typer.Typer) -> None:
        """Register the commands as a group."""
        group = typer.Typer(help="API keys of owners.", no_args_is_help=True)
        for name in ("create", "list", "revoke"):
            group.command(name)(getattr(self, name))
        app.add_typer(group, name="keys")

    def create(
        self,
        owner: str,
        scope: Annotated[
            list[Scope] | None,
            typer.Option(help="What it may be used for; everything if not given."),
        ] = None,
        state: State = DEFAULT_STATE,
    ) -> None:
        """Make an API key for an owner and print it, this once."""
        with self._told_errors():
            service = self._service(state)
            scopes = tuple(scope or ALL_SCOPES)
            text, _ = service.accounts.create_key(owner, at=service.now(), scopes=scopes)
            self._console.print(text, highlight=False, soft_wrap=True)

    def revoke(
        self,
        prefix: Annotated[str, typer.Argument(help="As `keys list` shows it.")],
        state: State = DEFAULT_STATE,
    ) -> None:
        """End a key at once."""
        with self._told_errors():
            service = self._service(state)
            accounts = service.accounts
            owners = {key.owner for key in accounts.all_keys() if key.prefix == prefix}
            for owner in owners or {"nobody"}:
                accounts.revoke(owner, prefix=prefix, at=service.now())
            self._console.print(f"revoked {prefix}")

    def list(
        self, owner: Annotated[str | None, typer.Argument()] = None, state: State = DEFAULT_STATE
    ) -> None:
        """List an owner's keys, or everybody's."""
        with self._told_errors():
            accounts = self._service(state).accounts
            table = Table("prefix", "owner", "scopes", "created", "last used", "revoked")
            for key in accounts.keys(owner) if owner else accounts.all_keys():
                scopes = " ".join(sorted(key.scopes))
                times = (key.created_at, key.last_used_at, key.revoked_at)
                told = (f"{time:%F %T}" if time else "-" for time in times)
                table.add_row(key.prefix, key.owner, scopes, *told)
            self._console.print(table)

"""The command for webhooks: a sample receiver that verifies what it is sent."""

from typing import Annotated

import typer
from rich.console import Console

from clearstem.cli_jobs import Told
from clearstem.webhook_receiver import Inbox, Received, receiver


class WebhookCommands:
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
        webhooks = typer.Typer(help="Webhooks.", no_args_is_help=True)
        webhooks.command("verify")(self.verify)
        app.add_typer(webhooks, name="webhooks")

    def verify(
        self,
        secret: Annotated[
            str, typer.Option(envvar="CLEARSTEM_WEBHOOK_SECRET", help="As it was shown, whsec_…")
        ],
        port: Annotated[int, typer.Option(min=0, max=65535, help="On 127.0.0.1; 0: any.")] = 9000,
    ) -> None:
        """Receive webhooks on this machine, verify and print them, until Ctrl-C."""
        with self._told_errors(), receiver(Inbox(secret), port=port, told=self._print) as server:
            self._console.print(f"Register http://127.0.0.1:{server.server_port} as a webhook.")
            server.serve_forever()

    def _print(self, received: Received) -> None:
        if received.document is None:
            named = received.event_id or "a message"
            Console(stderr=True).print(f"refused: the signature of {named} is not good")
            return
        kind, job = received.document["type"], received.document["data"]
        again = " (again)" if received.repeated else ""
        self._console.print(
            f"{kind} {job['job_id']} {job['percent']:g} % {received.event_id}{again}"
        )

"""The commands for webhooks: an owner's, and a sample receiver that verifies what it is sent."""

from itertools import islice
from typing import Annotated

import typer
from rich.console import Console

from clearstem.cli_jobs import DEFAULT_URL, Key, Told, Url, connected
from clearstem.client.webhooks import CALLBACKS, signed_by
from clearstem.terminal import listing, plain_console
from clearstem.webhook_receiver import Inbox, Received, receiver

WebhookId = Annotated[str, typer.Argument(metavar="WEBHOOK", help="As `webhooks list` shows it.")]
Events = Annotated[list[str] | None, typer.Option(help="job.succeeded …; all if none is given.")]
Callbacks = Annotated[
    str, typer.Argument(metavar="WEBHOOK", help="Or `callbacks`, for those of single jobs.")
]


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
        for name in ("list", "add", "remove", "secret", "rotate", "deliveries", "redeliver"):
            webhooks.command(name)(getattr(self, name))
        webhooks.command("verify")(self.verify)
        app.add_typer(webhooks, name="webhooks")

    def list(self, url: Url = DEFAULT_URL, key: Key = "") -> None:
        """List your webhooks."""
        with self._told_errors(), connected(url, key) as client:
            table = listing("webhook", "address", "events", "since", "disabled")
            for each in client.webhooks.registered():
                kinds = " ".join(each["events"])
                since, disabled = each["created_at"][:19], each["disabled_at"] or "-"
                table.add_row(each["webhook_id"], each["url"], kinds, since, disabled[:19])
            self._console.print(table)

    def add(
        self,
        address: str,
        event: Events = None,
        url: Url = DEFAULT_URL,
        key: Key = "",
    ) -> None:
        """Have an address told of all your jobs; prints its id and its secret."""
        with self._told_errors(), connected(url, key) as client:
            made = client.webhooks.register(address, events=event)
            self._say(made["webhook_id"], made["secret"])

    def remove(self, webhook: WebhookId, url: Url = DEFAULT_URL, key: Key = "") -> None:
        """Send nothing to a webhook any more."""
        with self._told_errors(), connected(url, key) as client:
            client.webhooks.delete(webhook)
            self._say(f"removed {webhook}")

    def secret(self, webhook: Callbacks = CALLBACKS, url: Url = DEFAULT_URL, key: Key = "") -> None:
        """Print what a webhook's messages are signed with."""
        with self._told_errors(), connected(url, key) as client:
            self._say(client.webhooks.secret(webhook)["secret"])

    def rotate(self, webhook: Callbacks = CALLBACKS, url: Url = DEFAULT_URL, key: Key = "") -> None:
        """Give a webhook a new secret and print it; the old one signs for a day more."""
        with self._told_errors(), connected(url, key) as client:
            self._say(client.webhooks.rotate(webhook)["secret"])

    def deliveries(
        self,
        webhook: WebhookId,
        limit: Annotated[int, typer.Option(min=1)] = 20,
        url: Url = DEFAULT_URL,
        key: Key = "",
    ) -> None:
        """List what was sent to a webhook, newest first."""
        with self._told_errors(), connected(url, key) as client:
            table = listing("event", "type", "status", "attempts", "next", "error")
            found = client.webhooks.deliveries(webhook, page=min(limit, 100))
            for each in islice(found, limit):
                error = each["tries"][-1]["error"] if each["tries"] else None
                due = (each["next_attempt_at"] or "-")[:19]
                row = (each["type"], each["status"], str(each["attempts"]), due, error or "-")
                table.add_row(each["event_id"], *row)
            self._console.print(table)

    def redeliver(
        self, webhook: WebhookId, event: str, url: Url = DEFAULT_URL, key: Key = ""
    ) -> None:
        """Send an event to a webhook once more."""
        with self._told_errors(), connected(url, key) as client:
            told = client.webhooks.redeliver(webhook, event)
            self._say(f"{told['event_id']} is {told['status']}")

    def verify(
        self,
        secret: Annotated[
            str, typer.Option(envvar="CLEARSTEM_WEBHOOK_SECRET", help="As it was shown, whsec_…")
        ],
        port: Annotated[int, typer.Option(min=0, max=65535, help="On 127.0.0.1; 0: any.")] = 9000,
    ) -> None:
        """Receive webhooks on this machine, verify and print them, until Ctrl-C."""
        with self._told_errors(), receiver(Inbox(secret), port=port, told=self._print) as server:
            signed_by(secret)  # a bad one is told now, not by the thread of the first message
            self._console.print(f"Register http://127.0.0.1:{server.server_port} as a webhook.")
            server.serve_forever()

    def _say(self, *lines: str) -> None:
        for line in lines:
            self._console.print(line, highlight=False, soft_wrap=True)

    def _print(self, received: Received) -> None:
        if received.document is None:
            named = received.event_id or "a message"
            plain_console(stderr=True).print(f"refused: the signature of {named} is not good")
            return
        kind, job = received.document["type"], received.document["data"]
        again = " (again)" if received.repeated else ""
        self._console.print(
            f"{kind} {job['job_id']} {job['percent']:g} % {received.event_id}{again}"
        )

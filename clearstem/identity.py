"""Who is calling: one answer for the authorizer on AWS and for the edge of the twin.

A call may carry an API key, a bearer token or a ticket, in that order; the first
that is there decides, and a bad one is never made good by another. Where there
is none, a deployment may let its keyless owner in.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from clearstem.accounts import Accounts
from clearstem.entry_tickets import EntryTickets
from clearstem.errors import Unauthorized
from clearstem.scopes import ALL_SCOPES, Caller, caller
from clearstem.tokens import Tokens

_KEY_HEADER: Final = "x-api-key"
_BEARER: Final = "bearer"
# Event streams, which a browser opens without headers as it does sockets.
_STREAMS: Final = ("/events", "/progress")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a call carries to say whose it is; None: it does not carry that."""

    key: str | None = None
    token: str | None = None
    ticket: str | None = None

    @classmethod
    def of_request(
        cls, headers: Mapping[str, str], query: Mapping[str, str], *, method: str, path: str
    ) -> "Credentials":
        """Those of an HTTP request; a ticket counts where an event stream is asked for."""
        streams = method == "GET" and path.endswith(_STREAMS)
        return cls._of(headers, ticket=query.get("ticket") if streams else None, key=None)

    @classmethod
    def of_socket(cls, headers: Mapping[str, str], query: Mapping[str, str]) -> "Credentials":
        """Those of a WebSocket's handshake, whose address may have a ticket or a key."""
        return cls._of(headers, ticket=query.get("ticket"), key=query.get("api_key"))

    @classmethod
    def _of(
        cls, headers: Mapping[str, str], *, ticket: str | None, key: str | None
    ) -> "Credentials":
        by_name = {name.lower(): value for name, value in headers.items()}
        # Servers strip the blank behind a scheme that nothing follows: still a token, of no text.
        scheme, _, text = by_name.get("authorization", "").strip().partition(" ")
        return cls(
            key=by_name.get(_KEY_HEADER) or key or None,
            token=text.strip() if scheme.lower() == _BEARER else None,
            ticket=ticket or None,
        )


@dataclass(frozen=True, slots=True)
class Identity:
    """Finds out who calls.

    Attributes
    ----------
    tokens : Tokens or None
        None: the deployment takes no tokens.
    keyless_owner : str
        Who calls without anything; empty: nobody may.
    now : callable
        The time, in UTC.
    """

    accounts: Accounts
    tickets: EntryTickets
    tokens: Tokens | None
    keyless_owner: str
    now: Callable[[], datetime]

    def identify(self, given: Credentials, *, keyed: bool) -> Caller:
        """Who calls with those credentials.

        Parameters
        ----------
        keyed : bool
            Whether credentials are needed even where a keyless owner is let in.

        Raises
        ------
        Unauthorized
            They are not good, or are needed and not there.
        IssuerUnavailable
            A token cannot be verified now.
        """
        if given.key is not None:
            key = self.accounts.identify(given.key, at=self.now())
            return caller(key.owner, key.scopes)
        if given.token is not None:
            return self._of_token(given.token)
        if given.ticket is not None:
            return self.tickets.redeem(given.ticket, at=self.now())
        if keyed or not self.keyless_owner:
            raise Unauthorized("Invalid or missing API key")
        return caller(self.keyless_owner, ALL_SCOPES)

    def _of_token(self, token: str) -> Caller:
        if self.tokens is None:
            raise Unauthorized("Invalid token: this deployment takes none")
        return self.tokens.identify(token)

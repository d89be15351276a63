"""What callers may do: three scopes, and which of them a request takes."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from clearstem.errors import InsufficientScope


class Scope(StrEnum):
    """What a key or a token may be used for; ``admin`` includes the others."""

    READ = "jobs:read"
    WRITE = "jobs:write"
    ADMIN = "admin"


ALL_SCOPES: Final = tuple(Scope)
_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
# Where all of an owner's events go, and what they are signed with.
_ADMINISTRATIVE: Final = "/webhooks"
# A ticket lets somebody look, and nothing else.
_LOOKING: Final = "/tickets"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, and what he may do."""

    owner: str
    scopes: frozenset[Scope]

    def require(self, scope: Scope) -> None:
        """Pass, or raise `InsufficientScope` where the caller may not do what takes that scope."""
        if scope not in self.scopes and Scope.ADMIN not in self.scopes:
            raise InsufficientScope(f"this takes the scope {scope}")


def caller(owner: str, scopes: Iterable[str]) -> Caller:
    """A caller with those of the named scopes that there are."""
    return Caller(owner, frozenset(Scope(name) for name in scopes if name in ALL_SCOPES))


def needed_scope(method: str, path: str) -> Scope:
    """The scope that a request of the HTTP API takes, whatever its dialect."""
    if path == _ADMINISTRATIVE or path.startswith(f"{_ADMINISTRATIVE}/"):
        return Scope.ADMIN
    return Scope.READ if method in _READING or path == _LOOKING else Scope.WRITE

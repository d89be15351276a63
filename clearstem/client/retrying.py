"""When a call is made again, and after how long.

Exponential backoff with full jitter: clients that were refused together do not
come back together (Brooker, "Exponential Backoff And Jitter", AWS Architecture
Blog, 2015). Where the server says how long to wait, the jitter comes on top.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from clearstem.client.errors import ClientError, Refused, Unreachable

# Too many requests, and a gateway or a service that cannot at the moment.
_TRANSIENT: Final = frozenset({429, 502, 503, 504})
# Methods that do the same however often they arrive (RFC 9110, 9.2.2); this API's PATCH does,
# since it gives values and no differences.
_IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH"})
IDEMPOTENCY_KEY: Final = "Idempotency-Key"


@dataclass(frozen=True, slots=True)
class Retry:
    """How patient a client is.

    Attributes
    ----------
    attempts : int
        Times that a call is made, the first one included.
    base_s, cap_s : float
        The longest wait after the first failure, doubled by each further one, and its bound.
    longest_s : float
        A server that asks for a longer wait is not waited for.
    twin_s : float
        How long a call waits for the one before it under the same idempotency key. A server
        holds a key for 60 s whose call died.
    draw : callable
        A number between 0 and 1, evenly distributed.
    """

    attempts: int = 5
    base_s: float = 0.5
    cap_s: float = 20.0
    longest_s: float = 120.0
    twin_s: float = 90.0
    draw: Callable[[], float] = random.random

    def wait_s(self, failures: int, error: ClientError | None = None) -> float | None:
        """Seconds until the next attempt after so many failures in a row; None gives up.

        Parameters
        ----------
        error : ClientError or None
            The last failure; None where there is nothing to tell about it.
        """
        if failures >= self.attempts or not (error is None or is_transient(error)):
            return None
        return self._delay_s(failures, error)

    def twin_wait_s(self, waited_s: float, error: ClientError) -> float | None:
        """Seconds until a twin that is under way is asked for again; None gives up.

        No attempt is counted: nothing was tried.

        Parameters
        ----------
        waited_s : float
            How long it was waited for already.
        """
        return self._delay_s(1, error) if waited_s < self.twin_s else None

    def _delay_s(self, failures: int, error: ClientError | None) -> float | None:
        asked_s = (error.retry_after_s if isinstance(error, Refused) else None) or 0.0
        if asked_s > self.longest_s:
            return None
        # The exponent is bounded as floats are, far beyond any cap.
        return asked_s + self.draw() * min(self.cap_s, self.base_s * 2.0 ** min(failures - 1, 60))


def is_transient(error: ClientError) -> bool:
    """Whether the same call may well succeed later.

    That a twin is under way is one of them.
    """
    if isinstance(error, Refused):
        return error.status in _TRANSIENT or has_twin(error)
    return isinstance(error, Unreachable)


def has_twin(error: ClientError) -> bool:
    """Whether a request with the same idempotency key is still under way."""
    if not isinstance(error, Refused):
        return False
    return error.status == 409 and error.retry_after_s is not None


def is_repeatable(method: str, headers: Mapping[str, str]) -> bool:
    """Whether a request may be sent again when nobody knows what became of it."""
    return method in _IDEMPOTENT or IDEMPOTENCY_KEY in headers


def retry_after_s(value: str | None, *, now: datetime) -> float | None:
    """Seconds that a ``Retry-After`` asks for: a number or a date (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        until = parsedate_to_datetime(value)
    except (ValueError, OverflowError):  # the latter of years and zones that no C integer holds
        return None
    aware = until if until.tzinfo else until.replace(tzinfo=UTC)
    return max(0.0, (aware - now).total_seconds())

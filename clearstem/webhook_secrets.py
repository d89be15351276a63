"""What webhooks are signed with, by the Standard Webhooks specification, version 1.

A secret that is being replaced signs beside its successor for a day, so a
receiver may change over at any moment of it and never meets a message that it
cannot verify. The signature itself is the published library's.
"""

import base64
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from standardwebhooks import Webhook

_MARK: Final = "whsec_"
# The specification asks for 24 to 64 bytes.
_SECRET_BYTES: Final = 32
_OVERLAP: Final = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Secrets:
    """The secret that signs, and the one before it while that still does.

    Attributes
    ----------
    previous_until : datetime or None
        When the previous one stops signing.
    rotation : str or None
        The id of the rotation that made the current one; None: there was none.
    """

    current: str
    previous: str | None = None
    previous_until: datetime | None = None
    rotation: str | None = None

    def active(self, *, at: datetime) -> tuple[str, ...]:
        """The secrets that sign at a time, one or two; the current one first."""
        if self.previous is None or self.previous_until is None or at >= self.previous_until:
            return (self.current,)
        return (self.current, self.previous)

    def rotated(self, new: str, *, rotation: str, at: datetime) -> "Secrets":
        """The secrets with a new current one; the one until now signs for a day more.

        No more than two sign at a time: a second rotation within that day ends
        the oldest at once. The same rotation again changes nothing.
        """
        if rotation == self.rotation:
            return self
        until = at + _OVERLAP
        return Secrets(new, previous=self.current, previous_until=until, rotation=rotation)


def new_secret() -> str:
    """A fresh random secret in its text form, ``whsec_…``."""
    return _MARK + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def signed_headers(
    body: str, *, event_id: str, signing: Secrets, at: datetime
) -> Mapping[str, str]:
    """The headers of one message: its id, the time of the attempt, a signature per secret."""
    signatures = [Webhook(secret).sign(event_id, at, body) for secret in signing.active(at=at)]
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }

"""What the distribution in front proves itself by.

Behind a distribution API Gateway hears the distribution alone; who called it
stands in a header, which anybody can write who calls the API by its own
address. So the distribution adds a secret. It lies in Secrets Manager, from
where CloudFormation hands it to the distribution and functions fetch it: it
stands in no template, no environment and no log.
"""

import secrets
import time
from collections.abc import Callable
from typing import Any, Final

# CloudFront puts its own in the place of a header that a caller sent.
HEADER: Final = "x-clearstem-edge"
# A secret that was changed is known to every process after that long.
_FRESH_S: Final = 300.0


class EdgeProof:
    """Knows the secret, for some minutes at a time.

    Parameters
    ----------
    client : callable
        Makes a client of Secrets Manager; called when the secret is needed.
    secret_arn : str
        Which secret it is; empty: nothing proves anything.
    monotonic : callable
        Seconds of a clock that only goes on.
    """

    def __init__(
        self,
        client: Callable[[], Any],
        *,
        secret_arn: str,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client, self._arn, self._monotonic = client, secret_arn, monotonic
        self._known: tuple[bytes, float] | None = None

    def is_given(self, shown: str) -> bool:
        """Whether a header's value is the secret; errors of Secrets Manager pass."""
        if not (self._arn and shown):
            return False
        return secrets.compare_digest(shown.encode(), self._secret())

    def _secret(self) -> bytes:
        at = self._monotonic()
        if self._known is None or at - self._known[1] >= _FRESH_S:
            text = self._client().get_secret_value(SecretId=self._arn)["SecretString"]
            self._known = text.encode(), at
        return self._known[0]

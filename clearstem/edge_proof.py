"""What the distribution in front proves itself by.

Behind a distribution API Gateway hears the distribution alone; who called it
stands in a header, which anybody can write who calls the API by its own
address. So the distribution adds a secret. It lies in Secrets Manager, from
where CloudFormation hands it to the distribution and functions fetch it: it
stands in no template, no environment and no log.
"""

import logging
import math
import secrets
import time
from collections.abc import Callable
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

# CloudFront puts its own in the place of a header that a caller sent.
HEADER: Final = "x-clearstem-edge"
# A secret that was changed is known to every process after that long.
_FRESH_S: Final = 300.0
# Where it could not be asked for, nobody asks again sooner: a call that has to wait
# for Secrets Manager in vain is slow.
_RETRY_S: Final = 10.0
_log = logging.getLogger(__name__)


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
        self._known: bytes | None = None
        self._next_at = -math.inf

    def is_given(self, shown: str) -> bool:
        """Whether a header's value is the secret; False where that was never to be had."""
        if not (self._arn and shown):
            return False
        known = self._secret()
        return known is not None and secrets.compare_digest(shown.encode(), known)

    def _secret(self) -> bytes | None:
        """The secret as it was last heard of, asked for again when it is due."""
        at = self._monotonic()
        if at >= self._next_at:
            try:
                text = self._client().get_secret_value(SecretId=self._arn)["SecretString"]
            except (BotoCoreError, ClientError):
                # Counting callers by address is not worth refusing their calls.
                self._next_at = at + _RETRY_S
                _log.exception("edge secret not to be had")
            else:
                self._known, self._next_at = text.encode(), at + _FRESH_S
        return self._known

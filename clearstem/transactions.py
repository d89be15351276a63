"""Writes of several items that hold together or not at all, and races for them."""

import random
import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# A record has three writers at the most (stage, canceller, settler), each
# writing at most every second. An owner's counters have as many as he submits
# jobs side by side; waits of up to 0.6 s let some hundred of them by.
ATTEMPTS: Final = 12
_LONGEST_WAIT_S: Final = 0.64

# Why DynamoDB cancels a transaction whose writer lost a race; any other reason
# is a fault, and met again at every attempt.
_RACES: Final = frozenset({"None", "ConditionalCheckFailed", "TransactionConflict"})


def transacted(client: "DynamoDBClient", items: list[Any]) -> bool:
    """Write all of it; False where somebody else was faster, or a condition does not hold.

    Parameters
    ----------
    items : list
        Parts as TransactWriteItems takes them, 100 at most.
    """
    try:
        client.transact_write_items(TransactItems=items)
    except client.exceptions.TransactionCanceledException as exc:
        reasons: Any = exc.response.get("CancellationReasons", ())
        if not {reason["Code"] for reason in reasons} <= _RACES:
            raise
        return False
    return True


def back_off(attempt: int) -> None:
    """Wait before the next attempt, a random while so that writers do not meet again.

    Parameters
    ----------
    attempt : int
        The one that was lost, from 0.
    """
    longest_s = min(0.01 * 2**attempt, _LONGEST_WAIT_S)
    time.sleep(random.uniform(0, longest_s))  # noqa: S311  # spreads writers

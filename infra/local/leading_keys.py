"""The condition key ``dynamodb:LeadingKeys``, which MiniStack's judgement of calls lacks.

It holds the partition keys that a call names: of its item or key, or of every part of a
transaction. Without it a condition on it is met by whatever is asked for.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any, Final

from infra.local import selfcheck

Context = dict[str, Any]

_CONTEXT: Final = "ministack.core.iam_actions:dynamodb_service_context"
# The table's partition key, as the template names it.
_PARTITION_KEY: Final = "pk"


def install() -> None:
    """Extend what MiniStack knows of a call to DynamoDB."""
    selfcheck.replace(_CONTEXT, _with_leading_keys)


def _with_leading_keys(context_of: Callable[[bytes], Context]) -> Callable[[bytes], Context]:
    def dynamodb_service_context(body: bytes) -> Context:
        keys = sorted(set(leading_keys(body)))
        return {**context_of(body), **({"dynamodb:LeadingKeys": keys} if keys else {})}

    return dynamodb_service_context


def leading_keys(body: bytes) -> Iterator[str]:
    """The partition keys that a call's body names; none of what is no call of this kind."""
    try:
        call = json.loads(body or b"{}")
    except ValueError:
        return
    parts = call.get("TransactItems") if isinstance(call, dict) else None
    named = [each for part in parts for each in part.values()] if parts else [call]
    for each in named:
        item = (each.get("Key") or each.get("Item")) if isinstance(each, dict) else None
        value = item.get(_PARTITION_KEY) if isinstance(item, dict) else None
        if isinstance(value, dict) and "S" in value:
            yield str(value["S"])

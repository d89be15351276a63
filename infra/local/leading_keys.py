"""The condition key ``dynamodb:LeadingKeys``, which MiniStack's judgement of calls lacks.

It holds the partition keys that a call names: of its item, key or query, or of every part of a
transaction or batch. Without it a condition on it is met by whatever is asked for.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from infra.local import selfcheck

Context = dict[str, Any]

_CONTEXT: Final = "ministack.core.iam_actions:dynamodb_service_context"
_LEADING_KEYS: Final = "dynamodb:LeadingKeys"
# The table's partition key, as the template names it.
_PARTITION_KEY: Final = "pk"
_EQUAL: Final = re.compile(rf"\b{_PARTITION_KEY}\s*=\s*(?P<value>:\w+)")


def install() -> None:
    """Extend what MiniStack knows of a call to DynamoDB."""
    selfcheck.replace(_CONTEXT, _with_leading_keys)


def _with_leading_keys(context_of: Callable[[bytes], Context]) -> Callable[[bytes], Context]:
    def dynamodb_service_context(body: bytes) -> Context:
        try:
            call = json.loads(body or b"{}")
        except ValueError:
            call = None
        named = condition_keys(call) if isinstance(call, dict) else {}
        return {**context_of(body), **named}

    return dynamodb_service_context


def condition_keys(call: Context) -> Context:
    """The condition key and its values; nothing of a call that names no partition."""
    keys = sorted(set(leading_keys(call)))
    return {_LEADING_KEYS: keys} if keys else {}


def leading_keys(call: Context) -> Iterator[str]:
    """The partition keys that a call names; none of what is no call of this kind.

    A query of an index names the index's own key, which is none of the table's.
    """
    for part in _parts(call):
        item = part.get("Key") or part.get("Item")
        value = item.get(_PARTITION_KEY) if isinstance(item, dict) else _queried(part)
        if isinstance(value, dict) and "S" in value:
            yield str(value["S"])


def _parts(call: Context) -> Iterator[Context]:
    """What a call does, one by one: a transaction's parts, a batch's, or the call itself."""
    if parts := call.get("TransactItems"):
        yield from (each for part in parts for each in part.values())
    elif tables := call.get("RequestItems"):
        for asked in tables.values():
            if isinstance(asked, dict):
                yield from ({"Key": key} for key in asked.get("Keys", ()))
            else:
                yield from (each for part in asked for each in part.values())
    else:
        yield call


def _queried(call: Context) -> Any:
    """The value that a query's condition gives the table's partition key."""
    equal = _EQUAL.search(str(call.get("KeyConditionExpression", "")))
    if equal is None or "IndexName" in call:
        return None
    return call.get("ExpressionAttributeValues", {}).get(equal["value"])

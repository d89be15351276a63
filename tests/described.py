"""What is sent, held against the AsyncAPI document: by its schemas alone, and by nothing else.

Objects may have no property that the document does not name: a client should take further ones,
but here they would be something that the document keeps to itself.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

import jsonschema_rs

from functions.asyncapi import asyncapi_document

SOCKETS = ("job", "jobs", "audoStatus")


@cache
def document() -> dict[str, Any]:
    return asyncapi_document("http://localhost:8000")


def named(channel: str, payload: Any, headers: Mapping[str, Any] | None = None) -> list[str]:
    """The channel's messages that this is one of, among those that the service sends."""
    return [
        name
        for name in sent(channel)
        if _validator(name, "payload").is_valid(payload) and _bears(name, headers or {})
    ]


def assert_described(channels: tuple[str, ...], payload: Any, **headers: Any) -> None:
    """Every message is exactly one of those that the document tells of."""
    found = {name for channel in channels for name in named(channel, payload, headers)}
    assert len(found) == 1, f"{payload} is {sorted(found) or 'no message'} of {channels}"


def sent(channel: str) -> list[str]:
    """The names of the messages that the service sends on a channel."""
    messages = document()["operations"][f"send.{channel}"]["messages"]
    return [message["$ref"].rpartition("/messages/")[2] for message in messages]


def _bears(name: str, headers: Mapping[str, Any]) -> bool:
    """Whether a message has all headers that its kind has; others may be there as well."""
    if "headers" not in _message(name):
        return True
    known = _message(name)["headers"]["properties"]
    return _validator(name, "headers").is_valid({k: v for k, v in headers.items() if k in known})


@cache
def _validator(name: str, part: str) -> jsonschema_rs.Validator:
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "allOf": [_strict(_message(name)[part])],
        "components": {"schemas": _strict(document()["components"]["schemas"])},
    }
    return jsonschema_rs.validator_for(schema)


def _message(name: str) -> Any:
    return document()["components"]["messages"][name]


def _strict(node: Any) -> Any:
    if isinstance(node, list):
        return [_strict(each) for each in node]
    if not isinstance(node, dict):
        return node
    closed = {name: _strict(value) for name, value in node.items()}
    return {"additionalProperties": False, **closed} if "properties" in node else closed

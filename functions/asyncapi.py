"""The AsyncAPI document: the messages that OpenAPI has no words for.

Made of `functions.messages` and of the typed dictionaries that senders write,
so there is no second description to be kept in step. Version 3.0.0:
https://www.asyncapi.com/docs/reference/specification/v3.0.0
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import TypeAdapter

from functions.dialects import pipeline
from functions.messages import CHANNELS, Channel, Message, Place

Document = dict[str, Any]

_SCHEMAS: Final = "#/components/schemas/"
_PARAMETER: Final = re.compile(r"\{(\w+)\}")
_PARAMETERS: Final = {"job_id": "The job's id, by whichever dialect it was submitted"}
_DESCRIPTION: Final = """\
What clearstem says without being asked each time: frames of WebSockets, events of streams, and
webhooks. Requests and their answers are in `openapi.json`, beside this document.

All three dialects tell of all jobs. Behind API Gateway's own addresses, without the distribution in
front, WebSockets have an address of their own, and the query parameters `job_id` and `dialect`
(`pipeline` or `audo`) stand for the paths below.
"""
_KEYS: Final = ("key", "token", "ticket")
_SECURITY: Final[Mapping[str, Mapping[str, str]]] = {
    "key": {"type": "httpApiKey", "name": "x-api-key", "in": "header"},
    "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    "ticket": {
        "type": "httpApiKey",
        "name": "ticket",
        "in": "query",
        "description": "Of `POST /tickets`, for pages of a browser: good once, for a minute",
    },
}


def asyncapi_document(base_url: str) -> Document:
    """The document of a deployment.

    Parameters
    ----------
    base_url : str
        Where it answers, without a slash at its end.
    """
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "clearstem",
            "version": pipeline.API_VERSION,
            "description": _DESCRIPTION,
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/json",
        "servers": _servers(base_url),
        "channels": {channel.name: _channel(channel) for channel in CHANNELS},
        "operations": dict(_operations()),
        "components": _components(),
    }


def _servers(base_url: str) -> Document:
    parts = urlsplit(base_url)
    secure = "s" if parts.scheme == "https" else ""
    here = {"host": parts.netloc, **({"pathname": parts.path} if parts.path else {})}
    security = [{"$ref": f"#/components/securitySchemes/{name}"} for name in _KEYS]
    return {
        Place.SOCKETS.value: {
            **here,
            "protocol": f"ws{secure}",
            "description": "WebSockets of this deployment",
            "security": security,
        },
        Place.STREAMS.value: {
            **here,
            "protocol": f"http{secure}",
            "description": "Event streams of this deployment",
            "security": security,
        },
        Place.RECEIVER.value: {
            "host": "{receiver}",
            "protocol": "https",
            "description": "Whoever is told; messages prove by their signature where they are from",
            "variables": {
                "receiver": {
                    "description": "The host of an address that was registered",
                    "examples": ["hooks.example.org"],
                }
            },
        },
    }


def _channel(channel: Channel) -> Document:
    names = _PARAMETER.findall(channel.address or "")
    document: Document = {
        "address": channel.address,
        "title": channel.title,
        "description": channel.description,
        "servers": [{"$ref": f"#/servers/{channel.place}"}],
        "messages": {
            message.name: {"$ref": f"#/components/messages/{message.name}"}
            for message in (*channel.sent, *channel.taken)
        },
    }
    if names:
        document["parameters"] = {name: {"description": _PARAMETERS[name]} for name in names}
    if channel.place is Place.SOCKETS:
        opening = {"method": "GET", "query": _object(channel.query), "bindingVersion": "0.1.0"}
        document["bindings"] = {"ws": opening}
    return document


def _operations() -> Iterator[tuple[str, Document]]:
    """What the service does on its channels, from its own point of view."""
    for channel in CHANNELS:
        sending: Document = {
            "action": "send",
            "channel": {"$ref": f"#/channels/{channel.name}"},
            "summary": channel.title,
            "messages": _named(channel, channel.sent),
        }
        if channel.place is not Place.SOCKETS:
            sending["bindings"] = {"http": _asked(channel)}
        yield f"send.{channel.name}", sending
        if channel.taken:
            yield (
                f"receive.{channel.name}",
                {
                    "action": "receive",
                    "channel": {"$ref": f"#/channels/{channel.name}"},
                    "summary": "Be asked for further jobs",
                    "messages": _named(channel, channel.taken),
                },
            )


def _asked(channel: Channel) -> Document:
    """The request by which a stream is opened, or a webhook told."""
    if channel.place is Place.RECEIVER:
        return {"method": "POST", "bindingVersion": "0.3.0"}
    return {"method": "GET", "query": _object(channel.query), "bindingVersion": "0.3.0"}


def _named(channel: Channel, messages: tuple[Message, ...]) -> list[Document]:
    return [{"$ref": f"#/channels/{channel.name}/messages/{message.name}"} for message in messages]


@cache
def _components() -> Document:
    messages = {m.name: m for channel in CHANNELS for m in (*channel.sent, *channel.taken)}
    payloads, schemas = _payloads(list(messages.values()))
    return {
        "messages": {
            name: _message(message, payload=payloads[name]) for name, message in messages.items()
        },
        "schemas": schemas,
        "securitySchemes": _SECURITY,
    }


def _message(message: Message, *, payload: Document) -> Document:
    document: Document = {
        "name": message.name.partition(".")[2] or message.name,
        "summary": message.summary,
        "contentType": "application/json",
        "payload": payload,
    }
    if message.headers:
        document["headers"] = {**_object(message.headers), "required": sorted(message.headers)}
    return document


def _payloads(messages: list[Message]) -> tuple[dict[str, Document], Document]:
    """The schema of each message's payload, and what these schemas refer to."""
    kinds = {message.payload.__name__: message.payload for message in messages}
    made, shared = TypeAdapter.json_schemas(
        [(name, "serialization", TypeAdapter(kind)) for name, kind in kinds.items()],
        ref_template=f"{_SCHEMAS}{{model}}",
    )
    schemas: Document = dict(shared.get("$defs", {}))
    for name in kinds:
        whole = made[name, "serialization"]
        if "$ref" not in whole:
            schemas[name] = whole
    return {message.name: _fixed(message, schemas) for message in messages}, schemas


def _fixed(message: Message, schemas: Document) -> Document:
    """A payload's schema, with the fields that tell the kind of message at their values."""
    name = message.payload.__name__
    if not message.fixed:
        return {"$ref": _SCHEMAS + name}
    general: Document = schemas[name]
    values = {field: {"type": "string", "const": value} for field, value in message.fixed.items()}
    return {**general, "properties": {**general["properties"], **values}}


def _object(properties: Mapping[str, Any]) -> Document:
    return {"type": "object", "properties": dict(properties)}

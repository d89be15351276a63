"""The OpenAPI document, in what the framework has no words for.

It describes each route's errors under the media type of the route's good
answer; ours have one of their own. And it knows of no header that all have.
"""

from collections.abc import Iterator
from typing import Any, Final

from fastapi import FastAPI

from functions import dialects
from functions.dialects import problems
from functions.dialects.pipeline import API_VERSION
from functions.envelope import API_VERSION_HEADER, REQUEST_ID

_JSON: Final = "application/json"
# By their names among the document's components.
_HEADERS: Final[dict[str, dict[str, Any]]] = {
    "RequestId": {
        "description": "What the service's logs know the request by",
        "schema": {"type": "string", "format": "uuid"},
        "required": True,
    },
    "ApiVersion": {
        "description": "The version of this API: major, minor and patch",
        "schema": {"type": "string", "const": API_VERSION},
        "required": True,
    },
}
_NAMES: Final = {REQUEST_ID: "RequestId", API_VERSION_HEADER: "ApiVersion"}

_TEXT: Final = {"type": "string"}
# What any refusal of the other dialects may look like, the framework's own included.
_REFUSALS: Final[dict[str, list[dict[str, Any]]]] = {
    "audo": [{"type": "object", "required": ["detail"], "properties": {"detail": _TEXT}}],
    "munsit": [
        {
            "type": "object",
            "required": ["errorCode", "errorMessage"],
            "properties": {"errorCode": _TEXT, "errorMessage": _TEXT},
        },
        {"type": "object", "required": ["message"], "properties": {"message": _TEXT}},
    ],
}


def describe(app: FastAPI) -> None:
    """Have an application tell the media type of its problems, and what all answers carry."""
    plainly = app.openapi

    def openapi() -> dict[str, Any]:
        # Made once: what is kept from the first time has been through here.
        return app.openapi_schema or _completed(plainly())

    app.openapi = openapi  # type: ignore[method-assign] # FastAPI's documented way


def _completed(document: dict[str, Any]) -> dict[str, Any]:
    document["components"]["headers"] = _HEADERS
    for path, responses in _operations(document):
        for status, response in responses.items():
            carried = response.setdefault("headers", {})
            for header, name in _NAMES.items():
                carried[header] = {"$ref": f"#/components/headers/{name}"}
            for media in response.get("content", {}).values():
                # The framework's word for a stream's events, which came with OpenAPI 3.2;
                # AsyncAPI has their schemas.
                media.pop("itemSchema", None)
            dialect = dialects.dialect_of(path)
            if dialect == dialects.DEFAULT and status[0] in "45":
                _tell_media_type(response)
            elif status == "4XX":
                response["content"] = {_JSON: {"schema": {"anyOf": _REFUSALS[dialect]}}}
    return document


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for operation in methods.values():
            yield path, operation["responses"]


def _tell_media_type(response: dict[str, Any]) -> None:
    content = response.get("content", {})
    if _JSON in content:
        content[problems.MEDIA_TYPE] = content.pop(_JSON)

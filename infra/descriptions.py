"""Whether the two descriptions of the API are what their standards say they are.

OpenAPI 3.1 by the schema that schemathesis brings along, which is the
specification's; AsyncAPI 3.0.0 by its authors' own, in an npm package that
`make tools` fetches by its hash. A schema cannot see whether a reference leads
anywhere, so that is looked at here.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import boto3
import jsonschema_rs

from clearstem.service import Service
from clearstem.settings import Settings
from functions.asyncapi import asyncapi_document
from functions.rest import create_app
from infra import synth

SCHEMA: Final = synth.ROOT / "node_modules/@asyncapi/specs/schemas/3.0.0-without-$id.json"
_ADDRESS: Final = "https://clearstem.example"


def openapi_document() -> dict[str, Any]:
    """What ``/openapi.json`` answers, of an application that calls nothing."""
    session = boto3.Session("none", "none", region_name="us-east-1")
    settings = Settings("table", "uploads", "work", "tracks", "drop")
    return create_app(Service.over(settings, session=session)).openapi()


def openapi_problems(document: Mapping[str, Any]) -> list[str]:
    """What OpenAPI's schema, or a reference, has against a document."""
    from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

    return [*_told(OPENAPI_31_VALIDATOR, document), *dangling(document)]


def asyncapi_problems(document: Mapping[str, Any] | None = None) -> tuple[str, list[str]]:
    """What AsyncAPI's schema, or a reference, has against a document; first why it was not asked.

    Parameters
    ----------
    document : mapping or None
        None: what ``/asyncapi.json`` answers.
    """
    if document is None:
        document = asyncapi_document(_ADDRESS)
    if not SCHEMA.exists():
        return "`make tools` has not put its schema there; it asks npm's registry", []
    validator = jsonschema_rs.validator_for(json.loads(SCHEMA.read_text()))
    return "", [*_told(validator, document), *dangling(document)]


def dangling(document: Mapping[str, Any]) -> Iterator[str]:
    """The references of a document that lead to nothing in it."""
    for reference in sorted(set(_references(document))):
        found: Any = document
        for step in reference.removeprefix("#/").split("/"):
            name = step.replace("~1", "/").replace("~0", "~")  # RFC 6901, 3
            found = found.get(name) if isinstance(found, Mapping) else None
        if found is None:
            yield f"{reference} leads nowhere"


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        reference = node.get("$ref")
        if isinstance(reference, str):
            yield reference
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def _told(validator: jsonschema_rs.Validator, document: Mapping[str, Any]) -> list[str]:
    return [
        f"/{'/'.join(map(str, error.instance_path))}: {error.message[:300]}"
        for error in validator.iter_errors(document)
    ]

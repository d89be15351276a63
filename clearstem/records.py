"""Domain values to and from plain JSON-like records.

One converter for DynamoDB items and for the manifests in S3, so that a field
added to a dataclass is stored everywhere without a second list of fields.
"""

import json
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from typing import Any, Final, TypeVar

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from cattrs.preconf.json import JsonConverter, make_converter
from cattrs.strategies import configure_tagged_union

from clearstem.options import DenoiseOptions, Options, SeparateOptions
from clearstem.recipes import DENOISE, SEPARATE

T = TypeVar("T")
_OPTIONS: Final = {SEPARATE.name: SeparateOptions, DENOISE.name: DenoiseOptions}
Item = dict[str, Any]  # DynamoDB's own wire form: {"name": {"S": "…"}}


@cache
def _converter() -> JsonConverter:
    converter = make_converter(omit_if_default=False)
    # Told apart by their recipe's name, never by which fields happen to be
    # there; a record older than the second recipe carries no name.
    configure_tagged_union(
        Options,
        converter,
        tag_name="recipe",
        tag_generator=_recipe_name,
        default=SeparateOptions,
    )
    return converter


def _recipe_name(kind: type) -> str:
    return next(name for name, options in _OPTIONS.items() if options is kind)


def dumps(value: object) -> str:
    """A dataclass as JSON text; times in ISO 8601, enums by value."""
    return json.dumps(_converter().unstructure(value), sort_keys=True, allow_nan=False)


def loads(text: str | bytes, kind: type[T]) -> T:
    """The dataclass that `dumps` wrote."""
    return _converter().structure(json.loads(text), kind)


def to_item(value: object, **extra: str | int) -> Item:
    """A dataclass as a DynamoDB item, with further attributes beside its fields."""
    plain = json.loads(dumps(value), parse_float=Decimal)
    serialize = TypeSerializer().serialize
    return {name: serialize(field) for name, field in {**plain, **extra}.items()}


def from_item(item: Mapping[str, Any], kind: type[T]) -> T:
    """The dataclass in a DynamoDB item; attributes that are no fields are ignored."""
    deserialize = TypeDeserializer().deserialize
    return _converter().structure({name: deserialize(field) for name, field in item.items()}, kind)

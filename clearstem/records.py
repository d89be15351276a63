"""Domain values to and from plain JSON-like records.

One converter for DynamoDB items and for the manifests in S3, so that a field
added to a dataclass is stored everywhere without a second list of fields.
"""

import json
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from typing import Any, TypeVar

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from cattrs.preconf.json import JsonConverter, make_converter

T = TypeVar("T")
Item = dict[str, Any]  # DynamoDB's own wire form: {"name": {"S": "…"}}


@cache
def _converter() -> JsonConverter:
    return make_converter(omit_if_default=False)


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

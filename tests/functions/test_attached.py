"""What any dialect's job may bear, read from forms and from JSON."""

from typing import Any

import pytest

from clearstem.errors import InvalidRequest
from clearstem.terms import Terms
from functions.attached import NOTHING, Attached, attached


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"strength": "3"},
        {"callback_url": "", "labels": "", "retention_hours": ""},
        {"callback_url": None, "labels": None, "retention_hours": None},
        {"labels": {}},
        {"labels": "{}"},
    ],
)
def test_nothing_is_attached_where_nothing_is_given(fields: dict[str, Any]) -> None:
    assert attached(fields) == NOTHING


def test_a_form_tells_by_text_what_json_tells_by_values() -> None:
    url = "https://example.org/hook"
    wanted = Attached(url, Terms({"album": "Größe", "take": "2"}, kept_hours=72.5))
    labels = '{"album": "Größe", "take": "2"}'
    assert attached({"callback_url": url, "labels": labels, "retention_hours": "72.5"}) == wanted
    values = {"album": "Größe", "take": "2"}
    assert attached({"callback_url": url, "labels": values, "retention_hours": 72.5}) == wanted


@pytest.mark.parametrize(
    "fields",
    [
        {"callback_url": 3},
        {"labels": "album:Demos"},
        {"labels": "[" * 5000},
        {"labels": ["album"]},
        {"labels": 1},
        {"labels": {"a": 1}},
        {"labels": {"a": None}},
        {"labels": '{"a": ["b"]}'},
        {"labels": {"a b": "c"}},
        {"labels": {"a": ""}},
        {"retention_hours": "soon"},
        {"retention_hours": "nan"},
        {"retention_hours": "1e999"},
        {"retention_hours": 10**400},
        {"retention_hours": 0.5},
        {"retention_hours": True},
        {"retention_hours": []},
    ],
)
def test_what_is_wrong_is_told_and_never_a_fault(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        attached(fields)

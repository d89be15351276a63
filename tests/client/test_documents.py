"""The client's description of the API's documents, held against the server's."""

from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest

from clearstem.client import documents
from functions.dialects import job_life, pipeline_documents
from functions.routes.submissions import JobRequest

DESCRIBED = [getattr(documents, name) for name in vars(documents) if name.endswith("Document")]


def form(hint: Any) -> Any:
    """A type in a form that is equal where two descriptions mean the same."""
    if hasattr(hint, "__required_keys__"):
        return hint.__name__
    if get_origin(hint) in (Union, UnionType):
        return frozenset(form(each) for each in get_args(hint))
    return (
        (get_origin(hint), tuple(form(each) for each in get_args(hint))) if get_args(hint) else hint
    )


@pytest.mark.parametrize("described", DESCRIBED, ids=lambda kind: kind.__name__)
def test_each_field_is_one_of_the_servers_and_of_its_type(described: type) -> None:
    name = described.__name__
    written = getattr(pipeline_documents, name, None) or getattr(job_life, name)
    theirs = {field: form(hint) for field, hint in get_type_hints(written).items()}
    ours = {field: form(hint) for field, hint in get_type_hints(described).items()}
    assert ours.items() <= theirs.items()


def test_all_options_are_fields_of_a_job_that_is_asked_for() -> None:
    fields = get_type_hints(JobRequest)
    for options in (documents.SeparateOptions, documents.DenoiseOptions):
        for name, hint in get_type_hints(options).items():
            assert hint in get_args(fields[name]), name

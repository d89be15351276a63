"""The client's description of the API's documents, held against the server's."""

from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest

from clearstem.client import config_documents, documents, submission_documents, webhook_documents
from functions.dialects import job_life, pipeline_documents, usage, webhooks
from functions.routes import submissions
from functions.routes.submissions import JobRequest

DESCRIBED = {
    name: kind
    for module in (config_documents, documents, submission_documents, webhook_documents)
    for name, kind in vars(module).items()
    if name.endswith("Document")
}
# The form of a browser: the client sends with PUT.
LEFT_OUT = {"UploadDocument": {"post"}}
WRITTEN = (pipeline_documents, job_life, usage, webhooks, submissions)


def form(hint: Any) -> Any:
    """A type in a form that is equal where two descriptions mean the same."""
    if hasattr(hint, "__required_keys__"):
        return hint.__name__
    if get_origin(hint) in (Union, UnionType):
        return frozenset(form(each) for each in get_args(hint))
    return (
        (get_origin(hint), tuple(form(each) for each in get_args(hint))) if get_args(hint) else hint
    )


@pytest.mark.parametrize("described", DESCRIBED.values(), ids=DESCRIBED)
def test_the_fields_are_the_servers_and_of_their_types(described: type) -> None:
    name = described.__name__
    written = next(getattr(module, name) for module in WRITTEN if hasattr(module, name))
    theirs = {field: form(hint) for field, hint in get_type_hints(written).items()}
    ours = {field: form(hint) for field, hint in get_type_hints(described).items()}
    assert ours.items() <= theirs.items()
    assert theirs.keys() - ours.keys() == LEFT_OUT.get(name, set())


def test_all_options_are_fields_of_a_job_that_is_asked_for() -> None:
    fields = get_type_hints(JobRequest)
    for options in (documents.SeparateOptions, documents.DenoiseOptions):
        for name, hint in get_type_hints(options).items():
            assert hint in get_args(fields[name]), name


def test_a_job_of_a_batch_is_asked_for_by_the_fields_of_one() -> None:
    fields = get_type_hints(JobRequest)
    asked = get_type_hints(documents.JobAsked)
    del asked["options"]  # they are fields beside the others
    assert asked.keys() < fields.keys()
    assert {name: form(hint) for name, hint in asked.items()} == {
        name: form(fields[name]) for name in asked
    }

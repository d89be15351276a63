"""Requests made up from the OpenAPI document: no fault, and no answer it does not describe."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from clearstem.media import MEBIBYTE
from clearstem.service import Service
from functions import dialects
from functions.rest import create_app
from tests.submitted import denoised, finish, submit, submit_denoise

_CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
EXAMPLES: Final = 15
# Names of jobs and uploads in paths: made-up ones would all be unknown.
_NAMES: Final = ("job_id", "denoise_id", "upload_id")


@pytest.fixture
def documented(service: Service) -> Any:
    """The document of an application in which there is something to find."""
    key, _ = service.accounts.create_key("ada", at=service.now())
    # A stream of a job that waits would be watched for a quarter of an hour.
    brief = replace(service, settings=replace(service.settings, event_stream_s=0.1))
    schema = schemathesis.openapi.from_asgi("/openapi.json", create_app(brief))
    schema.config.update(headers={"x-api-key": key})
    return schema


def there(service: Service) -> list[str]:
    """Ids of jobs that wait and that are over, and of an upload in parts."""
    jobs = [
        submit(service, owner="ada"),
        finish(service, submit(service, owner="ada")),
        denoised(service, submit_denoise(service, owner="ada")),
    ]
    large = service.intake.announce(owner="ada", file_name="a.wav", size_bytes=200 * MEBIBYTE)
    return [*(job.job_id for job in jobs), large.upload_id]


def operations(documented: Any, dialect: str) -> Iterator[Any]:
    for found in documented.get_all_operations():
        operation = found.ok()
        if dialects.dialect_of(operation.path) == dialect:
            yield operation


@pytest.mark.parametrize("dialect", dialects.PROBLEMS)
def test_answers_are_as_described(service: Service, documented: Any, dialect: str) -> None:
    for operation in operations(documented, dialect):

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(), known=st.sampled_from(["", *there(service)]))
        def answers_as_described(case: Case, known: str) -> None:
            for name in _NAMES:
                if known and name in case.path_parameters:
                    case.path_parameters[name] = known
            case.call_and_validate(checks=_CHECKS)

        answers_as_described()

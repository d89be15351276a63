"""Reads the problem details that the native routes answer errors with."""

from http import HTTPStatus
from uuid import UUID

import httpx


def refusal(answer: httpx.Response) -> tuple[int, str]:
    """Status and sentence of an error, once it is found to be a good problem document."""
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["status"] == answer.status_code
    assert problem["instance"] == f"urn:uuid:{UUID(answer.headers['x-request-id'])}"
    if problem["type"] == "about:blank":
        assert problem["title"] == HTTPStatus(answer.status_code).phrase
    else:
        words = problem["title"].lower().split()
        assert problem["type"] == f"/problems/{'-'.join(words)}"
        assert problem["name"] == "Clearstem." + "".join(word.capitalize() for word in words)
    return answer.status_code, problem["detail"]

"""What API Gateway answers by itself: a problem document that all dialects' clients can read."""

import json

import pytest

from infra.gateway_refusals import refusals
from tests.infra.reading import of_type


def gateway_answers(template) -> dict[str, dict]:
    """The body and the headers of what the gateway answers by itself, by its kind."""
    answers = {}
    for each in of_type(template, "AWS::ApiGateway::GatewayResponse").values():
        headers = {
            name.removeprefix("gatewayresponse.header."): value
            for name, value in each["ResponseParameters"].items()
        }
        body = json.loads(each["ResponseTemplates"]["application/json"])
        answers[each["ResponseType"]] = {"body": body, "headers": headers}
    return answers


# API Gateway's own statuses (Developer Guide, "Gateway response types"), but for the
# authorizer's faults, which it would answer with 500.
GATEWAY_STATUSES = {
    **dict.fromkeys(("BAD_REQUEST_BODY", "BAD_REQUEST_PARAMETERS"), 400),
    "UNAUTHORIZED": 401,
    **dict.fromkeys(("ACCESS_DENIED", "EXPIRED_TOKEN", "INVALID_API_KEY"), 403),
    **dict.fromkeys(("INVALID_SIGNATURE", "MISSING_AUTHENTICATION_TOKEN", "WAF_FILTERED"), 403),
    "RESOURCE_NOT_FOUND": 404,
    "REQUEST_TOO_LARGE": 413,
    "UNSUPPORTED_MEDIA_TYPE": 415,
    **dict.fromkeys(("QUOTA_EXCEEDED", "THROTTLED"), 429),
    "API_CONFIGURATION_ERROR": 500,
    **dict.fromkeys(("AUTHORIZER_CONFIGURATION_ERROR", "AUTHORIZER_FAILURE"), 503),
    **dict.fromkeys(("INTEGRATION_FAILURE", "INTEGRATION_TIMEOUT"), 504),
}
UNIDENTIFIED = ("AUTHORIZER_CONFIGURATION_ERROR", "AUTHORIZER_FAILURE")


def test_each_refusal_of_the_gateways_own_is_a_problem_document_of_its_status(template):
    answers = gateway_answers(template)
    statuses = {kind: answer["body"].get("status") for kind, answer in answers.items()}
    assert statuses == {**GATEWAY_STATUSES, "DEFAULT_4XX": None, "DEFAULT_5XX": None}
    for answer in answers.values():
        body, headers = answer["body"], answer["headers"]
        assert headers["Content-Type"] == "'application/problem+json'"
        assert headers["X-Request-Id"] == "context.requestId"
        assert headers["X-API-Version"] == "'1.0.0'"
        assert headers["Access-Control-Allow-Origin"] == "'*'"
        exposed = headers["Access-Control-Expose-Headers"].strip("'").split(", ")
        assert {"Retry-After", "X-Request-Id"} <= set(exposed)
        assert body["instance"] == "urn:uuid:$context.requestId"
        assert body["type"] == "about:blank" or body["name"].startswith("Clearstem.")
        # One body for all dialects: Audo's member is the native one, Munsit's are beside it.
        assert body["errorMessage"] == body["detail"]
        assert body["errorCode"][0] in (str(body.get("status", ""))[:1] or "45")


@pytest.mark.parametrize(
    ("origins", "allowed"),
    [
        (["*"], "'*'"),
        (["https://a.example", "*"], "'*'"),
        (["https://a.example"], "'https://a.example'"),
        # One header names one origin; the distribution chooses.
        (["https://a.example", "https://b.example"], None),
    ],
)
def test_refusals_are_shown_to_the_pages_that_may_call(origins, allowed):
    for refusal in refusals(origins=origins):
        assert refusal.headers.get("Access-Control-Allow-Origin") == allowed
        assert ("Access-Control-Expose-Headers" in refusal.headers) == (allowed is not None)


def test_a_fault_of_the_authorizers_is_one_that_clients_try_again(template):
    given = {
        each["ResponseType"]: each["StatusCode"]
        for each in of_type(template, "AWS::ApiGateway::GatewayResponse").values()
        if "StatusCode" in each
    }
    assert given == dict.fromkeys(UNIDENTIFIED, "503")


def test_who_is_throttled_or_unknown_is_told_in_whole_seconds_when_to_come_back(template):
    answers = gateway_answers(template)
    waits = {kind for kind, answer in answers.items() if "Retry-After" in answer["headers"]}
    assert waits == {"THROTTLED", "QUOTA_EXCEEDED", *UNIDENTIFIED}
    assert {answers[kind]["headers"]["Retry-After"] for kind in waits} == {"'1'"}


def test_what_is_too_large_for_the_gateway_is_led_to_the_links(template):
    assert "POST /uploads" in gateway_answers(template)["REQUEST_TOO_LARGE"]["body"]["detail"]

"""The authorizer of both APIs: whose key a call carries.

It answers with a policy for the whole API and stage, so that an answer which
API Gateway keeps for a key is right for every other path as well, and with
the owner, whom the other functions read from the request's context. What needs
no key passes without an owner; so does, in a dialect whose refusal has a body
of its own that API Gateway cannot write, a call with a wrong key: the API's
function refuses it.
"""

from typing import Any, Final

from aws_lambda_powertools.utilities.typing import LambdaContext

from clearstem import errors
from clearstem.service import Service
from functions import dialects, wiring
from functions.telemetry import Event, entry_point, logger

# API Gateway answers 401 to this very text, and 500 to any other.
_REFUSAL: Final = "Unauthorized"
_HEADER: Final = "x-api-key"
_NOBODY: Final = "-"  # no owner: names begin with a letter or digit
# A browser's WebSocket cannot send headers.
_QUERY_PARAMETER: Final = "api_key"


@entry_point
def handler(event: Event, _: LambdaContext) -> dict[str, Any]:
    """Let the owner of a key pass, or refuse with 401."""
    if not _opens_socket(event) and dialects.is_open(event["path"]):
        return _policy(None, method_arn=event["methodArn"])
    try:
        owner = _owner(event, service=wiring.service())
    except errors.Unauthorized as exc:
        logger().info("call refused", path=event.get("path"))  # sockets have none
        if _refused_behind(event):
            return _policy(None, method_arn=event["methodArn"])
        raise Exception(_REFUSAL) from exc  # the text is the interface
    return _policy(owner, method_arn=event["methodArn"])


def _owner(request: Event, *, service: Service) -> str:
    key = _key(request)
    if key is None and service.settings.keyless_owner and not _always_keyed(request):
        return service.settings.keyless_owner
    return service.accounts.authenticate(key, at=service.now())


def _always_keyed(request: Event) -> bool:
    """Whether a dialect is spoken whose clients always have a key."""
    asked = (request.get("queryStringParameters") or {}).get("dialect", dialects.DEFAULT)
    dialect = asked if _opens_socket(request) else dialects.dialect_of(request["path"])
    return dialects.needs_key(dialect)


def _refused_behind(request: Event) -> bool:
    if _opens_socket(request):
        return False
    return dialects.refuses_by_itself(dialects.dialect_of(request["path"]))


def _opens_socket(request: Event) -> bool:
    return bool(request["requestContext"].get("eventType") == "CONNECT")


def _key(request: Event) -> str | None:
    headers: dict[str, str] = {
        name.lower(): value for name, value in (request.get("headers") or {}).items()
    }
    if key := headers.get(_HEADER):
        return key
    # Null where there is no query string.
    asked: dict[str, str] = request.get("queryStringParameters") or {}
    return asked.get(_QUERY_PARAMETER) if _opens_socket(request) else None


def _policy(owner: str | None, *, method_arn: str) -> dict[str, Any]:
    api, stage = method_arn.split("/")[:2]
    statement = {
        "Action": "execute-api:Invoke",
        "Effect": "Allow",
        "Resource": f"{api}/{stage}/*",
    }
    policy = {
        "principalId": owner or _NOBODY,
        "policyDocument": {"Version": "2012-10-17", "Statement": [statement]},
    }
    return policy | ({"context": {"owner": owner}, "usageIdentifierKey": owner} if owner else {})

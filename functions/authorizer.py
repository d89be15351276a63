"""The authorizer of both APIs: who is calling, and what he may do.

It answers with a policy for the whole API and stage, so that an answer which
API Gateway keeps for a key is right for every other path as well, and with
the owner and his scopes, which the other functions read from the request's
context. Which scope a request takes is the API's to say, in its own words; a
socket's is said here, since its function would only hear of it once it is open.
What needs no key passes without an owner; so does, in a dialect whose refusal
has a body of its own that API Gateway cannot write, a call with a wrong key: the
API's function refuses it.
"""

from typing import Any, Final

from aws_lambda_powertools.utilities.typing import LambdaContext

from clearstem import errors
from clearstem.identity import Credentials
from clearstem.scopes import Caller, Scope
from functions import dialects, wiring
from functions.telemetry import Event, entry_point, logger

# API Gateway answers 401 to this very text, and to any other what `infra.gateway_refusals` says.
_REFUSAL: Final = "Unauthorized"
_NOBODY: Final = "-"  # no owner: names begin with a letter or digit


@entry_point
def handler(event: Event, _: LambdaContext) -> dict[str, Any]:
    """Let who is known pass, or refuse with 401; a socket without leave to look with 403."""
    if not _opens_socket(event) and dialects.is_open(event["path"]):
        return _policy(None, method_arn=event["methodArn"])
    try:
        caller = wiring.service().identity.identify(_credentials(event), keyed=_always_keyed(event))
    except errors.Unauthorized as exc:
        logger().info("call refused", path=event.get("path"))  # sockets have none
        if _refused_behind(event):
            return _policy(None, method_arn=event["methodArn"])
        raise Exception(_REFUSAL) from exc  # the text is the interface
    return _policy(caller, method_arn=event["methodArn"], effect=_effect(event, caller))


def _credentials(request: Event) -> Credentials:
    # None where there are no headers, or no query string.
    headers, query = request.get("headers") or {}, request.get("queryStringParameters") or {}
    if _opens_socket(request):
        return Credentials.of_socket(headers, query)
    method, path = request["httpMethod"], request["path"]
    return Credentials.of_request(headers, query, method=method, path=path)


def _effect(request: Event, caller: Caller) -> str:
    if not _opens_socket(request):
        return "Allow"
    try:
        caller.require(Scope.READ)
    except errors.InsufficientScope:
        return "Deny"
    return "Allow"


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


def _policy(caller: Caller | None, *, method_arn: str, effect: str = "Allow") -> dict[str, Any]:
    api, stage = method_arn.split("/")[:2]
    statement = {
        "Action": "execute-api:Invoke",
        "Effect": effect,
        "Resource": f"{api}/{stage}/*",
    }
    policy = {
        "principalId": caller.owner if caller else _NOBODY,
        "policyDocument": {"Version": "2012-10-17", "Statement": [statement]},
    }
    if caller is None:
        return policy
    # API Gateway passes on texts and numbers only.
    context = {"owner": caller.owner, "scopes": " ".join(sorted(caller.scopes))}
    return {**policy, "context": context}

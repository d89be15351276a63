"""What the template promises of the two APIs."""

import json
import re

import boto3
import pytest

from clearstem.service import Service
from clearstem.settings import Settings
from functions.messages import CHANNELS, Place
from functions.rest import create_app
from tests.infra.reading import of_type, only


def _paths(template):
    """Every resource's whole path by its logical id."""
    resources = of_type(template, "AWS::ApiGateway::Resource")

    def path(name):
        parent = resources[name]["ParentId"].get("Ref")
        return (path(parent) if parent else "") + "/" + resources[name]["PathPart"]

    return {name: path(name) for name in resources}


def _methods(template):
    paths = _paths(template)
    return {
        (method["HttpMethod"], paths[method["ResourceId"]["Ref"]]): method
        for method in of_type(template, "AWS::ApiGateway::Method").values()
    }


def test_only_what_tells_of_nobody_is_open_without_the_authorizer(template):
    methods = _methods(template)
    open_to_all = {at for at, method in methods.items() if method["AuthorizationType"] == "NONE"}
    assert {path for verb, path in open_to_all if verb != "OPTIONS"} == {
        "/health",
        "/config",
        "/docs",
        "/openapi.json",
        "/asyncapi.json",
    }
    assert {m["AuthorizationType"] for m in methods.values()} == {"NONE", "CUSTOM"}
    assert methods["ANY", "/{proxy+}"]["AuthorizationType"] == "CUSTOM"


STREAMS = {
    "/download/{}/all",
    "/job/{}/events",
    "/api/v1/denoise/{}/progress",
}
# Beside streams, the one list that is told whole: a few thousand jobs have 6 MB.
STREAMED = STREAMS | {"/api/v1/denoise"}
# What an answer is that is sent while it is made, for as long as that takes.
_STREAMS = {"text/event-stream", "application/zip"}


def _unnamed(path):
    """A path whose variables have no names: the two sides have their own."""
    return re.sub(r"{[^}+]+}", "{}", path)


def _described():
    """The application's paths, as its own description has them."""
    nobody = boto3.Session("none", "none", region_name="us-east-1")
    settings = Settings("table", "uploads", "work", "tracks", "drop")
    return create_app(Service.over(settings, session=nobody)).openapi()["paths"]


def _reached(methods, verb, path):
    """The method that API Gateway chooses, the most specific resource's; None refuses."""
    segments = path.strip("/").split("/")
    above = ["/" + "/".join(segments[:length]) for length in range(len(segments) - 1, 0, -1)]
    for place in (path, *(f"{each}/{{proxy+}}" for each in above), "/{proxy+}"):
        found = {each: method for (each, at), method in methods.items() if at == place}
        if found:
            return found.get(verb) or found.get("ANY")
    return None


@pytest.mark.parametrize("verb", ["OPTIONS", "HEAD"])
def test_each_path_that_is_described_takes_a_browsers_preflight_and_a_look(template, verb):
    methods = {(each, _unnamed(at)): method for (each, at), method in _methods(template).items()}
    for path in (*_described(), "/docs", "/openapi.json", "/asyncapi.json"):
        method = _reached(methods, verb, _unnamed(path))
        assert method is not None, path
        assert "RestHandler" in json.dumps(method["Integration"]["Uri"])
        # A preflight bears no key.
        assert verb == "HEAD" or method["AuthorizationType"] == "NONE", path


def _documented():
    """The paths of the application whose answer is described as a stream."""
    for path, methods in _described().items():
        answers = methods.get("get", {}).get("responses", {})
        if _STREAMS & answers.get("200", {}).get("content", {}).keys():
            yield _unnamed(path)


def test_each_stream_that_the_service_describes_is_known_here():
    told = {_unnamed(c.address) for c in CHANNELS if c.place is Place.STREAMS}
    documented = set(_documented())
    assert told < documented
    assert documented == STREAMS


def test_event_streams_archives_and_the_whole_history_are_streamed_and_nothing_else(template):
    streamed = {
        _unnamed(path): method
        for (_, path), method in _methods(template).items()
        if method["Integration"].get("ResponseTransferMode") == "STREAM"
    }
    assert set(streamed) == STREAMED
    for method in streamed.values():
        assert method["HttpMethod"] == "GET"
        integration = method["Integration"]
        assert integration["TimeoutInMillis"] == 900_000
        assert "response-streaming-invocations" in json.dumps(integration["Uri"])
        assert "StreamHandler" in json.dumps(integration["Uri"])
        assert method["AuthorizationType"] == "CUSTOM"


@pytest.mark.parametrize("path", sorted(STREAMED))
def test_what_lies_beside_a_streamed_path_still_reaches_the_service(template, path):
    methods = {(verb, _unnamed(at)): method for (verb, at), method in _methods(template).items()}
    for verb in ("ANY", "OPTIONS"):
        assert "RestHandler" in json.dumps(methods[verb, path]["Integration"]["Uri"])
    segments = path.strip("/").split("/")
    for length in range(1, len(segments)):
        above = "/" + "/".join(segments[:length])
        assert ("ANY", above) in methods and ("OPTIONS", above) in methods
        if not segments[length].startswith("{"):
            assert ("ANY", f"{above}/{{proxy+}}") in methods


def test_the_streaming_function_lives_as_long_as_its_streams(template):
    functions_of_images = {
        name: function
        for name, function in of_type(template, "AWS::Lambda::Function").items()
        if "ImageUri" in function["Code"]
    }
    stream = only({k: v for k, v in functions_of_images.items() if k.startswith("StreamHandler")})
    assert stream["Timeout"] == 900
    assert stream["Code"]["ImageUri"]["Fn::Join"][1][-1].endswith(":stream")
    # One machine builds all images, without emulating another.
    assert {tuple(each["Architectures"]) for each in functions_of_images.values()} == {("x86_64",)}


def test_a_request_without_a_key_reaches_the_authorizer(template):
    rest = only(of_type(template, "AWS::ApiGateway::Authorizer"))
    assert rest["AuthorizerResultTtlInSeconds"] == 0
    assert not rest.get("IdentitySource")
    assert only(of_type(template, "AWS::ApiGatewayV2::Authorizer"))["IdentitySource"] == []


def test_bodies_pass_the_gateway_as_bytes(template):
    assert only(of_type(template, "AWS::ApiGateway::RestApi"))["BinaryMediaTypes"] == ["*/*"]


@pytest.mark.parametrize("kind", ["AWS::ApiGateway::Stage", "AWS::ApiGatewayV2::Stage"])
def test_calls_are_logged_without_what_would_open_anything(template, kind):
    stage = only(of_type(template, kind))
    form = (stage.get("AccessLogSetting") or stage["AccessLogSettings"])["Format"]
    said = set(json.loads(form).values())
    assert {"$context.requestId", "$context.status", "$context.authorizer.principalId"} <= said
    # Result addresses and a browser's API key are in paths and query strings.
    assert not any("path" in f.lower().replace("resourcepath", "") for f in said)
    assert not any("querystring" in f.lower() or "uri" in f.lower() for f in said)


def test_no_flood_of_one_api_eats_the_accounts_requests(template):
    rest = only(of_type(template, "AWS::ApiGateway::Stage"))["MethodSettings"][0]
    assert (rest["ThrottlingRateLimit"], rest["DataTraceEnabled"]) == (500, False)
    live = only(of_type(template, "AWS::ApiGatewayV2::Stage"))["DefaultRouteSettings"]
    assert live["ThrottlingRateLimit"] == 200


def test_a_websocket_is_authorized_when_it_connects(template):
    routes = {
        route["RouteKey"]: route["AuthorizationType"]
        for route in of_type(template, "AWS::ApiGatewayV2::Route").values()
    }
    assert routes == {"$connect": "CUSTOM", "$disconnect": "NONE", "$default": "NONE"}

"""The REST API: one proxy to one function, streams to another, and a key in front of both.

Whether a caller may pass is the authorizer function's to say, not the
gateway's. An authorizer with identity sources and a cache turns a request
without ``x-api-key`` away before any code runs; a deployment with a
``KeylessOwner`` takes such requests, and other dialects carry their
credential in another header. So there are no identity sources and no cache:
a warm call of some milliseconds each time, and a revoked key is out at once.
"""

import itertools
from collections.abc import Sequence
from typing import Final

import aws_cdk as cdk
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra.access_logs import AccessLogs
from infra.gateway_refusals import refusals

STAGE_NAME: Final = "live"

# What tells about the service and not about anybody's recordings.
_OPEN_TO_ALL: Final = ("health", "config", "docs", "openapi.json", "asyncapi.json")
# Event streams, an archive of all tracks, and a history that no page ends: what a
# buffered answer has neither the time nor the 6 MB for. A path goes before those below it.
_STREAMED: Final = (
    "/api/v1/denoise",
    "/download/{job_id}/all",
    "/job/{job_id}/events",
    "/api/v1/denoise/{job_id}/progress",
)
# The longest that API Gateway streams.
_STREAM_LIMIT: Final = cdk.Duration.minutes(15)
# One flood must not eat the account's 10,000 requests a second.
_REQUESTS_PER_S: Final = 500
_BURST: Final = 1000
# Under another name CloudFormation would make one anew and then delete the one before, which is
# the same one to API Gateway.
_FIRST_NAMES: Final = {
    "DEFAULT_4XX": "ClientError",
    "DEFAULT_5XX": "ServerError",
    "REQUEST_TOO_LARGE": "TooLarge",
}


class RestApi(Construct):
    """The HTTP way in.

    Parameters
    ----------
    origins : sequence of str
        Those whose pages may call; ``*`` is any.

    Attributes
    ----------
    api : aws_apigateway.RestApi
        The API, of one stage.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        function: lambda_.IFunction,
        streaming: lambda_.IFunction,
        authorizer: lambda_.IFunction,
        logs: AccessLogs,
        origins: Sequence[str],
    ) -> None:
        super().__init__(scope, id)
        self.api = apigateway.RestApi(
            self,
            "Api",
            rest_api_name="clearstem",
            endpoint_types=[apigateway.EndpointType.REGIONAL],
            # Every body: multipart uploads come in and audio goes out as bytes,
            # and text is not harmed by it.
            binary_media_types=["*/*"],
            deploy_options=apigateway.StageOptions(
                stage_name=STAGE_NAME,
                tracing_enabled=True,
                throttling_rate_limit=_REQUESTS_PER_S,
                throttling_burst_limit=_BURST,
                # Errors of the gateway itself; never bodies, which are people's recordings.
                logging_level=apigateway.MethodLoggingLevel.ERROR,
                data_trace_enabled=False,
                # By method, each a metric that is paid for: alarms and dashboard look at the whole.
                metrics_enabled=False,
                access_log_destination=apigateway.LogGroupLogDestination(logs.rest),
                access_log_format=logs.rest_format,
            ),
        )
        logs.come_before(self.api.deployment_stage)
        # CDK's own output of the address: the stack names its outputs itself.
        self.api.node.try_remove_child("Endpoint")
        self._door = self._authorizer(authorizer)
        # One permission for the API: a permission per method would soon fill
        # the function's 20 KB resource policy.
        self._proxy = apigateway.LambdaIntegration(function, scope_permission_to_method=False)
        self._stream = apigateway.LambdaIntegration(
            streaming,
            scope_permission_to_method=False,
            response_transfer_mode=apigateway.ResponseTransferMode.STREAM,
            timeout=_STREAM_LIMIT,
        )
        self._add_routes()
        self._speak_as_the_service_does(origins)

    def _add_routes(self) -> None:
        for path in _OPEN_TO_ALL:
            resource = self.api.root.add_resource(path)
            # A page that shows its key everywhere asks before it does so here, too; what
            # takes no HEAD says so itself.
            for method in ("GET", "HEAD", "OPTIONS"):
                _open(resource, method, integration=self._proxy)
        self._pass_on(self.api.root.add_resource("{proxy+}"))
        for path in _STREAMED:
            self._add_stream(path.strip("/").split("/"))

    def _add_stream(self, segments: list[str]) -> None:
        """Send one path to the streaming function, and all others beside it where they went.

        Once a path has resources of its own, what lies beside it no longer
        reaches the root's proxy by itself.
        """
        resource: apigateway.IResource = self.api.root
        for segment, following in itertools.pairwise(segments):
            known = resource.get_resource(segment)
            resource = known or resource.add_resource(segment)
            if known is None:
                self._pass_on(resource)
                if not following.startswith("{"):
                    self._pass_on(resource.add_resource("{proxy+}"))
        last = resource.add_resource(segments[-1])
        # A method's own integration goes before that of any method.
        self._pass_on(last)
        last.add_method("GET", self._stream, authorizer=self._door)

    def _pass_on(self, resource: apigateway.IResource) -> None:
        resource.add_method("ANY", self._proxy, authorizer=self._door)
        # A browser sends its preflight without a key.
        _open(resource, "OPTIONS", integration=self._proxy)

    def _authorizer(self, function: lambda_.IFunction) -> apigateway.RequestAuthorizer:
        return apigateway.RequestAuthorizer(
            self,
            "Authorizer",
            handler=function,
            identity_sources=[],
            results_cache_ttl=cdk.Duration.seconds(0),
        )

    def _speak_as_the_service_does(self, origins: Sequence[str]) -> None:
        """Give the gateway's own refusals bodies that clients of the service read."""
        for refusal in refusals(origins=origins):
            words = "".join(word.capitalize() for word in refusal.kind.split("_"))
            self.api.add_gateway_response(
                _FIRST_NAMES.get(refusal.kind, words),
                type=apigateway.ResponseType.of(refusal.kind),
                status_code=None if refusal.status is None else str(refusal.status),
                response_headers=refusal.headers,
                templates={"application/json": refusal.template},
            )


def _open(
    resource: apigateway.IResource, method: str, *, integration: apigateway.Integration
) -> None:
    resource.add_method(method, integration, authorization_type=apigateway.AuthorizationType.NONE)

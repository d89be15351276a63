"""One address for everything: the REST API, the WebSocket API and the console.

WebSocket APIs know no paths and cannot share a domain with a REST API, so a
distribution stands in front of both. On one machine ``infra.local.edge`` does
what this does.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import aws_cdk as cdk
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_apigatewayv2 as sockets
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_cloudfront_origins as origins
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

import functions
from clearstem.edge_proof import HEADER
from functions import security
from infra.gateway_refusals import READABLE, allowed_origin
from infra.options import Options
from infra.storage import CLOSED, Storage

_SOCKET_ROUTER: Final = Path(__file__).with_name("edge_function.js")
_HOST_TELLER: Final = Path(__file__).with_name("host_function.js")
_HSTS: Final = cdk.Duration.seconds(security.HSTS_S)
# What CloudFront waits for a byte; event streams say something every 15 s.
_ORIGIN_WAIT: Final = cdk.Duration.seconds(60)
_PROOF_LETTERS: Final = 48
_CONSOLE: Final = Path(functions.__file__).parent / "console" / "index.html"


class Edge(Construct):
    """The distribution, and the bucket of its static files.

    Attributes
    ----------
    distribution : aws_cloudfront.Distribution
        By default the REST API; ``/v1/wss*`` the WebSocket API; ``/`` the console.
    console : aws_s3.Bucket
        Static files, which only the distribution reads.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        rest: apigateway.RestApi,
        live: sockets.WebSocketStage,
        storage: Storage,
        proof: secretsmanager.ISecret | None,
        options: Options,
    ) -> None:
        super().__init__(scope, id)
        self.console = s3.Bucket(
            self,
            "Console",
            **{**CLOSED, "removal_policy": cdk.RemovalPolicy.DESTROY},
            encryption=s3.BucketEncryption.S3_MANAGED,
            server_access_logs_bucket=storage.access_log,
            server_access_logs_prefix="console/",
        )
        page = self._page(storage)
        self.distribution = cloudfront.Distribution(
            self,
            "Distribution",
            comment="clearstem",
            default_behavior=self._rest(rest, proof=proof, callers=options.callers_origins),
            # The root is asked for under both names, before and after CloudFront
            # puts in the default object.
            additional_behaviors={
                "/v1/wss*": self._sockets(live),
                "/": page,
                "/index.html": page,
                "/console/*": page,
            },
            default_root_object="index.html",
            minimum_protocol_version=cloudfront.SecurityPolicyProtocol.TLS_V1_2_2021,
            http_version=cloudfront.HttpVersion.HTTP2_AND_3,
            domain_names=[options.domain_name] if options.domain_name else None,
            certificate=_certificate(self, options.certificate_arn),
            web_acl_id=options.web_acl_arn or None,
        )

    def publish(self, function: lambda_.Function) -> None:
        """Have ``functions.publish`` copy the console into its bucket at each deployment.

        The console is part of the function's zip, so what is published changes
        with the zip's name and not otherwise.
        """
        resource = function.node.default_child
        assert isinstance(resource, lambda_.CfnFunction)
        code = resource.code
        assert isinstance(code, lambda_.CfnFunction.CodeProperty)
        self.console.grant_put(function)
        self.console.grant_delete(function)
        # It empties the bucket when the stack goes.
        iam.Grant.add_to_principal(
            grantee=function,
            actions=["s3:ListBucket"],
            resource_arns=[self.console.bucket_arn],
        )
        cdk.CustomResource(
            self,
            "Published",
            resource_type="Custom::ConsoleFiles",
            service_token=function.function_arn,
            properties={"Bucket": self.console.bucket_name, "Zip": code.s3_key},
        )

    def _rest(
        self,
        api: apigateway.RestApi,
        *,
        proof: secretsmanager.ISecret | None,
        callers: Sequence[str],
    ) -> cloudfront.BehaviorOptions:
        # The template has a reference, which CloudFormation looks up.
        headers = {HEADER: proof.secret_value.unsafe_unwrap()} if proof else None
        return cloudfront.BehaviorOptions(
            origin=origins.RestApiOrigin(api, read_timeout=_ORIGIN_WAIT, custom_headers=headers),
            allowed_methods=cloudfront.AllowedMethods.ALLOW_ALL,
            cache_policy=cloudfront.CachePolicy.CACHING_DISABLED,
            # API Gateway answers to its own host name only.
            origin_request_policy=cloudfront.OriginRequestPolicy.ALL_VIEWER_EXCEPT_HOST_HEADER,
            response_headers_policy=_headers(self, "ApiHeaders", callers=callers),
            viewer_protocol_policy=cloudfront.ViewerProtocolPolicy.HTTPS_ONLY,
            # Without a proof beside it nobody believes what it writes.
            function_associations=[self._host_teller()] if proof else None,
        )

    def _host_teller(self) -> cloudfront.FunctionAssociation:
        return _at_viewer_request(
            self,
            "HostTeller",
            source=_HOST_TELLER,
            comment="The viewer's Host goes on in a header.",
        )

    def _sockets(self, stage: sockets.WebSocketStage) -> cloudfront.BehaviorOptions:
        router = _at_viewer_request(
            self,
            "SocketRouter",
            source=_SOCKET_ROUTER,
            comment="The path of a WebSocket becomes its query string.",
        )
        host = f"{stage.api.api_id}.execute-api.{cdk.Aws.REGION}.{cdk.Aws.URL_SUFFIX}"
        return cloudfront.BehaviorOptions(
            origin=origins.HttpOrigin(
                host,
                protocol_policy=cloudfront.OriginProtocolPolicy.HTTPS_ONLY,
                origin_ssl_protocols=[cloudfront.OriginSslPolicy.TLS_V1_2],
            ),
            cache_policy=cloudfront.CachePolicy.CACHING_DISABLED,
            origin_request_policy=cloudfront.OriginRequestPolicy.ALL_VIEWER_EXCEPT_HOST_HEADER,
            viewer_protocol_policy=cloudfront.ViewerProtocolPolicy.HTTPS_ONLY,
            function_associations=[router],
        )

    def _page(self, storage: Storage) -> cloudfront.BehaviorOptions:
        access = cloudfront.S3OriginAccessControl(
            self, "ConsoleAccess", origin_access_control_name=_global_name(self, "ConsoleAccess")
        )
        return cloudfront.BehaviorOptions(
            origin=origins.S3BucketOrigin.with_origin_access_control(
                self.console, origin_access_control=access
            ),
            cache_policy=cloudfront.CachePolicy.CACHING_OPTIMIZED,
            response_headers_policy=_headers(self, "PageHeaders", policy=_console_policy(storage)),
            viewer_protocol_policy=cloudfront.ViewerProtocolPolicy.REDIRECT_TO_HTTPS,
        )


def _at_viewer_request(
    scope: Construct, id: str, *, source: Path, comment: str
) -> cloudfront.FunctionAssociation:
    """A function of the distribution's own that sees each request before anything else does."""
    function = cloudfront.Function(
        scope,
        id,
        comment=comment,
        code=cloudfront.FunctionCode.from_inline(source.read_text(encoding="utf-8")),
        runtime=cloudfront.FunctionRuntime.JS_2_0,
    )
    return cloudfront.FunctionAssociation(
        function=function, event_type=cloudfront.FunctionEventType.VIEWER_REQUEST
    )


def edge_proof(scope: Construct, id: str, *, key: kms.IKey | None) -> secretsmanager.Secret:
    """A secret that only the distribution and the functions behind it know."""
    return secretsmanager.Secret(
        scope,
        id,
        description="What the distribution proves itself by to the REST API.",
        encryption_key=key,
        generate_secret_string=secretsmanager.SecretStringGenerator(
            # It goes through a header.
            exclude_punctuation=True,
            password_length=_PROOF_LETTERS,
        ),
        removal_policy=cdk.RemovalPolicy.DESTROY,
    )


def _global_name(scope: Construct, id: str) -> str:
    """A name for what CloudFront keeps by its name for an account, in whatever region it is made.

    CDK's own names are the same in every region, where a second deployment would fail.
    """
    return f"{cdk.Stack.of(scope).stack_name}-{cdk.Aws.REGION}-{id}"


def _certificate(scope: Construct, arn: str) -> acm.ICertificate | None:
    return acm.Certificate.from_certificate_arn(scope, "Certificate", arn) if arn else None


def _console_policy(storage: Storage) -> str:
    """The console sends recordings to one bucket and reads results from two, and no others."""
    # As presigned links are written; a path that ends in a slash allows what is below it.
    host = f"https://s3.{cdk.Aws.REGION}.{cdk.Aws.URL_SUFFIX}"
    buckets = (storage.uploads, storage.tracks, storage.drop)
    return security.page_policy(
        _CONSOLE.read_text(encoding="utf-8"),
        storage=[f"{host}/{bucket.bucket_name}/" for bucket in buckets],
    )


def _headers(
    scope: Construct, id: str, *, policy: str | None = None, callers: Sequence[str] = ()
) -> cloudfront.ResponseHeadersPolicy:
    """Security headers for what comes without; a content security policy for a page of ours.

    The API sets its own, which stand: what lacks them comes out of the bucket, or is
    a refusal of API Gateway itself. Where pages of several origins (`callers`) may call,
    those refusals get the header that lets the asking one read them.
    """
    content = (
        cloudfront.ResponseHeadersContentSecurityPolicy(
            content_security_policy=policy, override=False
        )
        if policy
        else None
    )
    return cloudfront.ResponseHeadersPolicy(
        scope,
        id,
        response_headers_policy_name=_global_name(scope, id),
        cors_behavior=_readable_by(callers) if callers and not allowed_origin(callers) else None,
        security_headers_behavior=cloudfront.ResponseSecurityHeadersBehavior(
            content_security_policy=content,
            content_type_options=cloudfront.ResponseHeadersContentTypeOptions(override=False),
            frame_options=cloudfront.ResponseHeadersFrameOptions(
                frame_option=cloudfront.HeadersFrameOption.DENY, override=False
            ),
            referrer_policy=cloudfront.ResponseHeadersReferrerPolicy(
                referrer_policy=cloudfront.HeadersReferrerPolicy.SAME_ORIGIN, override=False
            ),
            strict_transport_security=cloudfront.ResponseHeadersStrictTransportSecurity(
                access_control_max_age=_HSTS, include_subdomains=False, override=False
            ),
        ),
    )


def _readable_by(origins: Sequence[str]) -> cloudfront.ResponseHeadersCorsBehavior:
    """Headers by which CloudFront lets pages of these origins read what has none of its own."""
    return cloudfront.ResponseHeadersCorsBehavior(
        access_control_allow_origins=list(origins),
        access_control_allow_credentials=False,
        access_control_allow_headers=["*"],
        access_control_allow_methods=["ALL"],
        access_control_expose_headers=list(READABLE),
        origin_override=False,
    )

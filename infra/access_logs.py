"""Who called the two APIs, when and how it ended.

Neither paths nor query strings are written down: results that need no key lie
at unguessable addresses, and a browser's WebSocket carries its key as a query
parameter.
"""

import json
from collections.abc import Mapping
from typing import Final

import aws_cdk as cdk
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from constructs import Construct

from infra.functions import LOG_RETENTION

_REST_FIELDS: Final[Mapping[str, str]] = {
    "request_id": "$context.requestId",
    "time": "$context.requestTime",
    "ip": "$context.identity.sourceIp",
    "owner": "$context.authorizer.principalId",
    "method": "$context.httpMethod",
    "resource": "$context.resourcePath",
    "status": "$context.status",
    "milliseconds": "$context.responseLatency",
    "size_bytes": "$context.responseLength",
    "error": "$context.error.responseType",
}
_SOCKET_FIELDS: Final[Mapping[str, str]] = {
    "request_id": "$context.requestId",
    "time": "$context.requestTime",
    "ip": "$context.identity.sourceIp",
    "owner": "$context.authorizer.principalId",
    "route": "$context.routeKey",
    "event": "$context.eventType",
    "connection_id": "$context.connectionId",
    "status": "$context.status",
    "error": "$context.error.responseType",
}


class AccessLogs(Construct):
    """The logs of both APIs, and the account's leave for API Gateway to write any.

    That leave is one setting of the account and region, so it outlives the
    stack: another API may use it by then.

    Attributes
    ----------
    rest, sockets : aws_logs.LogGroup
        Where each API writes.
    rest_format, socket_format : aws_apigateway.AccessLogFormat
        One JSON object a call.
    """

    def __init__(self, scope: Construct, id: str) -> None:
        super().__init__(scope, id)
        self.rest = self._group("Rest")
        self.sockets = self._group("Sockets")
        self.rest_format = _format(_REST_FIELDS)
        self.socket_format = _format(_SOCKET_FIELDS)
        self._leave = self._account_setting()

    def come_before(self, stage: Construct) -> None:
        """Make a stage wait for the account's leave, without which it cannot be created."""
        stage.node.add_dependency(self._leave)

    def _group(self, name: str) -> logs.LogGroup:
        return logs.LogGroup(
            self, name, retention=LOG_RETENTION, removal_policy=cdk.RemovalPolicy.DESTROY
        )

    def _account_setting(self) -> apigateway.CfnAccount:
        role = iam.Role(
            self,
            "GatewayRole",
            description="Lets API Gateway write logs, for the whole account and region.",
            assumed_by=iam.ServicePrincipal("apigateway.amazonaws.com"),
            managed_policies=[
                iam.ManagedPolicy.from_aws_managed_policy_name(
                    "service-role/AmazonAPIGatewayPushToCloudWatchLogs"
                )
            ],
        )
        role.apply_removal_policy(cdk.RemovalPolicy.RETAIN)
        setting = apigateway.CfnAccount(self, "Account", cloud_watch_role_arn=role.role_arn)
        setting.apply_removal_policy(cdk.RemovalPolicy.RETAIN)
        return setting


def _format(fields: Mapping[str, str]) -> apigateway.AccessLogFormat:
    return apigateway.AccessLogFormat.custom(json.dumps(fields))

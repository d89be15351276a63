"""Progress as it happens: the WebSocket API, and the table's stream behind it.

Every push follows from a change in the table and from nothing else, the
first snapshot of a new subscriber included: its subscription is an item, and
the item's INSERT comes down the same stream. So the stream is not filtered.
"""

from typing import Final

import aws_cdk as cdk
from aws_cdk import aws_apigatewayv2 as apigateway
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_event_sources as sources
from aws_cdk import aws_sqs as sqs
from aws_cdk.aws_apigatewayv2_authorizers import WebSocketLambdaAuthorizer
from aws_cdk.aws_apigatewayv2_integrations import WebSocketLambdaIntegration
from constructs import Construct

from clearstem.table_keys import JOB
from infra.access_logs import AccessLogs

STAGE_NAME: Final = "live"

# A batch is pushed by one call: 25 changes go out well within its minute.
_BATCH: Final = 25
_RETRIES: Final = 5
# Progress of an hour ago helps nobody; the job's record has the present state.
_MAX_AGE: Final = cdk.Duration.hours(1)
# An owner is owed his events: some minutes of trying, while the shard waits.
_OWED_RETRIES: Final = 10
# A watcher connects once and hardly speaks: this is 200 of them a second.
_MESSAGES_PER_S: Final = 200
_BURST: Final = 500


class LiveApi(Construct):
    """The WebSocket API.

    Attributes
    ----------
    api : aws_apigatewayv2.WebSocketApi
        Routes by the message's ``action``.
    stage : aws_apigatewayv2.WebSocketStage
        Its one stage; its callback URL is what a push posts to.
    """

    def __init__(self, scope: Construct, id: str, *, logs: AccessLogs) -> None:
        super().__init__(scope, id)
        self.api = apigateway.WebSocketApi(
            self,
            "Api",
            api_name="clearstem-live",
            route_selection_expression="$request.body.action",
        )
        self.stage = apigateway.WebSocketStage(
            self,
            "Stage",
            web_socket_api=self.api,
            stage_name=STAGE_NAME,
            auto_deploy=True,
            throttle=apigateway.ThrottleSettings(rate_limit=_MESSAGES_PER_S, burst_limit=_BURST),
        )
        self._log_to(logs)

    def _log_to(self, logs: AccessLogs) -> None:
        resource = self.stage.node.default_child
        assert isinstance(resource, apigateway.CfnStage)
        resource.access_log_settings = apigateway.CfnStage.AccessLogSettingsProperty(
            # As API Gateway wants it: a log group's own ARN ends in ``:*``.
            destination_arn=cdk.Stack.of(self).format_arn(
                service="logs",
                resource="log-group",
                resource_name=logs.sockets.log_group_name,
                arn_format=cdk.ArnFormat.COLON_RESOURCE_NAME,
            ),
            format=logs.socket_format.to_string(),
        )
        logs.come_before(self.stage)

    def connect(self, function: lambda_.IFunction, *, authorizer: lambda_.IFunction) -> None:
        """Let one function answer every route, past the authorizer at the door.

        No identity source is named: a browser cannot set a header on a
        WebSocket, so the authorizer looks where the dialect puts the key.
        """
        door = WebSocketLambdaAuthorizer("Authorizer", authorizer, identity_source=[])
        for route in ("$connect", "$disconnect", "$default"):
            self.api.add_route(
                route,
                integration=WebSocketLambdaIntegration(f"Integration{route[1:]}", function),
                authorizer=door if route == "$connect" else None,
            )


def push_changes(
    table: dynamodb.ITable, *, to: lambda_.IFunction, dead_letters: sqs.IQueue
) -> None:
    """Send every change of a table to a function, in order and at least once.

    Reading starts at the oldest record kept (``TRIM_HORIZON``): ``LATEST``
    loses what is written while the mapping is being set up. A poison record is
    cornered by halving the batch and by partial failures, tried five times and
    laid aside, so that it holds up its own partition only and not for long.
    """
    to.add_event_source(
        sources.DynamoEventSource(
            table,
            starting_position=lambda_.StartingPosition.TRIM_HORIZON,
            batch_size=_BATCH,
            max_batching_window=cdk.Duration.seconds(0),
            bisect_batch_on_error=True,
            retry_attempts=_RETRIES,
            max_record_age=_MAX_AGE,
            report_batch_item_failures=True,
            on_failure=sources.SqsDlq(dead_letters),
        )
    )


def hear_jobs(table: dynamodb.ITable, *, by: lambda_.IFunction, dead_letters: sqs.IQueue) -> None:
    """Send every change of a job's record to a function, in order and at least once.

    The stream's second reader, and its last: DynamoDB advises no more than two.
    What is no job's record is left out by Lambda's own filter, which costs
    nothing. Nothing is too old for it: an owner is told late rather than never.
    """
    rule = lambda_.FilterRule
    is_job = {"dynamodb": {"NewImage": {"sk": {"S": rule.is_equal(JOB)}}}}
    by.add_event_source(
        sources.DynamoEventSource(
            table,
            starting_position=lambda_.StartingPosition.TRIM_HORIZON,
            batch_size=_BATCH,
            max_batching_window=cdk.Duration.seconds(0),
            bisect_batch_on_error=True,
            retry_attempts=_OWED_RETRIES,
            report_batch_item_failures=True,
            on_failure=sources.SqsDlq(dead_letters),
            filters=[lambda_.FilterCriteria.filter(is_job)],
        )
    )

"""What an operator sees, and what wakes one.

Every alarm names its entry in ``docs/operations.md``; a test checks that there
is one. Metrics of the service's own come from ``functions.changes``,
``functions.webhook`` and ``functions.sweep`` in CloudWatch's embedded format.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import aws_cdk as cdk
from aws_cdk import aws_apigatewayv2 as apigateway
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from clearstem.recipes import RECIPES

NAMESPACE: Final = "clearstem"
RUNBOOK: Final = "docs/operations.md"

# Of the dashboard: what each graph is called, and shows.
Row = Sequence[tuple[str, list[cloudwatch.Metric]]]

# Whose slots an operator may number; calls beyond them are refused as a matter of course.
_MAY_BE_FULL: Final = frozenset({"stages", "stream"})

_FIVE_MINUTES: Final = cdk.Duration.minutes(5)
_QUARTER: Final = cdk.Duration.minutes(15)
_DAY: Final = cdk.Duration.days(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What of the deployment is looked at.

    Attributes
    ----------
    functions : mapping of str to IFunction
        All that run while the service does, by what they are called there;
        ``push``, ``changes``, ``websocket``, ``authorizer``, ``stages`` and ``stream``
        among them.
    dead_letters : mapping of str to IQueue
        By what could not be handled.
    indexes : sequence of str
        The table's indexes, each of which DynamoDB counts by itself.
    rest_api_name : str
        The REST API's name, under which API Gateway counts.
    sockets : IWebSocketStage
        The WebSocket API, as it is deployed.
    """

    functions: Mapping[str, lambda_.IFunction]
    dead_letters: Mapping[str, sqs.IQueue]
    table: dynamodb.ITable
    indexes: Sequence[str]
    rest_api_name: str
    sockets: apigateway.IWebSocketStage


class Observability(Construct):
    """A topic, the alarms that tell it, and a dashboard.

    Attributes
    ----------
    topic : aws_sns.Topic
        Told when an alarm goes off and when it is over.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        watched: Watched,
        email: str,
        key: kms.IKey | None,
    ) -> None:
        super().__init__(scope, id)
        self._watched = watched
        self.topic = _topic(self, key=key)
        if email:
            self.topic.add_subscription(subscriptions.EmailSubscription(email))
        self._watch_jobs()
        self._watch_dead_letters()
        self._watch_services()
        self._draw()

    def _watch_jobs(self) -> None:
        good, bad = (_ours("JobsEnded", state=end) for end in ("succeeded", "failed"))
        rate = cloudwatch.MathExpression(
            # Of fewer than five jobs a rate says nothing.
            expression="IF(FILL(good, 0) + bad >= 5, 100 * bad / (FILL(good, 0) + bad), 0)",
            using_metrics={"good": good, "bad": bad},
            period=_QUARTER,
            label="failed, %",
        )
        self._alarm("FailureRate", rate, above=20, says="More than a fifth of the jobs failed.")
        swept = _ours("JobsSwept", by="sweep")
        self._alarm("StuckJobs", swept, above=0, says="Jobs had ended, or not begun, unnoticed.")
        silence = _ours("LongestSilence", by="sweep").with_(
            statistic="Maximum", period=_FIVE_MINUTES
        )
        # An hour is what a queue waits for a machine.
        self._alarm(
            "QueueAge", silence, above=3600, says="A job was not heard of for more than an hour."
        )
        # Lambda counts the calls that failed too; this is written at the end of one.
        completed = _ours("SweepsCompleted", by="sweep").with_(period=cdk.Duration.minutes(30))
        self._alarm(
            "SweepStopped",
            completed,
            below=1,
            says="No sweep came to its end for half an hour.",
            missing=cloudwatch.TreatMissingData.BREACHING,
        )

    def _watch_dead_letters(self) -> None:
        for name, queue in self._watched.dead_letters.items():
            waiting = queue.metric_approximate_number_of_messages_visible(period=_FIVE_MINUTES)
            self._alarm(f"{name}DeadLetters", waiting, above=0, says=f"{name} gave up on an event.")

    def _watch_services(self) -> None:
        push = self._watched.functions["push"]
        age = push.metric("IteratorAge", statistic="Maximum", period=_FIVE_MINUTES)
        self._alarm(
            "PushLate", age, above=60_000, periods=2, says="Watchers see progress a minute late."
        )
        changes = self._watched.functions["changes"]
        age = changes.metric("IteratorAge", statistic="Maximum", period=_FIVE_MINUTES)
        self._alarm(
            "ChangesLate", age, above=60_000, periods=2, says="Webhooks are sent a minute late."
        )
        self._alarm(
            "ServerErrors",
            self._gateway("5XXError", statistic="Average"),
            above=0.01,
            periods=2,
            says="More than one request in a hundred ended in a 5xx.",
        )
        self._alarm(
            "SocketErrors",
            self._faults_of_sockets(),
            above=1,
            periods=2,
            says="More than one event of WebSockets in a hundred came to nothing.",
        )
        refused = {
            name: function.metric_throttles(period=_FIVE_MINUTES)
            for name, function in self._watched.functions.items()
            if name not in _MAY_BE_FULL
        }
        self._alarm(
            "FunctionThrottles",
            _sum(refused, label="refused"),
            above=0,
            says="Lambda refused calls for want of a slot.",
        )
        self._alarm(
            "TableThrottles", self._throttles_of_table(), above=0, says="DynamoDB refused requests."
        )

    def _throttles_of_table(self) -> cloudwatch.MathExpression:
        """How many reads and writes of the table and of its indexes were refused.

        ``ThrottledRequests`` is not counted by table alone, only by table and operation; and
        what a table counts leaves its indexes out.
        """
        table = {"TableName": self._watched.table.table_name}
        places = {"table": table} | {
            index: {**table, "GlobalSecondaryIndexName": index} for index in self._watched.indexes
        }
        counts = {
            f"{kind.lower()}s_{place}": self._watched.table.metric(
                f"{kind}ThrottleEvents",
                dimensions_map=dimensions,
                statistic="Sum",
                period=_FIVE_MINUTES,
            )
            for place, dimensions in places.items()
            for kind in ("Read", "Write")
        }
        return _sum(counts, label="refused")

    def _faults_of_sockets(self) -> cloudwatch.MathExpression:
        """What of a hundred events of WebSockets failed, or of a hundred calls at their door.

        API Gateway's own count of errors has the refusals that our function means, so the
        function's faults are looked at, and the calls that never reached it.
        """
        talk, door = (self._watched.functions[name] for name in ("websocket", "authorizer"))
        failed = cloudwatch.MathExpression(
            expression="100 * (FILL(unreached, 0) + FILL(failed, 0)) / FILL(calls, 1)",
            using_metrics={
                "unreached": self._socket("ExecutionError"),
                "failed": talk.metric_errors(),
                "calls": talk.metric_invocations(),
            },
            period=_FIVE_MINUTES,
        )
        refused = cloudwatch.MathExpression(
            expression="100 * FILL(fell, 0) / FILL(asked, 1)",
            using_metrics={"fell": door.metric_errors(), "asked": door.metric_invocations()},
            period=_FIVE_MINUTES,
        )
        return cloudwatch.MathExpression(
            expression="IF(talk > door, talk, door)",
            using_metrics={"talk": failed, "door": refused},
            period=_FIVE_MINUTES,
            label="failed, %",
        )

    def _alarm(
        self,
        name: str,
        metric: cloudwatch.IMetric,
        *,
        says: str,
        above: float | None = None,
        below: float | None = None,
        periods: int = 1,
        missing: cloudwatch.TreatMissingData = cloudwatch.TreatMissingData.NOT_BREACHING,
    ) -> None:
        comparison = cloudwatch.ComparisonOperator
        alarm = cloudwatch.Alarm(
            self,
            name,
            metric=metric,
            threshold=above if above is not None else below or 0,
            comparison_operator=(
                comparison.GREATER_THAN_THRESHOLD
                if above is not None
                else comparison.LESS_THAN_THRESHOLD
            ),
            evaluation_periods=periods,
            treat_missing_data=missing,
            alarm_description=f"{says} {RUNBOOK}#{name.lower()}",
        )
        told = actions.SnsAction(self.topic)
        alarm.add_alarm_action(told)
        alarm.add_ok_action(told)

    def _gateway(self, metric: str, *, statistic: str) -> cloudwatch.Metric:
        return cloudwatch.Metric(
            namespace="AWS/ApiGateway",
            metric_name=metric,
            dimensions_map={"ApiName": self._watched.rest_api_name},
            statistic=statistic,
            period=_FIVE_MINUTES,
        )

    def _socket(self, metric: str) -> cloudwatch.Metric:
        return self._watched.sockets.metric(metric, statistic="Sum", period=_FIVE_MINUTES)

    def _draw(self) -> None:
        rows = [*self._rows_of_jobs(), *self._rows_of_services()]
        cloudwatch.Dashboard(
            self,
            "Dashboard",
            default_interval=cdk.Duration.hours(12),
            widgets=[
                [cloudwatch.GraphWidget(title=title, left=shown, width=8) for title, shown in row]
                for row in rows
            ],
        )

    def _rows_of_jobs(self) -> Sequence[Row]:
        recipes = list(RECIPES)
        stages = [stage.name for recipe in RECIPES.values() for stage in recipe.stages]
        ended = [_ours("JobsEnded", state=end) for end in ("succeeded", "failed", "cancelled")]
        answered = [_ours("JobsCached", recipe=r) for r in recipes]
        silence = _ours("LongestSilence", by="sweep").with_(statistic="Maximum")
        return [
            [
                ("Jobs ended, and of them answered by a stored result", [*ended, *answered]),
                ("Wait in the queue, p95", [_late("QueueSeconds", recipe=r) for r in recipes]),
                ("Dollars a day", [_daily("JobDollars", recipe=r) for r in recipes]),
            ],
            [
                ("Seconds of a job, p95", [_late("JobSeconds", recipe=r) for r in recipes]),
                ("Seconds of a stage, p95", [_late("StageSeconds", stage=s) for s in stages]),
                ("Longest silence", [silence]),
            ],
        ]

    def _rows_of_services(self) -> Sequence[Row]:
        refused = [self._gateway(name, statistic="Sum") for name in ("4XXError", "5XXError")]
        unheard = [self._socket(name) for name in ("IntegrationError", "ExecutionError")]
        functions = self._watched.functions.values()
        errors = [function.metric_errors(period=_FIVE_MINUTES) for function in functions]
        throttles = [function.metric_throttles(period=_FIVE_MINUTES) for function in functions]
        lost = [
            queue.metric_approximate_number_of_messages_visible(period=_FIVE_MINUTES)
            for queue in self._watched.dead_letters.values()
        ]
        attempts = ("WebhooksDelivered", "WebhookAttemptsFailed", "WebhooksGivenUp")
        pushed = _ours("PushSeconds", by="push").with_(statistic="p95")
        return [
            [
                ("Requests that failed", [*refused, *unheard]),
                ("Errors of functions", errors),
                ("Dead letters", lost),
            ],
            [
                ("Events announced", [_ours("WebhooksAnnounced")]),
                ("Attempts of webhooks", [_ours(name, by="webhook") for name in attempts]),
                ("From a change to its watchers, p95", [pushed]),
            ],
            [("Calls of functions that found no slot", throttles)],
        ]


def _topic(scope: Construct, *, key: kms.IKey | None) -> sns.Topic:
    """A topic to which this account's alarms publish, by TLS alone.

    A policy of one's own replaces the one that SNS gives to a topic, by which every alarm of
    the account may publish; whoever else is to has to be let in here.
    """
    topic = sns.Topic(scope, "Alarms", master_key=key, enforce_ssl=True)
    topic.add_to_resource_policy(
        iam.PolicyStatement(
            principals=[iam.ServicePrincipal("cloudwatch.amazonaws.com")],
            actions=["sns:Publish"],
            resources=[topic.topic_arn],
            conditions={"StringEquals": {"aws:SourceAccount": cdk.Aws.ACCOUNT_ID}},
        )
    )
    return topic


def _sum(counts: Mapping[str, cloudwatch.IMetric], *, label: str) -> cloudwatch.MathExpression:
    """All of some counts, each of which is written only when there is something to count."""
    return cloudwatch.MathExpression(
        expression=" + ".join(f"FILL({name}, 0)" for name in counts),
        using_metrics=counts,
        period=_FIVE_MINUTES,
        label=label,
    )


def _ours(metric: str, *, by: str = "changes", **dimensions: str) -> cloudwatch.Metric:
    return cloudwatch.Metric(
        namespace=NAMESPACE,
        metric_name=metric,
        # Powertools puts the function's name among them.
        dimensions_map={"service": f"clearstem-{by}", **dimensions},
        statistic="Sum",
        period=_QUARTER,
    )


def _late(metric: str, **dimensions: str) -> cloudwatch.Metric:
    return _ours(metric, **dimensions).with_(statistic="p95")


def _daily(metric: str, **dimensions: str) -> cloudwatch.Metric:
    return _ours(metric, **dimensions).with_(period=_DAY)

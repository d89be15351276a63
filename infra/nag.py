"""cdk-nag's AwsSolutions and Serverless packs, and what of their findings is accepted.

The findings are held against the table below and not acknowledged in the
constructs: cdk-nag 3 matches an acknowledgement by the finding's exact text,
which holds logical ids, and it does not tell of one that nothing needs any
more. Here a finding without a reason fails the check, and so does a reason
without a finding.
"""

import json
import re
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from infra import synth


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule that one resource breaks.

    Attributes
    ----------
    rule : str
        Its name, with what of the resource broke it in brackets.
    path : str
        The construct's path below the stack.
    """

    rule: str
    path: str

    def __str__(self) -> str:
        """As it is reported."""
        return f"{self.rule} at {self.path}"


@dataclass(frozen=True, slots=True)
class Accepted:
    """Findings that are meant to be, and why.

    Attributes
    ----------
    rule, path : str
        Regular expressions for the whole of a finding's rule and path.
    reason : str
        Why the rule is not followed.
    """

    rule: str
    path: str
    reason: str

    def covers(self, finding: Finding) -> bool:
        """Whether the finding is one of those meant."""
        return bool(re.fullmatch(self.rule, finding.rule) and re.fullmatch(self.path, finding.path))


_OPEN_ROUTES: Final = (
    r"Rest/Api/Default/(health|config|docs|(open|async)api\.json)/(GET|HEAD)/Resource"
)
_DATA_ROLES: Final = r"(Stages/JobRole|(Rest|Stream|Drop|Sweep)HandlerRole)/DefaultPolicy/Resource"
_IAM5: Final = r"AwsSolutions-IAM5"

ACCEPTED: Final = (
    Accepted(
        r"AwsSolutions-APIG2",
        r"Rest/Api/Resource",
        "the service validates: one proxy carries uploads, forms and JSON of three dialects, and "
        "each dialect has its own words for what is wrong",
    ),
    Accepted(
        r"AwsSolutions-APIG3",
        r"Rest/Api/DeploymentStage\.live/Resource",
        "a web ACL costs by the month; the option web_acl_arn puts the operator's own in front",
    ),
    Accepted(
        r"AwsSolutions-(APIG4|COG4)",
        _OPEN_ROUTES + r"|Rest/Api/Default/.*/OPTIONS/Resource",
        "these tell of the service and of nobody's recordings; a preflight carries no key",
    ),
    Accepted(
        r"AwsSolutions-APIG4",
        r"Live/Api/\$(disconnect|default)-Route/Resource",
        "API Gateway authorizes a WebSocket when it connects; other routes cannot be",
    ),
    Accepted(
        r"AwsSolutions-COG4",
        r"Rest/Api/Default/.*/(ANY|GET)/Resource",
        "callers are programs with API keys: our own authorizer knows them, no user pool does",
    ),
    Accepted(
        r"AwsSolutions-IAM4\[.*AWSLambdaBasicExecutionRole\]",
        r"BucketNotificationsHandler\w+/Role/Resource",
        "CDK's own function for bucket notifications, which runs at deployments only",
    ),
    Accepted(
        r"AwsSolutions-IAM4\[.*AmazonAPIGatewayPushToCloudWatchLogs\]",
        r"AccessLogs/GatewayRole/Resource",
        "an account-wide setting: API Gateway documents this policy for it, and others rely on it",
    ),
    Accepted(
        _IAM5 + r"\[Resource::arn:.*:ecs:.*:cluster/AWSBatch\*\]",
        r"Queues/MachineRole/Resource",
        "Batch makes a cluster for each compute environment, and CloudFormation does not tell "
        "its name",
    ),
    Accepted(
        _IAM5 + r"\[Action::s3:(Abort|GetBucket|GetObject|List)\*\]",
        _DATA_ROLES,
        "CDK's grant_read and grant_put: reading, listing and ending one's own multipart upload; "
        "nothing that deletes or configures",
    ),
    Accepted(
        _IAM5 + r"\[Resource::<Storage\w+\.Arn>/((done|drop|uploads|jobs/[?-]+)/)?\*\]",
        _DATA_ROLES,
        "objects are named after jobs, which do not exist when the policy is written",
    ),
    Accepted(
        _IAM5 + r"\[Action::s3:DeleteObject\*\]",
        r"(Rest|Sweep)HandlerRole/DefaultPolicy/Resource",
        "CDK's grant_delete, which counts versions in: these two remove deleted and expired jobs",
    ),
    Accepted(
        _IAM5 + r"\[Resource::\*\]",
        r".*HandlerRole/DefaultPolicy/Resource|.*/Machine/Role/DefaultPolicy/Resource",
        "X-Ray, log delivery, batch:DescribeJobs and dynamodb:ListStreams know no resource; a "
        "test lists every action that may stand beside *",
    ),
    Accepted(
        _IAM5 + r"\[Resource::\*\]",
        r"(Stages|Queues)/.*|BucketNotificationsHandler\w+/Role/DefaultPolicy/Resource",
        "ecr:GetAuthorizationToken and what finds an ECS agent its endpoint and tags know no "
        "resource, and its polling is bound by a condition; CDK's function writes notifications of "
        "any bucket",
    ),
    Accepted(
        _IAM5 + r"\[Resource::arn:.*:batch:.*:(job-definition/clearstem-stage-[gc]pu:|job/)\*\]",
        r"(Separate|Denoise)/Machine/Role/DefaultPolicy/Resource",
        "a definition's later revisions, since a redriven execution asks for its own; jobs have "
        "random ids",
    ),
    Accepted(
        _IAM5 + r"\[Resource::arn:.*:execute-api:.*/live/\*/@connections/\*\]",
        r"(Websocket|Push)HandlerRole/DefaultPolicy/Resource",
        "connections have random ids",
    ),
    Accepted(
        _IAM5 + r"\[Resource::arn:.*:states:.*:execution:.*:\*\]",
        r"(Sweep|Rest)HandlerRole/DefaultPolicy/Resource",
        "executions are named after jobs",
    ),
    Accepted(
        r"(AwsSolutions-L1|Serverless-LambdaLatestVersion)",
        r"\w+Handler/Resource",
        "3.13 is supported to October 2029 and the newest Python the project's own tests run on",
    ),
    Accepted(
        r"Serverless-LambdaDLQ",
        r"(Rest|Stream|Authorizer|Websocket|Push|Changes|Webhook|Publish)Handler/Resource"
        r"|Stages/Function/Resource",
        "called synchronously, or by a stream or queue that has its own dead letters",
    ),
    Accepted(
        r"Serverless-LambdaAsyncFailureDestination",
        r"SweepHandler/EventInvokeConfig/Resource",
        "a turn that failed lands in the function's dead letters, as other functions' calls do",
    ),
    Accepted(
        r"Serverless-LambdaEventSourceMappingDestination",
        r"WebhookHandler/SqsEventSource:\w+/Resource",
        "a queue's mapping takes no destination; the queue has its own dead letters",
    ),
    Accepted(
        r"(AwsSolutions-SQS3|Serverless-SQSRedrivePolicy)",
        r"(\w+|Webhooks/)DeadLetters/Resource|Webhooks/GivenUp/Resource",
        "these are the dead letter queues",
    ),
    Accepted(
        _IAM5 + r"\[(Action::s3:(Abort|DeleteObject)\*|Resource::<EdgeConsole\w+\.Arn>/\*)\]",
        r"PublishHandlerRole/DefaultPolicy/Resource",
        "it fills and empties the console's own bucket, whatever files the console is made of",
    ),
    Accepted(
        r"AwsSolutions-CFR1",
        r"Edge/Distribution/Resource",
        "who may use it is decided by keys, not by countries",
    ),
    Accepted(
        r"AwsSolutions-CFR2",
        r"Edge/Distribution/Resource",
        "a web ACL costs by the month; the option web_acl_arn names the operator's own",
    ),
    Accepted(
        r"AwsSolutions-CFR3",
        r"Edge/Distribution/Resource",
        "both APIs and the console's bucket log every call; CloudFront's own logs would hold paths "
        "and query strings, which open results",
    ),
    Accepted(
        r"AwsSolutions-CFR4",
        r"Edge/Distribution/Resource",
        "CloudFront's own certificate takes no minimum; with domain_name it is TLS 1.2 of 2021",
    ),
    Accepted(
        r"AwsSolutions-VPC7",
        r"Network/Vpc/Resource",
        "nothing listens in the network and only port 443 leads out; flow logs would mostly list "
        "S3 addresses, and an operator who needs them adds them to the account's VPCs at once",
    ),
)


def problems(findings: Iterable[Finding], accepted: tuple[Accepted, ...] = ACCEPTED) -> list[str]:
    """Findings that nobody accepted, and acceptances that nothing needs."""
    used: set[Accepted] = set()
    unexplained = []
    for finding in findings:
        covering = [entry for entry in accepted if entry.covers(finding)]
        used.update(covering)
        if not covering:
            unexplained.append(str(finding))
    stale = [
        f"accepted, but never found: {entry.rule} at {entry.path}"
        for entry in accepted
        if entry not in used
    ]
    return unexplained + stale


def read_report(report: Any) -> Iterator[Finding]:
    """The findings of a CDK validation report, as its JSON holds them."""
    for pack in report["pluginReports"]:
        for violation in pack["violations"]:
            for construct in violation["violatingConstructs"]:
                _, _, path = construct["constructPath"].partition("/")
                yield Finding(violation["ruleName"], path)


def find(root: Path = synth.ROOT) -> list[Finding]:
    """Synthesize once more under both packs; everything they find."""
    with tempfile.TemporaryDirectory(prefix="clearstem-nag-") as out:
        report = Path(out) / "validation-report.json"
        try:
            synth.run_app(Path(out), root=root, module="infra.nagged_app")
        except synth.SynthFailed:
            if not report.exists():
                raise  # CDK fails on findings too, but then there is a report of them
        return list(read_report(json.loads(report.read_text())))

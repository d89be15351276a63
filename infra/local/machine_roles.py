"""What a state machine's own role may do, judged before each of its tasks.

MiniStack judges calls that come by HTTP. Its Step Functions calls the other services within the
process, where nobody asks, so a state machine could do what its role does not allow.
"""

from collections.abc import Iterator
from typing import Any

from ministack.core import iam_evaluator
from ministack.core.responses import get_account_id, get_region

from infra.local import leading_keys

# Through this rule Step Functions hears of a job's end: developer guide, "Run AWS Batch workloads".
_RULE = "rule/StepFunctionsGetEventsForBatchJobsRule"
_RULE_ACTIONS = ("events:PutTargets", "events:PutRule", "events:DescribeRule")

Need = tuple[str, str]


def refusal(role_arn: str, resource: str, data: dict[str, Any]) -> str | None:
    """Why a role may not do a task, in AWS's words; None if it may.

    Parameters
    ----------
    role_arn
        The state machine's.
    resource
        The task's ``Resource``.
    data
        Its parameters, references resolved.
    """
    role_name = role_arn.rpartition("/")[2]
    policies = iam_evaluator._gather_role_policies(role_name, get_account_id())
    # MiniStack looks keys up in small letters, as it puts those of a request.
    named = leading_keys.condition_keys(data)
    context = {key.lower(): values for key, values in named.items()}
    for action, target in _needs(resource, data):
        request = iam_evaluator.EvalContext(
            principal_arn=role_arn,
            principal_type="AssumedRole",
            principal_account=get_account_id(),
            action=action,
            resource_arn=target,
            region=get_region(),
            service_context=context,
        )
        if iam_evaluator.evaluate(request, policies).decision != "Allow":
            return f"{role_arn} is not authorized to perform: {action} on resource: {target}"
    return None


def _needs(resource: str, data: dict[str, Any]) -> Iterator[Need]:
    """The actions of a task and what each is done to: Step Functions developer guide, IAM."""
    service, _, action = resource.partition("states:::")[2].partition(":")
    if service == "batch":
        yield "batch:SubmitJob", data["JobDefinition"]
        yield "batch:SubmitJob", data["JobQueue"]
    if service == "batch" and action.endswith(".sync"):
        yield "batch:DescribeJobs", "*"
        yield "batch:TerminateJob", _arn("batch", "job/any")
        yield from ((name, _arn("events", _RULE)) for name in _RULE_ACTIONS)
    elif service == "lambda":
        yield "lambda:InvokeFunction", data["FunctionName"]
    elif service == "dynamodb":
        table = data["TableName"]
        yield f"dynamodb:{action[:1].upper()}{action[1:]}", _arn("dynamodb", f"table/{table}")


def _arn(service: str, resource: str) -> str:
    return f"arn:aws:{service}:{get_region()}:{get_account_id()}:{resource}"

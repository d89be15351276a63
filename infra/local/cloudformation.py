"""The resource types that the template uses and MiniStack's CloudFormation does not know.

These are AWS Batch's, and alarms on an expression over metrics, which have nobody to wake on one
machine. Every other type that the project synthesizes is MiniStack's own; a type that neither knows
fails the deployment by name, so nothing of the template is left out unseen.
"""

import json
import uuid
from collections.abc import Callable
from typing import Any

from ministack.services import batch as batch_service
from ministack.services.cloudformation import provisioners

from infra.local import batch, selfcheck
from infra.local.state_machines import camel_case

_VERBATIM = ("Tags", "Parameters")  # maps whose keys are the user's, not the API's

Properties = dict[str, Any]
Attributes = dict[str, str]
Created = tuple[str, Attributes]


def install() -> None:
    """Teach MiniStack's CloudFormation the resource types of AWS Batch."""
    selfcheck.replace(
        "ministack.services.cloudformation.provisioners:_cw_metric_alarm_put", _unless_math
    )
    provisioners._RESOURCE_HANDLERS.update(
        {
            "AWS::Batch::ComputeEnvironment": _named(
                "ComputeEnvironment",
                batch_service._create_compute_environment,
                batch_service._compute_envs,
            ),
            "AWS::Batch::JobQueue": _named(
                "JobQueue", batch_service._create_job_queue, batch_service._job_queues
            ),
            "AWS::Batch::SchedulingPolicy": {
                "create": _create_policy,
                "update": lambda arn, _old, _new, _stack: (arn, {"Arn": arn}),
                "delete": lambda _arn, _properties: None,
            },
            "AWS::Batch::JobDefinition": {
                "create": _create_definition,
                "update": _update_definition,
                "delete": lambda arn, _properties: batch.deregister_job_definition(arn),
            },
        }
    )


def _unless_math(put: Callable[[str, Properties], Created]) -> Callable[..., Created]:
    """MiniStack refuses alarms on metric math; here they are a name and nothing more."""

    def put_alarm(name: str, properties: Properties) -> Created:
        return (name, {}) if properties.get("Metrics") else put(name, properties)

    return put_alarm


def _named(kind: str, create: Callable[[Properties], Any], store: Any) -> dict[str, Any]:
    """Handlers for a resource that has a name and is changed in place."""
    arn_key, name_key = f"{kind}Arn", _camel(f"{kind}Name")

    def created(logical_id: str, properties: Properties, _stack: str) -> Created:
        request = _request(properties, name_key, _name(logical_id, properties, f"{kind}Name"))
        request.pop("serviceRole", None)  # the emulator starts no machines that would need it
        arn = _call(create, request)[_camel(arn_key)]
        store[request[name_key]].update(request)  # what the emulator leaves out as well
        return arn, {arn_key: arn}

    def updated(arn: str, _old: Properties, new: Properties, _stack: str) -> Created:
        store[_name_of(arn)].update(_request(new, name_key, _name_of(arn)))
        return arn, {arn_key: arn}

    def deleted(arn: str, _properties: Properties) -> None:
        store.pop(_name_of(arn), None)

    return {"create": created, "update": updated, "delete": deleted}


def _create_policy(logical_id: str, properties: Properties, _stack: str) -> Created:
    """A name and nothing more: the shares of all queues here weigh the same."""
    arn = batch.scheduling_policy_arn(_name(logical_id, properties, "Name"))
    return arn, {"Arn": arn}


def _create_definition(logical_id: str, properties: Properties, _stack: str) -> Created:
    return _register(_name(logical_id, properties, "JobDefinitionName"), properties)


def _update_definition(arn: str, _old: Properties, new: Properties, _stack: str) -> Created:
    """A changed definition is its family's next revision; what refers to it is updated too."""
    return _register(_name_of(arn).partition(":")[0], new)


def _register(name: str, properties: Properties) -> Created:
    request = _request(properties, "jobDefinitionName", name)
    for container, written in zip(_containers(request), _containers(properties), strict=True):
        logging = container.get("logConfiguration")
        if logging and "options" in logging:  # its keys are the log driver's
            logging["options"] = written["LogConfiguration"]["Options"]
    arn = _call(batch.register_job_definition, request)["jobDefinitionArn"]
    return arn, {"JobDefinitionArn": arn}


def _containers(definition: Properties) -> list[Properties]:
    """The container of a definition in either spelling of its keys."""
    for key in ("containerProperties", "ContainerProperties"):
        if key in definition:
            return [definition[key]]
    return []


def _request(properties: Properties, name_key: str, name: str) -> Properties:
    request: Properties = camel_case(properties)
    for key in _VERBATIM:
        if key in properties:
            request[key.lower()] = properties[key]
    return {**request, name_key: name}


def _name(logical_id: str, properties: Properties, key: str) -> str:
    return str(properties.get(key) or f"{logical_id}-{uuid.uuid4().hex[:12]}")


def _camel(name: str) -> str:
    return name[:1].lower() + name[1:]


def _name_of(arn: str) -> str:
    return arn.rpartition("/")[2]


def _call(operation: Callable[[Properties], Any], request: Properties) -> Properties:
    status, _, body = operation(request)
    answer: Properties = json.loads(body)
    if status != 200:
        raise ValueError(answer.get("message", body))
    return answer

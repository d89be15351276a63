"""Reading a CloudFormation template in tests: resources by type, policies by role."""

import json
import re

from infra import checks


def of_type(template, kind):
    return {
        name: resource.get("Properties", {})
        for name, resource in template["Resources"].items()
        if resource["Type"] == kind
    }


def only(found):
    assert len(found) == 1, sorted(found)
    return next(iter(found.values()))


def functions(template):
    """The functions by the module of their handler."""
    return {
        properties["Handler"].split(".")[1]: properties
        for properties in of_type(template, "AWS::Lambda::Function").values()
        if properties.get("Handler", "").startswith("functions.")
    }


def mappings(template, *, of):
    """The event source mappings of a function, by its handler's module."""
    return {
        name: mapping
        for name, mapping in of_type(template, "AWS::Lambda::EventSourceMapping").items()
        if mapping["FunctionName"]["Ref"].startswith(f"{of.title()}Handler")
    }


def statements(template, role):
    """The policy statements of the one role whose logical id begins so."""
    return [
        statement
        for policy in of_type(template, "AWS::IAM::Policy").values()
        if any(attached["Ref"].startswith(role) for attached in policy["Roles"])
        for statement in policy["PolicyDocument"]["Statement"]
    ]


def as_list(value):
    return value if isinstance(value, list) else [value]


def actions(template, role, *, service):
    """Actions of one service by the resources they are allowed on, as text."""
    return {
        (action.removeprefix(f"{service}:"), where)
        for statement in statements(template, role)
        for action in as_list(statement["Action"])
        if action.startswith(f"{service}:")
        for where in map(named, as_list(statement["Resource"]))
    }


def named(resource):
    """A resource of a policy in short: the thing it names, and the path below."""
    text = json.dumps(resource)
    names = re.findall(r'"Storage(Uploads|Work|Tracks|Drop|Table)', text)
    path = re.search(r'"(/[^"]*)"\]\]', text)
    return (names[0] + (path.group(1) if path else "")) if names else text


def definition(template, recipe="separate"):
    machines = checks.state_machines(template)
    return json.loads(only({k: v for k, v in machines.items() if k.startswith(recipe.title())}))

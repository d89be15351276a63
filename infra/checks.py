"""What ``make check`` asks of the template: ``python -m infra.checks``.

One line per check; the exit status says whether all of them passed.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from infra import nag, synth

# cfn-lint's rules that are not ours to follow, and why.
_IGNORED_RULES: Final = {
    "W3005": "CDK orders a function after its role by DependsOn beside GetAtt; it is redundant",
}


def snapshot_drift(fresh: synth.Snapshot) -> list[str]:
    """What of the committed snapshot differs from a fresh synth."""
    files = {
        synth.TEMPLATE_FILE: synth.as_text(fresh.template),
        synth.ASSETS_FILE: synth.as_text(fresh.assets),
    }
    return [
        f"{path.name} is not what the code synthesizes: run `make snapshot`"
        for path, text in files.items()
        if not path.exists() or path.read_text() != text
    ]


def template_problems(template: Mapping[str, Any]) -> list[str]:
    """What cfn-lint finds in a template, apart from the rules ignored here."""
    from cfnlint.api import ManualArgs, lint  # type: ignore[import-untyped]  # it ships no types

    rules = ManualArgs(ignore_checks=list(_IGNORED_RULES))
    found = lint(synth.as_text(template), config=rules)
    return [f"{match.rule.id} line {match.linenumber}: {match.message}" for match in found]


def state_machine_problems(template: Mapping[str, Any]) -> list[str]:
    """What statelint finds in the template's state machines."""
    from statelint.linter import Linter

    return [
        f"{name}: {problem}"
        for name, document in state_machines(template).items()
        for problem in Linter.validate(document)
    ]


def state_machines(template: Mapping[str, Any]) -> dict[str, str]:
    """Every state machine's definition by its logical id, names put in for references."""
    return {
        name: _flat(resource["Properties"]["DefinitionString"])
        for name, resource in template["Resources"].items()
        if resource["Type"] == "AWS::StepFunctions::StateMachine"
    }


def _flat(value: Any) -> str:
    """A template's string with what CloudFormation would look up replaced by its name."""
    match value:
        case str() | int():
            return str(value)
        case {"Fn::Join": [separator, parts]}:
            return str(separator).join(_flat(part) for part in parts)
        case {"Ref": "AWS::Partition"}:
            return "aws"
        case {"Fn::If": [_, _, otherwise]}:
            return _flat(otherwise)
        case {"Ref": name} | {"Fn::GetAtt": [name, *_]}:
            return str(name)
    raise ValueError(f"no string can be made of {value!r}")


def _findings() -> Iterator[tuple[str, list[str]]]:
    fresh = synth.synthesize()
    yield "snapshot equals a fresh synth", snapshot_drift(fresh)
    yield "cfn-lint", template_problems(fresh.template)
    yield "statelint", state_machine_problems(fresh.template)
    yield "cdk-nag AwsSolutions and Serverless", nag.problems(nag.find())


def report(findings: Iterable[tuple[str, list[str]]]) -> int:
    """Print each check's name and what it found; 1 if any found something."""
    failed = False
    for name, problems in findings:
        sys.stdout.write(f"{name}: {'ok' if not problems else f'{len(problems)} found'}\n")
        sys.stdout.writelines(f"  {problem}\n" for problem in problems)
        failed = failed or bool(problems)
    return int(failed)


if __name__ == "__main__":
    sys.exit(report(_findings()))

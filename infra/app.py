"""The CDK application: what `cdk deploy` and `infra.synth` run.

It holds no account and no region, so one template serves every deployment
and the local twin. What a deployment decides comes by context (`infra.options`).
"""

from dataclasses import fields
from typing import Any

import aws_cdk as cdk

from infra.options import Options
from infra.service import Service
from infra.synth import STACK_NAME


def build() -> cdk.App:
    """The application with its one stack, ready to synthesize."""
    app = cdk.App(analytics_reporting=False)
    # The CLI checks the bootstrap version by the asset manifest already; the
    # template's own rule would only ask every twin for an SSM parameter.
    synthesizer = cdk.DefaultStackSynthesizer(generate_bootstrap_version_rule=False)
    Service(
        app,
        STACK_NAME,
        options=Options.from_context(_context(app)),
        stack_name=STACK_NAME,
        synthesizer=synthesizer,
        description="Noise removal for speech and separation of music into nine tracks.",
    )
    return app


def _context(app: cdk.App) -> dict[str, Any]:
    return {option.name: app.node.try_get_context(option.name) for option in fields(Options)}


if __name__ == "__main__":
    build().synth()

"""The CDK application with cdk-nag's packs plugged in; `infra.nag` runs it."""

import aws_cdk as cdk
from cdk_nag import AwsSolutionsChecks, ServerlessChecks

from infra.app import build

if __name__ == "__main__":
    app = build()
    cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app), ServerlessChecks(app))
    app.synth()

"""What comes from npm: pinned, with hashes, and of use to who deploys."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra import checks, synth

LOCK = json.loads((synth.ROOT / "package-lock.json").read_text())
PACKAGE = json.loads((synth.ROOT / "package.json").read_text())
CDK = synth.ROOT / "node_modules/aws-cdk/bin/cdk"


def test_every_tool_is_pinned_exactly_and_locked_by_its_hash():
    packages = {name: each for name, each in LOCK["packages"].items() if name}
    for name, version in PACKAGE["devDependencies"].items():
        assert packages[f"node_modules/{name}"]["version"] == version
    assert packages and all(each["integrity"].startswith("sha512-") for each in packages.values())


def test_the_lock_names_no_registry():
    assert not [each for each in LOCK["packages"].values() if "resolved" in each]


def test_the_documents_name_the_command_lines_pinned_version():
    deploying = (synth.ROOT / "docs/deploy.md").read_text()
    assert f"aws-cdk@{PACKAGE['devDependencies']['aws-cdk']}" in deploying


def test_the_pinned_command_line_finds_the_stack():
    if not CDK.exists():
        pytest.skip(checks._NO_TOOLS)
    node = synth.registry_node()
    paths = [str(Path(sys.executable).parent), str(node.parent), os.environ["PATH"]]
    done = subprocess.run(
        [str(node), str(CDK), "ls", "--no-notices"],
        cwd=synth.ROOT,
        env={**os.environ, "PATH": os.pathsep.join(paths), "CDK_DISABLE_VERSION_CHECK": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["clearstem"]


def test_asl_validator_finds_a_state_that_leads_nowhere(template):
    broken = json.loads(
        json.dumps(template).replace('"Next\\": \\"normalization\\"', '"Next\\": \\"nowhere\\"')
    )
    why, problems = checks.asl_validator_problems(broken)
    if why:
        pytest.skip(why)
    assert problems
    assert checks.asl_validator_problems(template) == ("", [])

"""What the service is made of, and what is known of it."""

import json
import subprocess
import sys

from clearstem.models import HTDEMUCS
from infra import supply_chain, synth


def test_every_pin_and_every_file_of_weights_is_in_the_bill():
    bill = supply_chain.bill()
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    libraries = {c["name"]: c for c in bill["components"] if c["type"] == "library"}
    assert {name: c["version"] for name, c in libraries.items()} == supply_chain.pins()
    assert libraries["boto3"]["purl"] == f"pkg:pypi/boto3@{supply_chain.pins()['boto3']}"
    weights = [c for c in bill["components"] if c["type"] == "machine-learning-model"]
    sums = {c["hashes"][0]["content"] for c in weights}
    assert sums == {file.sha256 for file in HTDEMUCS.files}
    assert all(c["licenses"][0]["license"]["name"] == HTDEMUCS.licence for c in weights)


def test_the_bill_is_written_as_json():
    command = [sys.executable, "-m", "infra.supply_chain"]
    done = subprocess.run(command, cwd=synth.ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == supply_chain.bill()


def test_every_installed_package_says_its_licence():
    assert supply_chain.unlicensed() == []


def test_a_package_that_is_not_there_has_no_licence():
    assert supply_chain.licence("no-such-package-at-all") == ""


def test_an_audit_that_cannot_be_made_says_why(monkeypatch):
    monkeypatch.setitem(sys.modules, "pip_audit", None)
    why, holes = supply_chain.audit()
    assert "not installed" in why and holes == []

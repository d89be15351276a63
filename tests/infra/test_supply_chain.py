"""What the service is made of, and what is known of it."""

import json
import re
import subprocess
import sys
import time

import pytest

from clearstem.models import HTDEMUCS, HTDEMUCS_FT
from infra import supply_chain, synth


def parts(kind):
    """The parts of the bill whose package address begins so, by name and version."""
    found = supply_chain.bill()["components"]
    return {
        (c["name"], c["version"]): c for c in found if c.get("purl", "").startswith(f"pkg:{kind}/")
    }


def test_every_pin_and_every_file_of_weights_is_in_the_bill():
    bill = supply_chain.bill()
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    libraries = parts("pypi")
    assert set(libraries) == set(supply_chain.pins().items())
    boto3 = supply_chain.pins()["boto3"]
    assert libraries["boto3", boto3]["purl"] == f"pkg:pypi/boto3@{boto3}"
    weights = [c for c in bill["components"] if c["type"] == "machine-learning-model"]
    sums = {c["hashes"][0]["content"] for c in weights if "hashes" in c}
    assert sums == {file.sha256 for file in HTDEMUCS.files}
    # Of these the publisher tells the beginning of a sum, which is no SHA-256 to the schema.
    begun = {c["version"] for c in weights if "hashes" not in c}
    assert begun == {file.sha256 for file in HTDEMUCS_FT.files}
    assert all(c["licenses"][0]["license"]["name"] == HTDEMUCS.licence for c in weights)


def test_what_the_images_are_built_on_is_in_the_bill_by_digest():
    images = parts("oci")
    digests = {found["hashes"][0]["content"] for found in images.values()}
    files = [path.read_text() for path in (synth.ROOT / "containers").glob("*.Dockerfile")]
    assert digests == set(re.findall(r"@sha256:([0-9a-f]{64})", "".join(files)))
    assert {name for name, _ in images} == {"python", "aws-lambda-adapter"}
    (adapter,) = (found for (name, _), found in images.items() if name == "aws-lambda-adapter")
    assert adapter["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    assert "repository_url=public.ecr.aws/awsguru/aws-lambda-adapter" in adapter["purl"]


def test_the_tools_from_npm_are_in_the_bill_and_delivered_to_nobody():
    asked = json.loads((synth.ROOT / "package.json").read_text())["devDependencies"]
    tools = parts("npm")
    assert set(asked.items()) <= set(tools)
    assert {tool["scope"] for tool in tools.values()} == {"excluded"}
    assert tools["@asyncapi/specs", asked["@asyncapi/specs"]]["purl"].startswith(
        "pkg:npm/%40asyncapi/specs@"
    )
    assert all(len(tool["hashes"][0]["content"]) == 128 for tool in tools.values())


def test_the_libraries_of_the_gpu_image_are_pinned_with_their_licences():
    """Torch of PyPI asks for them; no machine of the tests has them."""
    cuda = {
        name: c
        for (name, _), c in parts("pypi").items()
        if name.startswith(("nvidia-", "triton", "cuda-"))
    }
    assert {"triton", "nvidia-cublas", "nvidia-cudnn-cu13", "nvidia-nccl-cu13"} <= set(cuda)
    told = {name: c["licenses"][0]["license"]["name"] for name, c in cuda.items()}
    assert told["triton"] == "MIT License" and "NVIDIA" in told["nvidia-cublas"]


def test_an_installed_part_without_a_licence_is_told(monkeypatch):
    monkeypatch.setattr(supply_chain, "licence", lambda _: "")
    monkeypatch.setattr(supply_chain, "pins", lambda _: {"pytest": "1", "no-such-package": "1"})
    assert supply_chain.unlicensed() == ["pytest 1 says nothing of its licence"]


def test_the_bill_is_written_as_json():
    command = [sys.executable, "-m", "infra.supply_chain"]
    done = subprocess.run(command, cwd=synth.ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == supply_chain.bill()


def test_every_part_that_is_here_says_its_licence():
    assert supply_chain.unlicensed() == []


def test_a_package_that_is_not_there_has_no_licence():
    assert supply_chain.licence("no-such-package-at-all") == ""


def test_an_audit_that_cannot_be_made_says_why(monkeypatch):
    monkeypatch.setitem(sys.modules, "pip_audit", None)
    why, holes = supply_chain.audit()
    assert "not installed" in why and holes == []


def test_the_bill_is_as_cyclonedx_asks():
    why, problems = supply_chain.bill_problems()
    assert problems == []
    if why:
        pytest.skip(why)


def test_a_package_that_is_there_twice_is_told(monkeypatch):
    monkeypatch.setattr(supply_chain, "pins", lambda _: {"one": "1"})
    monkeypatch.setattr(
        supply_chain, "_models", lambda: iter([{"type": "library", "name": "one", "version": "1"}])
    )
    _, problems = supply_chain.bill_problems()
    assert "one 1 is there twice" in problems


# What stands for pip-audit: it answers as the real one does, of what it is asked.
_AUDITOR = """
import json, pathlib, sys, time
lines = pathlib.Path(sys.argv[sys.argv.index("--requirement") + 1]).read_text().split()
if {hangs}:
    time.sleep(60)
known = {known}
print(json.dumps({{"fixes": [], "dependencies": [
    {{"name": n, "version": v, "vulns": known[n]}} if n in known
    else {{"name": n, "skip_reason": "Dependency not found on PyPI"}}
    for n, _, v in (line.partition("==") for line in lines)
]}}))
"""


@pytest.fixture
def audited(tmp_path, monkeypatch):
    """Audits two pins with a stand-in for pip-audit that knows what it is given."""

    def audited(known, *, hangs=False):
        (tmp_path / "pip_audit.py").write_text(_AUDITOR.format(known=known, hangs=hangs))
        (tmp_path / "constraints.txt").write_text("# pins\nfirst==1.0\nsecond==2.0\n")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        monkeypatch.syspath_prepend(tmp_path)
        return supply_chain.audit(tmp_path)

    return audited


def test_known_holes_are_told_with_what_mends_them(audited):
    hole = [{"id": "CVE-1", "fix_versions": ["2.1"]}]
    assert audited({"first": [], "second": hole}) == (
        "",
        ["second 2.0: CVE-1, mended in ['2.1']"],
    )


def test_a_service_that_knows_no_package_is_told_as_not_there(audited):
    assert audited({}) == ("the vulnerability service does not answer from here", [])


def test_packages_the_service_does_not_know_are_counted_and_hide_no_hole(audited):
    why, holes = audited({"first": [{"id": "CVE-2", "fix_versions": []}]})
    assert "1 of 2" in why and len(holes) == 1


def test_a_service_that_never_answers_holds_nobody_up_for_more_than_five_seconds(audited):
    begun = time.monotonic()
    assert audited({"first": []}, hangs=True)[0]
    assert time.monotonic() - begun < 5

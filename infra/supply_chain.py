"""What the service is made of: a bill of materials, its licences, known holes.

``python -m infra.supply_chain`` writes the bill in CycloneDX's JSON form. It
is made of the pins (``constraints.txt``), of what the installed packages say
of themselves, and of the models whose weights may be part of an image.
"""

import importlib.util
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from clearstem import __version__
from clearstem.models import MODELS

ROOT: Final = Path(__file__).resolve().parent.parent
_LICENCE: Final = "License :: "
_AUDIT_S: Final = 120.0
_PROBE_S: Final = 4.0

# The Audo dialect's published client, whose packages name no licence. Tests call it; nothing of
# it is delivered, copied or imported elsewhere.
_ONLY_TESTED_WITH: Final = frozenset({"audoai-common", "audoai-noise-removal"})


def pins(root: Path = ROOT) -> dict[str, str]:
    """Exact version of every package, by its name."""
    lines = (root / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    return {name.strip(): version.strip() for name, version in pairs}


def licence(package: str) -> str:
    """What an installed package says of its licence; empty where it says nothing."""
    try:
        told = metadata.metadata(package)
    except metadata.PackageNotFoundError:
        return ""

    def first_line(field: str) -> str:
        # Some put the licence's whole text there.
        return next(iter(" ".join(told.get_all(field) or ()).strip().splitlines()), "")[:80]

    classified = ", ".join(
        line.rpartition("::")[2].strip()
        for line in told.get_all("Classifier") or ()
        if line.startswith(_LICENCE)
    )
    return (
        first_line("License-Expression")
        or classified
        or first_line("License")
        or first_line("License-File")
    )


def bill(root: Path = ROOT) -> dict[str, Any]:
    """The bill of materials, CycloneDX 1.6."""
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {"type": "application", "name": "clearstem", "version": __version__}
        },
        "components": [*_libraries(root), *_models()],
    }


def _libraries(root: Path) -> Iterator[dict[str, Any]]:
    for name, version in sorted(pins(root).items()):
        told = licence(name)
        yield {
            "type": "library",
            "name": name,
            "version": version,
            "purl": f"pkg:pypi/{name.lower().replace('_', '-')}@{version}",
            **({"licenses": [{"license": {"name": told}}]} if told else {}),
        }


def _models() -> Iterator[dict[str, Any]]:
    for model in MODELS.values():
        for file in model.files:
            yield {
                "type": "machine-learning-model",
                "name": f"{model.name}/{file.file_name}",
                "version": file.sha256[:12],
                # The schema has no room for the beginning of a sum, which stands in the version.
                **(
                    {"hashes": [{"alg": "SHA-256", "content": file.sha256}]}
                    if file.is_pinned
                    else {}
                ),
                "licenses": [{"license": {"name": model.licence}}],
            }


def unlicensed(root: Path = ROOT) -> list[str]:
    """Installed packages among the pins that say nothing of their licence."""
    return [
        f"{name} {version} says nothing of its licence"
        for name, version in pins(root).items()
        if _is_installed(name) and not licence(name) and name not in _ONLY_TESTED_WITH
    ]


def _is_installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def bill_problems(root: Path = ROOT) -> tuple[str, list[str]]:
    """What of the bill is not as CycloneDX's schema asks, or is there twice.

    First why the schema was not asked, where it was not.
    """
    made = bill(root)
    names = [component["name"] for component in made["components"]]
    twice = [f"{name} is there twice" for name, many in Counter(names).items() if many > 1]
    if importlib.util.find_spec("cyclonedx") is None:
        return "cyclonedx-python-lib is not installed; it comes with the extra dev", twice
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(made))
    return "", [*([str(problem)] if problem else []), *twice]


def audit(root: Path = ROOT) -> tuple[str, list[str]]:
    """Known holes in the pinned versions.

    A service that is not there, or knows none of the packages, is found out by
    one of them and within five seconds.

    Returns
    -------
    str
        Why nothing was asked; empty where it was.
    list of str
        A line per hole.
    """
    if importlib.util.find_spec("pip_audit") is None:
        return "pip-audit is not installed; it comes with the extra dev", []
    asked = [f"{name}=={version}" for name, version in pins(root).items()]
    if not _known(asked[:1], limit_s=_PROBE_S):
        return "the vulnerability service does not answer from here", []
    known = _known(asked, limit_s=_AUDIT_S)
    told = f"the service told of {len(known)} of {len(asked)} packages"
    return ("" if len(known) == len(asked) else told), [
        f"{package['name']} {package['version']}: {hole['id']}, mended in {hole['fix_versions']}"
        for package in known
        for hole in package["vulns"]
    ]


def _known(requirements: list[str], *, limit_s: float) -> list[dict[str, Any]]:
    """What the service tells of packages; those it does not know are left out."""
    command = [sys.executable, "-m", "pip_audit", "--no-deps", "--disable-pip"]
    command += ["--format", "json", "--progress-spinner", "off", "--timeout", str(int(_PROBE_S))]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(requirements))
        file.flush()
        try:
            done = subprocess.run(  # noqa: S603 - our own command
                [*command, "--requirement", file.name],
                capture_output=True,
                text=True,
                timeout=limit_s,
                check=False,
            )
            answer = json.loads(done.stdout)
        except (subprocess.TimeoutExpired, json.JSONDecodeError):
            return []
    return [package for package in answer["dependencies"] if "skip_reason" not in package]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(bill(), indent=1) + "\n")

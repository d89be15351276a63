"""What the service is made of: a bill of materials, its licences, known holes.

``python -m infra.supply_chain`` writes the bill in CycloneDX's JSON form. It
is made of the pins (``constraints.txt``), of what the installed packages say
of themselves, of the images that ours are built on, of the lock of the tools from
npm, and of the models whose weights may be part of an image. What lies in a base
image its publisher tells; here it is one part, by its digest.
"""

import base64
import importlib.util
import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from clearstem import __version__
from clearstem.models import MODELS

ROOT: Final = Path(__file__).resolve().parent.parent
_LICENCE: Final = "License :: "
_AUDIT_S: Final = 120.0
_PROBE_S: Final = 4.0

# The Audo dialect's published client, whose packages name no licence. Tests call it; nothing of
# it is delivered, copied or imported elsewhere.
_ONLY_TESTED_WITH: Final = frozenset({"audoai-common", "audoai-noise-removal"})

# What images install and no machine of the tests, as the wheels' own metadata tell it; the
# toolkit's, which only names the others, tell nothing.
_NVIDIA: Final = "LicenseRef-NVIDIA-Proprietary"
_IN_IMAGES_ALONE: Final = {
    "cuda-bindings": "Apache-2.0",
    "cuda-pathfinder": "Apache-2.0",
    "cuda-toolkit": _NVIDIA,
    "nvidia-cublas": _NVIDIA,
    "nvidia-cuda-cupti": _NVIDIA,
    "nvidia-cuda-nvrtc": _NVIDIA,
    "nvidia-cuda-runtime": _NVIDIA,
    "nvidia-cudnn-cu13": _NVIDIA,
    "nvidia-cufft": _NVIDIA,
    "nvidia-cufile": _NVIDIA,
    "nvidia-curand": _NVIDIA,
    "nvidia-cusolver": _NVIDIA,
    "nvidia-cusparse": _NVIDIA,
    "nvidia-cusparselt-cu13": "NVIDIA Proprietary Software",
    "nvidia-nccl-cu13": _NVIDIA,
    "nvidia-nvjitlink": _NVIDIA,
    "nvidia-nvshmem-cu13": _NVIDIA,
    "nvidia-nvtx": "Apache 2.0",
    "triton": "MIT License",
    # The runtime client of a function's image, which is for Linux alone.
    "awslambdaric": "Apache Software License",
    "simplejson": "MIT OR AFL-2.1",
    "snapshot-restore-py": "Apache Software License",
}

# A base in a Dockerfile: where it lies, its release, its digest.
_BASE: Final = re.compile(
    r"^ARG \w+_IMAGE=([\w./-]+):([\w.-]+)@sha256:([0-9a-f]{64})$", re.MULTILINE
)
# Of what the images are named for; the licences of Debian's packages in them are Debian's to tell.
_IMAGE_LICENCES: Final = {"python": "PSF-2.0", "aws-lambda-adapter": "Apache-2.0"}
# What npm calls a sum, and what CycloneDX does.
_ALGORITHMS: Final = {"sha512": "SHA-512"}


def pins(root: Path = ROOT) -> dict[str, str]:
    """Exact version of every package, by its name."""
    lines = (root / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    return {name.strip(): version.strip() for name, version in pairs}


def licence(package: str) -> str:
    """What a package says of its licence; empty where it says nothing."""
    try:
        told = metadata.metadata(package)
    except metadata.PackageNotFoundError:
        return _IN_IMAGES_ALONE.get(package, "")

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
        "components": [*_libraries(root), *_base_images(root), *_tools(root), *_models()],
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


def _base_images(root: Path) -> Iterator[dict[str, Any]]:
    """What the Dockerfiles build on where a deployment names no other: the adapter among them."""
    texts = [path.read_text() for path in sorted((root / "containers").glob("*.Dockerfile"))]
    for whole in sorted({found for text in texts for found in _BASE.findall(text)}):
        where, tag, digest = whole
        name = where.rpartition("/")[2]
        yield {
            "type": "container",
            "name": name,
            "version": tag,
            "purl": f"pkg:oci/{name}@sha256%3A{digest}?repository_url={_registry(where)}&tag={tag}",
            "hashes": [{"alg": "SHA-256", "content": digest}],
            "licenses": [{"license": {"id": _IMAGE_LICENCES[name]}}],
        }


def _registry(image: str) -> str:
    """The whole address of an image: Docker's own have a short name."""
    return image if "/" in image else f"docker.io/library/{image}"


def _tools(root: Path) -> Iterator[dict[str, Any]]:
    """What `make check` and a deployment take from npm; none of it is delivered."""
    locked = json.loads((root / "package-lock.json").read_text())["packages"]
    for path, told in sorted(locked.items()):
        if not path:
            continue  # the list itself
        name = path.rpartition("node_modules/")[2]
        algorithm, _, digest = told["integrity"].partition("-")
        yield {
            "type": "library",
            "name": name,
            "version": told["version"],
            "purl": f"pkg:npm/{quote(name)}@{told['version']}",
            "scope": "excluded",
            "hashes": [{"alg": _ALGORITHMS[algorithm], "content": base64.b64decode(digest).hex()}],
            "licenses": [{"license": {"name": told["license"]}}],
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
    """Parts of the bill that say nothing of their licence; a package that is not here cannot."""
    return [
        f"{part['name']} {part['version']} says nothing of its licence"
        for part in bill(root)["components"]
        if "licenses" not in part
        and part["name"] not in _ONLY_TESTED_WITH
        and _is_installed(part["name"])
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
    names = Counter(f"{part['name']} {part['version']}" for part in made["components"])
    twice = [f"{name} is there twice" for name, many in names.items() if many > 1]
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

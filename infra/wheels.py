"""The wheels of the functions' zip: one version and one sha256 of each.

``python -m infra.wheels`` asks pip which wheels of the functions' machine the
project's dependencies come to under the pins, and writes them down with their
hashes (``infra/functions.lock``). A deployment installs just those: pip refuses
a file of another content, whatever registry it comes from, and the lock names
none.
"""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from infra.supply_chain import ROOT, pins

LOCK: Final = "infra/functions.lock"

_TARGET: Final = (
    "--platform=manylinux2014_aarch64",
    "--platform=manylinux_2_28_aarch64",
    "--implementation=cp",
    "--python-version=3.13",
    "--only-binary=:all:",
)
_PIP: Final = (sys.executable, "-m", "pip", "--disable-pip-version-check")
# Dependencies of the command line and its client alone.
_CLIENT_ONLY: Final = frozenset({"rich", "typer", "websockets"})
_MADE_OF: Final = "# made of: "
_LOCKED: Final = re.compile(r"^(?P<name>[\w.-]+)==(?P<version>\S+) --hash=sha256:[0-9a-f]{64}$")


def requirements(root: Path = ROOT) -> list[str]:
    """The project's dependencies that a function needs, as pip reads them."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    return [
        line
        for line in project["dependencies"]
        if re.split(r"[^\w.-]", line, maxsplit=1)[0] not in _CLIENT_ONLY
    ]


def install(target: Path, *, root: Path = ROOT) -> None:
    """Install the locked wheels into a folder.

    Raises
    ------
    subprocess.CalledProcessError
        pip found no such wheel, or one of another content.
    """
    command = [*_PIP, "install", "--quiet", "--no-compile", "--target", str(target)]
    command += ["--no-deps", "--require-hashes", "--requirement", str(root / LOCK), *_TARGET]
    # Bundling's stdout is the synth's: what pip prints belongs on stderr.
    subprocess.run(command, check=True, stdout=sys.stderr)  # noqa: S603 - pip, by our own list
    shutil.rmtree(target / "bin", ignore_errors=True)


def lock(root: Path = ROOT) -> str:
    """The lock as it would be written now; asks a registry, as `install` does."""
    with tempfile.TemporaryDirectory() as nowhere:
        command = [*_PIP, "install", "--quiet", "--dry-run", "--ignore-installed"]
        command += ["--report", "-", "--target", nowhere, *_TARGET]
        command += ["--constraint", str(root / "constraints.txt"), *requirements(root)]
        done = subprocess.run(  # noqa: S603 - pip, by our own list
            command, check=True, stdout=subprocess.PIPE, text=True
        )
    wheels = sorted(_lines(json.loads(done.stdout)), key=str.lower)
    head = ["# By `python -m infra.wheels`; not to be changed by hand.", _made_of(root)]
    return "\n".join([*head, *wheels]) + "\n"


def _lines(report: Mapping[str, Any]) -> Iterator[str]:
    for wheel in report["install"]:
        told, archive = wheel["metadata"], wheel["download_info"]["archive_info"]
        yield f"{told['name']}=={told['version']} --hash=sha256:{archive['hashes']['sha256']}"


def _made_of(root: Path) -> str:
    asked = "\n".join([*requirements(root), *_TARGET])
    return _MADE_OF + hashlib.sha256(asked.encode()).hexdigest()


def locked(root: Path = ROOT) -> dict[str, str]:
    """The version of each locked wheel, by its name; `ValueError` names a line that is no lock."""
    found = {}
    for line in (root / LOCK).read_text().splitlines():
        if line.startswith("#"):
            continue
        match = _LOCKED.match(line)
        if match is None:
            raise ValueError(f"{LOCK}: not one wheel by its hash: {line}")
        found[match["name"]] = match["version"]
    return found


def problems(root: Path = ROOT) -> list[str]:
    """What of the committed lock no longer fits the dependencies and their pins."""
    pinned = {_canonical(name): version for name, version in pins(root).items()}
    found = [
        f"{name} is locked to {version}, pinned to {pinned.get(_canonical(name), 'nothing')}"
        for name, version in locked(root).items()
        if pinned.get(_canonical(name)) != version
    ]
    if _made_of(root) not in (root / LOCK).read_text().splitlines():
        found.insert(0, "the dependencies have changed since")
    return [f"{LOCK}: {problem}; run `python -m infra.wheels`" for problem in found]


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> int:
    """Write the lock."""
    text = lock()
    (ROOT / LOCK).write_text(text)
    sys.stdout.write(f"{len(text.splitlines()) - 2} wheels in {LOCK}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

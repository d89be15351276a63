"""What the extension takes from behind MiniStack's public surface, and proof that it is unchanged.

MiniStack has no plug-in interface, so the twin replaces and calls private names of one exact
version. Each of them is listed in ``selfcheck.json`` with a digest of its source. ``replace`` and
``verify`` refuse a name that is gone or reads differently, and say which one: an upgrade of the
pin then fails in the first second and not in the middle of somebody's job.

``python -m infra.local.selfcheck`` checks every name; with ``--accept`` it lists the names that the
modules here use with the digests of the installed version, which is to be done after reading what
changed.
"""

import ast
import hashlib
import importlib
import importlib.util
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

PINNED_VERSION = "1.5.33"
_TABLE = Path(__file__).with_name("selfcheck.json")
_NOT_CODE = "value"
_NAME = re.compile(r"ministack[\w.]*:[\w.]+")

_originals: dict[str, object] = {}


class PrivateNameChangedError(RuntimeError):
    """A private name of MiniStack is missing or is not the one this extension was written for."""


@cache
def known_names() -> Mapping[str, str]:
    """Every private name in use, as ``module:attribute``, with the digest it must have."""
    table: dict[str, str] = json.loads(_TABLE.read_text(encoding="utf-8"))
    return table


def digest(value: object) -> str:
    """Sixteen hex digits that change when the source of a function does.

    Anything that is not a function only has to exist, because its value is state.
    """
    if not inspect.isfunction(value):
        return _NOT_CODE
    return hashlib.sha256(inspect.getsource(value).encode()).hexdigest()[:16]


def original(name: str) -> Any:
    """The object MiniStack ships under ``module:attribute``, whatever has replaced it since.

    Raises
    ------
    PrivateNameChangedError
        When the module or the attribute does not exist.
    """
    if name in _originals:
        return _originals[name]
    module_name, _, path = name.partition(":")
    try:
        value: Any = importlib.import_module(module_name)
        for part in path.split("."):
            value = getattr(value, part)
    except (ImportError, AttributeError) as exc:
        raise PrivateNameChangedError(f"MiniStack has no {name} ({_versions()})") from exc
    return value


def check(name: str, *, table: Mapping[str, str] | None = None) -> Any:
    """The private object called `name`, once it is certain that it is the known one.

    Raises
    ------
    PrivateNameChangedError
        When the name is not in the table, is gone, or its source differs.
    """
    expected = (known_names() if table is None else table).get(name)
    if expected is None:
        raise PrivateNameChangedError(f"{name} is used but not listed in {_TABLE.name}")
    value = original(name)
    found = digest(value)
    if found != expected:
        raise PrivateNameChangedError(
            f"MiniStack's {name} has changed: digest {found}, expected {expected} ({_versions()})"
        )
    return value


def replace(name: str, substitute: Callable[[Any], object]) -> None:
    """Put ``substitute(original)`` in the place of the private object called `name`, once.

    Raises
    ------
    PrivateNameChangedError
        As `check`.
    """
    if name in _originals:
        return
    value = check(name)
    module_name, _, path = name.partition(":")
    owner: Any = importlib.import_module(module_name)
    *parents, last = path.split(".")
    for part in parents:
        owner = getattr(owner, part)
    _originals[name] = value
    setattr(owner, last, substitute(value))


def verify(*, table: Mapping[str, str] | None = None) -> int:
    """Check the version and every listed name; the number of names checked.

    Raises
    ------
    PrivateNameChangedError
        Naming the first thing that differs.
    """
    if version("ministack") != PINNED_VERSION:
        raise PrivateNameChangedError(f"wrong MiniStack: {_versions()}")
    names = known_names() if table is None else table
    for name in names:
        check(name, table=names)
    return len(names)


def names_in_use(folder: Path = _TABLE.parent) -> set[str]:
    """What the modules of `folder` take from MiniStack's, found in their source."""
    return {name for path in folder.glob("*.py") for name in _names_in(path)}


def _names_in(path: Path) -> Iterator[str]:
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    modules: dict[str, str] = {}
    for source, alias in _imports(nodes):
        if _is_module(f"{source}.{alias.name}"):
            modules[alias.asname or alias.name] = f"{source}.{alias.name}"
        else:
            yield f"{source}:{alias.name}"
    for node in nodes:
        if isinstance(node, ast.Constant) and _NAME.fullmatch(str(node.value)):
            yield str(node.value)
        elif isinstance(node, ast.Attribute) and getattr(node.value, "id", None) in modules:
            yield f"{modules[ast.unparse(node.value)]}:{node.attr}"


def _imports(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, ast.alias]]:
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("ministack"):
            for alias in node.names:
                yield str(node.module), alias


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # its parent is a module and no package
        return False


def accept(names: Iterable[str]) -> None:
    """Write the digests that `names` have in the installed version."""
    table = {name: digest(original(name)) for name in sorted(names)}
    _TABLE.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


def _versions() -> str:
    return f"installed {version('ministack')}, written for {PINNED_VERSION}"


def main(arguments: list[str]) -> int:
    """Check, or accept what is installed; the process exit status."""
    if "--accept" in arguments:
        accept(names_in_use())
    print(f"{verify()} private names of MiniStack {PINNED_VERSION} are as expected")  # noqa: T201 - its output
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

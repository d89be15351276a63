"""The zip holds what the functions import, and is named after what it holds."""

import ast
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from infra import synth, wheels

# What no function imports: the command line and its client.
CLIENT = {
    "cli.py",
    "cli_jobs.py",
    "cli_keys.py",
    "cli_models.py",
    "cli_quotas.py",
    "cli_webhooks.py",
    "client",
    "terminal.py",
    "demo.py",
    "smoke.py",
}


@pytest.fixture(scope="module")
def bundling():
    """Imported late: aws_cdk starts Node, and it is to be the registry's."""
    patch = pytest.MonkeyPatch()
    patch.setenv("JSII_NODE", str(synth.registry_node()))
    from infra import bundling

    yield bundling
    patch.undo()


@pytest.fixture
def tree(tmp_path) -> Path:
    for package in ("clearstem", "functions"):
        (tmp_path / package / "__pycache__").mkdir(parents=True)
        (tmp_path / package / "__init__.py").write_text("")
        (tmp_path / package / "__pycache__" / "x.cpython-311.pyc").write_bytes(b"1")
    (tmp_path / "constraints.txt").write_text("boto3==1.0\n")
    (tmp_path / "infra").mkdir()
    (tmp_path / wheels.LOCK).write_text(f"boto3==1.0 --hash=sha256:{0:064}\n")
    (tmp_path / "pyproject.toml").write_text(
        '[project]\ndependencies = ["boto3>=1", "rich>=14", "aws-lambda-powertools[tracer]>=3"]\n'
    )
    return tmp_path


def test_caches_stay_out_of_the_zip(bundling, tree):
    bundling.copy_packages(tree / "out", root=tree)
    found = {path.relative_to(tree / "out").as_posix() for path in (tree / "out").rglob("*.*")}
    assert found == {"clearstem/__init__.py", "functions/__init__.py"}


def test_what_only_the_command_line_needs_stays_out(tree):
    assert wheels.requirements(tree) == ["boto3>=1", "aws-lambda-powertools[tracer]>=3"]


def test_the_hash_follows_source_and_lock_but_not_caches(bundling, tree):
    first = bundling.fingerprint(tree)
    (tree / "functions" / "__pycache__" / "y.pyc").write_bytes(b"2")
    assert bundling.fingerprint(tree) == first
    (tree / "functions" / "__init__.py").write_text("x = 1\n")
    second = bundling.fingerprint(tree)
    (tree / wheels.LOCK).write_text(f"boto3==1.1 --hash=sha256:{0:064}\n")
    assert len({first, second, bundling.fingerprint(tree)}) == 3


def test_the_zip_carries_whatever_the_functions_import():
    carried = {_canonical(name) for name in wheels.locked()}
    packages = metadata.packages_distributions()
    imported = set(_third_party(synth.ROOT))
    missing = {
        name
        for name in imported
        if not {_canonical(found) for found in packages.get(name, [])} & carried
    }
    assert missing == set()


def test_every_service_that_is_called_is_described(bundling):
    called = {
        name
        for path in _sources(synth.ROOT)
        for name in re.findall(r"client\(\s*\"([a-z0-9]+)\"", path.read_text())
    }
    assert called <= bundling.SERVICES


def _sources(root: Path) -> Iterator[Path]:
    for package in ("clearstem", "functions"):
        files = (root / package).rglob("*.py")
        yield from (path for path in files if CLIENT.isdisjoint(path.relative_to(root).parts))


def _third_party(root: Path) -> Iterator[str]:
    ours = {"clearstem", "functions"}
    for path in _sources(root):
        for name in _imports(ast.parse(path.read_text())):
            if name not in ours and name not in sys.stdlib_module_names:
                yield name


def _imports(node: ast.AST) -> Iterator[str]:
    """Top-level names of what runs; what only a type checker reads is left out."""
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                continue
            case ast.Import(names=names):
                yield from (alias.name.partition(".")[0] for alias in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield module.partition(".")[0]
            case _:
                yield from _imports(child)


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()

"""What numba's cache on disk relies on: it looks for changes in a kernel's own file alone."""

import ast
from pathlib import Path

import pytest

import containers.audio

KERNELS = [
    path for path in Path(containers.audio.__path__[0]).glob("*.py") if "njit" in path.read_text()
]


def imported_from_ours(module: ast.Module) -> set[str]:
    return {
        name.asname or name.name
        for node in ast.walk(module)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("containers")
        for name in node.names
    }


def compiled(module: ast.Module) -> list[ast.FunctionDef]:
    return [
        node
        for node in ast.walk(module)
        if isinstance(node, ast.FunctionDef)
        and any("njit" in ast.unparse(decorator) for decorator in node.decorator_list)
    ]


@pytest.mark.parametrize("path", KERNELS, ids=lambda path: path.stem)
def test_a_kernel_takes_nothing_from_another_file_of_ours(path: Path) -> None:
    module = ast.parse(path.read_text())
    kernels = compiled(module)
    assert kernels
    used = {
        node.id
        for kernel in kernels
        for statement in kernel.body
        for node in ast.walk(statement)
        if isinstance(node, ast.Name)
    }
    assert not used & imported_from_ours(module)

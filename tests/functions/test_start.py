"""How the functions start: nothing at import, nothing heavy in the small ones."""

import subprocess
import sys

import pytest

_SMALL = ("authorizer", "websocket", "push", "drop", "settle", "sweep", "dispatch", "webhook")
_CHECK = """
import sys
import functions.{name} as module
heavy = {{"fastapi", "starlette", "mangum", "pydantic", "numpy", "torch"}} & set(sys.modules)
assert not heavy, heavy
assert callable(module.handler)
"""


@pytest.mark.parametrize("name", _SMALL)
def test_a_small_function_imports_no_web_framework(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _CHECK.format(name=name)], env={}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_the_api_is_imported_without_an_environment() -> None:
    code = "import functions.rest; assert callable(functions.rest.handler)"
    done = subprocess.run([sys.executable, "-c", code], env={}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

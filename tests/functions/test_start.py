"""How the functions start: nothing at import, nothing heavy in the small ones."""

import subprocess
import sys
from functools import cache

import pytest

_SMALL = (
    "authorizer",
    "websocket",
    "push",
    "drop",
    "settle",
    "sweep",
    "changes",
    "webhook",
    "publish",
)
_HEAVY = {"fastapi", "starlette", "mangum", "pydantic", "numpy", "torch"}
_LOADED = """
import sys
import functions.{name} as module
assert callable(module.handler)
print(*sys.modules)
"""


@cache
def loaded(name: str) -> set[str]:
    """What is loaded once a function is, in a process without an environment."""
    program = [sys.executable, "-c", _LOADED.format(name=name)]
    done = subprocess.run(program, env={}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize("name", _SMALL)
def test_a_small_function_imports_no_web_framework(name: str) -> None:
    assert not _HEAVY & loaded(name)


def test_the_api_is_imported_without_an_environment() -> None:
    assert "fastapi" in loaded("rest")


_VERIFY = """
import sys
import functions.authorizer
from clearstem.errors import Unauthorized
from clearstem.tokens import KeySet, Tokens

def keys():
    raise OSError("nobody asks")

tokens = Tokens("https://issuer.example.org/", "clearstem", KeySet(keys), leeway_s=60)
for text in ("", "cs_a-key", "a.b", "a.b.", "a.b.c.d", "a b.c.d"):
    try:
        tokens.identify(text)
    except Unauthorized:
        continue
    raise AssertionError(text)
heavy = {"jwt", "cryptography", "httpx"} & set(sys.modules)
assert not heavy, heavy
"""


def test_the_authorizer_pays_for_cryptography_by_the_first_token_alone() -> None:
    done = subprocess.run([sys.executable, "-c", _VERIFY], env={}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# What takes recordings in, removes and settles jobs, and every event type of every service.
_UNUSED_AT_DOORS = (
    "clearstem.intake",
    "clearstem.removal",
    "clearstem.settling",
    "aws_lambda_powertools.utilities.data_classes",
)


@pytest.mark.parametrize("name", ["authorizer", "websocket"])
def test_what_somebody_waits_for_at_a_door_loads_nothing_it_does_not_use(name: str) -> None:
    assert not set(_UNUSED_AT_DOORS) & loaded(name)


@pytest.mark.parametrize(
    ("name", "needed"),
    [
        ("rest", {"intake", "control", "removal", "limits", "job_log"}),
        ("drop", {"intake"}),
        ("settle", {"settling"}),
        ("sweep", {"settling", "removal"}),
    ],
)
def test_what_the_first_event_composes_is_loaded_before_it(name: str, needed: set[str]) -> None:
    assert {f"clearstem.{module}" for module in needed} <= loaded(name)

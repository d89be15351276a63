"""Wire formats: a job as the clients of each API know it, and nothing else.

Free of web frameworks, so that the push function renders with the same code
as the API and still starts fast.
"""

from collections.abc import Callable, Mapping
from typing import Final

from clearstem.broadcast import Render
from clearstem.errors import ClearstemError
from functions.dialects import audo, munsit, pipeline, problems

DEFAULT: Final = "pipeline"

# How each dialect's WebSocket clients are told the state of a job.
RENDERERS: Final[dict[str, Render]] = {
    DEFAULT: lambda job, _: pipeline.render(job),
    "audo": audo.render,
}

Body = Mapping[str, object]
"""Of an error, as JSON."""

Problem = Callable[[ClearstemError], tuple[int, Body]]
"""Status and body of an error."""

PROBLEMS: Final[dict[str, Problem]] = {
    DEFAULT: problems.problem,
    "audo": audo.problem,
    "munsit": munsit.problem,
}

PlainProblem = Callable[[int, str], Body]
"""The body of a refusal by its status and detail."""

PLAIN_PROBLEMS: Final[dict[str, PlainProblem]] = {
    DEFAULT: problems.plain_problem,
    "audo": audo.plain_problem,
    "munsit": munsit.plain_problem,
}

_PREFIXES: Final = {"/v1/": "audo", "/api/v1/": "munsit"}
# Those whose refusal of a key has a body of its own, which API Gateway cannot write.
_REFUSING: Final = frozenset({"munsit"})


def dialect_of(path: str) -> str:
    """The dialect that a path of the HTTP API belongs to."""
    return next((name for prefix, name in _PREFIXES.items() if path.startswith(prefix)), DEFAULT)


def needs_key(dialect: str) -> bool:
    """Whether its clients always have a key, even where others are let in without one."""
    return dialect != DEFAULT


def refuses_by_itself(dialect: str) -> bool:
    """Whether calls without a good key are let through, to be refused in its own words."""
    return dialect in _REFUSING


def is_open(path: str) -> bool:
    """Whether a path needs no key: nobody can guess it, or it tells of nobody."""
    if path.startswith(problems.PREFIX):
        return True
    return audo.is_download(path) or munsit.is_original(path)

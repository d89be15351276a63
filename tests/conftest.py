"""Where the fixtures come from, and which tests go to one worker."""

import os
import re
from functools import cache
from pathlib import Path

import pytest
from xdist.scheduler import LoadFileScheduling

# Test processes share the cores: threads of a BLAS or of OpenMP would wait by spinning, each
# process for a core the other one holds. Read when NumPy and torch are loaded, and by the twins.
for _library in ("OPENBLAS", "OMP"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")

pytest_plugins = [
    "tests.emulator",
    "tests.stranger",
    "tests.twin",
    "tests.resources",
    "tests.voice",
]

# What takes seconds to start, for the whole session of every worker that has a test of it.
_DEAR = ("local_twin", "voice_twin", "enforced", "fresh|template")


class _Scheduling(LoadFileScheduling):
    """A worker takes all files that ask for a dear fixture, or one of the others."""

    def _split_scope(self, nodeid: str) -> str:
        return _shared(super()._split_scope(nodeid))


@cache
def _shared(path: str) -> str:
    """The dear fixture that a file's tests ask for, or the file."""
    source = (Path(__file__).parents[1] / path).read_text()
    return next(
        (name for name in _DEAR if re.search(rf"def \w+\([^)]*\b(?:{name})\b", source)), path
    )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> _Scheduling | None:
    """With ``--dist loadfile``: our scheduling. xdist's groups are lost with pytest 9.2."""
    return _Scheduling(config, log) if config.getvalue("dist") == "loadfile" else None

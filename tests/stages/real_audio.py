"""Real recordings for the tests that need one; they lie beside the repository, if at all."""

from pathlib import Path

import pytest

_FOLDER = Path(__file__).parents[3] / "shared" / "audio"


def real_audio(name: str) -> Path:
    """The path of a real recording; skips the test where there is none."""
    path = _FOLDER / name
    if not path.is_file():
        pytest.skip(f"no real recording {name}: {_FOLDER} is not there")
    return path

"""A scripted server, and either client."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.driven import KINDS, Driven
from tests.client.scripted import Scripted, scripted


@pytest.fixture
def server() -> Iterator[Scripted]:
    with scripted() as running:
        yield running


@pytest.fixture(params=KINDS)
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Driven:
    return Driven(request.param, state_dir=tmp_path / "state")

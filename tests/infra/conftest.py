"""The template as it comes out today, synthesized once for all tests here."""

from collections.abc import Iterator

import pytest

from infra import synth
from tests.infra.enforced import Deployed, deployed


@pytest.fixture(scope="session")
def fresh() -> synth.Snapshot:
    return synth.synthesize()


@pytest.fixture(scope="session")
def template(fresh: synth.Snapshot) -> dict:
    return fresh.template


@pytest.fixture(scope="session")
def enforced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """The committed template where IAM is enforced."""
    with deployed(tmp_path_factory.mktemp("enforced")) as deployment:
        yield deployment

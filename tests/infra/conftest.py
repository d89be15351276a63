"""The template as it comes out today, synthesized once for all tests here."""

import pytest

from infra import synth


@pytest.fixture(scope="session")
def fresh() -> synth.Snapshot:
    return synth.synthesize()


@pytest.fixture(scope="session")
def template(fresh: synth.Snapshot) -> dict:
    return fresh.template

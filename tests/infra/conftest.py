"""The template as it comes out today, synthesized once for all tests here."""

from collections.abc import Iterator

import boto3
import pytest

from clearstem.service import Service
from infra import synth
from infra.local.emulator import ACCOUNT
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


@pytest.fixture(scope="module")
def operator(enforced: Deployed) -> Iterator[Service]:
    """The core with an operator's credentials; sessions of roles call the emulator, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", enforced.target.endpoint)
        session = boto3.Session(ACCOUNT, "local", region_name=enforced.target.region)
        yield Service.over(enforced.settings, session=session)

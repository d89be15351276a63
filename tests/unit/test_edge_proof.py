"""What the distribution proves itself by, as a function knows it."""

from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from clearstem.edge_proof import EdgeProof


class Manager:
    """Secrets Manager with one secret, which counts how often it is asked."""

    def __init__(self) -> None:
        self.text, self.asked, self.now_s = "open sesame", 0, 0.0
        self.fault: Exception | None = None

    def get_secret_value(self, *, SecretId: str) -> dict[str, Any]:
        assert SecretId == "arn:secret"
        self.asked += 1
        if self.fault is not None:
            raise self.fault
        return {"SecretString": self.text}


@pytest.fixture
def manager() -> Manager:
    return Manager()


def proof(manager: Manager, secret_arn: str = "arn:secret") -> EdgeProof:
    return EdgeProof(lambda: manager, secret_arn=secret_arn, monotonic=lambda: manager.now_s)


@pytest.mark.parametrize("shown", ["", "open", "open sesame ", "OPEN SESAME", "öffne dich"])
def test_only_the_secret_itself_proves_anything(manager: Manager, shown: str) -> None:
    assert not proof(manager).is_given(shown)
    assert proof(manager).is_given("open sesame")


def test_where_there_is_no_secret_nothing_is_believed_or_asked(manager: Manager) -> None:
    for shown in ("", "open sesame"):
        assert not proof(manager, "").is_given(shown)
    assert manager.asked == 0


def test_the_secret_is_asked_for_once_in_five_minutes(manager: Manager) -> None:
    ours = proof(manager)
    for _ in range(3):
        assert ours.is_given("open sesame")
    manager.now_s = 299.9
    assert ours.is_given("open sesame")
    assert manager.asked == 1


def test_a_secret_that_was_changed_is_known_after_five_minutes(manager: Manager) -> None:
    ours = proof(manager)
    assert ours.is_given("open sesame")
    manager.text, manager.now_s = "open barley", 300.0
    assert ours.is_given("open barley")
    assert not ours.is_given("open sesame")


def test_a_header_that_nobody_sent_costs_no_call(manager: Manager) -> None:
    assert not proof(manager).is_given("")
    assert manager.asked == 0


FAULTS = [
    ClientError({"Error": {"Code": "InternalServiceError"}}, "GetSecretValue"),
    EndpointConnectionError(endpoint_url="https://secretsmanager"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=["refused", "unreachable"])
def test_a_secret_that_cannot_be_asked_for_again_stays_known(
    manager: Manager, fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    ours = proof(manager)
    assert ours.is_given("open sesame")
    manager.fault, manager.now_s = fault, 300.0
    assert ours.is_given("open sesame")
    assert not ours.is_given("open barley")
    assert [record.message for record in caplog.records] == ["edge secret not to be had"]
    manager.fault, manager.text, manager.now_s = None, "open barley", 310.0
    assert ours.is_given("open barley")


def test_where_no_secret_was_ever_to_be_had_nothing_is_proven(manager: Manager) -> None:
    manager.fault, ours = FAULTS[0], proof(manager)
    for manager.now_s in (0.0, 9.9):
        assert not ours.is_given("open sesame")
    assert manager.asked == 1  # a fault is not asked about at each call
    manager.fault, manager.now_s = None, 10.0
    assert ours.is_given("open sesame")

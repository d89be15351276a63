"""What tests of one table's adapters need."""

from typing import Any

import pytest

from tests.emulator import Account
from tests.resources import _create_table


@pytest.fixture
def dynamodb(aws: Account) -> Any:
    """A client of an account that has the table and nothing else, in a third of the time."""
    _create_table(aws)
    return aws.client("dynamodb")

"""The self-check: an altered private name of MiniStack is found and named."""

import pytest

from infra.local import selfcheck
from tests.emulator import Emulator

NAME = "ministack.services.dynamodb:_set_item"


def test_the_installed_version_is_the_one_the_extension_was_written_for(
    emulator: Emulator,
) -> None:
    assert selfcheck.verify() > 50


def test_every_name_in_use_is_listed_and_no_other(emulator: Emulator) -> None:
    assert selfcheck.names_in_use() == set(selfcheck.known_names())


def test_a_function_that_reads_differently_is_named(emulator: Emulator) -> None:
    table = {**selfcheck.known_names(), NAME: "0" * 16}
    with pytest.raises(selfcheck.PrivateNameChangedError, match=f"{NAME} has changed"):
        selfcheck.verify(table=table)


def test_a_name_that_is_gone_is_named(emulator: Emulator) -> None:
    table = {"ministack.services.batch:_no_such_thing": "value"}
    with pytest.raises(selfcheck.PrivateNameChangedError, match="_no_such_thing"):
        selfcheck.verify(table=table)


def test_an_unlisted_name_is_refused(emulator: Emulator) -> None:
    with pytest.raises(selfcheck.PrivateNameChangedError, match="not listed"):
        selfcheck.replace("ministack.services.batch:reset", lambda value: value)

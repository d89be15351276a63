"""Keys: shown once, found by their sum, ended at once."""

import hashlib
from datetime import timedelta
from typing import Any

import pytest

from clearstem.accounts import Accounts, check_owner
from clearstem.errors import Conflict, InvalidRequest, KeyNotFound, Unauthorized
from tests.unit.examples import START, at


@pytest.fixture
def accounts(dynamodb: Any) -> Accounts:
    return Accounts(dynamodb, "clearstem")


def test_a_key_authenticates_its_owner(accounts):
    text, key = accounts.create_key("ada", at=START)
    other, _ = accounts.create_key("bob", at=START)
    assert accounts.identify(text, at=START).owner == key.owner == "ada"
    assert accounts.identify(other, at=START).owner == "bob"


def test_of_a_key_only_its_sum_and_its_beginning_are_stored(accounts):
    text, key = accounts.create_key("ada", at=START)
    assert text.startswith("cs_")
    assert key.prefix == text[:11]
    assert key.sha256 == hashlib.sha256(text.encode()).hexdigest()
    stored = accounts.client.scan(TableName=accounts.table)["Items"]
    assert text not in repr(stored)
    assert key.sha256 in repr(stored)


def test_no_two_keys_are_alike(accounts):
    texts = [accounts.create_key(owner, at=START)[0] for owner in ("ada", "ada", "bob")]
    assert len(set(texts)) == 3
    assert min(len(text) for text in texts) >= 43


def test_no_key_and_a_wrong_one_are_refused_alike(accounts):
    accounts.create_key("ada", at=START)
    for wrong in (None, "", "cs_", "cs_wrong", "ключ", "x" * 10_000):
        with pytest.raises(Unauthorized, match=r"^Invalid or missing API key$"):
            accounts.identify(wrong, at=START)


def test_neither_the_visible_beginning_nor_the_stored_sum_is_a_key(accounts):
    _, key = accounts.create_key("ada", at=START)
    for known in (key.prefix, key.sha256):
        with pytest.raises(Unauthorized):
            accounts.identify(known, at=START)


def test_a_revoked_key_ends_at_once_and_the_other_goes_on(accounts):
    ended, key = accounts.create_key("ada", at=START)
    kept, _ = accounts.create_key("ada", at=START)
    revoked = accounts.revoke("ada", prefix=key.prefix, at=at(60))
    assert revoked.revoked_at == at(60)
    with pytest.raises(Unauthorized):
        accounts.identify(ended, at=at(60))
    assert accounts.identify(kept, at=at(60)).owner == "ada"


def test_a_key_revoked_again_keeps_the_time_it_ended(accounts):
    _, key = accounts.create_key("ada", at=START)
    accounts.revoke("ada", prefix=key.prefix, at=at(60))
    assert accounts.revoke("ada", prefix=key.prefix, at=at(120)).revoked_at == at(60)


def test_a_key_is_revoked_by_its_own_owner_only(accounts):
    text, key = accounts.create_key("ada", at=START)
    for owner, prefix in (("bob", key.prefix), ("ada", "cs_unknown1"), ("ada", "")):
        with pytest.raises(KeyNotFound):
            accounts.revoke(owner, prefix=prefix, at=at(1))
    assert accounts.identify(text, at=at(1)).owner == "ada"


def test_an_owner_has_two_active_keys_at_most(accounts):
    _, first = accounts.create_key("ada", at=START)
    accounts.create_key("ada", at=START)
    with pytest.raises(Conflict, match="ada has 2 active keys"):
        accounts.create_key("ada", at=START)
    accounts.revoke("ada", prefix=first.prefix, at=START)
    accounts.create_key("ada", at=START)


def test_keys_are_listed_oldest_first_with_the_revoked_among_them(accounts):
    made = [accounts.create_key("ada", at=at(seconds))[1] for seconds in (0, 0.5)]
    revoked = accounts.revoke("ada", prefix=made[0].prefix, at=at(1))
    third = accounts.create_key("ada", at=at(1))[1]
    accounts.create_key("bob", at=at(2))
    assert accounts.keys("ada") == (revoked, made[1], third)
    assert accounts.keys("eve") == ()
    assert {key.owner for key in accounts.all_keys()} == {"ada", "bob"}
    assert len(accounts.all_keys()) == 4


def test_the_last_use_is_noted_by_the_hour_not_by_the_call(accounts):
    text, _ = accounts.create_key("ada", at=START)

    def last_use_after(passed: timedelta) -> float:
        accounts.identify(text, at=START + passed)
        (key,) = accounts.keys("ada")
        return (key.last_used_at - START).total_seconds()

    minutes = (0, 30, 60, 61, 90)
    noted = [last_use_after(timedelta(minutes=m)) for m in minutes]
    assert noted == [0, 0, 0, 61 * 60, 61 * 60]


def test_a_refused_key_notes_no_use(accounts):
    text, key = accounts.create_key("ada", at=START)
    accounts.revoke("ada", prefix=key.prefix, at=START)
    with pytest.raises(Unauthorized):
        accounts.identify(text, at=START)
    assert accounts.keys("ada")[0].last_used_at is None


@pytest.mark.parametrize("owner", ["a", "ada", "Ada.L_1815-12@example", "0", "a" * 64])
def test_an_owners_name_is_taken_as_it_is(owner):
    assert check_owner(owner) == owner


@pytest.mark.parametrize(
    "owner", ["", ".", "..", "a/b", "a\\b", "a b", "a#b", "ада", "ada\n", "-a", "@", "a" * 65]
)
def test_a_name_that_could_not_stand_in_a_storage_key_is_refused(owner):
    with pytest.raises(InvalidRequest, match="is not 1 to 64 letters, digits"):
        check_owner(owner)


def test_a_key_for_a_bad_name_is_not_made(accounts):
    with pytest.raises(InvalidRequest):
        accounts.create_key("../ada", at=START)
    assert accounts.all_keys() == ()

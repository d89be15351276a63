"""Bearer tokens made by PyJWT, and forged by hand."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from clearstem.accounts import check_owner
from clearstem.errors import InsufficientScope, IssuerUnavailable, Unauthorized
from clearstem.scopes import Scope
from clearstem.tokens import KeySet, Tokens, fetch_keys, owner_of
from tests.forged import FORGED
from tests.issuer import AUDIENCE, ISSUER, LEEWAY_S, Issuer


class Seconds:
    """A clock that only the test moves."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture(scope="module")
def made() -> Issuer:
    issuer = Issuer()
    issuer.rsa("rsa")
    issuer.ec("ec")
    return issuer


@pytest.fixture
def issuer(made: Issuer) -> Issuer:
    return Issuer(dict(made.keys))


@pytest.fixture
def clock() -> Seconds:
    return Seconds()


@pytest.fixture
def tokens(issuer: Issuer, clock: Seconds) -> Tokens:
    keys = KeySet(issuer.document, monotonic=clock)
    return Tokens(ISSUER, AUDIENCE, keys, leeway_s=LEEWAY_S)


@pytest.mark.parametrize("key_id", ["rsa", "ec"])
def test_a_good_token_says_whose_it_is_and_what_for(tokens, issuer, key_id):
    caller = tokens.identify(issuer.token(key_id, sub="ada", scope="jobs:read email openid"))
    assert (caller.owner, caller.scopes) == ("ada", {Scope.READ})


@pytest.mark.parametrize("kind", FORGED)
def test_a_token_that_is_not_good_lets_nobody_in(tokens, issuer, kind):
    token = FORGED[kind](issuer)
    with pytest.raises(Unauthorized) as refusal:
        tokens.identify(token)
    assert not token or token not in str(refusal.value)


def test_clocks_may_disagree_by_the_leeway(tokens, issuer):
    now = time.time()
    assert tokens.identify(issuer.token("rsa", exp=int(now - LEEWAY_S + 10)))
    assert tokens.identify(issuer.token("rsa", nbf=int(now + LEEWAY_S - 10)))


@pytest.mark.parametrize(
    ("claims", "scopes"),
    [
        ({"scope": None}, set()),
        ({"scope": None, "scp": ["jobs:write", 7]}, {Scope.WRITE}),
        ({"scope": {"jobs:read": True}}, set()),
        ({"scope": "admin"}, {Scope.ADMIN}),
        ({"scope": "ADMIN jobs:*"}, set()),
    ],
)
def test_scopes_are_those_of_the_token_and_no_others(tokens, issuer, claims, scopes):
    assert tokens.identify(issuer.token("rsa", **claims)).scopes == scopes


def test_keys_are_kept_and_asked_for_anew_when_the_issuer_has_a_new_one(tokens, issuer, clock):
    for _ in range(20):
        tokens.identify(issuer.token("rsa"))
    assert issuer.fetches == 1
    issuer.rsa("new")
    clock.at += 31
    assert tokens.identify(issuer.token("new"))
    assert tokens.identify(issuer.token("rsa"))
    assert issuer.fetches == 2


def test_made_up_key_ids_do_not_make_us_ask_again_and_again(tokens, issuer, clock):
    tokens.identify(issuer.token("rsa"))
    for number in range(50):
        with pytest.raises(Unauthorized):
            tokens.identify(issuer.token("rsa", headers={"kid": f"made-up-{number}"}))
        clock.at += 1
    assert issuer.fetches == 2


def test_a_withdrawn_key_is_out_after_an_hour(tokens, issuer, clock):
    token = issuer.token("rsa")
    tokens.identify(token)
    del issuer.keys["rsa"]
    clock.at += 3601
    with pytest.raises(Unauthorized):
        tokens.identify(token)


def test_an_issuer_that_is_down_keeps_nobody_out_whose_key_is_known(tokens, issuer, clock):
    tokens.identify(issuer.token("rsa"))
    issuer.down = True
    clock.at += 7200
    assert tokens.identify(issuer.token("rsa"))


def test_an_answer_without_keys_takes_none_away_that_are_known(tokens, issuer, clock):
    tokens.identify(issuer.token("rsa"))
    known, token = dict(issuer.keys), issuer.token("rsa")
    issuer.keys.clear()
    clock.at += 7200
    assert tokens.identify(token)
    issuer.keys.update(known)
    issuer.rsa("new")
    clock.at += 31
    assert tokens.identify(issuer.token("new"))


def test_an_answer_that_breaks_off_is_none(issuer):
    with cut_off() as url:
        tokens = Tokens(ISSUER, AUDIENCE, KeySet(lambda: fetch_keys(url)), leeway_s=LEEWAY_S)
        with pytest.raises(IssuerUnavailable):
            tokens.identify(issuer.token("rsa"))


@contextmanager
def cut_off() -> Iterator[str]:
    """The address of a server that breaks the line in the middle of a chunk."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            line, _ = server.accept()
            with line:
                line.recv(4096)
                line.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n{")

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"
        thread.join()


def test_without_any_keys_nobody_is_called_unauthorized_for_it(tokens, issuer, clock):
    issuer.down = True
    with pytest.raises(IssuerUnavailable):
        tokens.identify(issuer.token("rsa"))
    issuer.down = False
    clock.at += 3
    assert tokens.identify(issuer.token("rsa"))


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b'{"keys": 7}',
        b'{"keys": [7, {"kty": "RSA", "kid": "rsa"}, {"kty": "oct", "kid": "rsa", "k": "AAAA"}]}',
    ],
)
def test_a_key_set_that_is_none_lets_nobody_in(issuer, document):
    tokens = Tokens(ISSUER, AUDIENCE, KeySet(lambda: document), leeway_s=LEEWAY_S)
    with pytest.raises(IssuerUnavailable):
        tokens.identify(issuer.token("rsa"))


def test_a_symmetric_key_in_the_set_is_not_used(issuer):
    import json

    secret = {"kty": "oct", "kid": "rsa", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I"}
    published = json.loads(issuer.document())["keys"]
    document = json.dumps({"keys": [published[1], secret]}).encode()
    tokens = Tokens(ISSUER, AUDIENCE, KeySet(lambda: document), leeway_s=LEEWAY_S)
    with pytest.raises(Unauthorized):
        tokens.identify(FORGED["alg confusion"](issuer))


def test_subjects_become_owners_whose_names_are_safe_and_never_the_same():
    subjects = ["ada", "Ada", "auth0|42", "../../x", "a/b", "ä", "x" * 65, " ada", "ada "]
    owners = [owner_of(subject) for subject in subjects]
    assert owners[:2] == ["ada", "Ada"]
    assert all(check_owner(owner) for owner in owners)
    assert len(set(owners)) == len(subjects)
    # Who calls himself by the hash of somebody else is still nobody else.
    assert owner_of(owner_of("auth0|42")) != owner_of("auth0|42")


def test_keys_are_fetched_by_https_alone():
    for url in (
        "http://issuer.example.org/keys",
        "file:///etc/passwd",
        "file://localhost/etc/passwd",
    ):
        with pytest.raises(OSError, match="https"):
            fetch_keys(url)


def test_a_caller_may_do_what_his_scopes_say(tokens, issuer):
    reader = tokens.identify(issuer.token("rsa", scope="jobs:read"))
    reader.require(Scope.READ)
    for scope in (Scope.WRITE, Scope.ADMIN):
        with pytest.raises(InsufficientScope, match=scope):
            reader.require(scope)
    for scope in Scope:
        tokens.identify(issuer.token("rsa", scope="admin")).require(scope)

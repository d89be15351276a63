"""What the local server's processes and commands take over of the user's environment."""

import os

import pytest

from clearstem.twin import enter


@pytest.mark.parametrize(
    ("lower", "upper", "merged"),
    [
        ("", "", "127.0.0.1,localhost"),
        ("corp", "", "127.0.0.1,localhost,corp"),
        ("corp, .lan", "corp,localhost", "127.0.0.1,localhost,corp,.lan"),
        ("corp", "*", "*"),
    ],
)
def test_the_loopback_is_added_to_what_users_except_from_their_proxy(
    monkeypatch: pytest.MonkeyPatch, lower: str, upper: str, merged: str
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("no_proxy", lower)
    monkeypatch.setenv("NO_PROXY", upper)
    enter({})
    assert (os.environ["no_proxy"], os.environ["NO_PROXY"]) == (merged, merged)

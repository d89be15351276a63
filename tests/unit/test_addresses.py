"""Addresses that are refused for their form, before anything is called."""

import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clearstem.addresses import check_address, file_name_of
from clearstem.errors import UrlRefused

# The twenty that no library let all be, and some spellings of loopback besides.
HOSTILE = (
    "https://169.254.169.254/latest/meta-data/",
    "https://169.254.170.2/v2/credentials/",
    "https://[fd00:ec2::254]/latest/meta-data/",
    "https://127.0.0.1/",
    "https://127.1/",
    "https://2130706433/",
    "https://0177.0.0.1/",
    "https://①②⑦.0.0.1/",
    "https://0.0.0.0/",
    "https://10.0.0.1/",
    "https://172.16.0.1/",
    "https://192.168.0.1/",
    "https://100.64.0.1/",
    "https://[::1]/",
    "https://[::]/",
    "https://[::127.0.0.1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[64:ff9b::a9fe:a9fe]/",
    "https://[2002:7f00:1::]/",
    "https://[2001:0:7f00:1::]/",
    "https://[fec0::1]/",
    "https://[fe80::1%25eth0]/",
    "https://[fc00::1]/",
    "https://[ff02::1]/",
    "https://224.0.0.1/",
    "https://255.255.255.255/",
    "https://user:secret@storage.example/a.wav",
    "https://storage.example@127.0.0.1/",
    "https://storage.example:22/a.wav",
    "https://storage.example:8443/a.wav",
    "https://storage.example:0/",
    "https://storage.example:99999/",
    "http://storage.example/a.wav",
    "ftp://storage.example/a.wav",
    "file:///etc/passwd",
    "gopher://storage.example/",
    "//storage.example/a.wav",
    "storage.example/a.wav",
    "https:///a.wav",
    "https://[::1",
    "https://storage.example/\r\nHost: 127.0.0.1",
    "",
)


@pytest.mark.parametrize("url", HOSTILE)
def test_a_hostile_address_is_refused_without_a_lookup(url):
    with pytest.raises(UrlRefused):
        check_address(url, allow_loopback=False)


@pytest.mark.parametrize(
    "url",
    [
        "https://storage.example/a.wav",
        "https://storage.example:443/a.wav?X-Amz-Signature=00",
        "HTTPS://93.184.216.34/a.wav",
        "https://[2606:2800:220:1::]/a.wav",
        "https://музыка.example/песня.mp3",
    ],
)
def test_a_public_address_passes(url):
    check_address(url, allow_loopback=False)


def test_the_reason_says_what_is_wrong_and_never_repeats_the_address():
    reasons = {
        "http://storage.example/?sig=s3cret": "must begin with https://, not with 'http'",
        "https://me:s3cret@storage.example/": "must not carry a user name or a password",
        "https://storage.example:22/?sig=s3cret": r"must not name port 22 \(accepted: 443\)",
        "https://10.0.0.1/?sig=s3cret": "does not lead to a public host",
        "https://[::1?sig=s3cret": "is not a valid URL",
        "https://storage.example/?sig=s3cret" + "x" * 9000: "the limit is 8192",
    }
    for url, reason in reasons.items():
        with pytest.raises(UrlRefused, match=reason) as caught:
            check_address(url, allow_loopback=False)
        assert "s3cret" not in str(caught.value)
        assert caught.value.__cause__ is None and caught.value.__suppress_context__


def test_where_the_loopback_is_allowed_nothing_else_is():
    for url in ("http://127.0.0.1:8000/a.wav", "http://[::1]:8000/", "https://localhost:1/"):
        check_address(url, allow_loopback=True)
    for url in (
        "http://169.254.169.254/",
        "http://10.0.0.1/",
        "http://[::ffff:127.0.0.1]/",
        "http://me@127.0.0.1/",
        "ftp://127.0.0.1/",
    ):
        with pytest.raises(UrlRefused):
            check_address(url, allow_loopback=True)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://storage.example/a/S%C3%B6ng%20one.mp3?X-Amz-Date=1#x", "Söng one.mp3"),
        ("https://storage.example/a/..%2F..%2Fetc%2Fpasswd", "passwd"),
        ("https://storage.example/", "recording"),
        ("https://storage.example", "recording"),
        ("https://storage.example/%00%01", "recording"),
    ],
)
def test_the_file_name_of_an_address_is_its_paths_last_part(url, name):
    assert file_name_of(url) == name


# What addresses are made of, so that most of what is drawn gets beyond the first check.
PIECES = st.sampled_from(
    (
        *("https://", "http://", "//", "@", ":", "[", "]", "::1", "127.0.0.1", "0x7f", "%00", "%"),
        *("?", "#", "/", "..", "a.example", "\r\n", "\t", "①", "。", "xn--", "443", "99999", "é"),
        "\ud800",
    )
)


@given(st.lists(st.one_of(PIECES, st.text(max_size=5)), max_size=12).map("".join))
@example("https://" + "é" * 8000)
@example("https://a.example:" + "9" * 5000)
def test_any_text_is_an_address_or_is_refused_and_has_a_name(text):
    with contextlib.suppress(UrlRefused):
        check_address(text, allow_loopback=False)
    assert file_name_of(text)

"""Byte ranges as RFC 9110 has them."""

import pytest

from functions.ranges import ByteRange, Unsatisfiable, parse_range


@pytest.mark.parametrize(
    ("header", "first", "last"),
    [
        ("bytes=0-99", 0, 99),
        ("bytes=0-0", 0, 0),
        ("bytes=500-", 500, 999),
        ("bytes=-1", 999, 999),
        ("bytes=-5000", 0, 999),
        ("bytes=990-2000", 990, 999),
        # Python turns no text of so many digits into a number.
        ("bytes=990-" + "9" * 5000, 990, 999),
        ("bytes=-" + "9" * 5000, 0, 999),
        ("bytes=" + "0" * 5000 + "5-6", 5, 6),
    ],
)
def test_one_range_is_served(header: str, first: int, last: int) -> None:
    assert parse_range(header, size_bytes=1000) == ByteRange(first, last)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "bytes=-",
        "bytes=a-b",
        "items=0-1",
        "bytes=5-2",
        "bytes=0-1,5-6",
        "bytes=5-" + "0" * 5000,
    ],
)
def test_anything_else_is_answered_with_the_whole(header: str | None) -> None:
    assert parse_range(header, size_bytes=1000) is None


@pytest.mark.parametrize(
    "header", ["bytes=1000-", "bytes=5000-6000", "bytes=-0", "bytes=" + "9" * 5000 + "-"]
)
def test_a_range_behind_the_end_is_unsatisfiable(header: str) -> None:
    with pytest.raises(Unsatisfiable):
        parse_range(header, size_bytes=1000)

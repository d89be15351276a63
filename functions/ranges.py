"""Byte ranges of HTTP (RFC 9110, 14): what a player asks when it seeks."""

import re
from dataclasses import dataclass
from typing import Final

_ONE_RANGE: Final = re.compile(r"bytes=\s*(\d*)-(\d*)\s*")
# More than the size of any object has; Python reads no number of thousands.
_DIGITS: Final = 20


class Unsatisfiable(Exception):
    """The range lies outside the object: 416."""


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes `first` through `last` of an object, both counted from 0."""

    first: int
    last: int

    @property
    def size_bytes(self) -> int:
        """How many bytes that is."""
        return self.last - self.first + 1


def parse_range(header: str | None, *, size_bytes: int) -> ByteRange | None:
    """The one range a client asks for, or None where the whole object is to be sent.

    Several ranges at once, other units and nonsense are answered with the whole
    object, as the RFC allows: no player asks so.

    Raises
    ------
    Unsatisfiable
        The range begins behind the end, or is the last 0 bytes.
    """
    found = _ONE_RANGE.fullmatch(header or "")
    if found is None or found.groups() == ("", ""):
        return None
    first, last = (_position(digits) for digits in found.groups())
    end = size_bytes - 1
    if first is None:
        wanted = ByteRange(max(size_bytes - (last or 0), 0), end)
    elif last is not None and last < first:
        return None
    else:
        wanted = ByteRange(first, end if last is None else min(last, end))
    if wanted.size_bytes <= 0:
        raise Unsatisfiable
    return wanted


def _position(digits: str) -> int | None:
    """A number of bytes, or one beyond every object's end for any that is longer than those."""
    return int(digits.lstrip("0")[:_DIGITS] or "0") if digits else None

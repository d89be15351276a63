"""Byte ranges of HTTP (RFC 9110, 14): what a player asks when it seeks."""

import re
from dataclasses import dataclass
from typing import Final

_ONE_RANGE: Final = re.compile(r"bytes=\s*(\d*)-(\d*)\s*")


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
    first, last = found.groups()
    if not first:
        wanted = ByteRange(max(size_bytes - int(last), 0), size_bytes - 1)
    else:
        end = min(int(last), size_bytes - 1) if last else size_bytes - 1
        if last and int(last) < int(first):
            return None
        wanted = ByteRange(int(first), end)
    if wanted.size_bytes <= 0:
        raise Unsatisfiable
    return wanted

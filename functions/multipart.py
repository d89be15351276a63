"""Multipart form bodies, taken apart as they come in and never held whole.

Hides the callbacks of python-multipart: bytes go in, events come out. It is
the low-level parser, because the library's own form parser keeps files in
memory or on disk, and a Lambda function has neither for 500 MB. Also hides the
ways in which clients write a file's name that is not ASCII: RFC 7578 forbids
all but plain UTF-8, and .NET sends two of the others at once.
"""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.errors import HeaderParseError
from email.header import decode_header
from typing import Final
from urllib.parse import unquote_to_bytes

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from clearstem.errors import InvalidRequest, MissingFile

# RFC 2046, 5.1.1.
_BOUNDARY_BYTES: Final = 70

# A parameter of a header; what looks like one inside a quoted string is none.
_PARAMETER: Final = re.compile(r';\s*([^\s=;"]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;]*)')
# RFC 5987, 3.2.1: character set, language, and bytes behind percent signs.
_EXTENDED: Final = re.compile(r"([\w.:+-]+)'[\w-]*'((?:[^%']|%[0-9A-Fa-f]{2})+)", re.ASCII)
# RFC 2047, 2: words of a character set, in base64 or as quoted printable.
_WORDS: Final = re.compile(r"(?:=\?[\w.:+-]+\?[bq]\?[!->@-~]*\?=\s*)+", re.ASCII | re.IGNORECASE)
# Those that RFC 5987 asks for, and what both are made of, by Python's names.
_CHARACTER_SETS: Final = ("utf-8", "iso8859-1", "ascii")


@dataclass(frozen=True, slots=True)
class PartBegins:
    """The headers of a part have come; `file_name` is None where it is no file."""

    name: str
    file_name: str | None


@dataclass(frozen=True, slots=True)
class PartData:
    """Some bytes of the present part."""

    data: bytes


@dataclass(frozen=True, slots=True)
class PartEnds:
    """The present part is complete."""


FormEvent = PartBegins | PartData | PartEnds


class FormReader:
    """Takes one multipart body apart.

    Parameters
    ----------
    content_type : str
        The request's header.

    Raises
    ------
    MissingFile
        The request has no body.
    InvalidRequest
        The header does not announce a form with a boundary.
    """

    def __init__(self, content_type: str) -> None:
        if not content_type:
            raise MissingFile("No filename provided")
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if kind != b"multipart/form-data" or not 1 <= len(boundary) <= _BOUNDARY_BYTES:
            raise InvalidRequest(
                "the body must be multipart/form-data with a field named file, "
                f"not {content_type!r}"
            )
        self._events: list[FormEvent] = []
        self._header_name = b""
        self._header_value = b""
        self._disposition = b""
        self._ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._part_begins,
                "on_header_field": self._header_field,
                "on_header_value": self._header_text,
                "on_header_end": self._header_ends,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._part_data,
                "on_part_end": self._part_ends,
                "on_end": self._body_ends,
            },
        )

    def feed(self, data: bytes) -> Iterator[FormEvent]:
        """The events that the next bytes of the body complete.

        Raises
        ------
        InvalidRequest
            The body is not a form of the announced boundary.
        """
        try:
            self._parser.write(data)
        except MultipartParseError as exc:
            raise InvalidRequest(f"the multipart body cannot be read: {exc}") from exc
        events, self._events = self._events, []
        yield from events

    def finish(self) -> None:
        """Check that the body ended where it should.

        Raises
        ------
        InvalidRequest
            The closing boundary never came: something is missing.
        """
        if not self._ended:
            raise InvalidRequest("the multipart body ends before its closing boundary")

    def _part_begins(self) -> None:
        self._disposition = b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _header_text(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _header_ends(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = self._header_value
        self._header_name = self._header_value = b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._events.append(
            PartBegins(
                name=_text(options.get(b"name", b"")),
                file_name=_file_name(self._disposition, plain=options.get(b"filename")),
            )
        )

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        self._events.append(PartData(data[start:end]))

    def _part_ends(self) -> None:
        self._events.append(PartEnds())

    def _body_ends(self) -> None:
        self._ended = True


def _file_name(disposition: bytes, *, plain: bytes | None) -> str | None:
    """A part's file name: ``filename*`` before ``filename``, which may be encoded words.

    Parameters
    ----------
    plain : bytes or None
        What stands in ``filename``.

    Raises
    ------
    InvalidRequest
        There is a ``filename*`` alone, and it cannot be read.
    """
    extended = _extended_value(disposition)
    if extended is not None:
        found = _EXTENDED.fullmatch(extended)
        name = _decoded(unquote_to_bytes(found[2]), found[1]) if found else None
        if name is not None:
            return name
        if plain is None:
            raise InvalidRequest(
                f"the file's name cannot be read: filename* is {extended!r}, not UTF-8''NAME "
                "or ISO-8859-1''NAME in percent encoding"
            )
    return None if plain is None else _from_words(_text(plain))


def _extended_value(disposition: bytes) -> str | None:
    """What stands in ``filename*``, which python-multipart leaves out."""
    found = _PARAMETER.findall(disposition.decode("latin-1"))
    values = (value for name, value in found if name.lower() == "filename*")
    value = next(values, None)
    return None if value is None else value.strip().strip('"')


def _from_words(text: str) -> str:
    """A text of nothing but encoded words, decoded; any other, and what cannot be, as it is."""
    if not _WORDS.fullmatch(text):
        return text
    try:
        words = [(bytes(word), character_set) for word, character_set in decode_header(text)]
    except (HeaderParseError, ValueError):
        return text
    parts = [_decoded(word, character_set or "ascii") for word, character_set in words]
    return text if None in parts else "".join(filter(None, parts))


def _decoded(raw: bytes, character_set: str) -> str | None:
    """Bytes as text; None where they are none, or of a character set that is not taken."""
    try:
        known = codecs.lookup(character_set).name in _CHARACTER_SETS
        return raw.decode(character_set) if known else None
    except (LookupError, UnicodeDecodeError):
        return None


def _text(raw: bytes) -> str:
    """A header parameter: UTF-8 as RFC 7578 asks, Latin-1 as old clients send."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")

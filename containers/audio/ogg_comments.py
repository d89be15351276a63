"""Tags and cover of an Ogg file, put into the header that its encoder left.

libsndfile writes eight kinds of tags and no picture, FFmpeg none of a cover beside Opus. The
comment header stands before the sound and may be longer than what it replaces, so the pages
after it move and get other numbers; not a packet of sound is touched. With the serial number
set too, the same sound gives the same bytes.

References
----------
RFC 3533 (pages), RFC 7845 section 5.2 (OpusTags), Vorbis I specification sections 4.2.1 and 5
(comments) and A.2 (which header ends a page), RFC 9639 section 8.8 (pictures).
"""

import base64
import itertools
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from clearstem.errors import UnreadableAudio
from containers.audio.muxing import picture_size, picture_type

# Capture pattern, version, flags, granule position, serial, number, checksum, segments.
_HEAD: Final = struct.Struct("<4sBBqIIIB")
_CONTINUED: Final = 1
_MOST_SEGMENTS: Final = 255
# A packet ends with its first segment that is shorter.
_SEGMENT_BYTES: Final = 255
_SERIAL: Final = 1
# No packet ends on a page with this granule position.
_NO_END: Final = -1

# How a comment header starts, and how many packets follow it before the sound.
_KINDS: Final = ((b"\x03vorbis", 1), (b"OpusTags", 0))
# What Vorbis comments call what we call otherwise.
_NAMES: Final = {"track": "TRACKNUMBER", "disc": "DISCNUMBER", "album_artist": "ALBUMARTIST"}
_FRONT_COVER: Final = 3

_MIRRORED: Final = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True, slots=True)
class _Page:
    """One page: `lacing` holds the length of each segment of `body`."""

    flags: int
    granule: int
    lacing: bytes
    body: bytes

    def packed(self, number: int) -> bytes:
        """The page as it is stored, with its checksum (RFC 3533, section 6, field 7)."""

        def head(checksum: int) -> bytes:
            told = (self.flags, self.granule, _SERIAL, number, checksum, len(self.lacing))
            return _HEAD.pack(b"OggS", 0, *told) + self.lacing

        return head(_checksum(head(0) + self.body)) + self.body


def set_comments(path: Path, *, tags: Mapping[str, str], cover: bytes | None) -> None:
    """Write tags and a cover into an Ogg Vorbis or Ogg Opus file of one stream.

    Parameters
    ----------
    path : Path
        The file; replaced. Comments that it has are dropped.
    tags : mapping of str to str
        Title, artist and the like, as `containers.audio.stream.decode` gives them.
    cover : bytes or None
        JPEG or PNG.

    Raises
    ------
    UnreadableAudio
        If it is no such file.
    """
    partial = path.with_suffix(".partial")
    try:
        with path.open("rb") as old, partial.open("wb") as new:
            pages = _commented(_pages(old), tags, cover, name=path.name)
            for number, page in enumerate(pages):
                new.write(page.packed(number))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _commented(
    pages: Iterator[_Page], tags: Mapping[str, str], cover: bytes | None, *, name: str
) -> Iterator[_Page]:
    """All pages of a file, those of its comment header made anew."""
    first = _next(pages, name)
    comment, *rest = _headers(pages, name)
    headers = _paged([_comment_header(comment, tags, cover), *rest])
    return itertools.chain([first], headers, pages)


def _pages(file: BinaryIO) -> Iterator[_Page]:
    while len(head := file.read(_HEAD.size)) == _HEAD.size and head.startswith(b"OggS"):
        _, _, flags, granule, _, _, _, segments = _HEAD.unpack(head)
        lacing = file.read(segments)
        yield _Page(flags, granule, lacing, file.read(sum(lacing)))


def _next(pages: Iterator[_Page], name: str) -> _Page:
    page = next(pages, None)
    if page is None:
        raise UnreadableAudio(f"{name}: an Ogg file that ends within its headers")
    return page


def _headers(pages: Iterator[_Page], name: str) -> list[bytes]:
    """The comment header and those after it; they end with a page."""
    whole: list[bytes] = []
    held = b""
    while not whole or len(whole) <= _following(whole[0], name):
        page = _next(pages, name)
        at = 0
        for length in page.lacing:
            held += page.body[at : at + length]
            at += length
            if length < _SEGMENT_BYTES:
                whole.append(held)
                held = b""
    return whole


def _following(comment: bytes, name: str) -> int:
    for start, following in _KINDS:
        if comment.startswith(start):
            return following
    raise UnreadableAudio(f"{name}: neither Ogg Vorbis nor Ogg Opus")


def _comment_header(old: bytes, tags: Mapping[str, str], cover: bytes | None) -> bytes:
    """The packet: the encoder's name as before, then our comments (Vorbis I, section 5.2.1)."""
    start = next(start for start, _ in _KINDS if old.startswith(start))
    (vendor_bytes,) = struct.unpack_from("<I", old, len(start))
    vendor = old[len(start) + 4 :][:vendor_bytes]
    comments = [f"{_NAMES.get(key, key.upper())}={value}".encode() for key, value in tags.items()]
    if cover:
        comments.append(b"METADATA_BLOCK_PICTURE=" + base64.b64encode(_picture(cover)))
    fields = (vendor, *comments)
    first, *rest = (struct.pack("<I", len(field)) + field for field in fields)
    framing = b"\x01" if start.endswith(b"vorbis") else b""
    return start + first + struct.pack("<I", len(comments)) + b"".join(rest) + framing


def _picture(cover: bytes) -> bytes:
    """A picture as FLAC stores it, of 24 bits and without a palette."""
    kind = picture_type(cover).encode()
    width, height = picture_size(cover) or (0, 0)
    return b"".join(
        (
            struct.pack(">II", _FRONT_COVER, len(kind)),
            kind,
            struct.pack(">IIIIII", 0, width, height, 24, 0, len(cover)),
            cover,
        )
    )


def _paged(packets: Iterable[bytes]) -> Iterator[_Page]:
    """Packets on as few pages as hold them; the last one ends a page."""
    segments: list[tuple[bytes, bool]] = []
    for packet in packets:
        starts = range(0, len(packet) + 1, _SEGMENT_BYTES)
        segments += [(packet[at : at + _SEGMENT_BYTES], at == starts[-1]) for at in starts]
    continued = 0
    for first in range(0, len(segments), _MOST_SEGMENTS):
        held = segments[first : first + _MOST_SEGMENTS]
        granule = 0 if any(ends for _, ends in held) else _NO_END
        lacing = bytes(len(part) for part, _ in held)
        yield _Page(continued, granule, lacing, b"".join(part for part, _ in held))
        continued = 0 if held[-1][1] else _CONTINUED


def _checksum(page: bytes) -> int:
    """CRC-32 by the polynomial 0x04c11db7, high bit first, from 0.

    zlib's is the same with the bits of every byte and of the answer mirrored, and all of them
    turned at the start and the end.
    """
    mirrored = zlib.crc32(page.translate(_MIRRORED), 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    return int(f"{mirrored:032b}"[::-1], 2)

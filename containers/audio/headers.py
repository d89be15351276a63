"""What the first bytes of a file say: what it is, and how many frames it promises.

FFmpeg clamps a promise to the bytes that are there, so a file that is cut off looks whole to
it, and it does not tell a counted length from a guessed one. These readers do.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from clearstem.errors import UnreadableAudio
from clearstem.media import OTHER_KINDS
from containers.audio.riff import read_layout

# An Ogg page is 65,307 bytes at most (RFC 3533, section 6), so the last one starts in here.
_OGG_PAGE_BYTES = 65_307
# Before the table of segments, whose length is the last byte.
_OGG_HEAD_BYTES = 27


def described(head: bytes) -> str:
    """What a file that is no recording looks like, as a noun for a message.

    Parameters
    ----------
    head : bytes
        The first 64 bytes, or fewer where the file has fewer.
    """
    if not head:
        return "an empty file"
    for signature, name in OTHER_KINDS:
        if head.startswith(signature):
            return name
    # A multi-byte character may be cut at the end of the head.
    with suppress(UnicodeDecodeError):
        text = head[:-4].decode() if len(head) == 64 else head.decode()
        if all(character.isprintable() or character in "\r\n\t\f" for character in text):
            return "plain text"
    return f"data that starts with {head[:4].hex(' ')}"


def looks_like_mp3(head: bytes) -> bool:
    """Whether a file starts with an ID3v2 tag or the sync word of an MPEG audio layer."""
    sync = len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and head[1] & 0x06 != 0
    return head.startswith(b"ID3") or sync


def promised_by_wav(path: Path) -> int | None:
    """Frames that a WAV file promises, of ADPCM by its fact chunk; None where nothing tells."""
    try:
        with path.open("rb") as file:
            layout = read_layout(file)
    except UnreadableAudio:
        return None  # RIFX and the like, which FFmpeg reads and we do not
    if layout.told_frames is not None:
        return layout.told_frames
    if not layout.frame_bytes:
        return None  # where FFmpeg knows the codec it reads such files too
    sample_bits = layout.frame_bytes * 8
    if layout.promised_bytes is None or sample_bits != layout.bit_depth * layout.channels:
        return None
    return layout.promised_bytes // layout.frame_bytes


def fits_one_ogg_page(path: Path) -> bool:
    """Whether an Ogg file holds one logical stream (by serial number) with one page of sound."""
    first, last = _ogg_ends(path)
    if len(last) < 18 or first[14:18] != last[14:18]:
        return False
    with path.open("rb") as file:
        # Header pages have the granule position 0, pages on which no packet ends have -1.
        sounding = (granule for granule in _granules(file) if granule > 0)
        return next(sounding, None) is not None and next(sounding, None) is None


def _granules(file: BinaryIO) -> Iterator[int]:
    """The granule position of every Ogg page from the first on (RFC 3533, section 6)."""
    while len(head := file.read(_OGG_HEAD_BYTES)) == _OGG_HEAD_BYTES and head.startswith(b"OggS"):
        yield int.from_bytes(head[6:14], "little", signed=True)
        file.seek(sum(file.read(head[26])), os.SEEK_CUR)


def ends_as_ogg(path: Path) -> bool:
    """Whether an Ogg file's last page is marked as the last (RFC 3533, header type 0x04)."""
    last = _ogg_ends(path)[1]
    return len(last) > 5 and bool(last[5] & 4)


def _ogg_ends(path: Path) -> tuple[bytes, bytes]:
    """The first page and the last, from their capture patterns on."""
    with path.open("rb") as file:
        first = file.read(64)
        file.seek(max(0, file.seek(0, 2) - _OGG_PAGE_BYTES))
        tail = file.read()
    at = tail.rfind(b"OggS")
    return first, tail[at:] if at >= 0 else b""

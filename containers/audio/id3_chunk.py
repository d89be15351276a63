"""Tags and cover of WAV and AIFF files: an ID3v2 tag in a chunk behind the sound.

Neither format has a place of its own for a picture, nor for most tags. A chunk ``id3 `` (in AIFF
``ID3 ``) that holds the tag of an mp3 is what players, taggers and FFmpeg read; whoever does not
know it passes over it, as RIFF and IFF ask.

References
----------
"ID3 tag version 2.4.0 - Native Frames", M. Nilsson, 2000. EBU Tech 3306 (the sizes of RF64).
"""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, Final

from containers.audio.muxing import picture_type
from containers.audio.riff import RIFF_MAX_BYTES

_TEXTS: Final = {
    "title": "TIT2", "artist": "TPE1", "album": "TALB", "album_artist": "TPE2", "date": "TDRC",
    "track": "TRCK", "disc": "TPOS", "genre": "TCON", "composer": "TCOM", "performer": "TPE3",
    "copyright": "TCOP", "publisher": "TPUB", "isrc": "TSRC", "bpm": "TBPM",
    "lyricist": "TEXT", "remixer": "TPE4", "initialkey": "TKEY", "mood": "TMOO",
    "subtitle": "TIT3", "media": "TMED", "grouping": "TIT1", "compilation": "TCMP",
    "album-sort": "TSOA", "artist-sort": "TSOP", "title-sort": "TSOT",
}  # fmt: skip
# These have a language, which nobody told us, and a description.
_REMARKS: Final = {"comment": "COMM", "lyrics": "USLT"}
# A text for which ID3 has no frame has its name before it (section 4.2.6).
_NAMED_TEXT: Final = "TXXX"
_UNKNOWN_LANGUAGE: Final = b"und"
_UTF_8: Final = b"\x03"
_LATIN_1: Final = b"\x00"
_FRONT_COVER: Final = b"\x03"
# Where an RF64 file keeps the size of all that follows its first eight bytes.
_DS64_SIZE_AT: Final = 20


def append_tag(path: Path, *, tags: Mapping[str, str], cover: bytes | None) -> bool:
    """Put tags and a cover behind the sound of a finished WAV, RF64 or AIFF file.

    Parameters
    ----------
    path : Path
        The file; changed, its sound not.
    tags : mapping of str to str
        Title, artist and the like, as `containers.audio.stream.decode` gives them.
    cover : bytes or None
        JPEG or PNG.

    Returns
    -------
    bool
        False where the sizes of a RIFF or AIFF file have no room left; it is as it was then.
    """
    tag = _tag(tags, cover)
    with path.open("r+b") as file:
        magic = file.read(4)
        little = magic != b"FORM"
        order = "<" if little else ">"
        chunk = (b"id3 " if little else b"ID3 ") + struct.pack(f"{order}I", len(tag)) + tag
        chunk += bytes(len(chunk) % 2)
        end = file.seek(0, 2)
        chunk = bytes(end % 2) + chunk
        size = end + len(chunk) - 8
        if magic != b"RF64" and size > RIFF_MAX_BYTES:
            return False
        file.write(chunk)
        _set_size(file, size, order=order, rf64=magic == b"RF64")
    return True


def _set_size(file: BinaryIO, size: int, *, order: str, rf64: bool) -> None:
    """Tell in the file's head how much there is behind its first eight bytes."""
    file.seek(_DS64_SIZE_AT if rf64 else 4)
    file.write(struct.pack("<Q" if rf64 else f"{order}I", size))


def _tag(tags: Mapping[str, str], cover: bytes | None) -> bytes:
    frames = [
        _frame(_TEXTS[key], _UTF_8 + value.encode()) for key, value in tags.items() if key in _TEXTS
    ]
    frames += [
        _frame(_REMARKS[key], _UTF_8 + _UNKNOWN_LANGUAGE + b"\0" + value.encode())
        for key, value in tags.items()
        if key in _REMARKS
    ]
    frames += [
        _frame(_NAMED_TEXT, _UTF_8 + key.encode() + b"\0" + value.encode())
        for key, value in tags.items()
        if key not in _TEXTS and key not in _REMARKS
    ]
    if cover:
        kind = picture_type(cover).encode()
        frames.append(_frame("APIC", _LATIN_1 + kind + b"\0" + _FRONT_COVER + b"\0" + cover))
    body = b"".join(frames)
    return b"ID3\x04\x00\x00" + _synchsafe(len(body)) + body


def _frame(name: str, content: bytes) -> bytes:
    return name.encode() + _synchsafe(len(content)) + bytes(2) + content


def _synchsafe(size: int) -> bytes:
    """Seven bits in each byte, so that no size looks like the start of an mp3's frame."""
    return bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))

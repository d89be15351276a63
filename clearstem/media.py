"""What may come in and go out: formats, limits, names and content types.

Hides how a file's kind is told from its name and its first bytes, and how a
name given by a stranger becomes one that can be shown and sent. Pure.
"""

import re
import unicodedata
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from clearstem.errors import ContentMismatch, EmptyFile, MissingFile, UnsupportedFormat

MEBIBYTE: Final = 1024 * 1024

# Enough for every signature below: most stand in the first 12 bytes, and an ID3v2
# tag, which can hide an MPEG frame for longer, counts by itself. A transport stream
# is told by its second packet, which begins 192 bytes behind the first at the most.
HEAD_BYTES: Final = 256

# The byte order mark of UTF-16 text: also the sync of an MPEG Layer I frame, a
# format that nobody sends and many text files would pass for.
_UTF16_MARK: Final = b"\xff\xfe"

# One path component: 255 bytes is the limit of ext4, APFS and NTFS alike.
_NAME_BYTES: Final = 255


@dataclass(frozen=True, slots=True)
class Format:
    """A file format by its extension.

    Attributes
    ----------
    extension : str
        Lower case, no dot.
    content_type : str
        The registered media type.
    """

    extension: str
    content_type: str


_CONTENT_TYPES: Final = {
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "m4a": "audio/mp4",
    "opus": "audio/opus",
    "aiff": "audio/aiff",
    "zip": "application/zip",
    "json": "application/json",
    "mp4": "video/mp4",
    "m4v": "video/x-m4v",
    "mov": "video/quicktime",
    "mkv": "video/x-matroska",
    "webm": "video/webm",
    "wmv": "video/x-ms-wmv",
}

# What else servers call them, and what is read and never written.
_FURTHER_TYPES: Final = {
    **dict.fromkeys(("audio/x-wav", "audio/wave", "audio/vnd.wave"), "wav"),
    **dict.fromkeys(("audio/mp3", "audio/x-mp3"), "mp3"),
    "audio/x-flac": "flac",
    **dict.fromkeys(("application/ogg", "audio/x-ogg", "audio/vorbis"), "ogg"),
    **dict.fromkeys(("audio/m4a", "audio/x-m4a"), "m4a"),
    **dict.fromkeys(("audio/aac", "audio/aacp", "audio/x-aac"), "aac"),
    "audio/x-aiff": "aiff",
    **dict.fromkeys(("audio/amr", "audio/amr-wb"), "amr"),
    "audio/x-ms-wma": "wma",
    "audio/webm": "webm",
    **dict.fromkeys(("video/avi", "video/x-msvideo", "video/vnd.avi"), "avi"),
    "video/x-flv": "flv",
    "video/x-ms-wmv": "wmv",
    "video/x-ms-asf": "asf",
    "video/mpeg": "mpeg",
}

# What the separation recipe reads and writes.
SEPARATE_INPUTS: Final = ("wav", "mp3", "flac", "ogg")
SEPARATE_OUTPUTS: Final = ("wav", "flac", "mp3", "ogg", "m4a", "opus", "aiff")

# What the denoise recipe reads and writes. Whether there are pictures in a file
# only its content says: these are the names that promise some.
VIDEO_INPUTS: Final = ("mp4", "mov", "mkv", "webm", "avi", "m4v")
DENOISE_INPUTS: Final = (
    *("wav", "mp3", "flac", "ogg", "m4a", "aac", "opus", "aiff", "amr", "wma"),
    *VIDEO_INPUTS,
    *("flv", "wmv", "asf", "mpeg", "mpg"),
)
VIDEO_OUTPUTS: Final = ("mp4", "mov", "m4v", "mkv", "webm", "wmv")
DENOISE_OUTPUTS: Final = (*SEPARATE_OUTPUTS, *VIDEO_OUTPUTS)

# What a recording becomes whose own format is read but not written: nothing is
# lost that was there, and whatever plays the source plays this.
_SUBSTITUTES: Final = {
    "amr": "wav",
    **dict.fromkeys(("aac", "wma"), "m4a"),
    "asf": "wmv",
    # Matroska takes nearly every kind of picture.
    **dict.fromkeys(("avi", "flv", "mpeg", "mpg"), "mkv"),
}


# Our AIFF files hold integers of so many bits; wav holds floating point.
_AIFF_BITS: Final = 24


def content_type(extension: str) -> str:
    """The media type of a file extension; ``application/octet-stream`` if unknown."""
    return _CONTENT_TYPES.get(extension, "application/octet-stream")


def extension_of_type(content_type: str) -> str | None:
    """The file extension of a Content-Type header, parameters and all; None if it tells none."""
    kind = content_type.partition(";")[0].strip().lower()
    registered = {named: extension for extension, named in _CONTENT_TYPES.items()}
    return registered.get(kind) or _FURTHER_TYPES.get(kind)


def denoised_extension(source: str, *, asked: str | None, bit_depth: int | None = None) -> str:
    """The extension of a denoised recording: the one asked for, else the source's.

    Where the source's format cannot be written, the nearest that can.

    Parameters
    ----------
    source, asked : str, str or None
        Extensions: of what came, and of what is wanted.
    bit_depth : int or None
        Bits of the source's samples, where they have any and are known.
    """
    if asked is None and source == "aiff" and (bit_depth or 0) > _AIFF_BITS:
        return "wav"
    return asked or _SUBSTITUTES.get(source, source)


def file_name(given: str | None) -> str:
    """The last component of a client's file name, fit to be stored and shown.

    Directories (of either slash), control characters and trailing blanks or
    dots go, every other blank becomes a plain one; letters of every script
    stay, in NFC; at most 255 bytes of UTF-8 remain, the extension among them.

    Raises
    ------
    MissingFile
        Nothing is left of the name.
    """
    last = re.split(r"[/\\]", given or "")[-1]
    visible = (c for c in last if unicodedata.category(c)[0] != "C")
    plain = "".join(" " if c.isspace() else c for c in visible)
    name = unicodedata.normalize("NFC", plain).strip().rstrip(". ")
    if not name.strip("."):
        raise MissingFile("No filename provided")
    return _shortened(name)


def _shortened(name: str) -> str:
    suffix = PurePosixPath(name).suffix
    room = _NAME_BYTES - len(suffix.encode())
    if room <= 0:  # a dot early in a long name: what follows is no extension
        suffix, room = "", _NAME_BYTES
    stem = name.removesuffix(suffix).encode()[:room]
    return (stem.decode(errors="ignore") + suffix).rstrip(". ")


def extension(name: str, *, accepted: tuple[str, ...]) -> str:
    """The lower-case extension of a file name.

    Raises
    ------
    UnsupportedFormat
        It is not among `accepted`; the message names it and them.
    """
    found = PurePosixPath(name).suffix.lower()
    if found.removeprefix(".") not in accepted:
        raise UnsupportedFormat(
            f"Unsupported audio format: {found or '(no extension)'} "
            f"(accepted: {', '.join('.' + e for e in accepted)})"
        )
    return found.removeprefix(".")


def with_extension(name: str, asked: str, *, accepted: tuple[str, ...]) -> str:
    """A file name that ends in the extension asked for, with or without a dot.

    It takes the place of an extension that is among `accepted`, and else comes
    behind the name: what follows a dot need not be one ("Vol. 2 live").
    """
    wanted = asked.lower().removeprefix(".")
    suffix = PurePosixPath(name).suffix
    known = suffix.lower().removeprefix(".") in accepted
    return f"{name.removesuffix(suffix) if known else name}.{wanted}"


def check_head(head: bytes, *, name: str, accepted: tuple[str, ...] = SEPARATE_INPUTS) -> None:
    """Refuse bytes that are plainly no sound, before a job is made of them.

    What may decode is let in: whether it does is the first stage's to say.

    Parameters
    ----------
    head : bytes
        The first `HEAD_BYTES` of the file, or all of it if it is shorter.
    name : str
        The file's name, for the message; and one of MPEG's lets in all that is
        plainly nothing else.
    accepted : tuple of str
        The extensions of the recipe; containers of video count where it takes some.

    Raises
    ------
    EmptyFile
        There are no bytes.
    ContentMismatch
        No known signature stands at the beginning. Which of the formats it is
        does not matter: decoders go by the content, as browsers do.
    """
    if not head:
        raise EmptyFile(f"{name} is empty (0 bytes)")
    further = accepted == DENOISE_INPUTS
    signatures = (*_SIGNATURES, *_FURTHER_SIGNATURES) if further else _SIGNATURES
    sought = PurePosixPath(name).suffix.lower().removeprefix(".") in _SOUGHT
    if not (any(matches(head) for matches in signatures) or (sought and not _is_other(head))):
        more = ", AVI, ASF, FLV, AMR, MPEG" if further else ""
        raise ContentMismatch(
            f"{name} is not a readable audio file: it begins with {head[:8]!r}, "
            f"which is none of WAV, FLAC, Ogg, MP3, AIFF{more}, MP4 or WebM"
        )


def _is_mpeg_audio(head: bytes) -> bool:
    """ID3v2 tag, or the 11 sync bits of an MPEG audio frame (ISO/IEC 11172-3, 2.4.1.3)."""
    synced = len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0
    return head[:3] == b"ID3" or (synced and head[:2] != _UTF16_MARK)


def _is_box(head: bytes) -> bool:
    """A first box of ISO media, or an atom of QuickTime, which has no ``ftyp`` from old cameras.

    A text may have one's name at the same place, but no byte below a tab for its
    size, which is less than 150 MB then. Only samples take more.
    """
    return head[4:8] in (b"ftyp", b"mdat") or (head[:1] < b"\t" and head[4:8] in _BOXES)


def _is_transport_stream(head: bytes) -> bool:
    """Packets of 188 bytes that begin with G; or behind times of 4 bytes each, as Blu-ray's."""
    packets = ((0, 188), (4, 192))
    begins = any(head[at : at + size + 1 : size] == b"GG" for at, size in packets)
    return begins and not _is_other(head)


def _is_other(head: bytes) -> bool:
    """Text, or a file that says what it is and is no recording."""
    if head.startswith((_UTF16_MARK, *(mark for mark, _ in OTHER_KINDS))):
        return True
    return not any(byte < ord(" ") and byte not in b"\t\n\f\r\x1b" for byte in head)


# What a file that is no recording begins with, and what it is then.
OTHER_KINDS: Final = (
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x7fELF", "an ELF program"),
    (b"MZ", "a Windows program"),
)

# Formats whose decoders look for a beginning: what was cut out of a broadcast starts
# in the middle of a frame, and some programs write zeros first.
_SOUGHT: Final = ("mp3", "aac", "mpeg", "mpg")

# ISO/IEC 14496-12, table 1, and the QuickTime File Format, "Overview".
_BOXES: Final = (
    *(b"moov", b"moof", b"free", b"skip", b"uuid", b"meta", b"styp", b"sidx"),
    *(b"wide", b"pnot", b"PICT", b"pict", b"udta", b"junk"),
)

# Of WAV with its kin (RIFX has its numbers the other way round, Wave64 a GUID), FLAC, Ogg,
# MPEG audio, AIFF, CAF, Sun audio, WavPack, Monkey's Audio, AC-3, ISO media and Matroska.
_SIGNATURES: Final = (
    lambda head: head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and head[8:12] == b"WAVE",
    lambda head: head[:8] == b"riff\x2e\x91\xcf\x11",
    lambda head: head[:4] in (b"fLaC", b"OggS"),
    _is_mpeg_audio,
    lambda head: head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"),
    lambda head: head[:4] in (b"caff", b".snd", b"wvpk", b"MAC ") or head[:2] == b"\x0b\x77",
    _is_box,
    lambda head: head[:4] == b"\x1a\x45\xdf\xa3",
)

# Containers that the denoise recipe reads besides: AVI, ASF (by the GUID of its
# header object), FLV, AMR (RFC 4867, 5.1), MPEG program, video and transport streams.
_FURTHER_SIGNATURES: Final = (
    lambda head: head[:4] == b"RIFF" and head[8:11] in (b"AVI", b"AMV"),
    lambda head: head[:8] == b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
    lambda head: head[:3] == b"FLV",
    lambda head: head[:5] == b"#!AMR",
    lambda head: head[:4] in (b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3"),
    _is_transport_stream,
)

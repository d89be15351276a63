"""The header of WAV files, read and written: RIFF, and RF64 (EBU Tech 3306) above 4 GiB.

libsndfile reads these too, but silently shortens what a truncated file promises, and cannot
write a header before the length is known. Chunk sizes and their 64-bit escape stay in here.
"""

import struct
from dataclasses import dataclass, replace
from typing import BinaryIO

from clearstem.errors import UnreadableAudio

# Sizes in RIFF are unsigned 32-bit numbers; the highest one means "the size is in ds64".
_IN_DS64 = 0xFFFF_FFFF
RIFF_MAX_BYTES = _IN_DS64 - 1

IEEE_FLOAT = 3
_EXTENSIBLE = 0xFFFE
# Microsoft's ADPCM and IMA's: blocks of many frames, of which the last is filled up.
_ADPCM = frozenset({2, 17})

FLOAT_HEADER_BYTES = 12 + (8 + 28) + (8 + 16) + (8 + 4) + 8
"""Length of `float_header`: RIFF, room for ds64, fmt, fact and the head of the data chunk."""


@dataclass(frozen=True, slots=True)
class WavLayout:
    """Where the samples of a WAV file lie and what they are.

    `promised_bytes` is the size of the data chunk by its header, None where the header leaves it
    open (0xFFFFFFFF without ds64, or 0, as streaming writers do); `present_bytes` is how much
    of it the file holds. `told_frames` is the length by the fact chunk, of ADPCM alone, and only
    where it ends within the last block that is promised.
    """

    format_tag: int
    channels: int
    rate_hz: int
    frame_bytes: int
    bit_depth: int
    data_offset: int
    promised_bytes: int | None
    present_bytes: int
    told_frames: int | None = None


def float_header(*, rate_hz: int, channels: int, frames: int) -> bytes:
    """The FLOAT_HEADER_BYTES before the samples of a float32 WAV, or RF64 where it must be.

    Parameters
    ----------
    rate_hz, channels, frames : int
        Format and length of the recording.

    Returns
    -------
    bytes
        The same number of bytes for every length: a RIFF carries a JUNK chunk where an RF64
        carries its ds64 (EBU Tech 3306, section 4.1).
    """
    width = 4 * channels
    data_bytes = frames * width
    riff_bytes = FLOAT_HEADER_BYTES - 8 + data_bytes
    fmt = struct.pack(
        "<4sIHHIIHH", b"fmt ", 16, IEEE_FLOAT, channels, rate_hz, rate_hz * width, width, 32
    )
    if riff_bytes > RIFF_MAX_BYTES:
        head = struct.pack("<4sI4s", b"RF64", _IN_DS64, b"WAVE")
        room = struct.pack("<4sIQQQI", b"ds64", 28, riff_bytes, data_bytes, frames, 0)
        return head + room + fmt + struct.pack("<4sII4sI", b"fact", 4, _IN_DS64, b"data", _IN_DS64)
    head = struct.pack("<4sI4s", b"RIFF", riff_bytes, b"WAVE")
    room = struct.pack("<4sI28x", b"JUNK", 28)
    return head + room + fmt + struct.pack("<4sII4sI", b"fact", 4, frames, b"data", data_bytes)


def read_layout(file: BinaryIO) -> WavLayout:
    """Find the format and the samples of a WAV or RF64 file.

    Parameters
    ----------
    file : binary file
        Open for reading and seekable; its position is moved.

    Raises
    ------
    UnreadableAudio
        If it is no RIFF/RF64 WAVE, or its fmt or data chunk is missing.
    """
    head = file.read(12)
    if head[:4] not in (b"RIFF", b"RF64", b"BW64") or head[8:] != b"WAVE":
        raise UnreadableAudio(f"no WAV file: it starts with {head[:12]!r}")
    fmt: bytes | None = None
    data_bytes_64: int | None = None
    told: int | None = None
    while len(chunk := file.read(8)) == 8:
        name, size = struct.unpack("<4sI", chunk)
        if name == b"data":
            if fmt is None:
                raise UnreadableAudio("a WAV file whose data chunk comes before any fmt chunk")
            promised = data_bytes_64 if size == _IN_DS64 else size or None
            layout = _layout(file, fmt, promised)
            return replace(layout, told_frames=_within_last_block(told, fmt, layout))
        body_at = file.tell()
        if name == b"fmt ":
            fmt = file.read(min(size, 40))
        elif name == b"fact":
            told = int.from_bytes(file.read(min(size, 4)), "little")
        elif name == b"ds64":
            data_bytes_64 = struct.unpack("<8xQ", file.read(16))[0]
        file.seek(body_at + size + size % 2)
    raise UnreadableAudio("a WAV file without a data chunk")


def _layout(file: BinaryIO, fmt: bytes, promised_bytes: int | None) -> WavLayout:
    """The layout of a file that stands at the first sample."""
    if len(fmt) < 16:
        raise UnreadableAudio(f"a WAV file whose fmt chunk has {len(fmt)} bytes; 16 are needed")
    tag, channels, rate_hz, _, frame_bytes, bit_depth = struct.unpack("<HHIIHH", fmt[:16])
    if tag == _EXTENSIBLE and len(fmt) >= 26:
        # The first two bytes of the sub-format GUID are the format tag it extends.
        tag = struct.unpack("<H", fmt[24:26])[0]
    offset = file.tell()
    rest = file.seek(0, 2) - offset
    return WavLayout(
        format_tag=tag,
        channels=channels,
        rate_hz=rate_hz,
        frame_bytes=frame_bytes,
        bit_depth=bit_depth,
        data_offset=offset,
        promised_bytes=promised_bytes,
        present_bytes=rest if promised_bytes is None else min(rest, promised_bytes),
    )


def _within_last_block(told: int | None, fmt: bytes, layout: WavLayout) -> int | None:
    """The frames that a fact chunk tells, where they can be true of ADPCM."""
    if told is None or layout.format_tag not in _ADPCM or len(fmt) < 20:
        return None
    # What follows the size of the extension is wSamplesPerBlock in both.
    (block_frames,) = struct.unpack("<H", fmt[18:20])
    if not layout.promised_bytes or not layout.frame_bytes:
        return None
    blocks = -(-layout.promised_bytes // layout.frame_bytes)
    return told if (blocks - 1) * block_frames < told <= blocks * block_frames else None

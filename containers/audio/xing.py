"""The header in which an mp3 says how long it is, read and set right.

An mp3 is a row of packets of equal length with the encoder's delay before the sound and
padding behind it. How much of each is told by LAME's part of the Xing (VBR) or Info (CBR)
header: "mp3 info tag revision 1 specification" of LAME.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

from clearstem.errors import LengthChanged

# Delay and padding are two 12-bit numbers in the 22nd to 24th byte of LAME's part; the CRC of
# all the header is in its 35th and 36th.
_GAPS_AT = 21
_CRC_AT = 34
_MAX_PADDING = 0xFFF


@dataclass(frozen=True, slots=True)
class _Xing:
    """One such header: its bytes from the frame header on, and what they say."""

    file_offset: int
    frame: bytes
    lame_at: int
    coded_frames: int

    @property
    def delay(self) -> int:
        return int.from_bytes(self._gaps, "big") >> 12

    @property
    def padding(self) -> int:
        return int.from_bytes(self._gaps, "big") & _MAX_PADDING

    @property
    def _gaps(self) -> bytes:
        return self.frame[self.lame_at + _GAPS_AT : self.lame_at + _GAPS_AT + 3]


def promised_by_xing(path: Path) -> int | None:
    """Frames that an mp3 promises, delay and padding taken off.

    Returns
    -------
    int or None
        None where the header or LAME's part of it is missing: then there is no exact length.
    """
    xing = _read(path)
    return None if xing is None else xing.coded_frames - xing.delay - xing.padding


def set_length(path: Path, frames: int, *, delay: int) -> None:
    """Say in an mp3 where its sound begins and that it is `frames` long.

    FFmpeg's muxer takes both from the first and the last packet alone: where more than one
    packet is padding it makes the recording up to 47 frames too long.

    Parameters
    ----------
    path : Path
        An mp3 with such a header; changed.
    frames : int
        Length of the sound.
    delay : int
        Frames that the encoder put before it, the decoder's own 529 not counted.

    Raises
    ------
    LengthChanged
        If the file has no such header, or no padding gives that length.
    """
    xing = _read(path)
    padding = -1 if xing is None else xing.coded_frames - delay - frames
    if xing is None or not 0 <= padding <= _MAX_PADDING:
        raise LengthChanged(f"{path.name}: no padding makes this mp3 {frames} frames long")
    if (delay, padding) == (xing.delay, xing.padding):
        return
    frame = bytearray(xing.frame)
    gaps_at, crc_at = xing.lame_at + _GAPS_AT, xing.lame_at + _CRC_AT
    frame[gaps_at : gaps_at + 3] = (delay << 12 | padding).to_bytes(3, "big")
    frame[crc_at : crc_at + 2] = _crc16(bytes(frame[:crc_at])).to_bytes(2, "big")
    with path.open("r+b") as file:
        file.seek(xing.file_offset)
        file.write(frame[: crc_at + 2])


def _read(path: Path) -> _Xing | None:
    offset, first = _mpeg_start(path)
    at = max(first.find(b"Xing"), first.find(b"Info"))
    start = _frame_header(first, at)
    if start is None or len(first) < at + 156:
        return None
    flags: int
    packets: int
    flags, packets = struct.unpack(">II", first[at + 4 : at + 12])
    # Present by flag: packet count, byte count, table of contents, quality.
    lame = at + 8 + sum(size for bit, size in enumerate((4, 4, 100, 4)) if flags >> bit & 1)
    # FFmpeg trusts the gaps of these writers alone, and so does every player after it.
    if not flags & 1 or first[lame : lame + 4] not in (b"LAME", b"Lavf", b"Lavc"):
        return None
    # Layer III packs 1152 frames, at MPEG-2 and 2.5 rates 576.
    packet_frames = 1152 if first[start + 1] >> 3 & 1 else 576
    return _Xing(offset + start, first[start:], lame - start, packets * packet_frames)


def _mpeg_start(path: Path) -> tuple[int, bytes]:
    """Position after an ID3v2 tag, if there is one, and the 4 KiB from there."""
    with path.open("rb") as file:
        head = file.read(10)
        start = 0
        if head[:3] == b"ID3" and len(head) == 10:
            # The size of an ID3v2 tag has seven bits in each byte.
            a, b, c, d = head[6:]
            start = 10 + (a << 21 | b << 14 | c << 7 | d)
        file.seek(start)
        return start, file.read(4096)


def _frame_header(first: bytes, at: int) -> int | None:
    """Where the MPEG frame starts whose Xing header is at `at`.

    Between them is the side information: the header comes 36 bytes on in MPEG-1 stereo, 21 in
    MPEG-1 mono and MPEG-2 stereo, 13 in MPEG-2 mono.
    """
    for distance in (36, 21, 13):
        start = at - distance
        if start >= 0 and first[start] == 0xFF and first[start + 1] & 0xE0 == 0xE0:
            return start
    return None


def _crc16(data: bytes) -> int:
    """CRC-16/ARC: polynomial 0x8005 reflected, starting from 0."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return crc

"""How long a stored recording is, told from its headers alone.

So that a recording beyond a limit can be refused when it is handed in, not
minutes later by the stage that decodes it. What no header says for certain is
None, never an estimate: a refusal cannot be taken back, and the stage measures
anyway. Hides tinytag, which reads most formats, and where it has to be doubted.

Headers are a stranger's bytes: reading is bounded in bytes and in steps,
whatever they claim.
"""

import io
import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from tinytag import TinyTag, TinyTagException

from clearstem.facts import Location
from clearstem.media import MEBIBYTE
from clearstem.track_store import TrackStore

_BLOCK_BYTES: Final = 256 * 1024
# The index of a long MP4 and a cover before the first MPEG frame fit in that.
_MOST_BYTES: Final = 4 * MEBIBYTE
# A parser that crawls through garbage four bytes at a time ends within a second.
_MOST_READS: Final = 4_000

_MPEG: Final = "audio/mpeg"
# The frame counts of the LAME and Fraunhofer encoders stand in the first frame,
# behind at most 36 bytes of header and side information.
_MPEG_COUNTS: Final = (b"Xing", b"Info", b"VBRI")
_MPEG_SEARCHED_BYTES: Final = 512

# RFC 3533, 6: a page is at most 65,307 bytes long.
_OGG_TAIL_BYTES: Final = 65_307
_OGG_HEAD_BYTES: Final = 4096
_OPUS_RATE_HZ: Final = 48_000  # RFC 7845, 4: granule positions, whatever the input was


def stored_duration_s(store: TrackStore, location: Location) -> float | None:
    """Seconds that an object's header says it lasts; None where it does not say."""

    @lru_cache(maxsize=4)
    def block(index: int) -> bytes:
        first = index * _BLOCK_BYTES
        last = min(first + _BLOCK_BYTES, size_bytes) - 1
        return b"".join(store.chunks(location, first=first, last=last))

    size_bytes = store.stat(location).size_bytes
    return header_duration_s(BlockReader(block, size_bytes=size_bytes))


def header_duration_s(file: "BlockReader") -> float | None:
    """Seconds that a file's header says it lasts; None where it does not say."""
    try:
        is_ogg = file.read(4) == b"OggS"
        file.seek(0)
        return _ogg_duration_s(file) if is_ogg else _tagged_duration_s(file)
    except (TinyTagException, _Exhausted, struct.error, IndexError):
        return None


class _Exhausted(OSError):
    """A header that leads through more of the file than headers take."""


class BlockReader(io.RawIOBase):
    """A file read block by block, and not much of it.

    Parameters
    ----------
    block : callable
        The block of an index, `_BLOCK_BYTES` long but for the last.
    size_bytes : int
        Of the whole file.
    """

    def __init__(self, block: Callable[[int], bytes], *, size_bytes: int) -> None:
        super().__init__()
        self._block = block
        self.size_bytes = size_bytes
        self._position = 0
        self._reads = 0
        self._bytes = 0

    def readable(self) -> bool:
        """Whether it can be read; it can."""
        return True

    def seekable(self) -> bool:
        """Whether it can be sought in; it can."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position; behind the end there is nothing to read."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size_bytes}
        if start[whence] + offset < 0:
            raise OSError(f"position {start[whence] + offset} is before the file's beginning")
        self._position = start[whence] + offset
        return self._position

    def tell(self) -> int:
        """The present position."""
        return self._position

    def read(self, size: int = -1, /) -> bytes:
        """Bytes from the present position.

        Raises
        ------
        OSError
            More was read than a header has.
        """
        left = max(0, self.size_bytes - self._position)
        wanted = left if size < 0 else min(size, left)
        self._reads += 1
        self._bytes += wanted
        if self._reads > _MOST_READS or self._bytes > _MOST_BYTES:
            raise _Exhausted("the header is longer than any should be")
        found = bytearray()
        while len(found) < wanted:
            index, offset = divmod(self._position, _BLOCK_BYTES)
            piece = self._block(index)[offset : offset + wanted - len(found)]
            if not piece:  # the object is shorter than it was said to be
                break
            found += piece
            self._position += len(piece)
        return bytes(found)


def _tagged_duration_s(file: BlockReader) -> float | None:
    # Its public type for a file is narrower than what it calls of it.
    tag = TinyTag.get(file_obj=file, tags=False)  # type: ignore[arg-type]
    if not tag.duration:
        return None
    if tag.mime_type == _MPEG and not _counts_frames(file):
        # An estimate from the first frames: ten times too long where a
        # recording of varying bit rate begins with silence.
        return None
    if tag.is_lossless and tag.bitrate and tag.mime_type in _PCM:
        # A recorder that never came back to its header leaves the largest size there is.
        return min(tag.duration, file.size_bytes * 8 / (1000 * tag.bitrate))
    return tag.duration


# Uncompressed kinds, whose bit rate is exact: WAV of integers and floats, AIFF.
_PCM: Final = (
    'audio/wav; codecs="1"',
    'audio/wav; codecs="3"',
    *(f'audio/aiff; codecs="{kind}"' for kind in ("NONE", "sowt", "fl32", "FL32", "fl64", "FL64")),
)


def _counts_frames(file: BlockReader) -> bool:
    file.seek(0)
    head = file.read(10)
    file.seek(_id3_bytes(head))
    beginning = file.read(_MPEG_SEARCHED_BYTES)
    return any(mark in beginning for mark in _MPEG_COUNTS)


def _id3_bytes(head: bytes) -> int:
    """The length of an ID3v2 tag: ID3v2.4.0, 3.1, four times seven bits and the header."""
    if head[:3] != b"ID3":
        return 0
    size = 0
    for byte in head[6:10]:
        size = size << 7 | byte & 0x7F
    return 10 + size


def _ogg_duration_s(file: BlockReader) -> float | None:
    """The last granule position of the first stream, in its rate (RFC 3533, 6)."""
    head = file.read(_OGG_HEAD_BYTES)
    rate_hz, skipped = _ogg_rate_hz(head)
    file.seek(max(0, file.size_bytes - _OGG_TAIL_BYTES))
    tail = file.read(_OGG_TAIL_BYTES)
    serial = head[14:18]
    at = len(tail)
    while (at := tail.rfind(b"OggS", 0, at)) >= 0:
        if len(tail) >= at + 18 and tail[at + 14 : at + 18] == serial:
            granule = struct.unpack_from("<q", tail, at + 6)[0]
            if granule >= 0 and rate_hz:  # -1: no packet ends on that page
                return float(max(0, granule - skipped)) / rate_hz
    return None


def _ogg_rate_hz(head: bytes) -> tuple[int, int]:
    """Rate and leading samples to skip, from the identification packet; 0 Hz if unknown."""
    packet = head[27 + head[26] :]
    if packet[:8] == b"OpusHead":
        return _OPUS_RATE_HZ, int(struct.unpack_from("<H", packet, 10)[0])
    if packet[:7] == b"\x01vorbis":
        return int(struct.unpack_from("<I", packet, 12)[0]), 0
    if packet[:5] == b"\x7fFLAC":  # STREAMINFO follows: 20 bits behind its 10th byte
        return int.from_bytes(packet[27:30]) >> 4, 0
    return 0, 0

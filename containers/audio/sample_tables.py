"""What the sample tables of an MP4 or QuickTime file promise, before FFmpeg believes it.

FFmpeg makes an index of all samples while it opens a file, of some 35 bytes each. A few bytes of
a table can promise four thousand million of them: sizes that are all the same are told by one
number, chunks of any length by another, edits repeat what is there, and so do fragments. Only
the heads of boxes are read here, and never a promise believed.

References
----------
ISO/IEC 14496-12: 8.6.1.2 (stts), 8.6.6 (elst), 8.7.3 (stsz, stz2), 8.7.4 (stsc), 8.7.5 (stco,
co64), 8.8.8 (trun). QuickTime File Format, 2001: sound sample descriptions; compressed movies.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from clearstem.errors import UnreadableAudio

# A day of AAC with pictures at 60 Hz has 9 million; the index takes 0.6 GB.
_MOST_SAMPLES: Final = 2**24
# Ten hours in fragments of 0.2 s, of ten boxes each. FFmpeg goes into ten levels.
_MOST_BOXES: Final = 2_000_000
_MOST_LEVELS: Final = 10
# A compressed movie box is as large as it says: the tables of an hour are about one MiB.
_MOST_MOVIE_BYTES: Final = 64 * 2**20
# Beside a codec's own settings there are profiles of colours in it, of some MiB at most.
_MOST_DESCRIPTION_BYTES: Final = 16 * 2**20
# Boxes of samples and of numbers, with no others in them. FFmpeg looks into many other kinds.
_LEAVES: Final = frozenset(
    {b"mdat", b"stsz", b"stz2", b"stts", b"ctts", b"stsc", b"stco", b"co64", b"stss", b"trun"}
)
_TABLES: Final = _LEAVES - {b"mdat"} | {b"elst", b"hdlr"}
# Frames that FFmpeg puts together where a sound's samples last one tick: whole packets that are
# shorter than 160 frames up to 1024, longer ones as they are (`mov_build_index`).
_FEWEST_TOGETHER: Final = 1024 - 159
_LONG_PACKET: Final = 160
_GSM: Final = b"agsm"

_Box = tuple[bytes, int, int]


def check_samples(path: Path) -> None:
    """Refuse a file of the MP4 family that promises more samples than any recording has.

    Parameters
    ----------
    path : Path
        Any file; one without boxes passes.

    Raises
    ------
    UnreadableAudio
        Its samples are more than 16,777,216, counted as often as edits show them, or it has
        more boxes, or larger ones, than there are in recordings.
    """
    with path.open("rb") as file:
        tracks, packed = _found(file, name=path.name)
        for at, size in packed[:1]:
            file.seek(at)
            movie = _unpacked(file.read(min(size, _MOST_MOVIE_BYTES + 1)), name=path.name)
            further, nested = _found(movie, name=path.name)
            tracks, packed = tracks + further, packed + nested
    if len(packed) > 1:
        raise UnreadableAudio(f"{path.name}: it has more than one compressed movie box")
    promised = sum(track.entries() for track in tracks)
    if promised > _MOST_SAMPLES:
        raise UnreadableAudio(
            f"{path.name}: its tables promise {promised} samples; {_MOST_SAMPLES} are accepted"
        )


@dataclass(slots=True)
class _Track:
    """What was found of one track, and of the fragments behind it."""

    samples: int = 0
    chunks: int = 0
    edits: int = 1
    in_fragments: int = 0
    together: int = _FEWEST_TOGETHER
    handlers: set[bytes] = field(default_factory=set)
    ticks: list[tuple[int, int]] = field(default_factory=list)
    runs: list[NDArray[np.int64]] = field(default_factory=list)
    has_offsets: bool = False

    def take(self, kind: bytes, file: BinaryIO, *, room: int) -> None:
        """Note what a table says that begins here, `room` bytes before the file's end.

        Where its box ends does not matter: FFmpeg reads on behind that.
        """
        first, second, third = struct.unpack(">4xIII", file.read(16).ljust(16, b"\0"))
        if kind in (b"stsz", b"stz2"):
            self.samples = max(self.samples, second)
        elif kind == b"trun":
            self.in_fragments += first
        elif kind == b"stts":
            self.ticks.append((first, third))
        elif kind == b"ctts":
            self.has_offsets = True
        elif kind in (b"stco", b"co64"):
            self.chunks = max(self.chunks, min(first, room // 4))
        elif kind == b"elst":
            self.edits = max(self.edits, min(first, room // 12))
        elif kind == b"hdlr":
            self.handlers.add(struct.pack(">I", second))
        elif kind == b"stsc":
            file.seek(-8, io.SEEK_CUR)
            numbers = file.read(12 * min(first, _MOST_SAMPLES, max(room - 8, 0) // 12))
            self.runs.append(np.frombuffer(numbers, ">u4").reshape(-1, 3)[:, :2].astype(np.int64))

    def entries(self) -> int:
        """How long the index gets."""
        is_sound = b"soun" in self.handlers and b"vide" not in self.handlers
        by_chunks = is_sound and set(self.ticks) == {(1, 1)} and not self.has_offsets
        return (self._in_chunks() if by_chunks else self.samples) * self.edits + self.in_fragments

    def _in_chunks(self) -> int:
        """Entries where FFmpeg goes by the length of the chunks, as it does for PCM."""
        longest = max((int(runs[:, 1].max(initial=0)) for runs in self.runs), default=0)
        if len(self.runs) == 1 and len(self.runs[0]):
            firsts, lengths = self.runs[0].T
            chunks = np.diff(firsts, append=self.chunks + 1)
            if firsts[0] == 1 and (chunks >= 0).all():
                return int((chunks * (lengths // self.together + 1)).sum())
        return self.chunks * (longest // self.together + 1)


def _found(file: BinaryIO, *, name: str) -> tuple[list[_Track], list[tuple[int, int]]]:
    """The tracks of a file or an unpacked movie box; offset and size of packed ones in it."""
    tracks = [_Track()]
    packed = []
    end = file.seek(0, io.SEEK_END)
    for number, (kind, at, size) in enumerate(_boxes(file, 0, end, level=0)):
        if number >= _MOST_BOXES:
            raise UnreadableAudio(f"{name}: it has more than {_MOST_BOXES} boxes")
        file.seek(at)
        if kind == b"trak":
            tracks.append(_Track())
        elif kind == b"cmvd":
            packed.append((at, size))
        elif kind == b"stsd":
            tracks[-1].together = _together(file, size, name=name)
        elif kind in _TABLES:
            tracks[-1].take(kind, file, room=end - at)
    return tracks, packed


def _boxes(file: BinaryIO, start: int, end: int, *, level: int) -> Iterator[_Box]:
    """Kind, offset and size of the content of all boxes, whatever lies in others after those."""
    while start + 8 <= end:
        file.seek(start)
        size, kind = struct.unpack(">I4s", file.read(8))
        head = 8
        if size == 1 and start + 16 <= end:
            (size,) = struct.unpack(">Q", file.read(8))
            head = 16
        elif size == 0:
            size = end - start
        if size < head:
            return
        stop = min(start + size, end)
        yield kind, start + head, stop - start - head
        if kind not in _LEAVES and _is_name(kind) and level < _MOST_LEVELS:
            yield from _boxes(file, start + head, stop, level=level + 1)
        start += size


def _is_name(kind: bytes) -> bool:
    """Whether FFmpeg may know a box by this; few samples of other files read so."""
    letters = kind.removeprefix(b"\xa9")  # as QuickTime's texts begin
    return letters.isascii() and letters.decode().isprintable()


def _together(file: BinaryIO, size: int, *, name: str) -> int:
    """The fewest frames of one entry of the index, by the sample description at this place."""
    if size > _MOST_DESCRIPTION_BYTES:
        raise UnreadableAudio(f"{name}: a sample description of {size} bytes")
    content = file.read(size)
    # At places of its own for each codec FFmpeg looks for boxes in there.
    for kind in _TABLES - {b"hdlr"}:
        if kind in content:
            raise UnreadableAudio(f"{name}: a table {kind.decode()} in a sample description")
    # Full box header and count; then size, format, 6 bytes, reference and version of an entry.
    count, _, kind, version = struct.unpack(">4xII4s8xH", content[:26].ljust(26, b"\0"))
    is_plain = count == 1 and version == 0 and kind != _GSM
    return _FEWEST_TOGETHER if is_plain else _LONG_PACKET


def _unpacked(content: bytes, *, name: str) -> BinaryIO:
    """A compressed movie box; empty where it is broken."""
    unpack = zlib.decompressobj()
    try:
        movie = unpack.decompress(content[4:], _MOST_MOVIE_BYTES)
    except zlib.error:
        return io.BytesIO()
    if unpack.unconsumed_tail or len(content) > _MOST_MOVIE_BYTES:
        raise UnreadableAudio(f"{name}: a movie box of more than {_MOST_MOVIE_BYTES} bytes")
    return io.BytesIO(movie)

"""The edit list of a sound that begins late in an MP4 or QuickTime file, put right.

An encoder's first packets hold nothing but its delay. Where a sound begins with the film,
FFmpeg's muxer tells players to skip that; where it begins later, it does not, and players show
the delay as sound. The two entries that it writes then say so once they are told.

References
----------
ISO/IEC 14496-12, 8.6.6: an entry of an edit list has a duration in units of the movie and a
media time in units of the track; -1 is an empty edit.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

_CONTAINERS: Final = frozenset({b"moov", b"trak", b"mdia", b"edts"})
# Full box header, count, and the two entries of version 0: duration, media time, rate.
_LATE: Final = struct.Struct(">II Iii Iii")


def skip_delay(path: Path, *, track: int, frames: int) -> None:
    """Have players skip the first frames of a track that begins late.

    What is heard moves in no direction: the empty edit grows by what is skipped. A track
    without an empty edit, and any other edit list, is left as it is.

    Parameters
    ----------
    path : Path
        A file whose movie counts in frames of that track; changed in place.
    track : int
        Its position among the tracks, from 0.
    frames : int
        The encoder's delay.
    """
    with path.open("r+b") as file:
        lists = [at for at, size in _edit_lists(file, track) if size == _LATE.size]
        for at in lists:
            file.seek(at)
            flags, count, empty, media, rate, shown, begin, rate_too = _LATE.unpack(
                file.read(_LATE.size)
            )
            if (flags, count, media, begin) != (0, 2, -1, 0):
                continue
            file.seek(at)
            told = (flags, count, empty + frames, media, rate, shown - frames, frames, rate_too)
            file.write(_LATE.pack(*told))


def _edit_lists(file: BinaryIO, track: int) -> list[tuple[int, int]]:
    """Offset and size of the content of the edit lists of one track."""
    tracks = -1
    found = []
    file.seek(0, 2)
    for kind, at, size in _boxes(file, 0, file.tell()):
        tracks += kind == b"trak"
        if kind == b"elst" and tracks == track:
            found.append((at, size))
    return found


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, offset and size of the content of all boxes, those in boxes after their box."""
    while start + 8 <= end:
        file.seek(start)
        size, kind = struct.unpack(">I4s", file.read(8))
        head = 8
        if size == 1:
            (size,) = struct.unpack(">Q", file.read(8))
            head = 16
        if size < head:
            return
        yield kind, start + head, size - head
        if kind in _CONTAINERS:
            yield from _boxes(file, start + head, start + size)
        start += size

"""When a film begins, and when its sound does."""

from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
from av.container import InputContainer

from containers.audio.pictures import opened

# Demuxers of what begins at any time.
_PIECES: Final = frozenset({"mpeg", "mpegts"})


def origin_of(source: InputContainer) -> Fraction:
    """The time that a file counts from, in s.

    MPEG's program and transport streams are pieces of something that began earlier; in all
    other containers 0 is the beginning.
    """
    if source.format.name not in _PIECES or source.start_time is None:
        return Fraction(0)
    return Fraction(source.start_time, av.time_base)


def sound_begin(path: Path) -> Fraction:
    """When the original's sound begins, in s, encoder delay not counted."""
    with opened(path) as source:
        for packet in source.demux(main_sound(source)):
            with suppress(av.error.FFmpegError):
                for frame in packet.decode():
                    if frame.pts is None or frame.time_base is None:
                        return Fraction(0)
                    return Fraction(frame.pts * frame.time_base)
    return Fraction(0)


def delay_frames(sound: Path) -> int:
    """The encoder's delay in an ISO file that begins with its sound."""
    with av.open(str(sound)) as file:
        stream = file.streams.audio[0]
        first = next(packet for packet in file.demux(stream))
        return max(0, -round((first.pts or 0) * first.time_base * stream.rate))


def main_sound(source: InputContainer) -> Any:
    """The sound that is decoded, as `containers.audio.source` chooses it."""
    return source.streams.best("audio") or source.streams.audio[0]

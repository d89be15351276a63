"""Packets of media files as a muxer wants them: none empty, each with its two times."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Final

import av
from av.stream import Disposition, Stream

from clearstem.errors import UnreadableAudio

Packet = Any
"""`av.Packet` of any stream; PyAV's types tell those of audio and video apart, in vain here."""

# Pictures that a codec may hold back to put them in order: H.264 and HEVC have 16.
_MOST_HELD: Final = 32


def decodable(packets: Iterator[Packet]) -> Iterator[Packet]:
    """The packets of a demuxer that hold something, completed; covers at time 0.

    Raises
    ------
    UnreadableAudio
        The file cannot be read to its end.
    """
    return _with_decoding_times(_readable(packets))


def is_cover(stream: Stream) -> bool:
    """Whether a stream is an attached picture."""
    return stream.type == "video" and bool(stream.disposition & Disposition.attached_pic)


def move(packet: Packet, *, by: Fraction) -> None:
    """Put a packet at another time, `by` seconds later."""
    ticks = round(by / packet.time_base)
    packet.dts += ticks
    if packet.pts is not None:
        packet.pts += ticks


def _readable(packets: Iterator[Packet]) -> Iterator[Packet]:
    """Packets that hold something and have a time."""
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.error.FFmpegError as error:
            raise UnreadableAudio(f"the original cannot be read to its end: {error}") from error
        if packet.size and is_cover(packet.stream):
            packet.pts = packet.dts = 0
        # The last one of each stream is empty and says that it ends.
        if packet.size and (packet.pts is not None or packet.dts is not None):
            yield packet


def _with_decoding_times(packets: Iterator[Packet]) -> Iterator[Packet]:
    """Packets with a time of decoding each, in order within each stream.

    Matroska stores none. FFmpeg infers them from the times of showing once it has seen as many
    pictures as may be out of order; those of the first ones are reckoned back from there.
    """
    waiting: dict[int, list[Packet]] = {}
    begun: set[int] = set()
    for packet in packets:
        index = packet.stream_index
        held = waiting.setdefault(index, [])
        if packet.dts is None and index not in begun and len(held) < _MOST_HELD:
            held.append(packet)
            continue
        if packet.dts is None:
            packet.dts = packet.pts
        if packet.pts is None:
            packet.pts = packet.dts
        begun.add(index)
        yield from _reckoned(held, first=packet.dts)
        waiting[index] = []
        yield packet
    for held in waiting.values():
        yield from _reckoned(held, first=None)


def _reckoned(held: list[Packet], *, first: int | None) -> list[Packet]:
    """Packets without times of decoding, given those: before `first`, and before their showing."""
    if not held:
        return held
    step = max(1, held[0].duration or 1)
    # Where nothing is known: so far back that none is shown before it is decoded.
    end = min(p.pts - step * n for n, p in enumerate(held)) + step * len(held)
    begin = (end if first is None else min(first, end)) - step * len(held)
    for number, packet in enumerate(held):
        packet.dts = begin + step * number
    return held

"""Packets of media files as a muxer wants them: none empty, each with its two times.

And none that an edit list hides, but for those that decoding needs: a muxer writes its own edit
list and knows nothing of what was hidden.
"""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Final

import av

from clearstem.errors import UnreadableAudio
from containers.audio.pictures import is_cover

Packet = Any
"""`av.Packet` of any stream; PyAV's types tell those of audio and video apart, in vain here."""

# How much of what may be hidden waits for something shown; more of it goes along.
_MOST_WAITING_BYTES: Final = 64 * 1024 * 1024

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


def move(packet: Packet, *, by: Fraction) -> None:
    """Put a packet at another time, `by` seconds later."""
    ticks = round(by / packet.time_base)
    packet.dts += ticks
    if packet.pts is not None:
        packet.pts += ticks


class Trimming:
    """Leaves out what an edit list cut off; decoding may need some of it still.

    What lies behind the cut is needed by nothing, unless something that is shown comes later in
    the order of decoding; what lies before it is needed from the last key picture on.

    Attributes
    ----------
    kept_s : dict of int to list of Fraction
        When each hidden picture that goes along would be shown, in s, by index of its stream.
    """

    def __init__(self) -> None:
        self.kept_s: dict[int, list[Fraction]] = {}
        self._waiting: dict[int, list[Packet]] = {}
        self._waiting_bytes: dict[int, int] = {}

    def __call__(self, packets: Iterator[Packet]) -> Iterator[Packet]:
        """The packets that are needed; in order within each stream."""
        for packet in packets:
            index = packet.stream_index
            waiting = self._waiting.setdefault(index, [])
            # Of sound each packet is a key, and decoders want some before the first.
            if packet.is_discard and packet.is_keyframe and packet.stream.type == "video":
                waiting.clear()
            size = packet.size + (self._waiting_bytes[index] if waiting else 0)
            self._waiting_bytes[index] = size
            waiting.append(packet)
            if not packet.is_discard or size > _MOST_WAITING_BYTES:
                yield from map(self._kept, waiting)
                waiting.clear()

    def _kept(self, packet: Packet) -> Packet:
        if packet.is_discard and packet.stream.type == "video":
            shown_s = packet.pts * packet.time_base
            self.kept_s.setdefault(packet.stream_index, []).append(shown_s)
        return packet


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

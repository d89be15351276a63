"""A video with another sound: every other stream is copied packet by packet, nothing moves.

Pictures are decoded only where the container does not hold them: those are encoded anew
(`containers.audio.recoding`). The sound comes as a file of its own, encoded and measured
already (`containers.audio.encode`), and takes the place of the one that was decoded; it starts
where that one started. Subtitles, further sounds, data, chapters, tags, covers and attachments
go along where the container holds them, and what it does not hold is told.

Only packets pass through, and at most some tens of pictures, so memory does not grow with the
length; the muxer's own index does, by some tens of bytes a packet. What an edit list cut off is
left out where nothing needs it.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, Final

import av
from av.container import InputContainer, OutputContainer
from av.stream import Stream

from clearstem.errors import PictureNotHeld, UnreadableAudio
from containers.audio.beginnings import delay_frames, main_sound, origin_of, sound_begin
from containers.audio.edit_list import skip_delay
from containers.audio.packets import Packet, Trimming, decodable, move
from containers.audio.pictures import (
    MUXERS,
    codec_name,
    held_by,
    is_cover,
    is_held,
    opened,
    pixel_limit,
)
from containers.audio.recoding import Recoder
from containers.audio.stream import Progress, ignore

_ISO_FAMILY: Final = frozenset({"mp4", "m4v", "mov"})
_ISO_DEMUXER: Final = "mov,mp4,m4a,3gp,3g2,mj2"
# Muxers without times below 0.
_FROM_ZERO: Final = frozenset({"matroska", "webm"})
# What says how a file was made or is laid out, which the new file says of itself.
_MUXER_TAGS: Final = frozenset(
    {"major_brand", "minor_version", "compatible_brands", "encoder", "duration"}
)
# A muxer holds back what it puts in order by time, up to 10 s (max_interleave_delta in libavformat)
# and some 500 bytes a packet. Films have some hundred a second, of all streams together.
_MOST_IN_A_SECOND: Final = 10_000
_SECONDS_COUNTED: Final = 60
# Least needed first: what is left out where a muxer takes a file with none of them.
_EXPENDABLE: Final = ("data", "attachment", "subtitle", "audio")


def remux(
    original: Path, sound: Path, into: Path, *, container: str, progress: Progress = ignore
) -> tuple[str, ...]:
    """Write `original` with `sound` in the place of its main sound.

    Packets of every copied stream are the original's, byte for byte, at the original's times,
    but for those that it hides and nothing needs (see `containers.audio.packets.Trimming`);
    pictures that the container does not hold are encoded anew, for the same times. In mp4, m4v,
    mov these are exact. Matroska, WebM and ASF count in ms: times of finer clocks are rounded to
    that, and never shifted, but all by the same where hidden pictures come first.

    Parameters
    ----------
    original : Path
        A media file with at least one sound.
    sound : Path
        What `containers.audio.encode` wrote for the same `container`.
    into : Path
        The file to write; overwritten.
    container : str
        One of ``mp4``, ``mov``, ``m4v``, ``mkv``, ``webm``, ``wmv``.
    progress : Progress
        Told before each packet, in bytes of the original.

    Returns
    -------
    tuple of str
        What the container could not take, what was encoded anew, and how many pictures that
        the original hides are shown; fit to be shown.

    Raises
    ------
    PictureNotHeld
        The container holds no such pictures, and they cannot be decoded.
    UnreadableAudio
        `original` cannot be read, or has too many packets at one time.
    """
    with ExitStack() as stack:
        source = stack.enter_context(opened(original))
        new = stack.enter_context(av.open(str(sound)))
        plan = _Plan.of(source, container)
        target = _started(plan, source, new, into, container)
        stack.callback(target.file.close)
        late = sound_begin(original) - origin_of(source)
        rate_hz = new.streams.audio[0].rate
        begin = max(0, round(late * rate_hz)) if container in _ISO_FAMILY else 0
        later = max(late, _room(sound)) if begin else late
        _fill(target, source, new, later=later, progress=progress)
        track = plan.track(source)
    if begin:
        skip_delay(into, track=track, frames=delay_frames(sound), begin=begin)
    recoded = chain(*(recoder.notes() for recoder in target.recoders.values()))
    return (*plan.notes, *recoded, *_shown_after_all(target, container))


def _fill(
    target: "_Target",
    source: InputContainer,
    new: InputContainer,
    *,
    later: Fraction,
    progress: Progress,
) -> None:
    """Write all packets, those of the new sound `later` s later than they say."""
    copied = _copied_packets(source, target, origin=origin_of(source), progress=progress)
    for packet in _in_time(copied, _sound_packets(new, target.sound, later=later)):
        target.file.mux(packet)
    progress(source.size, source.size)


@dataclass(slots=True)
class _Plan:
    """Which streams of the original go along, and what is said of the others.

    Attributes
    ----------
    copied : list of int
        Indexes in the original.
    sound : int
        Index of the sound that is replaced.
    recoded : list of int
        Indexes of the pictures that are encoded anew.
    covers : list of int
        Pictures that go as attachments.
    """

    copied: list[int]
    sound: int
    recoded: list[int]
    covers: list[int]
    notes: list[str]

    @classmethod
    def of(cls, source: InputContainer, container: str) -> "_Plan":
        """All streams of the original that the container is said to hold."""
        plan = cls([], main_sound(source).index, [], [], [])
        held = held_by(container)
        for stream in source.streams:
            if stream.index == plan.sound or _is_chapters(stream, source):
                continue
            if is_cover(stream):
                plan._add_cover(stream, container)
            elif is_held(stream, held):
                plan.copied.append(stream.index)
            elif stream.type == "video":
                plan.recoded.append(stream.index)
            else:
                plan.leave_out(stream, container)
        return plan

    def _add_cover(self, stream: Any, container: str) -> None:
        if container == "mkv":
            self.covers.append(stream.index)
        elif not stream.width:
            most = pixel_limit(stream)
            self.notes.append(f"cover art left out: it is broken or has more than {most} pixels")
        elif container in ("mp4", "m4v") and codec_name(stream) in ("mjpeg", "png"):
            self.copied.append(stream.index)
        else:
            self.notes.append(f"cover art left out: {container} holds none")

    def track(self, source: InputContainer) -> int:
        """The sound's position among the tracks of an ISO file, which has covers elsewhere."""
        kept = (*self.copied, *self.recoded)
        before = [source.streams[index] for index in kept if index < self.sound]
        return sum(not is_cover(stream) for stream in before)

    def leave_out(self, stream: Stream, container: str) -> None:
        """Say that a stream does not go along, and see to it."""
        if stream.index in self.copied:
            self.copied.remove(stream.index)
        kind = "sound" if stream.type == "audio" else stream.type
        self.notes.append(
            f"{kind} stream {stream.index} ({codec_name(stream)}) left out: {container} holds none"
        )

    def least_needed(self, source: InputContainer) -> Stream | None:
        """The copied stream to try without; None where only pictures are left."""
        for kind in _EXPENDABLE:
            for index in reversed(self.copied):
                if source.streams[index].type == kind:
                    return source.streams[index]
        return None


@dataclass(frozen=True, slots=True)
class _Target:
    """The file being written, which of its streams takes which packets, and which none does."""

    file: OutputContainer
    streams: Mapping[int, Any]
    recoders: Mapping[int, Recoder]
    sound: Any
    trimming: Trimming


def _started(
    plan: _Plan, source: InputContainer, new: InputContainer, into: Path, container: str
) -> _Target:
    """The file with its header written, with as many streams as the muxer takes.

    Whether it does is only certain when the header is written.
    """
    while True:
        target = _declared(plan, source, new, into, container)
        try:
            target.file.start_encoding()
        except (av.error.FFmpegError, ValueError) as error:
            with suppress(av.error.FFmpegError):
                target.file.close()
            spare = plan.least_needed(source)
            if spare is None:
                raise PictureNotHeld(
                    f"{container} does not hold these pictures: {error}"
                ) from error
            plan.leave_out(spare, container)
        else:
            return target


def _declared(
    plan: _Plan, source: InputContainer, new: InputContainer, into: Path, container: str
) -> _Target:
    # Without bit-exactness the time of writing and FFmpeg's version would be in the file.
    options = {"fflags": "+bitexact"}
    sound = new.streams.audio[0]
    if container in _ISO_FAMILY:
        # The movie clock counts the edit lists; faststart puts the index where players look.
        options |= {"movie_timescale": str(sound.rate), "movflags": "+faststart"}
    file = av.open(
        str(into),
        "w",
        format=MUXERS[container],
        container_options=options,
        metadata_errors="replace",
    )
    streams: dict[int, Any] = {}
    recoders: dict[int, Recoder] = {}
    placed = None
    for index in sorted([*plan.copied, *plan.recoded, plan.sound]):
        stream: Any = source.streams[index]
        if index == plan.sound:
            placed = file.add_stream_from_template(sound, opaque=True)
            _label(placed, stream)
        elif index in plan.recoded:
            path = Path(source.name)
            recoders[index] = Recoder(file, stream, path=path, container=container)
            _label(recoders[index].stream, stream)
        else:
            streams[index] = _copied_stream(file, stream, source, container)
    for index in plan.covers:
        _attach(file, source, index)
    file.metadata.update(
        {key: text for key, text in source.metadata.items() if key not in _MUXER_TAGS}
    )
    file.set_chapters(source.chapters())
    return _Target(file, streams, recoders, placed, Trimming())


def _copied_stream(
    file: OutputContainer, stream: Stream, source: InputContainer, container: str
) -> Any:
    copied = file.add_stream_from_template(stream, opaque=True)
    if copied.codec_context is not None:
        _label(copied, stream)
        # Between files of one family the tag tells kinds of one codec apart: players of Apple
        # refuse HEVC as hev1, and by the tag alone is ProRes 4444 known.
        if container in _ISO_FAMILY and source.format.name == _ISO_DEMUXER:
            with suppress(UnicodeDecodeError, ValueError):
                copied.codec_context.codec_tag = stream.codec_context.codec_tag
    return copied


def _label(copied: Any, stream: Stream) -> None:
    """Language, title and role of a stream."""
    copied.metadata.update(
        {key: text for key, text in stream.metadata.items() if key.lower() not in _MUXER_TAGS}
    )
    copied.disposition = int(stream.disposition)


def _attach(file: OutputContainer, source: InputContainer, index: int) -> None:
    """Put a cover where Matroska has its covers: into an attachment."""
    stream = source.streams[index]
    name = str(source.name)
    kind = "png" if codec_name(stream) == "png" else "jpeg"
    # Through a reader of its own, since the other must stay at its beginning.
    with opened(Path(name)) as again:
        packet = next(iter(again.demux(again.streams[index])), None)
        if packet is not None and packet.size:
            title = stream.metadata.get("filename", f"cover.{kind.replace('jpeg', 'jpg')}")
            file.add_attachment(title, f"image/{kind}", bytes(packet))


def _in_time(copied: Iterator[Packet], sounds: Iterator[Packet]) -> Iterator[Packet]:
    """Packets of both files in the order of time."""
    waiting = next(sounds, None)
    for packet in copied:
        now = packet.dts * packet.time_base
        while waiting is not None and waiting.dts * waiting.time_base <= now:
            yield waiting
            waiting = next(sounds, None)
        yield packet
    if waiting is not None:
        yield waiting
        yield from sounds


def _copied_packets(
    source: InputContainer, target: _Target, *, origin: Fraction, progress: Progress
) -> Iterator[Packet]:
    """Packets of the original, each marked for its new stream, some of them encoded anew."""
    indexes = (*target.streams, *target.recoders)
    if not indexes:
        return
    counts_from_0 = target.file.format.name in _FROM_ZERO
    packets = decodable(source.demux([source.streams[index] for index in indexes]))
    crowds: Counter[int] = Counter()
    for packet in target.trimming(packets):
        progress(min(max(packet.pos or 0, 0), source.size), source.size)
        move(packet, by=-origin)
        second = int(packet.dts * packet.time_base)
        if len(crowds) > _SECONDS_COUNTED:
            crowds.clear()
        crowds[second] += 1
        if crowds[second] > _MOST_IN_A_SECOND:
            raise UnreadableAudio(
                f"the original has more than {_MOST_IN_A_SECOND} packets within a second, at "
                f"{second} s"
            )
        if packet.stream_index in target.recoders:
            yield from target.recoders[packet.stream_index].packets(packet)
            continue
        # Priming of another sound, heard by nobody: to make room for it the muxer would move
        # everything else.
        if counts_from_0 and packet.stream.type != "video" and packet.pts < 0:
            continue
        packet.stream = target.streams[packet.stream_index]
        yield packet
    for recoder in target.recoders.values():
        yield from recoder.rest()


def _shown_after_all(target: _Target, container: str) -> tuple[str, ...]:
    """What to tell of hidden pictures that others need, where players show them.

    In the ISO family the muxer's own edit list hides what comes before 0.
    """
    kept_s = chain(*(target.trimming.kept_s.get(index, ()) for index in target.streams))
    shown = sum(at_s >= 0 or container not in _ISO_FAMILY for at_s in kept_s)
    if not shown:
        return ()
    return (f"pictures cut off in the original shown after all, since others need them: {shown}",)


def _room(sound: Path) -> Fraction:
    """How late a sound in an ISO file has to be put for it to get an empty edit, in s.

    Of one that begins late, but by less than its encoder's delay, the muxer would let the rest
    of the delay be heard. After all of the delay there is an edit that can be corrected.
    """
    with av.open(str(sound)) as file:
        return Fraction(delay_frames(sound) + 1, file.streams.audio[0].rate)


def _sound_packets(new: InputContainer, stream: Any, *, later: Fraction) -> Iterator[Packet]:
    for packet in new.demux(new.streams.audio[0]):
        if packet.dts is None:
            continue
        move(packet, by=later)
        packet.stream = stream
        yield packet


def _is_chapters(stream: Stream, source: InputContainer) -> bool:
    """Whether a stream is the text of QuickTime's chapters, which the muxer writes anew."""
    handler = stream.metadata.get("handler_name", "Text")
    titles = stream.type == "data" and ("Text" in handler or "Subtitle" in handler)
    return titles and source.format.name == _ISO_DEMUXER and bool(source.chapters())

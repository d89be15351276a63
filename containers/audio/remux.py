"""A video with another sound: every other stream is copied packet by packet, nothing moves.

The pictures are never decoded. The sound comes as a file of its own, encoded and measured
already (`containers.audio.encode`), and takes the place of the one that was decoded; it starts
where that one started. Subtitles, further sounds, data, chapters, tags, covers and attachments
go along where the container holds them, and what it does not hold is told.

Only packets pass through, so memory does not grow with the length; the muxer's own index does,
by some tens of bytes a packet.
"""

import io
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
from av.container import InputContainer, OutputContainer
from av.stream import Stream

from clearstem.errors import PictureNotHeld, UnreadableAudio
from clearstem.media import VIDEO_OUTPUTS
from containers.audio.edit_list import skip_delay
from containers.audio.packets import Packet, decodable, is_cover, move
from containers.audio.stream import Progress, ignore

# FFmpeg's muxers by extension. m4v is mp4 by another name: the muxer ``ipod`` that FFmpeg has
# for it takes fewer codecs.
_MUXERS: Final[Mapping[str, str]] = {
    "mp4": "mp4",
    "m4v": "mp4",
    "mov": "mov",
    "mkv": "matroska",
    "webm": "webm",
    "wmv": "asf",
}
_ISO_FAMILY: Final = frozenset({"mp4", "m4v", "mov"})
_ISO_DEMUXER: Final = "mov,mp4,m4a,3gp,3g2,mj2"
# Those of `containers.audio.source` that carry pictures; no playlist formats, which name other
# files and hosts.
_OPTIONS: Final = {
    "protocol_whitelist": "file",
    "format_whitelist": "asf,avi,flv,matroska,webm,mov,mpeg,mpegts,ogg,mp3,wav,aiff,flac,aac,caf",
    # AVI counts packets and knows of no order of showing; muxers want to be told.
    "fflags": "+genpts",
}
# Muxers without times below 0, and demuxers of what begins at any time.
_FROM_ZERO: Final = frozenset({"matroska", "webm"})
_PIECES: Final = frozenset({"mpeg", "mpegts"})
# What says how a file was made or is laid out, which the new file says of itself.
_MUXER_TAGS: Final = frozenset(
    {"major_brand", "minor_version", "compatible_brands", "encoder", "duration"}
)
# Least needed first: what is left out where a muxer takes a file with none of them.
_EXPENDABLE: Final = ("data", "attachment", "subtitle", "audio")


@dataclass(frozen=True, slots=True)
class Pictures:
    """What a media file shows.

    Attributes
    ----------
    codecs : tuple of str
        FFmpeg's name of each video stream that is no cover; empty where there is none.
    container : str
        FFmpeg's name of the demuxer.
    """

    codecs: tuple[str, ...]
    container: str


def pictures_of(path: Path) -> Pictures:
    """The pictures of a media file; nothing is decoded.

    Raises
    ------
    UnreadableAudio
        No demuxer of ours knows the file.
    """
    with _opened(path) as source:
        shown = [stream for stream in source.streams.video if not is_cover(stream)]
        return Pictures(tuple(_codec(stream) for stream in shown), source.format.name)


def holders(codecs: tuple[str, ...]) -> tuple[str, ...]:
    """The containers, by extension, that hold pictures of all these codecs."""
    return tuple(each for each in VIDEO_OUTPUTS if set(codecs) <= _held_by(each))


def check_holds(container: str, pictures: Pictures) -> None:
    """Refuse what `remux` could not write, before any work is put into it.

    Raises
    ------
    PictureNotHeld
        The container holds no pictures of that codec; the message names those that do.
    """
    missing = [codec for codec in pictures.codecs if codec not in _held_by(container)]
    if missing:
        fitting = ", ".join(holders(pictures.codecs)) or "none that is written here"
        raise PictureNotHeld(
            f"{container} holds no {missing[0]} video, and pictures are not encoded anew; "
            f"containers that hold it: {fitting}"
        )


def remux(
    original: Path, sound: Path, into: Path, *, container: str, progress: Progress = ignore
) -> tuple[str, ...]:
    """Write `original` with `sound` in the place of its main sound.

    Packets of every copied stream are the original's, byte for byte, at the original's times.
    In mp4, m4v, mov these are exact. Matroska, WebM and ASF count in ms: times of finer clocks
    are rounded to that, and never shifted.

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
        Told after each packet, in bytes of the original.

    Returns
    -------
    tuple of str
        What the container could not take, fit to be shown.

    Raises
    ------
    PictureNotHeld
        The container holds no such pictures.
    UnreadableAudio
        `original` cannot be read.
    """
    check_holds(container, pictures_of(original))
    begin = _sound_begin(original)
    with ExitStack() as stack:
        source = stack.enter_context(_opened(original))
        new = stack.enter_context(av.open(str(sound)))
        plan = _Plan.of(source, container)
        target = _started(plan, source, new, into, container)
        stack.callback(target.file.close)
        size = original.stat().st_size
        origin = _origin(source)
        for packet in _in_time(source, new, target, begin=begin, origin=origin):
            target.file.mux(packet)
            progress(min(packet.pos or 0, size), size)
        progress(size, size)
        late, track = begin > origin, plan.track(source)
    if late and container in _ISO_FAMILY:
        skip_delay(into, track=track, frames=_delay_frames(sound))
    return tuple(plan.notes)


@dataclass(slots=True)
class _Plan:
    """Which streams of the original go along, and what is said of the others.

    Attributes
    ----------
    copied : list of int
        Indexes in the original.
    sound : int
        Index of the sound that is replaced.
    covers : list of int
        Pictures that go as attachments.
    """

    copied: list[int]
    sound: int
    covers: list[int]
    notes: list[str]

    @classmethod
    def of(cls, source: InputContainer, container: str) -> "_Plan":
        """All streams of the original that the container is said to hold."""
        plan = cls([], _main_sound(source).index, [], [])
        held = _held_by(container)
        for stream in source.streams:
            if stream.index == plan.sound or _is_chapters(stream, source):
                continue
            if is_cover(stream):
                plan._add_cover(stream, container)
            elif stream.codec_context is None or _codec(stream) in held:
                plan.copied.append(stream.index)
            else:
                plan.leave_out(stream, container)
        return plan

    def _add_cover(self, stream: Stream, container: str) -> None:
        if container == "mkv":
            self.covers.append(stream.index)
        elif container in ("mp4", "m4v") and _codec(stream) in ("mjpeg", "png"):
            self.copied.append(stream.index)
        else:
            self.notes.append(f"cover art left out: {container} holds none")

    def track(self, source: InputContainer) -> int:
        """The sound's position among the tracks of an ISO file, which has covers elsewhere."""
        before = [source.streams[index] for index in self.copied if index < self.sound]
        return sum(not is_cover(stream) for stream in before)

    def leave_out(self, stream: Stream, container: str) -> None:
        """Say that a stream does not go along, and see to it."""
        if stream.index in self.copied:
            self.copied.remove(stream.index)
        kind = "sound" if stream.type == "audio" else stream.type
        self.notes.append(
            f"{kind} stream {stream.index} ({_codec(stream)}) left out: {container} holds none"
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
    """The file being written, and which of its streams takes which packets."""

    file: OutputContainer
    streams: Mapping[int, Any]
    sound: Any


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
        format=_MUXERS[container],
        container_options=options,
        metadata_errors="replace",
    )
    streams: dict[int, Any] = {}
    placed = None
    for index in sorted([*plan.copied, plan.sound]):
        if index == plan.sound:
            placed = file.add_stream_from_template(sound, opaque=True)
            _label(placed, source.streams[index])
        else:
            streams[index] = _copied_stream(file, source.streams[index], source, container)
    for index in plan.covers:
        _attach(file, source, index)
    file.metadata.update(
        {key: text for key, text in source.metadata.items() if key not in _MUXER_TAGS}
    )
    file.set_chapters(source.chapters())
    return _Target(file, streams, placed)


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
    kind = "png" if _codec(stream) == "png" else "jpeg"
    # Through a reader of its own, since the other must stay at its beginning.
    with _opened(Path(name)) as again:
        packet = next(iter(again.demux(again.streams[index])), None)
        if packet is not None and packet.size:
            title = stream.metadata.get("filename", f"cover.{kind.replace('jpeg', 'jpg')}")
            file.add_attachment(title, f"image/{kind}", bytes(packet))


def _in_time(
    source: InputContainer,
    new: InputContainer,
    target: _Target,
    *,
    begin: Fraction,
    origin: Fraction,
) -> Iterator[Packet]:
    """Packets of both files in the order of time, each marked for its new stream."""
    sounds = _sound_packets(new, target.sound, later=begin - origin)
    waiting = next(sounds, None)
    for packet in _copied_packets(source, target, origin=origin):
        now = packet.dts * packet.time_base
        while waiting is not None and waiting.dts * waiting.time_base <= now:
            yield waiting
            waiting = next(sounds, None)
        yield packet
    if waiting is not None:
        yield waiting
        yield from sounds


def _copied_packets(
    source: InputContainer, target: _Target, *, origin: Fraction
) -> Iterator[Packet]:
    if not target.streams:
        return
    packets = source.demux([source.streams[index] for index in target.streams])
    counts_from_0 = target.file.format.name in _FROM_ZERO
    for packet in decodable(packets):
        move(packet, by=-origin)
        # Priming of another sound, heard by nobody: to make room for it the muxer would move
        # everything else.
        if counts_from_0 and packet.stream.type != "video" and packet.pts < 0:
            continue
        packet.stream = target.streams[packet.stream_index]
        yield packet


def _sound_packets(new: InputContainer, stream: Any, *, later: Fraction) -> Iterator[Packet]:
    for packet in new.demux(new.streams.audio[0]):
        if packet.dts is None:
            continue
        move(packet, by=later)
        packet.stream = stream
        yield packet


def _delay_frames(sound: Path) -> int:
    """The encoder's delay in an ISO file that begins with its sound."""
    with av.open(str(sound)) as file:
        stream = file.streams.audio[0]
        first = next(packet for packet in file.demux(stream))
        return max(0, -round((first.pts or 0) * first.time_base * stream.rate))


def _origin(source: InputContainer) -> Fraction:
    """The time that a file counts from, in s.

    MPEG's program and transport streams are pieces of something that began earlier; in all
    other containers 0 is the beginning.
    """
    if source.format.name not in _PIECES or source.start_time is None:
        return Fraction(0)
    return Fraction(source.start_time, av.time_base)


def _sound_begin(path: Path) -> Fraction:
    """When the original's sound begins, in s, encoder delay not counted."""
    with _opened(path) as source:
        for packet in source.demux(_main_sound(source)):
            with suppress(av.error.FFmpegError):
                for frame in packet.decode():
                    if frame.pts is None or frame.time_base is None:
                        return Fraction(0)
                    return Fraction(frame.pts * frame.time_base)
    return Fraction(0)


def _main_sound(source: InputContainer) -> Any:
    """The sound that is decoded, as `containers.audio.source` chooses it."""
    return source.streams.best("audio") or source.streams.audio[0]


def _opened(path: Path) -> InputContainer:
    try:
        return av.open(str(path), options=_OPTIONS, metadata_errors="replace")
    except av.error.FFmpegError as error:
        raise UnreadableAudio(f"{path.name} is no media file in a known format") from error


def _is_chapters(stream: Stream, source: InputContainer) -> bool:
    """Whether a stream is the text of QuickTime's chapters, which the muxer writes anew."""
    handler = stream.metadata.get("handler_name", "Text")
    titles = stream.type == "data" and ("Text" in handler or "Subtitle" in handler)
    return titles and source.format.name == _ISO_DEMUXER and bool(source.chapters())


def _codec(stream: Any) -> str:
    """FFmpeg's name of a stream's codec; of its kind where it has none."""
    context = stream.codec_context
    return str(context.name) if context is not None else getattr(stream, "name", None) or "unknown"


def _held_by(container: str) -> frozenset[str]:
    """The codecs that a container's muxer says it holds."""
    with av.open(io.BytesIO(), "w", format=_MUXERS[container]) as empty:
        return frozenset(empty.supported_codecs)

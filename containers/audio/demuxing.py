"""Which media files are opened, and what lies in them beside the samples.

Hides how FFmpeg is kept from trusting a file: the demuxers that it may take, the files that it
may open, the stream that is the recording, tags in unknown encodings, pictures of any size.
"""

from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import cast

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.stream import VideoStream

from clearstem.errors import NoAudio, UnreadableAudio
from containers.audio.headers import described, looks_like_mp3
from containers.audio.layouts import LAYOUTS
from containers.audio.sample_tables import check_samples
from containers.audio.tags import Tags, chosen

# Demuxers for what the dialects accept and nothing more: the playlist formats (hls, concat)
# would let a file name other files and hosts, which FFmpeg would then open for its sender.
_DEMUXERS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,eac3,flac,flv,matroska,webm,mov,mp3,mpeg,mpegts,"
    "ogg,w64,wav,wv"
)
_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": _DEMUXERS,
    # Bytes read at a time of what has no packets of its own. With 1024, FFmpeg's own choice, it
    # gives no frame of a FLAC whose frames pass 0.2 MB, and no error: its own encoder writes such
    # at 192 kHz in six channels or more.
    "raw_packet_size": "65536",
}
_WAV_OPTIONS = {
    # Bytes of a packet: FFmpeg's own choice of 4096 frames costs more in calls than in decoding.
    "max_size": "65536",
    # FFmpeg looks for DTS in what says it is PCM: in a quarter of a megabyte, not in two.
    "max_probe_packets": "4",
}
_WAV_HEADS = (b"RIFF", b"RF64", b"BW64", b"riff")

# Dolby's frames carry gains that narrow the dynamics for small loudspeakers. FFmpeg applies them
# unless told not to; the recording is without.
_DOLBY = frozenset({"ac3", "eac3"})
_WITHOUT_GAINS = {"drc_scale": "0"}

# How FFmpeg describes an order that has no name: "4 channels (FL+FR+LFE+BC)".
_UNNAMED = " channels ("

_COVER_LIMIT_BYTES = 16 * 1024 * 1024


def open_media(path: Path) -> InputContainer:
    """A media file, open to hear it, whatever its name says.

    Of its pictures nothing is known but the codec and what the container tells.

    Raises
    ------
    UnreadableAudio
        If no demuxer that we take knows the file; the message says what it looks like. If it
        promises more samples than can be (`containers.audio.sample_tables`).
    """
    check_samples(path)
    with path.open("rb") as file:
        head = file.read(64)
    # The second try is for recordings of a few packets, or of packets that hardly differ: FFmpeg
    # takes those for video then.
    formats = (None, "mp3") if looks_like_mp3(head) else (None,)
    options = _options() | (_WAV_OPTIONS if head.startswith(_WAV_HEADS) else {})
    for format in formats:
        with suppress(av.error.FFmpegError):
            # Tags in an unknown encoding must not cost the recording.
            media = av.open(str(path), format=format, options=options, metadata_errors="replace")
            if format != formats[-1] and _is_mistaken(media, head):
                media.close()
                continue
            return media
    raise UnreadableAudio(f"{path.name} is {described(head)}, not audio in a known format")


def _is_mistaken(media: InputContainer, head: bytes) -> bool:
    """Whether FFmpeg took an mp3 for a program stream, from bytes in it that look like packets.

    Where a program stream was cut off in front, it may begin with a sync word too; but its sound
    has a rate then. None begins with a tag.
    """
    if media.format.name != "mpeg":
        return False
    sounds = [sound.codec_context for sound in media.streams.audio]
    has_rate = any(sound is not None and sound.sample_rate for sound in sounds)
    return head.startswith(b"ID3") or (bool(sounds) and not has_rate)


def audio_stream(container: InputContainer, path: Path) -> tuple[AudioStream, tuple[str, ...]]:
    """The stream to decode: what FFmpeg takes for the main one, and what to tell of it.

    To be asked once of a container, before anything else looks at its channels.

    Raises
    ------
    NoAudio
        If there is no audio stream, or one without channels.
    UnreadableAudio
        If there is no decoder for it, or nothing of it decodes.
    """
    streams = container.streams
    if not streams.audio:
        others = ", ".join(sorted({stream.type for stream in streams})) or "no"
        raise NoAudio(f"{path.name}: a {container.format.name} file with {others} streams only")
    best = cast(AudioStream | None, streams.best("audio")) or streams.audio[0]
    # None where FFmpeg knows of a codec but has no decoder for it, which PyAV's types leave out.
    codec = cast(AudioCodecContext | None, best.codec_context)
    if codec is None:
        raise UnreadableAudio(f"{path.name}: there is no decoder for the sound in it")
    if codec.name in _DOLBY:
        codec.options = dict(_WITHOUT_GAINS)
    channels, notes = _settled_channels(codec)
    if channels and codec.sample_rate:
        return best, notes
    if container.format.name == "wav":
        raise NoAudio(
            f"{path.name}: the header declares {channels} channels at {codec.sample_rate} Hz"
        )
    raise UnreadableAudio(f"{path.name}: taken for {container.format.name}, but no frame decodes")


def _settled_channels(codec: AudioCodecContext) -> tuple[int, tuple[str, ...]]:
    """How many channels there are; their order becomes the usual one of as many.

    An order of a file's own (a CHAN chunk, a channel map) lies in memory of its own. Whatever
    looks at a layout in PyAV 18 borrows that and frees it, each frame that is decoded too, which
    ends the process. So it is looked at once, and what is left in its place owns no memory.
    """
    layout = codec.layout
    count, name = layout.nb_channels, layout.name
    if _UNNAMED not in name or not count:
        return count, _other_places(name, count)
    del layout
    codec.layout = LAYOUTS[count - 1] if count <= len(LAYOUTS) else f"{count} channels"
    order = name.partition(_UNNAMED)[2].removesuffix(")")
    return count, (f"source's channels are in an order of its own, which was kept: {order}",)


def _other_places(name: str, count: int) -> tuple[str, ...]:
    """What to tell of a layout other than the one that results of as many channels have.

    A pair of surrounds is the same one at the sides and at the back.
    """
    # Above that is refused; "4 channels" is what FFmpeg calls channels without places.
    if not 2 < count <= len(LAYOUTS) or name == f"{count} channels":
        return ()
    here, written = (
        "+".join(channel.name for channel in av.AudioLayout(each).channels)
        for each in (name, LAYOUTS[count - 1])
    )
    if written in (here, here.replace("SL+SR", "BL+BR")):
        return ()
    return (f"source's channels are {here} ({name}); results keep the order and call it {written}",)


def tags_of(container: InputContainer, stream: AudioStream) -> Tags:
    """Title and the like, and what of them stays behind (see `containers.audio.tags`)."""
    return chosen(
        container.metadata, of_stream=stream.metadata, is_ogg=container.format.name == "ogg"
    )


def tags_in(path: Path) -> dict[str, str]:
    """The tags of a file that go along, keys in lower case.

    Raises
    ------
    UnreadableAudio, NoAudio
        If it holds no sound.
    """
    with open_media(path) as container:
        stream, _ = audio_stream(container, path)
        return tags_of(container, stream).kept


def cover_of(container: InputContainer, path: Path) -> tuple[bytes | None, tuple[str, ...]]:
    """The first attached picture as it is in the file, and what to tell of those left out.

    It is read through a reader of its own, which must not move the sound's.

    Returns
    -------
    bytes or None
        None where there is none, or none of at most 16 MiB.
    tuple of str
        That it is too large, or that there are more pictures than go along.
    """
    places = [video.index for video in container.streams.video if _is_attached(video)]
    if not places:
        return None, ()
    others = len(places) - 1
    notes = (f"further attached pictures left out: {others}",) if others else ()
    cover = _first_packet(path, places[0])
    if len(cover) <= _COVER_LIMIT_BYTES:
        return cover or None, notes
    size, most = (count / 2**20 for count in (len(cover), _COVER_LIMIT_BYTES))
    return None, (f"cover art left out: {size:.1f} MiB, up to {most:.0f} MiB go along", *notes)


def has_pictures(container: InputContainer) -> bool:
    """Whether it is a video: pictures that are no cover."""
    return any(not _is_attached(video) for video in container.streams.video)


def picture_begin_s(container: InputContainer) -> float | None:
    """When a file's first picture is shown, by its clock; None where it shows none."""
    return min(
        (
            float(video.start_time * video.time_base)
            for video in container.streams.video
            if not _is_attached(video) and video.start_time is not None and video.time_base
        ),
        default=None,
    )


def _is_attached(video: VideoStream) -> bool:
    return bool(video.disposition & av.stream.Disposition.attached_pic)


def _first_packet(path: Path, index: int) -> bytes:
    """What a stream begins with; empty where it has nothing."""
    with open_media(path) as again:
        return next((bytes(packet) for packet in again.demux(again.streams[index])), b"")


@cache
def _options() -> dict[str, str]:
    """What FFmpeg is told of every file.

    It decodes the first packets of each stream while it opens a file, to learn what is in them.
    A picture of a few kilobytes can be gigabytes then, so it gets decoders of sound alone.
    """
    decoders = []
    for name in sorted(av.codecs_available):
        with suppress(av.codec.codec.UnknownCodecError):  # one that only encodes
            if av.Codec(name, "r").type == "audio":
                decoders.append(name)
    return _OPTIONS | {"codec_whitelist": ",".join(decoders)}

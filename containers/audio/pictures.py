"""What a media file shows, and which containers hold that.

Only headers are read here. Whether a container holds a codec is what FFmpeg's muxers say.
"""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import av
from av.container import InputContainer
from av.stream import Disposition, Stream

from clearstem.errors import UnreadableAudio
from clearstem.media import VIDEO_OUTPUTS

# FFmpeg's muxers by extension. m4v is mp4 by another name: the muxer ``ipod`` that FFmpeg has
# for it takes fewer codecs.
MUXERS: Final[Mapping[str, str]] = {
    "mp4": "mp4",
    "m4v": "mp4",
    "mov": "mov",
    "mkv": "matroska",
    "webm": "webm",
    "wmv": "asf",
}
# Those of `containers.audio.source`; no playlist formats, which name other files and hosts.
_OPTIONS: Final = {
    "protocol_whitelist": "file",
    "format_whitelist": (
        "aac,ac3,aiff,amr,ape,asf,au,avi,caf,eac3,flac,flv,matroska,webm,mov,mp3,mpeg,mpegts,"
        "ogg,w64,wav,wv"
    ),
    # AVI counts packets and knows of no order of showing; muxers want to be told.
    "fflags": "+genpts",
}


def opened(path: Path) -> InputContainer:
    """A media file, opened to read its packets.

    Raises
    ------
    UnreadableAudio
        No demuxer of ours knows the file.
    """
    try:
        return av.open(str(path), options=_OPTIONS, metadata_errors="replace")
    except av.error.FFmpegError as error:
        raise UnreadableAudio(f"{path.name} is no media file in a known format") from error


def pictures_of(path: Path) -> tuple[str, ...]:
    """The codec, by FFmpeg's name, of each video stream that is no cover; nothing is decoded.

    Raises
    ------
    UnreadableAudio
        No demuxer of ours knows the file.
    """
    with opened(path) as source:
        return tuple(codec_name(each) for each in source.streams.video if not is_cover(each))


def holders(codecs: tuple[str, ...]) -> tuple[str, ...]:
    """The containers, by extension, that hold pictures of all these codecs."""
    return tuple(each for each in VIDEO_OUTPUTS if set(codecs) <= held_by(each))


def is_cover(stream: Stream) -> bool:
    """Whether a stream is an attached picture."""
    return stream.type == "video" and bool(stream.disposition & Disposition.attached_pic)


def codec_name(stream: Any) -> str:
    """FFmpeg's name of a stream's codec; of its kind where it has none."""
    context = stream.codec_context
    return str(context.name) if context is not None else getattr(stream, "name", None) or "unknown"


def held_by(container: str) -> frozenset[str]:
    """The codecs that a container's muxer says it holds."""
    with av.open(io.BytesIO(), "w", format=MUXERS[container]) as empty:
        return frozenset(empty.supported_codecs)

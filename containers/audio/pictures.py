"""What a media file shows, and which containers hold that.

FFmpeg decodes the first picture of each stream while it opens a file, and a picture of a few
kilobytes can be gigabytes then. Hides how that is kept within bounds. Nothing else is decoded
here. Whether a container holds a codec is what FFmpeg's muxers say.

References
----------
ITU-T H.264, table A-1: level 6.2, the highest, has pictures of up to 139264 macroblocks.
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
from containers.audio.demuxing import open_media

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
MOST_PIXELS: Final = 6144 * 6144
"""Of one picture that is decoded: what H.264 has at most, and a cover of 6000 x 6000."""

_SIZELESS: Final = "of unknown size"

# Those of `containers.audio.demuxing`; no playlist formats, which name other files and hosts.
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

    A picture above the limit (`pixel_limit`) has the width 0, as a broken one has.

    Raises
    ------
    UnreadableAudio
        No demuxer of ours knows the file.
    """
    with open_media(path) as heard:
        pictures = len(heard.streams.video)
    # Two as large as they come, a film's and its cover, or more that are smaller.
    limit = min(MOST_PIXELS, 2 * MOST_PIXELS // max(pictures, 1))
    options = _OPTIONS | {"max_pixels": str(limit)}
    try:
        return av.open(str(path), options=options, metadata_errors="replace")
    except av.error.FFmpegError as error:
        raise UnreadableAudio(f"{path.name} is no media file in a known format") from error


def pixel_limit(stream: Stream) -> int:
    """The most pixels that a picture may have to be decoded, in a file from `opened`."""
    return int(stream.container.options["max_pixels"])


def pictures_of(path: Path) -> tuple[str, ...]:
    """The codec, by FFmpeg's name, of each video stream that is no cover.

    Pictures of unknown size have a name that no container holds.

    Raises
    ------
    UnreadableAudio
        No demuxer of ours knows the file.
    """
    with opened(path) as source:
        shown = [each for each in source.streams.video if not is_cover(each)]
        return tuple(codec_name(each) if each.width else _SIZELESS for each in shown)


def holders(codecs: tuple[str, ...]) -> tuple[str, ...]:
    """The containers, by extension, that hold pictures of all these codecs."""
    return tuple(each for each in VIDEO_OUTPUTS if set(codecs) <= held_by(each))


def is_cover(stream: Stream) -> bool:
    """Whether a stream is an attached picture."""
    return stream.type == "video" and bool(stream.disposition & Disposition.attached_pic)


def is_held(stream: Any, codecs: frozenset[str]) -> bool:
    """Whether a container of these codecs takes a stream as it is: pictures must have a size."""
    if stream.codec_context is None:
        return True
    return codec_name(stream) in codecs and not (stream.type == "video" and not stream.width)


def codec_name(stream: Any) -> str:
    """FFmpeg's name of a stream's codec; of its kind where it has none."""
    context = stream.codec_context
    return str(context.name) if context is not None else getattr(stream, "name", None) or "unknown"


def held_by(container: str) -> frozenset[str]:
    """The codecs that a container's muxer says it holds."""
    with av.open(io.BytesIO(), "w", format=MUXERS[container]) as empty:
        return frozenset(empty.supported_codecs)

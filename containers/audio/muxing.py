"""Files that FFmpeg writes: what is in them beside the sound, and that they are reproducible."""

import io
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import av
from av.container import OutputContainer
from av.video.stream import VideoStream

from containers.audio.pictures import MOST_PIXELS


def open_output(path: Path, muxer: str, options: Mapping[str, str]) -> OutputContainer:
    """A file to write; the same sound gives the same bytes.

    Parameters
    ----------
    path : Path
        Overwritten.
    muxer : str
        FFmpeg's name of the format.
    options : mapping of str to str
        For that muxer.
    """
    # Bit-exact: without FFmpeg's version and the time.
    every = {"fflags": "+bitexact"} | dict(options)
    file: OutputContainer = av.open(str(path), "w", format=muxer, container_options=every)
    return file


def begin(file: OutputContainer, *, tags: Mapping[str, str], cover: bytes | None) -> None:
    """Write the head of a file that has its sound stream.

    Parameters
    ----------
    file : OutputContainer
        From `open_output`.
    tags : mapping of str to str
        Title, artist and the like.
    cover : bytes or None
        JPEG or PNG; anything else is left out.
    """
    picture = _add_picture(file, cover) if cover else None
    file.metadata.update(tags)
    file.start_encoding()
    if picture is not None and cover is not None:
        file.mux(_picture_packet(picture, cover))


def picture_size(cover: bytes) -> tuple[int, int] | None:
    """Width and height of a JPEG or PNG; None where it is neither, broken or above MOST_PIXELS."""
    options = {"format_whitelist": "jpeg_pipe,png_pipe", "max_pixels": str(MOST_PIXELS)}
    try:
        with av.open(io.BytesIO(cover), options=options) as image:
            shown = image.streams.video[0].codec_context
            return (shown.width, shown.height) if shown.width and shown.height else None
    except (av.error.FFmpegError, IndexError):
        return None


def picture_type(cover: bytes) -> str:
    """The media type of what is a JPEG or PNG."""
    return "image/png" if cover.startswith(b"\x89PNG") else "image/jpeg"


def _add_picture(file: OutputContainer, cover: bytes) -> VideoStream | None:
    """A stream for the cover, which is stored as it is; None where it is no picture."""
    size = picture_size(cover)
    if size is None:
        return None
    png = picture_type(cover) == "image/png"
    picture = file.add_stream("png" if png else "mjpeg")
    picture.width, picture.height = size
    picture.pix_fmt = "rgb24" if png else "yuvj420p"
    picture.disposition = av.stream.Disposition.attached_pic
    return picture


def _picture_packet(picture: VideoStream, cover: bytes) -> "av.Packet[av.stream.Stream]":
    packet = av.Packet(cover)
    packet.stream = picture
    packet.pts = packet.dts = 0
    packet.time_base = picture.time_base or Fraction(1, 25)
    return packet

"""Pictures encoded anew, for a container that was asked for and does not hold the old ones.

Hides the encoders: what each is told, what it cannot take (odd sizes, more than 8 bits), how a
picture keeps its time, its shape, its place and its colours. One picture goes through at a time;
the encoders hold back some tens.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, cast

import av
import numpy as np
from av.container import OutputContainer
from av.sidedata.sidedata import Type
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from av.video.stream import VideoStream

from clearstem.errors import PictureNotHeld
from containers.audio.packets import Packet
from containers.audio.pictures import (
    MOST_PIXELS,
    codec_name,
    held_by,
    is_cover,
    is_held,
    opened,
    pixel_limit,
)

_FORMAT: Final = "yuv420p"
# Rates that are told to the encoders, which take them for a hint: times are those of the source.
_RATE: Final = Fraction(25)
_HIGHEST_RATE: Final = Fraction(240)
# AVCOL_SPC_RGB (libavutil/pixfmt.h, ITU-T H.273): no YUV, so it cannot stay.
_RGB: Final = 0
# High definition has BT.709's matrix where nothing is said, everything smaller BT.601's.
_HIGH_DEFINITION: Final = 720


@dataclass(frozen=True, slots=True)
class _Encoder:
    """How FFmpeg is told to encode, and how that is told to users.

    `step` is what width and height are multiples of. `tells_shape` and `tells_turn` say whether
    players learn of pixels that are not square, and of pictures to be turned.
    """

    name: str
    told: str
    step: int
    options: Mapping[str, str]
    tells_shape: bool = True
    tells_turn: bool = True


_H264: Final = _Encoder(
    "libx264", "h264, crf 20", step=2, options={"preset": "veryfast", "crf": "20"}
)
# FFmpeg reads H.264 out of ASF a picture late: packets there have one time each. This one shows
# them in the order in which they come, and whatever plays .wmv plays it. The quantiser is told in
# units of FF_QP2LAMBDA, 118 (libavutil/avutil.h).
_WMV2: Final = _Encoder(
    "wmv2",
    "wmv2, quantiser 2",
    step=1,
    options={"flags": "+qscale", "global_quality": str(2 * 118), "g": "100"},
    tells_turn=False,
)
_VP9: Final = _Encoder(
    "libvpx-vp9",
    "vp9, crf 24",
    step=1,
    options={
        "deadline": "realtime",
        "cpu-used": "6",
        "crf": "24",
        "row-mt": "1",
        "threads": "0",
    },
    # It is the container that would tell, and PyAV tells that nothing.
    tells_shape=False,
)
# What every player of a container plays.
_ENCODERS: Final[Mapping[str, _Encoder]] = {
    "mp4": _H264,
    "m4v": _H264,
    "mov": _H264,
    "mkv": _H264,
    "webm": _VP9,
    "wmv": _WMV2,
}


def check_decodable(path: Path, *, container: str) -> None:
    """Refuse pictures that can be neither copied nor encoded anew, before any work is put in.

    Parameters
    ----------
    path : Path
        A media file; the first picture of each stream that `container` does not hold is decoded.
    container : str
        An extension of `clearstem.media.VIDEO_OUTPUTS`.

    Raises
    ------
    PictureNotHeld
        The container holds no such pictures, and none of them can be decoded.
    UnreadableAudio
        No demuxer of ours knows the file.
    """
    held = held_by(container)
    with opened(path) as source:
        streams = [each for each in source.streams.video if not is_cover(each)]
        missing = [each.index for each in streams if not is_held(each, held)]
    for index in missing:
        _first_picture(path, index, container=container)


class Recoder:
    """One stream of pictures on its way into another codec.

    Parameters
    ----------
    file : OutputContainer
        Gets the new stream; its header is not written yet.
    source : VideoStream
        The stream whose packets come, from the file at `path`.
    path : Path
        Read once more for the first picture, which tells size and colours.
    container : str
        The extension of what is written.

    Raises
    ------
    PictureNotHeld
        None of the pictures can be decoded, or they are larger than any player takes.

    Attributes
    ----------
    stream : VideoStream
        The new stream.
    """

    def __init__(
        self, file: OutputContainer, source: VideoStream, *, path: Path, container: str
    ) -> None:
        self._encoder = _ENCODERS[container]
        self._source = source
        self._container = container
        # Demuxers always tell a clock; PyAV's types allow for none.
        self._time_base = source.time_base or Fraction(1, av.time_base)
        self._rate = min(source.average_rate or source.guessed_rate or _RATE, _HIGHEST_RATE)
        # Between pictures that have no times.
        self._step = max(1, round(1 / self._rate / self._time_base))
        # As many threads as there are processors, and pictures at once.
        source.thread_type = "AUTO"
        source.codec_context.options = {"max_pixels": str(pixel_limit(source))}
        self._first = _first_picture(path, source.index, container=container)
        self.stream = self._declared(file)
        self._converter = VideoReformatter()
        self._last: int | None = None
        self._damaged = 0

    def packets(self, packet: Packet) -> Iterator[Packet]:
        """What the encoder gives out after a packet of the source, which is put in time already."""
        try:
            pictures = packet.decode()
        except av.error.FFmpegError:
            self._damaged += 1
            return
        for picture in pictures:
            yield from self._encoded(picture)

    def rest(self) -> Iterator[Packet]:
        """What decoder and encoder held back."""
        # A decoder that ends on something broken has told of it before.
        with suppress(av.error.FFmpegError):
            for picture in self._source.decode(None):
                yield from self._encoded(picture)
        yield from self.stream.encode(None)

    def notes(self) -> tuple[str, ...]:
        """What was done, fit to be shown; complete after `rest`."""
        old = (self._first.width, self._first.height)
        new = (self.stream.width, self.stream.height)
        depth = max(part.bits for part in self._first.format.components)
        told = (
            f"pictures encoded anew: {self._container} holds no {codec_name(self._source)}; "
            f"{self._encoder.told}"
        )
        if old != new:
            told += f"; {new[0]}x{new[1]} instead of {old[0]}x{old[1]}"
        if depth > 8:
            told += f"; 8 bits of {depth}"
        if self._first.rotation and not self._encoder.tells_turn:
            told += f"; not turned by {self._first.rotation} degrees"
        if self._damaged:
            return told, f"damaged or doubled pictures left out: {self._damaged}"
        return (told,)

    def _declared(self, file: OutputContainer) -> VideoStream:
        """The new stream, as the first picture tells that it must be."""
        first, encoder = self._first, self._encoder
        options = dict(encoder.options)
        if first.interlaced_frame and encoder.name == "libx264":
            options["flags"] = "+ildct+ilme"
        added = file.add_stream(encoder.name, rate=self._rate, options=options)
        stream = cast(VideoStream, added)
        context = stream.codec_context
        context.width, context.height = (_up(n, encoder.step) for n in self._size())
        context.pix_fmt = _FORMAT
        # The source's clock: every time can be told exactly.
        context.time_base = self._time_base
        if self._source.sample_aspect_ratio and encoder.tells_shape:
            context.sample_aspect_ratio = self._source.sample_aspect_ratio
        context.color_primaries, context.color_trc = first.color_primaries, first.color_trc
        context.colorspace, context.color_range = _matrix(first), _range(first)
        stream.set_display_matrix(_display_matrix(first))
        return stream

    def _size(self) -> tuple[int, int]:
        """Width and height of the new pictures; larger where pixels can only be square."""
        width, height = self._first.width, self._first.height
        shape = self._source.sample_aspect_ratio
        if self._encoder.tells_shape or not shape:
            return width, height
        wide = (round(width * shape), height) if shape > 1 else (width, round(height / shape))
        return wide if wide[0] * wide[1] <= MOST_PIXELS else (width, height)

    def _encoded(self, picture: VideoFrame) -> Iterator[Packet]:
        at = picture.pts
        if at is None:
            at = 0 if self._last is None else self._last + self._step
        # Two pictures of one time: encoders and muxers take one.
        if self._last is not None and at <= self._last:
            self._damaged += 1
            return
        self._last = at
        converted = self._converted(picture)
        converted.pts, converted.time_base = at, self._time_base
        # Which pictures stand by themselves is the new encoder's business.
        converted.pict_type = PictureType.NONE
        yield from self.stream.encode(converted)

    def _converted(self, picture: VideoFrame) -> VideoFrame:
        """The picture in the encoder's format, at the size of the first one."""
        is_rgb = picture.colorspace == _RGB
        return self._converter.reformat(
            picture,
            self.stream.width,
            self.stream.height,
            _FORMAT,
            dst_colorspace=_yuv(self._first) if is_rgb else None,
            dst_color_range=ColorRange.MPEG if is_rgb else None,
            interpolation=Interpolation.BICUBIC,
        )


def _first_picture(path: Path, index: int, *, container: str) -> VideoFrame:
    """The first picture of a stream that can be decoded; by a reader of its own."""
    with opened(path) as source:
        stream: Any = source.streams[index]
        codec, most = codec_name(stream), pixel_limit(stream)
        if stream.codec_context:
            stream.codec_context.options = {"max_pixels": str(most)}
        for packet in _until_broken(source.demux(stream)) if stream.codec_context else ():
            with suppress(av.error.FFmpegError):
                for picture in cast(list[VideoFrame], packet.decode()):
                    return picture
    known = 0 < stream.width * stream.height <= most
    why = "" if known else f": it is broken or has more than {most} pixels"
    raise PictureNotHeld(f"{container} holds no {codec} video, and this one cannot be decoded{why}")


def _until_broken(packets: Iterator[Packet]) -> Iterator[Packet]:
    with suppress(av.error.FFmpegError):
        yield from packets


def _up(size: int, step: int) -> int:
    return -(-size // step) * step


def _yuv(picture: VideoFrame) -> Colorspace:
    return Colorspace.ITU709 if picture.height >= _HIGH_DEFINITION else Colorspace.SMPTE170M


def _matrix(picture: VideoFrame) -> int:
    """AVColorSpace of what is encoded: the picture's own, where it has one of YUV."""
    if picture.colorspace != _RGB:
        return picture.colorspace
    # AVCOL_SPC_BT709 and AVCOL_SPC_SMPTE170M.
    return 1 if _yuv(picture) is Colorspace.ITU709 else 6


def _range(picture: VideoFrame) -> int:
    return ColorRange.MPEG.value if picture.colorspace == _RGB else picture.color_range


def _display_matrix(picture: VideoFrame) -> list[int] | None:
    """How the pictures are turned and mirrored for showing; None where they are not."""
    side: Any = picture.side_data  # kept by kind, not by name as its stub says
    found = side.get(Type.DISPLAYMATRIX)
    return None if found is None else [int(n) for n in np.frombuffer(bytes(found), np.int32)]

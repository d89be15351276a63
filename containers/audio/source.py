"""Sound out of any media file, as FFmpeg reads it, without trusting the file.

Hides PyAV: which stream is taken, sample formats, encoder delay and padding, damaged packets,
and how each container says how long it is. FFmpeg itself drops the priming of mp3, AAC, Opus
and Vorbis (AV_PKT_DATA_SKIP_SAMPLES); what it leaves at the end is told by `promised_frames`.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import soundfile
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from numpy.typing import NDArray

from clearstem.errors import UnreadableAudio
from containers.audio.closing import Closing
from containers.audio.demuxing import (
    audio_stream,
    cover_of,
    has_pictures,
    open_media,
    picture_begin_s,
    tags_of,
)
from containers.audio.gaps import TIMED, Begin, Gaps
from containers.audio.headers import ends_as_ogg, fits_one_ogg_page, promised_by_wav
from containers.audio.layouts import VORBIS_ORDER
from containers.audio.paddings import untold
from containers.audio.samples import FrameQueue, bit_depth, silence
from containers.audio.tags import listed
from containers.audio.xing import promised_by_xing

# Demuxers whose header counts the frames exactly, in 1/rate.
_COUNTED = frozenset({"flac", "aiff", "w64", "caf"})
_MP4 = "mov,mp4,m4a,3gp,3g2,mj2"

# The most that an encoder pads at the end: LAME counts it in 12 bits, AAC pads one or two of
# its packets.
_PADDING_LIMIT = 4096

# Largest packet gap that is filled with silence: a broken duration must not become hours.
_GAP_LIMIT_S = 5


@dataclass(frozen=True, slots=True)
class SourceFormat:
    """What a recording came as.

    Attributes
    ----------
    container, codec : str
        FFmpeg's names: ``wav``, ``mp3``, ``ogg``; ``pcm_s24le``, ``mp3float``, ``vorbis``.
    rate_hz, channels : int
        Kept by decoding.
    frames : int
        Length as decoded.
    bit_depth : int or None
        Of one sample; None for lossy codecs.
    is_float : bool
        Whether the file holds floating point samples, which may pass full scale.
    """

    container: str
    codec: str
    rate_hz: int
    channels: int
    frames: int
    bit_depth: int | None
    is_float: bool


class Source(Closing):
    """The sound of one media file, read once from front to end; a context manager.

    Parameters
    ----------
    path : Path
        Any file; nothing is believed about its name.
    begin : Begin
        What the first sample stands for: a film's sound may begin later than its pictures.

    Attributes
    ----------
    rate_hz, channels : int
        Format of every block.
    tags : dict of str to str
        Title, artist and the like, keys in lower case.
    cover : bytes or None
        The attached picture as it is in the file, JPEG or PNG.
    warnings : list of str
        What was found wrong and got over so far, and what of tags and pictures stays behind.

    Raises
    ------
    UnreadableAudio
        If no demuxer knows the file; the message says what it looks like.
    NoAudio
        If the file holds no sound: no audio stream, or one without channels.
    """

    def __init__(self, path: Path, *, begin: Begin = Begin.SOUND) -> None:
        self._path = path
        self._container = open_media(path)
        try:
            self._stream, notes = audio_stream(self._container, path)
            self.tags, self.cover, left_out = self._labels(path)
            self.warnings = [*notes, *left_out]
        except BaseException:
            self._container.close()
            raise
        self.rate_hz = self._stream.codec_context.sample_rate
        self.channels = self._stream.codec_context.channels
        # Rate, channels and sample type of every frame so far, and how many samples those had.
        self._form: tuple[int, int, str] | None = None
        self._position = 0
        self._is_mp4 = self._container.format.name == _MP4
        self._gaps = Gaps(self.rate_hz)
        self._is_timed = self._container.format.name in TIMED
        self._pictures_s = picture_begin_s(self._container) if begin is Begin.PICTURES else None
        self._lead_frames = 0
        self._packet_ticks = 0
        self._packets = 0
        self._skipped_frames = 0
        self._is_end_told = False

    def _labels(self, path: Path) -> tuple[dict[str, str], bytes | None, tuple[str, ...]]:
        """Tags, cover, and what of both is left out."""
        tags = tags_of(self._container, self._stream)
        cover, notes = cover_of(self._container, path)
        if has_pictures(self._container):
            # Beside its pictures they are copied as they are, whatever they are.
            return tags.kept, cover, ()
        lost = (f"source's tags left out: {listed(tags.left_out)}",) if tags.left_out else ()
        return tags.kept, cover, (*lost, *notes)

    @property
    def expected_frames(self) -> int:
        """Length by the header, for progress: possibly a guess, 0 where it says nothing."""
        if self._stream.duration is not None and self._stream.time_base is not None:
            return round(self._stream.duration * self._stream.time_base * self.rate_hz)
        if self._container.duration is not None:
            return round(self._container.duration / av.time_base * self.rate_hz)
        return 0

    def format(self, *, frames: int) -> SourceFormat:
        """The source's format, given how many frames it decoded to."""
        codec = self._stream.codec_context
        return SourceFormat(
            container=self._container.format.name,
            codec=codec.name,
            rate_hz=self.rate_hz,
            channels=self.channels,
            frames=frames,
            bit_depth=bit_depth(self._stream),
            is_float=codec.name.startswith(("pcm_f32", "pcm_f64")),
        )

    def blocks(self, *, frames: int) -> Iterator[NDArray[np.float32]]:
        """All the sound in order, from the recording's first frame to its last.

        Parameters
        ----------
        frames : int
            Least number of frames of every block but the last.

        Yields
        ------
        ndarray of float32, shape (channels, >= frames)
            Samples with full scale ±1, as they are: floating point sources may hold NaN.

        Raises
        ------
        UnreadableAudio
            If not a single packet could be decoded, or the format changes on the way.
        """
        if self._is_short_vorbis():
            yield from self._vorbis_blocks(frames)
            return
        queue = FrameQueue()
        for frame in self._frames():
            queue.put(frame)
            # What may turn out to be padding waits for the end.
            while queue.frames >= frames + _PADDING_LIMIT:
                yield queue.get(frames)
        if rest := queue.frames - self._padding(self._position - self._lead_frames):
            yield queue.get(rest)

    def promised_frames(self) -> int | None:
        """How long the file says it is, exactly, after `blocks` has ended.

        Returns
        -------
        int or None
            Frames, encoder delay and padding not counted; None where the container only
            guesses. Decoding may have given more (padding that FFmpeg leaves: the rest is
            no part of the recording) or fewer (the file is cut off).
        """
        name = self._container.format.name
        if name == "wav":
            return promised_by_wav(self._path)
        if name == "mp3":
            return promised_by_xing(self._path)
        if name in _COUNTED:
            return self.expected_frames or None
        if self._is_mp4:
            return self._promised_by_mp4()
        return None

    def _padding(self, total: int) -> int:
        """Frames that were decoded past the recording's end."""
        promised = self.promised_frames()
        if promised is None or promised >= total:
            return 0
        if total - promised <= _PADDING_LIMIT:
            return total - promised
        # One file behind the other: the header is the first one's. Nothing may be lost.
        self.warnings.append(
            f"header promises {promised} frames; all {total} that follow it were kept"
        )
        return 0

    def cut_off(self, frames: int) -> list[str]:
        """A warning where the file ends before it says, given the frames that came of it."""
        frames -= self._lead_frames
        if self._container.format.name == "ogg":
            # Not by the count: recordings of broadcasts do not start at 0.
            if ends_as_ogg(self._path):
                return []
            return [f"source is truncated: {frames} frames decoded, no last page after them"]
        promised = self.promised_frames()
        if promised is None or frames >= promised:
            return []
        return [f"source is truncated: header promises {promised} frames, {frames} decoded"]

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def _is_short_vorbis(self) -> bool:
        """Ogg Vorbis that FFmpeg must not decode.

        Of streams whose sound fits on one page it drops the first block or keeps the padding.
        libsndfile is exact, but stops at the end of the first of several chained streams, and
        takes twice the time.
        """
        codec, container = self._stream.codec_context.name, self._container.format.name
        return (codec, container) == ("vorbis", "ogg") and fits_one_ogg_page(self._path)

    def _vorbis_blocks(self, frames: int) -> Iterator[NDArray[np.float32]]:
        order = VORBIS_ORDER.get(self.channels)
        try:
            with soundfile.SoundFile(self._path) as file:
                while len(block := file.read(frames, dtype="float32", always_2d=True)):
                    yield block.T if order is None else block.T[np.argsort(order)]
        except soundfile.LibsndfileError as error:
            raise UnreadableAudio(f"{self._path.name}: {error.error_string}") from error

    def _frames(self) -> Iterator[AudioFrame]:
        """Decoded frames as they come; silence for damaged packets and for pauses of the file."""
        gap = damaged = 0
        for packet in self._packets_of_stream():
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                if not damaged:
                    at_s = self._position / self.rate_hz
                    self.warnings.append(f"source is damaged: silence from {at_s:.3f} s on")
                damaged += 1
                gap += min(self._duration_frames(packet), _GAP_LIMIT_S * self.rate_hz)
                continue
            for frame in frames:
                self._check(frame)
                if not self._position and self._pictures_s is not None:
                    yield from self._lead(frame, missing=gap)
                if gap:
                    yield from self._silence(gap, like=frame)
                    gap = 0
                if self._is_timed:
                    pause = self._gaps.before(frame, position=self._position)
                    yield from self._silence(pause, like=frame)
                self._position += frame.samples
                yield frame
        self.warnings += [*self._gaps.warnings(), *self._untold()]
        if damaged and not self._position:
            raise UnreadableAudio(f"{self._path.name}: none of its {damaged} packets decodes")

    def _untold(self) -> tuple[str, ...]:
        """That the length is not exact; a film's sound is as it is heard with its pictures."""
        if not self._position or has_pictures(self._container):
            return ()
        container, codec = self._container.format.name, self._stream.codec_context.name
        return untold(container, codec, rate_hz=self.rate_hz, is_end_told=self._is_end_told)

    def _lead(self, first: AudioFrame, *, missing: int) -> Iterator[AudioFrame]:
        """Silence from the first picture to the sound, of which frames may be missing."""
        behind_s = (self._pictures_s or 0.0) + missing / self.rate_hz
        self._lead_frames = self._gaps.late(first, behind_s=behind_s)
        yield from self._silence(self._lead_frames, like=first)

    def _silence(self, frames: int, *, like: AudioFrame) -> Iterator[AudioFrame]:
        while frames:
            silent = silence(min(frames, self.rate_hz), like=like)
            frames -= silent.samples
            self._position += silent.samples
            yield silent

    def _packets_of_stream(self) -> Iterator["av.Packet[AudioStream]"]:
        """The stream's packets until the end or the first place that cannot be read."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.error.FFmpegError as error:
                self.warnings.append(f"source cannot be read to its end: {error.strerror}")
                return
            if self._is_timed and packet.size:
                self._count(packet)
            yield packet

    def _count(self, packet: "av.Packet[AudioStream]") -> None:
        """Add up what packets say of the length, in ticks of their stream."""
        self._packets += 1
        self._packet_ticks += packet.duration or 0
        if packet.has_sidedata("skip_samples"):
            # Two little-endian 32-bit numbers: frames to drop at the front and at the back.
            front, back = struct.unpack("<II", bytes(packet.get_sidedata("skip_samples"))[:8])
            self._skipped_frames += front + back
            self._is_end_told |= back > 0

    def _duration_frames(self, packet: "av.Packet[AudioStream]") -> int:
        return round((packet.duration or 0) * (packet.time_base or 0) * self.rate_hz)

    def _check(self, frame: AudioFrame) -> None:
        """Refuse a frame unlike those before it: one recording has one format."""
        form = (frame.sample_rate, frame.layout.nb_channels, frame.format.name)
        if self._form is None:
            self._form = (self.rate_hz, self.channels, form[2])
        if form != self._form:
            raise UnreadableAudio(
                f"{self._path.name}: the format changes at {self._position / self.rate_hz:.3f} s "
                f"from {_told(self._form)} to {_told(form)}; one recording has one format"
            )

    def _promised_by_mp4(self) -> int | None:
        """By the sample table (stts), whose last entry is shortened by the padding.

        Movie headers count in ms where FFmpeg wrote them: an edit list is the finer truth only
        where it is shorter by more than such a rounding can be (Apple's encoder: all packets
        of full length, the padding in the edit list alone).
        """
        stream = self._stream
        if stream.time_base is None or stream.time_base * self.rate_hz != 1:
            return None
        by_edit_list = stream.duration or 0
        if self._packets < stream.frames:
            return by_edit_list or None
        by_table = self._packet_ticks - self._skipped_frames
        rounding = self.rate_hz // 1000 + 1
        return by_edit_list if 0 < by_edit_list < by_table - rounding else by_table


def _told(form: tuple[int, int, str]) -> str:
    return "{} Hz with {} channels of {}".format(*form)

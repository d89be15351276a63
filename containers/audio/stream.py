"""Recordings as scratch files on local disk: the one form in which sound moves in this room.

Everything that comes in is decoded once into a float32 file of known length with random
access, and every stage reads blocks of it. That keeps memory independent of the length and
leaves one convention: float32, (channels, frames), rate in Hz, full scale ±1. What the file
looks like (RIFF, RF64 from 4 GiB on, frames interleaved) is known here and nowhere else.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from clearstem.errors import AudioOutOfRange, LengthChanged, NoAudio, UnreadableAudio
from containers.audio.closing import Closing
from containers.audio.gaps import Begin
from containers.audio.repair import Repair
from containers.audio.riff import (
    FLOAT_HEADER_BYTES,
    IEEE_FLOAT,
    WavLayout,
    float_header,
    read_layout,
)
from containers.audio.samples import interleaved
from containers.audio.source import Source, SourceFormat

# 1.5 s at 44.1 kHz. libsndfile's Vorbis encoder keeps a write on the stack, so no block may
# be much longer than this.
BLOCK_FRAMES = 65_536

_SAMPLE_BYTES = 4

Progress = Callable[[int, int], None]
"""Called from every long loop with (frames done, frames in all)."""


def ignore(done: int, total: int) -> None:
    """Progress that nobody follows."""


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """What `decode` takes; the bounds themselves are accepted.

    Attributes
    ----------
    min_rate_hz, max_rate_hz : int
        Frames per second.
    max_channels : int
        The highest number of channels for which BS.1770-4 and our encoders have a layout.
    max_seconds : float
        Length, 24 hours unless told otherwise.
    """

    min_rate_hz: int = 8_000
    max_rate_hz: int = 192_000
    max_channels: int = 8
    max_seconds: float = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Decoded:
    """What `decode` found.

    Attributes
    ----------
    format : SourceFormat
        What the recording came as; rate, channels and frames are those of the scratch file.
    tags : dict of str to str
        Title, artist and the like, keys in lower case.
    cover : bytes or None
        The attached picture, JPEG or PNG.
    warnings : tuple of str
        What was wrong with the file and what was done about it, and which of its tags and
        pictures stay behind; fit to be shown.
    """

    format: SourceFormat
    tags: dict[str, str]
    cover: bytes | None
    warnings: tuple[str, ...]


class Recording(Closing):
    """A float32 scratch file with random access; a context manager.

    Reads are positioned and share no state, so several threads may read one Recording.

    Attributes
    ----------
    path : Path
        The file.
    rate_hz : int
        Frames per second.
    channels : int
        Number of channels, at least 1.
    frames : int
        Length in frames.
    """

    def __init__(self, file: BinaryIO, path: Path, layout: WavLayout) -> None:
        self._file = file
        self._offset = layout.data_offset
        self.path = path
        self.rate_hz = layout.rate_hz
        self.channels = layout.channels
        self.frames = layout.present_bytes // layout.frame_bytes

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a scratch file for reading.

        Parameters
        ----------
        path : Path
            A WAV or RF64 file of 32-bit float samples, as RecordingWriter leaves it.

        Raises
        ------
        UnreadableAudio
            If the file is no WAV of float32 samples, or shorter than its header says.
        """
        file = path.open("rb")
        try:
            layout = _scratch_layout(file, path)
        except UnreadableAudio:
            file.close()
            raise
        return cls(file, path, layout)

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.frames / self.rate_hz

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Frames from `start` up to, but without, `stop`.

        Parameters
        ----------
        start, stop : int
            Positions in frames, `start` <= `stop`. They may lie outside the recording.

        Returns
        -------
        ndarray of float32, shape (channels, stop - start)
            The samples, contiguous and the caller's own; zeros outside [0, frames).
        """
        first, last = max(start, 0), min(stop, self.frames)
        if (first, last) == (start, stop):
            return np.array(self._read(start, stop), order="C")
        block = np.zeros((self.channels, stop - start), dtype=np.float32)
        if first < last:
            block[:, first - start : last - start] = self._read(first, last)
        return block

    def _read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Frames that there are, as they lie in the file; not to be written to."""
        width = self.channels * _SAMPLE_BYTES
        size, offset = (stop - start) * width, self._offset + start * width
        raw = os.pread(self._file.fileno(), size, offset)
        return np.frombuffer(raw, dtype="<f4").reshape(-1, self.channels).T

    def blocks(self, *, frames: int = BLOCK_FRAMES) -> Iterator[NDArray[np.float32]]:
        """The whole recording in order, in blocks of `frames`; the last may be shorter."""
        for start in range(0, self.frames, frames):
            yield self.read(start, min(start + frames, self.frames))

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._file.close()


class RecordingWriter:
    """Writes a float32 scratch file block by block; a context manager.

    The file is a plain WAV, or RF64 (EBU Tech 3306) where the sizes pass what RIFF can say.
    Room for the larger header is always reserved, so the choice is made when the length is
    certain: on closing. The file is no recording before that.

    Parameters
    ----------
    path : Path
        The file to write; overwritten.
    rate_hz, channels : int
        Format of every block.
    frames : int or None
        How many frames will come; closing checks it. None where nobody knows beforehand.

    Attributes
    ----------
    frames_written : int
        Frames so far.
    """

    def __init__(self, path: Path, *, rate_hz: int, channels: int, frames: int | None) -> None:
        self.path = path
        self.rate_hz = rate_hz
        self.channels = channels
        self.frames = frames
        self.frames_written = 0
        self._file = path.open("wb")
        self._file.write(bytes(FLOAT_HEADER_BYTES))

    def write(self, block: NDArray[np.float32]) -> None:
        """Append frames.

        Parameters
        ----------
        block : ndarray of float32, shape (channels, frames)
            Not changed. Any number of frames, zero included.

        Raises
        ------
        ValueError
            If the block is not of that shape.
        """
        if block.ndim != 2 or block.shape[0] != self.channels:
            raise ValueError(
                f"a block has shape {block.shape}; this recording takes ({self.channels}, frames)"
            )
        self._file.write(interleaved(np.asarray(block, "<f4")).data)
        self.frames_written += block.shape[1]

    def close(self) -> None:
        """Finish the file; a second call does nothing.

        Raises
        ------
        LengthChanged
            If another number of frames was written than announced.
        """
        if self._file.closed:
            return
        self._file.seek(0)
        self._file.write(
            float_header(rate_hz=self.rate_hz, channels=self.channels, frames=self.frames_written)
        )
        self._file.close()
        if self.frames is not None and self.frames != self.frames_written:
            raise LengthChanged(
                f"{self.path.name}: {self.frames_written} frames written, {self.frames} announced"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            # The length is wrong because of that error, which must be the one that is seen.
            self._file.close()


def decode(
    path: Path,
    into: Path,
    *,
    begin: Begin = Begin.SOUND,
    progress: Progress = ignore,
    limits: DecodeLimits = DecodeLimits(),
) -> Decoded:
    """Decode any media file into a float32 scratch file, block by block.

    Rate and channels are kept. The length is the recording's own, to the sample: encoder delay
    and padding of mp3, AAC and Opus are taken off, but for containers that do not tell them (see
    `containers.audio.paddings`). Samples beyond full scale are kept; NaN and infinite ones become
    0. A file that is cut off or damaged gives what it holds, damaged packets as silence. Each of
    these is told in `Decoded.warnings`. Of tags ReplayGain and the like are left out, since the
    gain changes (see `containers.audio.tags`).

    Parameters
    ----------
    path : Path
        The media file; its name is not relied on.
    into : Path
        The scratch file to write; removed again where decoding fails.
    begin : Begin
        What the first frame stands for: with `Begin.PICTURES` silence is put in front where a
        film's sound begins later than its pictures.
    progress : Progress
        Told after each block; the total is the header's guess until the end.
    limits : DecodeLimits
        What is accepted.

    Raises
    ------
    UnreadableAudio
        If the file is no audio or nothing in it decodes.
    NoAudio
        If it holds no audio stream, no channel or no frame.
    AudioOutOfRange
        If rate, channels or length pass `limits`.

    Notes
    -----
    Silence, a constant, clipped sound and a single sample are recordings like any other and come
    as they are. Ten hours are within the limits, take no more memory than a minute, and 12.7 GB
    of disk in stereo at 44.1 kHz.
    """
    try:
        with Source(path, begin=begin) as source:
            return _decode(source, into, name=path.name, progress=progress, limits=limits)
    except BaseException:
        into.unlink(missing_ok=True)
        raise


def _decode(
    source: Source, into: Path, *, name: str, progress: Progress, limits: DecodeLimits
) -> Decoded:
    _check_format(source, name=name, limits=limits)
    repair = Repair(source.rate_hz)
    with RecordingWriter(
        into, rate_hz=source.rate_hz, channels=source.channels, frames=None
    ) as writer:
        # In this thread: writing is a tenth of the work, and two threads that both hold Python's
        # lock at every packet wait longer for each other than that.
        for block in source.blocks(frames=BLOCK_FRAMES):
            writer.write(repair(block))
            if writer.frames_written > limits.max_seconds * source.rate_hz:
                raise AudioOutOfRange(
                    f"{name}: longer than {limits.max_seconds:g} s, the longest accepted"
                )
            progress(writer.frames_written, max(writer.frames_written, source.expected_frames))
        frames = writer.frames_written
        if not frames:
            raise NoAudio(f"{name}: a recording of 0 frames")
    warnings = [*source.warnings, *source.cut_off(frames), *repair.warnings()]
    progress(frames, frames)
    return Decoded(source.format(frames=frames), source.tags, source.cover, tuple(warnings))


def _check_format(source: Source, *, name: str, limits: DecodeLimits) -> None:
    """Refuse a rate or channel count before anything is decoded."""
    if not limits.min_rate_hz <= source.rate_hz <= limits.max_rate_hz:
        raise AudioOutOfRange(
            f"{name}: {source.rate_hz} Hz; {limits.min_rate_hz} to {limits.max_rate_hz} Hz "
            "are accepted"
        )
    if source.channels > limits.max_channels:
        raise AudioOutOfRange(
            f"{name}: {source.channels} channels; 1 to {limits.max_channels} are accepted"
        )


def _scratch_layout(file: BinaryIO, path: Path) -> WavLayout:
    """The layout of a scratch file that is whole."""
    layout = read_layout(file)
    if (layout.format_tag, layout.bit_depth) != (IEEE_FLOAT, 32) or layout.channels < 1:
        raise UnreadableAudio(
            f"{path.name}: WAV format {layout.format_tag} with {layout.bit_depth} bits and "
            f"{layout.channels} channels; a scratch file holds 32-bit float"
        )
    if layout.present_bytes != (layout.promised_bytes or 0):
        raise UnreadableAudio(
            f"{path.name}: {layout.present_bytes} bytes of samples, "
            f"{layout.promised_bytes} promised"
        )
    return layout

"""The levels of whole recordings: of scratch files, and of encoded files as they will be heard."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clearstem.errors import LengthChanged, NonFiniteOutput
from containers.audio.ahead import read_ahead
from containers.audio.encode import Encoded
from containers.audio.loudness import Meter
from containers.audio.source import Source
from containers.audio.stream import BLOCK_FRAMES, Progress, Recording, ignore


@dataclass(frozen=True, slots=True)
class Levels:
    """What a meter read over a whole recording.

    Attributes
    ----------
    frames : int
        Length.
    loudness_lufs : float or None
        Integrated; None where there is none (silence, or less than 0.4 s).
    true_peak_dbtp : float or None
        None where every sample is 0.
    max_momentary_lufs, max_short_term_lufs : float or None
        The highest loudness of any 0.4 s and of any 3 s; None in silence and below that length.
    loudness_range_lu : float or None
        EBU Tech 3342; None where no 3 s are above -70 LUFS.
    """

    frames: int
    loudness_lufs: float | None
    true_peak_dbtp: float | None
    max_momentary_lufs: float | None = None
    max_short_term_lufs: float | None = None
    loudness_range_lu: float | None = None


def measure(recording: Path, *, progress: Progress = ignore) -> Levels:
    """Measure a scratch file.

    Parameters
    ----------
    recording : Path
        A file that RecordingWriter wrote.
    progress : Progress
        Told after each block.

    Raises
    ------
    NonFiniteOutput
        If it holds NaN or infinite samples, with the position of the first block of them.
    """
    with Recording.open(recording) as opened:
        meter = Meter(rate_hz=opened.rate_hz, channels=opened.channels)
        for block in opened.blocks():
            if not np.isfinite(block).all():
                at_s = meter.frames / opened.rate_hz
                raise NonFiniteOutput(f"{recording.name}: NaN or infinite samples at {at_s:.1f} s")
            meter.push(block)
            progress(meter.frames, opened.frames)
    return _levels(meter)


def measure_encoded(encoded: Encoded, *, progress: Progress = ignore) -> Levels:
    """Decode a file again and measure it, without keeping what it decodes to.

    Parameters
    ----------
    encoded : Encoded
        What `encode` wrote.
    progress : Progress
        Told after each block.

    Raises
    ------
    LengthChanged
        If it decodes to another number of frames than were encoded.
    """
    meter = Meter(rate_hz=encoded.rate_hz, channels=encoded.channels)
    with Source(encoded.path) as source:
        for block in read_ahead(source.blocks(frames=BLOCK_FRAMES)):
            meter.push(block)
            progress(min(meter.frames, encoded.frames), encoded.frames)
    if meter.frames != encoded.frames:
        raise LengthChanged(
            f"{encoded.path.name}: {encoded.frames} frames encoded, {meter.frames} decoded"
        )
    return _levels(meter)


def _levels(meter: Meter) -> Levels:
    return Levels(
        meter.frames,
        meter.integrated_lufs,
        meter.true_peak_dbtp,
        meter.max_momentary_lufs,
        meter.max_short_term_lufs,
        meter.loudness_range_lu,
    )

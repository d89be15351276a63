"""Where a file's sound begins late or pauses, told by the times of its packets alone.

Recorders of browsers and screens leave out what they did not hear, and so do encoders that send
nothing for silence (Opus DTX). A player waits; who only counts samples would pull all that
follows forward, away from its pictures.
"""

from enum import Enum, auto

from av.audio.frame import AudioFrame

# Demuxers of files whose packets each carry a time of their own that can be trusted.
TIMED = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "flv", "asf"})

# Times count in ms in most of these and wobble by a packet where a browser took them.
_LEAST_S = 0.1

# All pauses together: a broken time must not fill the disk with silence.
_LIMIT_S = 3600.0


# Sound that is early by less than this is not noticed (ITU-R BT.1359-1, 45 ms).
_LEAST_LATE_S = 0.045


class Begin(Enum):
    """What the first sample of a recording stands for."""

    SOUND = auto()
    """The first one that the file holds, whenever that is."""

    PICTURES = auto()
    """The first picture of a film, where the sound does not begin before."""


class Gaps:
    """How much silence belongs between the frames of one stream.

    Parameters
    ----------
    rate_hz : int
        Of the stream.
    """

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._tick_s: float | None = None
        self._origin_s: float | None = None
        self._end_s = 0.0
        self._filled_s: list[tuple[float, float]] = []
        self._left_out_s: list[tuple[float, float]] = []
        self._late: list[str] = []

    def before(self, frame: AudioFrame, *, position: int) -> int:
        """Frames of silence that the file leaves out before a frame.

        A clock that runs a little fast or slow, against the samples, adds up over hours and is
        no pause: only a jump from one frame to the next is, and of it only what is not there
        yet.

        Parameters
        ----------
        frame : AudioFrame
            The next one as decoded; without a time it follows at once.
        position : int
            How many frames came before it, silence included.
        """
        if frame.pts is None:
            return 0
        if self._tick_s is None:
            if frame.time_base is None:
                return 0
            # The same for all of a stream. A fraction for each frame takes as long as decoding it.
            self._tick_s = float(frame.time_base)
        at_s = frame.pts * self._tick_s
        played_s = position / self._rate_hz
        if self._origin_s is None:
            self._origin_s, self._end_s = at_s - played_s, at_s
        missing_s = min(at_s - self._end_s, at_s - self._origin_s - played_s)
        self._end_s = at_s + frame.samples / self._rate_hz
        if missing_s < _LEAST_S:
            return 0
        if self._total(self._filled_s) + missing_s > _LIMIT_S:
            self._left_out_s.append((played_s, missing_s))
            self._origin_s += missing_s  # what follows is in time with this frame again
            return 0
        self._filled_s.append((played_s, missing_s))
        return round(missing_s * self._rate_hz)

    def late(self, frame: AudioFrame, *, behind_s: float) -> int:
        """Frames of silence between the first picture and the first sound.

        Parameters
        ----------
        frame : AudioFrame
            The first one as decoded, encoder delay taken off.
        behind_s : float
            When the first picture is shown.
        """
        if frame.pts is None or frame.time_base is None:
            return 0
        late_s = float(frame.pts * frame.time_base) - behind_s
        if late_s < _LEAST_LATE_S:
            return 0
        told = f"source's sound begins {late_s:.3f} s after its pictures"
        if late_s > _LIMIT_S:
            self._late = [f"{told}: left out, {_LIMIT_S:.0f} s is the most"]
            return 0
        self._late = [f"{told}: silence"]
        return round(late_s * self._rate_hz)

    def warnings(self) -> list[str]:
        """Which pauses were filled, the one before the sound too, and which were too long."""
        told = list(self._late)
        if self._filled_s:
            told.append(f"{self._where(self._filled_s)}: silence")
        if self._left_out_s:
            told.append(f"{self._where(self._left_out_s)}: left out, {_LIMIT_S:.0f} s is the most")
        return told

    def _where(self, pauses: list[tuple[float, float]]) -> str:
        times = "once" if len(pauses) == 1 else f"{len(pauses)} times"
        return (
            f"source's sound pauses {times}, {self._total(pauses):.3f} s in all, "
            f"first at {pauses[0][0]:.3f} s"
        )

    @staticmethod
    def _total(pauses: list[tuple[float, float]]) -> float:
        return sum(length for _, length in pauses)

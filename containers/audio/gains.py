"""How much each track is turned up or down: the policy, without any sound."""

import math
from collections.abc import Mapping
from enum import StrEnum

from containers.audio.measure import Levels

# True peak meters differ in the second decimal; other people's shall read under the ceiling
# too. It also covers the rounding to 16 bits.
MARGIN_DB = 0.05


class Gain(StrEnum):
    """Whether tracks keep their balance."""

    COMMON = "common"
    PER_TRACK = "per_track"


class Gains:
    """The gain of each track in dB, only ever lowered.

    Parameters
    ----------
    sources : mapping of str to Levels
        What each track measures without gain.
    main : str
        The track whose loudness counts.
    target_lufs, ceiling_dbtp : float
        Loudness to reach and true peak to keep.
    mode : Gain
        One for all, or each its own.

    Attributes
    ----------
    db : dict of str to float
        The gains. 0 where there is no loudness to go by, or less where peaks need it.
    held_back_by : str or None
        The track whose peak lowered the main track's gain, the latest of them.
    """

    def __init__(
        self,
        sources: Mapping[str, Levels],
        *,
        main: str,
        target_lufs: float,
        ceiling_dbtp: float,
        mode: Gain,
    ) -> None:
        self._sources = sources
        self._main = main
        self._ceiling_dbtp = ceiling_dbtp
        self._mode = mode
        self.held_back_by: str | None = None
        self.db = {name: self._wanted(name, target_lufs) for name in sources}
        self.lower({name: self._peak(name) for name in sources})

    def hottest(self) -> str:
        """The track whose peak is to come out highest."""
        return max(self.db, key=self._peak)

    def lower(self, peaks_dbtp: Mapping[str, float]) -> bool:
        """Take off what peaks reached with the present gains pass the ceiling by.

        Returns
        -------
        bool
            Whether any gain was lowered.
        """
        excess = {name: peak - self._ceiling_dbtp for name, peak in peaks_dbtp.items()}
        over = {name: by + MARGIN_DB for name, by in excess.items() if by > 0}
        if not over:
            return False
        worst = max(over, key=lambda name: over[name])
        if self._mode is Gain.COMMON:
            over = dict.fromkeys(self.db, over[worst])
            self.held_back_by = worst
        elif self._main in over:
            self.held_back_by = self._main
        for name, by in over.items():
            self.db[name] -= by
        return True

    def _wanted(self, name: str, target_lufs: float) -> float:
        reference = self._main if self._mode is Gain.COMMON else name
        loudness = self._sources[reference].loudness_lufs
        return 0.0 if loudness is None else target_lufs - loudness

    def _peak(self, name: str) -> float:
        peak = self._sources[name].true_peak_dbtp
        return -math.inf if peak is None else peak + self.db[name]

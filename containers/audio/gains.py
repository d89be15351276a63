"""How much each track is turned up or down: the policy, without any sound."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum, auto

from clearstem.options import Gain
from containers.audio.measure import Levels

# True peak meters differ in the second decimal; other people's shall read under the ceiling
# too. It also covers the rounding to 16 bits.
MARGIN_DB = 0.05


class Hot(Enum):
    """What becomes of a track that would pass the ceiling."""

    TURNED_DOWN = auto()
    LIMITED = auto()


@dataclass(frozen=True, slots=True)
class Setting:
    """What is done to one track.

    Attributes
    ----------
    gain_db : float
        Applied to every sample.
    limit_dbtp : float or None
        True peak that the limiter lets through after that; None without a limiter.
    """

    gain_db: float
    limit_dbtp: float | None


class Gains:
    """The gain of each track in dB and the limit of its peaks, only ever lowered.

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
    hot : Hot
        Whether peaks lower the gain or are limited.
    receipts : collection of str
        Tracks that have the main track's gain in any mode, since their level is what they
        are there to tell.

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
        hot: Hot = Hot.TURNED_DOWN,
        receipts: Collection[str] = (),
    ) -> None:
        self._sources = sources
        self._main = main
        self._ceiling_dbtp = ceiling_dbtp
        self._mode = mode
        self._hot = hot
        self._receipts = frozenset(receipts)
        self.held_back_by: str | None = None
        self.db = {name: self._wanted(name, target_lufs) for name in sources}
        self._limits = dict.fromkeys(sources, ceiling_dbtp - MARGIN_DB)
        if hot is Hot.TURNED_DOWN:
            self.lower({name: self._peak(name) for name in sources})

    def setting(self, name: str) -> Setting:
        """What is to be done to a track, as things stand."""
        limited = self._hot is Hot.LIMITED and self._peak(name) > self._limits[name]
        return Setting(self.db[name], self._limits[name] if limited else None)

    def hottest(self) -> str:
        """The track whose peak is to come out highest."""
        return max(self.db, key=self._peak)

    def lower(self, peaks_dbtp: Mapping[str, float], *, times: float = 1.0) -> bool:
        """Take off what peaks reached with the present settings pass the ceiling by.

        Parameters
        ----------
        peaks_dbtp : mapping of str to float
            By track.
        times : float
            How often it is taken off: more than once where once was tried and not enough.

        Returns
        -------
        bool
            Whether anything was lowered.
        """
        excess = {name: peak - self._ceiling_dbtp for name, peak in peaks_dbtp.items()}
        over = {name: times * (by + MARGIN_DB) for name, by in excess.items() if by > 0}
        if not over:
            return False
        if self._hot is Hot.LIMITED:
            for name, by in over.items():
                # A peak below its limit has passed the ceiling in a lossy file alone: only a
                # limit below that peak changes anything.
                self._limits[name] = min(self._limits[name], self._peak(name)) - by
        else:
            self._turn_down(over)
        return True

    def _turn_down(self, over: Mapping[str, float]) -> None:
        lowered = dict(over)
        together = self._together()
        if shared := together & over.keys():
            worst = max(shared, key=lambda name: over[name])
            lowered |= dict.fromkeys(together, over[worst])
            self.held_back_by = worst
        for name, by in lowered.items():
            self.db[name] -= by

    def _together(self) -> frozenset[str]:
        """The tracks that share the main track's gain."""
        if self._mode is Gain.COMMON:
            return frozenset(self.db)
        return self._receipts | {self._main}

    def _wanted(self, name: str, target_lufs: float) -> float:
        alone = self._mode is Gain.PER_TRACK and name not in self._receipts
        loudness = self._sources[name if alone else self._main].loudness_lufs
        return 0.0 if loudness is None else target_lufs - loudness

    def _peak(self, name: str) -> float:
        peak = self._sources[name].true_peak_dbtp
        return -math.inf if peak is None else peak + self.db[name]

"""All tracks of a job at a common level, checked on the files that users get.

One gain for all keeps the tracks summing to the main one. It is set by the main track's
loudness and held back by whichever track would pass the ceiling, and a ceiling is only kept
if the encoded file keeps it: lossy encoders overshoot, so every file is decoded again, and
encoded again with less gain where it must be.
"""

import os
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock

from clearstem.errors import CeilingNotHeld, LengthChanged
from clearstem.options import Gain
from containers.audio.compose import Reader
from containers.audio.encode import Encoded, check_output, encode
from containers.audio.gains import Gains, Hot, Setting
from containers.audio.limiter import LimitedReader
from containers.audio.measure import Levels, measure, measure_encoded
from containers.audio.stream import Progress, Recording, ignore
from containers.checksums import sha256_of

TARGET_LUFS = -14.0
CEILING_DBTP = -1.0

# The first two rounds take off what a file is over, so the second is nearly always the last;
# each further one takes off twice as often as the one before. A codec can overshoot where the
# sound is below the limit, which then has to come down by more than the overshoot.
_ROUNDS = 6


@dataclass(frozen=True, slots=True)
class NormalizedTrack:
    """One encoded track.

    Attributes
    ----------
    path : Path
        The file.
    rate_hz, channels : int
        What it decodes to.
    bit_depth : int or None
        None for lossy formats.
    gain_db : float
        What was applied.
    limited_db : float
        The most that the limiter took off a peak; 0 where it did nothing.
    levels : Levels
        Of the file, decoded again: its length, too.
    sha256 : str
        Of the file, in hex.
    size_bytes : int
        Of the file.
    """

    path: Path
    rate_hz: int
    channels: int
    bit_depth: int | None
    gain_db: float
    limited_db: float
    levels: Levels
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Normalized:
    """What `normalize` did.

    Attributes
    ----------
    gain_db : float
        Applied to the main track, and in Gain.COMMON to every one.
    target_lufs, ceiling_dbtp : float
        As asked for.
    held_back_by : str or None
        The track whose peak kept the main track's gain below what the target asks for.
    source : Levels
        Of the main track before.
    main_lufs : float or None
        Its loudness after, in its file.
    tracks : mapping of str to NormalizedTrack
        By name, in the order given.
    conversions : tuple of str
        What the format could not keep, fit to be shown.
    """

    gain_db: float
    target_lufs: float
    ceiling_dbtp: float
    held_back_by: str | None
    source: Levels
    main_lufs: float | None
    tracks: Mapping[str, NormalizedTrack]
    conversions: tuple[str, ...]


def normalize(
    tracks: Mapping[str, Path],
    into: Path,
    *,
    main: str,
    format: str,
    bit_depth: int | None = None,
    tags: Mapping[str, str] | None = None,
    cover: bytes | None = None,
    target_lufs: float = TARGET_LUFS,
    ceiling_dbtp: float = CEILING_DBTP,
    gain: Gain = Gain.COMMON,
    hot: Hot = Hot.TURNED_DOWN,
    receipts: Collection[str] = (),
    workers: int | None = None,
    progress: Progress = ignore,
) -> Normalized:
    """Bring tracks to a loudness and write them as files of the given format.

    The gain is `target_lufs` less the main track's loudness, lowered until no encoded track's
    true peak passes the ceiling. Where the main track has no loudness (silence, less than
    0.4 s) it is 0 dB, and the ceiling alone can lower it. Silence stays silence.

    With `Hot.LIMITED` the gain stays, and each track that would pass the ceiling goes through
    a limiter (see `containers.audio.limiter`), whose limit is lowered until the encoded file
    keeps the ceiling. Tracks then only sum to the main one where none of them is limited, and
    a limited track is less loud than the target by what its peaks were worth.

    Parameters
    ----------
    tracks : mapping of str to Path
        Scratch files by track name, all of one length, rate and channel count.
    into : Path
        The folder for ``<name>.<format>``; must exist.
    main : str
        The track whose loudness counts, one of `tracks`.
    format, bit_depth, tags, cover
        As for `encode`; titles of other tracks than the main one get the track's name.
    target_lufs, ceiling_dbtp : float
        Loudness to reach and true peak to keep, in LUFS and dBTP.
    gain : Gain
        One for all, or for each track its own, by its own loudness.
    hot : Hot
        What becomes of tracks that would pass the ceiling.
    receipts : collection of str
        Tracks that have the main track's gain even if each other one has its own.
    workers : int or None
        How many tracks are worked on at a time; None is one per processor, at least two.
    progress : Progress
        Frames measured, encoded and checked, over all tracks. The total grows where tracks
        are encoded again.

    Raises
    ------
    ValueError
        If `main` is none of `tracks`.
    InvalidOption, AudioOutOfRange
        If the format cannot hold the tracks (see `check_output`).
    NonFiniteOutput
        If a track holds NaN or infinite samples.
    LengthChanged
        If tracks differ in length, or a file decodes to another length than was encoded.
    CeilingNotHeld
        If files still pass the ceiling after the last round.

    Notes
    -----
    A recording of one sample, or shorter than 0.4 s, keeps its level under the ceiling. A constant
    is as loud as its beginning, and its ceiling holds. What was clipped stays so; what lies beyond
    full scale comes under the ceiling. Ten hours take the memory of ten minutes and 60 MB a track.
    """
    output = _Output(into, format, bit_depth, tags or {}, cover)
    work = _Work(progress, frames=_checked_frames(tracks, output, main=main))
    with ThreadPoolExecutor(workers or max(2, os.cpu_count() or 1)) as pool:
        sources = _measured(tracks, pool=pool, work=work, main=main)
        gains = Gains(
            sources,
            main=main,
            target_lufs=target_lufs,
            ceiling_dbtp=ceiling_dbtp,
            mode=gain,
            hot=hot,
            receipts=receipts,
        )
        rendering = _Rendering(tracks, output, gains, main=main, pool=pool, work=work)
        # The hottest track finds the gain; with it the others are mostly right at once.
        rendering.settle([gains.hottest()])
        rendering.settle(list(tracks))
        files = dict(zip(tracks, pool.map(rendering.finished, tracks), strict=True))
    return Normalized(
        gain_db=gains.db[main],
        target_lufs=target_lufs,
        ceiling_dbtp=ceiling_dbtp,
        held_back_by=gains.held_back_by,
        source=sources[main],
        main_lufs=files[main].levels.loudness_lufs,
        tracks=files,
        conversions=rendering.conversions(),
    )


def _checked_frames(tracks: Mapping[str, Path], output: "_Output", *, main: str) -> int:
    """The main track's length; refuses what could not be written."""
    if main not in tracks:
        raise ValueError(f"main track {main!r} is none of {', '.join(tracks)}")
    with Recording.open(tracks[main]) as recording:
        check_output(
            output.format,
            channels=recording.channels,
            bit_depth=output.bit_depth,
            frames=recording.frames,
        )
        return recording.frames


@dataclass(frozen=True, slots=True)
class _Output:
    """What every file has in common."""

    into: Path
    format: str
    bit_depth: int | None
    tags: Mapping[str, str]
    cover: bytes | None

    def tags_of(self, track: str, *, main: str) -> dict[str, str]:
        """The tags, with the track's name in the title where it is not the recording itself."""
        if track == main or "title" not in self.tags:
            return dict(self.tags)
        return {**self.tags, "title": f"{self.tags['title']} ({track})"}


class _Rendering:
    """The encoded files so far, each with the gain it was made with."""

    def __init__(
        self,
        tracks: Mapping[str, Path],
        output: _Output,
        gains: Gains,
        *,
        main: str,
        pool: ThreadPoolExecutor,
        work: "_Work",
    ) -> None:
        self._tracks = tracks
        self._output = output
        self._gains = gains
        self._main = main
        self._pool = pool
        self._work = work
        self._files: dict[str, _File] = {}

    def settle(self, names: Sequence[str]) -> None:
        """Encode tracks, with less gain each time, until none of them passes the ceiling."""
        for number in range(_ROUNDS):
            stale = [name for name in names if not self._is_current(name)]
            again = sum(name in self._files for name in stale)
            self._work.expect(2 * again)
            self._files |= zip(stale, self._pool.map(self._render, stale), strict=True)
            peaks = {name: self._files[name].levels.true_peak_dbtp for name in names}
            heard = {name: peak for name, peak in peaks.items() if peak is not None}
            if not self._gains.lower(heard, times=max(1, 2 ** (number - 1))):
                return
        worst = max(heard, key=lambda name: heard[name])
        raise CeilingNotHeld(
            f"{worst}: {heard[worst]:.2f} dBTP after {_ROUNDS} rounds of encoding with less gain"
        )

    def finished(self, name: str) -> NormalizedTrack:
        """The file of a track, with its digest."""
        file = self._files[name]
        encoded = file.encoded
        return NormalizedTrack(
            path=encoded.path,
            rate_hz=encoded.rate_hz,
            channels=encoded.channels,
            bit_depth=encoded.bit_depth,
            gain_db=file.setting.gain_db,
            limited_db=file.limited_db,
            levels=file.levels,
            sha256=sha256_of(encoded.path),
            size_bytes=encoded.path.stat().st_size,
        )

    def conversions(self) -> tuple[str, ...]:
        """Conversions of all files, each told once."""
        told = (text for file in self._files.values() for text in file.encoded.conversions)
        return tuple(dict.fromkeys(told))

    def _is_current(self, name: str) -> bool:
        file = self._files.get(name)
        return file is not None and file.setting == self._gains.setting(name)

    def _render(self, name: str) -> "_File":
        setting = self._gains.setting(name)
        with Recording.open(self._tracks[name]) as recording:
            gain = 10.0 ** (setting.gain_db / 20.0)
            if setting.limit_dbtp is None:
                return self._file(name, recording, gain=gain, setting=setting)
            limited = LimitedReader(recording, gain=gain, ceiling_dbtp=setting.limit_dbtp)
            file = self._file(name, limited, gain=1.0, setting=setting)
            return replace(file, limited_db=limited.reduction_db)

    def _file(self, name: str, recording: Reader, *, gain: float, setting: Setting) -> "_File":
        output = self._output
        encoded = encode(
            recording,
            output.into / f"{name}.{output.format}",
            format=output.format,
            gain=gain,
            bit_depth=output.bit_depth,
            tags=output.tags_of(name, main=self._main),
            cover=output.cover,
            progress=self._work.part(),
        )
        return _File(encoded, measure_encoded(encoded, progress=self._work.part()), setting)


@dataclass(frozen=True, slots=True)
class _File:
    """An encoded track as it measures."""

    encoded: Encoded
    levels: Levels
    setting: Setting
    limited_db: float = 0.0


class _Work:
    """Adds up the progress of parts that run at the same time, each a pass over a track."""

    def __init__(self, progress: Progress, *, frames: int) -> None:
        self._progress = progress
        self._frames = frames
        self._lock = Lock()
        self._done = 0
        self._total = 0

    def expect(self, parts: int) -> None:
        """Count so many more passes in the total."""
        with self._lock:
            self._total += parts * self._frames

    def part(self) -> Progress:
        """A callback for one pass; its own frames are scaled to the recording's."""
        reported = 0

        def report(done: int, total: int) -> None:
            nonlocal reported
            now = done * self._frames // total if total else self._frames
            with self._lock:
                self._done += now - reported
                reported = now
                self._progress(self._done, self._total)

        return report


def _measured(
    tracks: Mapping[str, Path], *, pool: ThreadPoolExecutor, work: _Work, main: str
) -> dict[str, Levels]:
    """The levels of every track, which must be as long as the main one."""
    # Each will be encoded and checked as well.
    work.expect(3 * len(tracks))
    read = pool.map(lambda path: measure(path, progress=work.part()), tracks.values())
    sources = dict(zip(tracks, read, strict=True))
    for name, levels in sources.items():
        if levels.frames != sources[main].frames:
            raise LengthChanged(
                f"{name} is {levels.frames} frames long, {main} {sources[main].frames}"
            )
    return sources

"""What a client may choose for a job: the options of each recipe, their ranges, their reading.

Pure; a dialect names the fields, and here is what they mean and may hold.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Final

from clearstem.errors import InvalidOption
from clearstem.media import DENOISE_OUTPUTS, SEPARATE_OUTPUTS
from clearstem.recipes import DENOISE, RECIPES, RESIDUAL, SEPARATE, Recipe


class EngineChoice(StrEnum):
    """What a client may ask for to separate with."""

    AUTO = "auto"
    DEMUCS = "demucs"
    SPECTRAL = "spectral"


class Gain(StrEnum):
    """Whether tracks keep their balance: one gain for all, or each its own loudness."""

    COMMON = "common"
    PER_TRACK = "track"


class Decompose(StrEnum):
    """What is taken apart into ``harmonic`` and ``percussive``; all but two are stems."""

    ACCOMPANIMENT = "accompaniment"
    SOURCE = "source"
    VOCALS = "vocals"
    DRUMS = "drums"
    BASS = "bass"
    OTHER = "other"


class DenoiserChoice(StrEnum):
    """What a client may ask for to reduce noise with."""

    AUTO = "auto"
    SPECTRAL = "spectral"
    NEURAL = "neural"
    VOICE = "voice"


# Beyond these a target is a mistake: EBU R 128 s1 asks for -18…-23, loud
# masters sit near -6; a ceiling above full scale is none.
TARGET_LUFS_RANGE: Final = (-40.0, -5.0)
CEILING_DBTP_RANGE: Final = (-20.0, 0.0)
# Width of the median filters in frames and bins, odd. 3 is the narrowest there is, and 101
# frames are 1.2 s at 44.1 kHz, longer than most notes.
HPSS_KERNEL_RANGE: Final = (3, 101)
# Driedger et al. (2014) go up to 10, where hardly anything is left in either part.
HPSS_MARGIN_RANGE: Final = (1.0, 10.0)
STRENGTH_RANGE: Final = (1.0, 100.0)
# The level of podcasts (AES TD1004, Apple): what "automatic volume" means.
AUTO_LEVEL_LUFS: Final = -16.0


@dataclass(frozen=True, slots=True)
class SeparateOptions:
    """What a client may choose for a separation.

    Attributes
    ----------
    engine : EngineChoice
        ``auto`` is settled when the job is submitted; the job says how.
    output_format : str
        Extension of the tracks: wav, flac, aiff (24 bits each), mp3, ogg, m4a, opus (48 kHz).
    target_lufs : float
        Integrated loudness of the main track (BS.1770-4), -40 to -5 LUFS.
    ceiling_dbtp : float
        True peak no track exceeds, -20 to 0 dBTP.
    gain : Gain
        ``common``: all tracks keep their balance. ``track``: each has the target loudness.
    limit : bool
        Whether tracks that would pass the ceiling are limited at their peaks rather than
        turned down.
    residual : bool
        Whether there is a tenth track, the main track minus the sum of the stems.
    decompose : Decompose
        What ``harmonic`` and ``percussive`` are the parts of.
    hpss_kernel : int
        Width of both median filters of the decompositions, odd, 3 to 101.
    hpss_margin : float
        How many times stronger a part must be, 1 to 10; above 1 the parts no longer sum.
    cache : bool
        Whether the result of an earlier job like it may be the answer, and this one's that
        of later ones.
    """

    recipe: ClassVar[Recipe] = SEPARATE

    engine: EngineChoice = EngineChoice.AUTO
    output_format: str = "wav"
    target_lufs: float = -14.0
    ceiling_dbtp: float = -1.0
    gain: Gain = Gain.COMMON
    limit: bool = False
    residual: bool = False
    decompose: Decompose = Decompose.ACCOMPANIMENT
    hpss_kernel: int = 31
    hpss_margin: float = 1.0
    cache: bool = True

    def __post_init__(self) -> None:
        if self.output_format not in SEPARATE_OUTPUTS:
            raise _is_none_of("format", self.output_format, SEPARATE_OUTPUTS)
        _check_range("target_lufs", self.target_lufs, TARGET_LUFS_RANGE, unit=" LUFS")
        _check_range("ceiling_dbtp", self.ceiling_dbtp, CEILING_DBTP_RANGE, unit=" dBTP")
        _check_range("hpss_margin", self.hpss_margin, HPSS_MARGIN_RANGE, unit="")
        _check_range("hpss_kernel", self.hpss_kernel, HPSS_KERNEL_RANGE, unit=" frames")
        if self.hpss_kernel % 2 == 0:
            raise InvalidOption(
                f"hpss_kernel {self.hpss_kernel} is even; it must be odd",
                facts={"field": "hpss_kernel", "value": self.hpss_kernel},
            )

    @property
    def tracks(self) -> tuple[str, ...]:
        """The tracks that a finished job with these options has, in order."""
        return (*SEPARATE.tracks, RESIDUAL) if self.residual else SEPARATE.tracks


@dataclass(frozen=True, slots=True)
class DenoiseOptions:
    """What a client may choose for a noise reduction.

    Attributes
    ----------
    engine : DenoiserChoice
        ``auto`` is settled when the job is submitted; the job says how.
    strength : float
        How much of the noise goes, 1 to 100 percent.
    output_extension : str or None
        Of the result; None is the source's (see `media.denoised_extension`).
    auto_level_lufs : float or None
        Integrated loudness of the result (BS.1770-4), -40 to -5 LUFS; None
        leaves the level as it is.
    max_duration_s : float or None
        Longer recordings are refused; None is the stage's own limit.
    cache : bool
        As of `SeparateOptions`.
    """

    recipe: ClassVar[Recipe] = DENOISE

    engine: DenoiserChoice = DenoiserChoice.AUTO
    strength: float = 100.0
    output_extension: str | None = None
    auto_level_lufs: float | None = None
    max_duration_s: float | None = None
    cache: bool = True

    def __post_init__(self) -> None:
        if self.output_extension not in (None, *DENOISE_OUTPUTS):
            raise _is_none_of("output extension", self.output_extension, DENOISE_OUTPUTS)
        _check_range("noise reduction amount", self.strength, STRENGTH_RANGE, unit="%")
        if self.auto_level_lufs is not None:
            _check_range("volume", self.auto_level_lufs, TARGET_LUFS_RANGE, unit=" LUFS")

    @property
    def tracks(self) -> tuple[str, ...]:
        """The tracks that a finished job with these options has, in order."""
        return DENOISE.tracks


Options = SeparateOptions | DenoiseOptions
"""The options of any recipe; each knows its own."""


def _check_range(name: str, value: float, bounds: tuple[float, float], *, unit: str) -> None:
    low, high = bounds
    if not math.isfinite(value) or not low <= value <= high:
        shown = value if math.isfinite(value) else str(value)  # JSON has no other numbers
        raise InvalidOption(
            f"{name} {value:g} is outside {low:g} to {high:g}{unit}",
            facts={"field": name, "value": shown, "accepted": {"minimum": low, "maximum": high}},
        )


def _is_none_of(name: str, value: object, known: Iterable[str]) -> InvalidOption:
    """The refusal of a value that is none of those there are."""
    choices = list(known)
    shown = value[:80] if isinstance(value, str) else value
    return InvalidOption(
        f"{name} {shown!r} is not one of {', '.join(choices)}",
        facts={"field": name, "value": shown, "accepted": {"one_of": choices}},
    )


_Given = str | float


def recipe_named(name: str) -> Recipe:
    """The recipe of that name; `InvalidOption` if there is none."""
    if name not in RECIPES:
        raise _is_none_of("recipe", name, RECIPES)
    return RECIPES[name]


def read_options(recipe: Recipe, given: Mapping[str, _Given | None]) -> Options:
    """The options of a job by that recipe; see `separate_options`."""
    return separate_options(given) if recipe is SEPARATE else denoise_options(given)


def separate_options(given: Mapping[str, _Given | None]) -> SeparateOptions:
    """Options from loosely typed fields (a form, a JSON body, object metadata).

    Absent, null and empty fields take their defaults; unknown names are refused,
    since a misspelt option that is ignored is a wrong result.

    Raises
    ------
    InvalidOption
        A value out of its range or a name that is no option.
    """
    return SeparateOptions(**_read(given, _SEPARATE_READERS))


def denoise_options(given: Mapping[str, _Given | None]) -> DenoiseOptions:
    """The same for a noise reduction; without a target loudness the level stays."""
    return DenoiseOptions(**_read(given, _DENOISE_READERS))


def _read(given: Mapping[str, _Given | None], readers: Mapping[str, "_Reader"]) -> dict[str, Any]:
    fields = {name: value for name, value in given.items() if value not in (None, "")}
    unknown = sorted(set(fields) - set(readers))
    if unknown:
        raise InvalidOption(f"unknown option {unknown[0]!r}: {', '.join(readers)} are known")
    return {readers[name].field or name: readers[name](name, fields[name]) for name in fields}


@dataclass(frozen=True, slots=True)
class _Reader:
    """How an option is read, and its field where that has another name."""

    read: Callable[[str, _Given], Any]
    field: str = ""

    def __call__(self, name: str, value: _Given) -> Any:
        return self.read(name, value)


def _extension(_name: str, value: _Given) -> str:
    return str(value).lower().lstrip(".")


def _number(name: str, value: _Given) -> float:
    try:
        return float(str(value))
    except ValueError as exc:
        raise InvalidOption(
            f"{name} {value!r} is not a number", facts={"field": name, "value": value}
        ) from exc


def _whole(name: str, value: _Given) -> int:
    number = _number(name, value)
    if not number.is_integer():
        shown = number if math.isfinite(number) else str(number)
        raise InvalidOption(
            f"{name} {value!r} is not a whole number", facts={"field": name, "value": shown}
        )
    return int(number)


def read_switch(name: str, value: str | float) -> bool:
    """Whether something is on: true, false, 1 or 0; `InvalidOption` for anything else."""
    text = str(value).lower()
    if text not in _SWITCHES:
        raise _is_none_of(name, value, _SWITCHES)
    return _SWITCHES[text]


def _one_of(kind: type[StrEnum]) -> Callable[[str, _Given], StrEnum]:
    def read(name: str, value: _Given) -> StrEnum:
        try:
            return kind(str(value))
        except ValueError as exc:
            raise _is_none_of(name, value, kind) from exc

    return read


_SWITCHES: Final = {"true": True, "false": False, "1": True, "0": False}
# By the names that clients know options by.
_SEPARATE_READERS: Final[Mapping[str, _Reader]] = {
    "engine": _Reader(_one_of(EngineChoice)),
    "format": _Reader(_extension, "output_format"),
    "target_lufs": _Reader(_number),
    "ceiling_dbtp": _Reader(_number),
    "gain": _Reader(_one_of(Gain)),
    "limit": _Reader(read_switch),
    "residual": _Reader(read_switch),
    "decompose": _Reader(_one_of(Decompose)),
    "hpss_kernel": _Reader(_whole),
    "hpss_margin": _Reader(_number),
    "cache": _Reader(read_switch),
}
_DENOISE_READERS: Final[Mapping[str, _Reader]] = {
    "engine": _Reader(_one_of(DenoiserChoice)),
    "format": _Reader(_extension, "output_extension"),
    "strength": _Reader(_number),
    "target_lufs": _Reader(_number, "auto_level_lufs"),
    "cache": _Reader(read_switch),
}

"""What a job does: its stages, their weights, its tracks, options and keys.

A recipe is data. The state machine is built from it, the stage tasks find
their files by it, and a job's percentage is weighed by it, so that the three
cannot drift apart. Pure.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Final

from clearstem.errors import InvalidOption
from clearstem.media import (
    DENOISE_INPUTS,
    DENOISE_OUTPUTS,
    SEPARATE_INPUTS,
    SEPARATE_OUTPUTS,
)


class EngineName(StrEnum):
    """A way to separate a mix into stems, or to take noise off speech.

    ``spectral`` names a method of each recipe; ``neural`` and ``voice`` reduce
    noise, ``demucs`` separates.
    """

    DEMUCS = "demucs"
    SPECTRAL = "spectral"
    NEURAL = "neural"
    VOICE = "voice"


class EngineChoice(StrEnum):
    """What a client may ask for to separate with."""

    AUTO = "auto"
    DEMUCS = "demucs"
    SPECTRAL = "spectral"


class DenoiserChoice(StrEnum):
    """What a client may ask for to reduce noise with."""

    AUTO = "auto"
    SPECTRAL = "spectral"
    NEURAL = "neural"
    VOICE = "voice"


@dataclass(frozen=True, slots=True)
class StageSpec:
    """One step of a recipe.

    Attributes
    ----------
    name : str
        What the stage task and the state machine call it.
    processor_type : str
        What the pipeline dialect calls its kind.
    weight : float
        Its share of a job's time; only ratios matter. Measured on a CPU with
        the spectral engine; a percentage needs no more.
    message : str
        What a watcher is told while it runs.
    """

    name: str
    processor_type: str
    weight: float
    message: str


@dataclass(frozen=True, slots=True)
class Recipe:
    """Stages in order, and the tracks that a finished job has.

    Attributes
    ----------
    voice : str
        The track that a dialect with one result shows.
    inputs, outputs : tuple of str
        Extensions of what it reads and writes.
    """

    name: str
    stages: tuple[StageSpec, ...]
    tracks: tuple[str, ...]
    voice: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def position(self, stage: str) -> int:
        """The index of a stage; `KeyError` if the recipe has none of that name."""
        for index, spec in enumerate(self.stages):
            if spec.name == stage:
                return index
        raise KeyError(stage)


SEPARATION: Final = "audio_separation"
DECOMPOSITION: Final = "harmonic_percussive_separation"
COMPOSITION: Final = "composite_track_creation"
NORMALIZATION: Final = "normalization"

STEMS: Final = ("vocals", "drums", "bass", "other")
MAIN: Final = "main"

SEPARATE: Final = Recipe(
    name="separate",
    stages=(
        StageSpec(SEPARATION, "separator", 6.0, "Separating stems"),
        StageSpec(DECOMPOSITION, "decomposition", 1.0, "Decomposing the accompaniment"),
        StageSpec(COMPOSITION, "composition", 1.0, "Decomposing the recording"),
        StageSpec(NORMALIZATION, "audio_processing", 3.0, "Normalizing and encoding"),
    ),
    tracks=(*STEMS, "harmonic", "percussive", MAIN, "main_harmonic", "main_percussive"),
    voice="vocals",
    inputs=SEPARATE_INPUTS,
    outputs=SEPARATE_OUTPUTS,
)

EXTRACTION: Final = "extraction"
NOISE_REDUCTION: Final = "noise_reduction"
ENCODING: Final = "encoding"

CLEAN: Final = "clean"

DENOISE: Final = Recipe(
    name="denoise",
    stages=(
        StageSpec(EXTRACTION, "extractor", 1.0, "Extracting audio"),
        StageSpec(NOISE_REDUCTION, "denoiser", 4.0, "Running noise reduction"),
        StageSpec(ENCODING, "audio_processing", 2.0, "Leveling and encoding"),
    ),
    tracks=(CLEAN,),
    voice=CLEAN,
    inputs=DENOISE_INPUTS,
    outputs=DENOISE_OUTPUTS,
)

RECIPES: Final[Mapping[str, Recipe]] = {recipe.name: recipe for recipe in (SEPARATE, DENOISE)}

# Beyond these a target is a mistake: EBU R 128 s1 asks for -18…-23, loud
# masters sit near -6; a ceiling above full scale is none.
TARGET_LUFS_RANGE: Final = (-40.0, -5.0)
CEILING_DBTP_RANGE: Final = (-20.0, 0.0)
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
        Extension of the tracks: wav (24 bit), flac (24 bit), mp3, ogg, m4a.
    target_lufs : float
        Integrated loudness of the main track (BS.1770-4), -40 to -5 LUFS.
    ceiling_dbtp : float
        True peak no track exceeds, -20 to 0 dBTP.
    """

    recipe: ClassVar[Recipe] = SEPARATE

    engine: EngineChoice = EngineChoice.AUTO
    output_format: str = "wav"
    target_lufs: float = -14.0
    ceiling_dbtp: float = -1.0

    def __post_init__(self) -> None:
        if self.output_format not in SEPARATE_OUTPUTS:
            raise InvalidOption(
                f"format {self.output_format!r} is not one of {', '.join(SEPARATE_OUTPUTS)}"
            )
        _check_range("target_lufs", self.target_lufs, TARGET_LUFS_RANGE, unit="LUFS")
        _check_range("ceiling_dbtp", self.ceiling_dbtp, CEILING_DBTP_RANGE, unit="dBTP")


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
    """

    recipe: ClassVar[Recipe] = DENOISE

    engine: DenoiserChoice = DenoiserChoice.AUTO
    strength: float = 100.0
    output_extension: str | None = None
    auto_level_lufs: float | None = None
    max_duration_s: float | None = None

    def __post_init__(self) -> None:
        if self.output_extension not in (None, *DENOISE_OUTPUTS):
            raise InvalidOption(
                f"output extension {self.output_extension!r} is not one of "
                f"{', '.join(DENOISE_OUTPUTS)}"
            )
        _check_range("noise reduction amount", self.strength, STRENGTH_RANGE, unit="%")
        if self.auto_level_lufs is not None:
            _check_range("volume", self.auto_level_lufs, TARGET_LUFS_RANGE, unit="LUFS")


Options = SeparateOptions | DenoiseOptions
"""The options of any recipe; each knows its own."""


def _check_range(name: str, value: float, bounds: tuple[float, float], *, unit: str) -> None:
    low, high = bounds
    if not math.isfinite(value) or not low <= value <= high:
        raise InvalidOption(f"{name} {value:g} is outside {low:g} to {high:g} {unit}")


def separate_options(given: Mapping[str, str | float | None]) -> SeparateOptions:
    """Options from loosely typed fields (a form, a JSON body, object metadata).

    Absent, null and empty fields take their defaults; unknown names are refused,
    since a misspelt option that is ignored is a wrong result.

    Raises
    ------
    InvalidOption
        A value out of its range or a name that is no option.
    """
    fields = {k: v for k, v in given.items() if v not in (None, "")}
    unknown = sorted(set(fields) - {"engine", "format", "target_lufs", "ceiling_dbtp"})
    if unknown:
        raise InvalidOption(
            f"unknown option {unknown[0]!r}: engine, format, target_lufs and ceiling_dbtp are known"
        )
    defaults = SeparateOptions()
    return SeparateOptions(
        engine=_engine(fields.get("engine", defaults.engine)),
        output_format=str(fields.get("format", defaults.output_format)).lower().lstrip("."),
        target_lufs=_number("target_lufs", fields.get("target_lufs", defaults.target_lufs)),
        ceiling_dbtp=_number("ceiling_dbtp", fields.get("ceiling_dbtp", defaults.ceiling_dbtp)),
    )


def _engine(value: str | float | None) -> EngineChoice:
    try:
        return EngineChoice(str(value))
    except ValueError as exc:
        raise InvalidOption(f"engine {value!r} is not one of {', '.join(EngineChoice)}") from exc


def _number(name: str, value: str | float | None) -> float:
    try:
        return float(str(value))
    except ValueError as exc:
        raise InvalidOption(f"{name} {value!r} is not a number") from exc


def work_key(job_id: str, *, stage: str, artifact: str) -> str:
    """Where a stage leaves an artifact in the work bucket."""
    return f"jobs/{job_id}/{stage}/{artifact}"


def manifest_key(job_id: str, *, stage: str) -> str:
    """Where a stage commits: whatever this object does not list does not exist."""
    return work_key(job_id, stage=stage, artifact="manifest.json")

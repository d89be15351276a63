"""What a job does: its stages, their weights, its tracks and keys.

A recipe is data. The state machine is built from it, the stage tasks find
their files by it, and a job's percentage is weighed by it, so that the three
cannot drift apart. Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

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


# Engines that are of use on a GPU; the others are no faster there.
GPU_ENGINES: Final = frozenset({EngineName.DEMUCS})


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
    revision : int
        Raised with every change after which the stage makes something else of the
        same recording and options: stored results of before answer no job then.
    """

    name: str
    processor_type: str
    weight: float
    message: str
    revision: int = 1


@dataclass(frozen=True, slots=True)
class Recipe:
    """Stages in order, and the tracks that a finished job has.

    Attributes
    ----------
    tracks : tuple of str
        Without those that have to be asked for; see `Options.tracks`.
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
# The main track minus the sum of the stems: what the separation lost or made up.
RESIDUAL: Final = "residual"
# Beside the tracks of a separation: how they came about.
REPORT: Final = "job.json"

SEPARATE: Final = Recipe(
    name="separate",
    stages=(
        StageSpec(SEPARATION, "separator", 6.0, "Separating stems", revision=2),
        StageSpec(DECOMPOSITION, "decomposition", 1.0, "Decomposing the accompaniment"),
        StageSpec(COMPOSITION, "composition", 1.0, "Decomposing the recording"),
        StageSpec(NORMALIZATION, "audio_processing", 3.0, "Normalizing and encoding", revision=2),
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
        StageSpec(EXTRACTION, "extractor", 1.0, "Extracting audio", revision=2),
        StageSpec(NOISE_REDUCTION, "denoiser", 4.0, "Running noise reduction"),
        StageSpec(ENCODING, "audio_processing", 2.0, "Leveling and encoding", revision=2),
    ),
    tracks=(CLEAN,),
    voice=CLEAN,
    inputs=DENOISE_INPUTS,
    outputs=DENOISE_OUTPUTS,
)

RECIPES: Final[Mapping[str, Recipe]] = {recipe.name: recipe for recipe in (SEPARATE, DENOISE)}


def work_key(job_id: str, *, stage: str, artifact: str) -> str:
    """Where a stage leaves an artifact in the work bucket."""
    return f"{work_prefix(job_id)}{stage}/{artifact}"


def work_prefix(job_id: str) -> str:
    """Below which all that stages leave for each other lies."""
    return f"jobs/{job_id}/"


def manifest_key(job_id: str, *, stage: str) -> str:
    """Where a stage commits: whatever this object does not list does not exist."""
    return work_key(job_id, stage=stage, artifact="manifest.json")

"""Stage ``noise_reduction``: the sound with less noise, by the engine the job was promised.

``spectral`` and ``neural`` are those of `containers.audio.denoise`; ``voice`` keeps what a
separation network takes for vocals. None stands in for another.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from clearstem.denoisers import find_denoiser
from clearstem.errors import EngineUnavailable, MissingWeights
from clearstem.facts import Denoising, StageResult
from clearstem.options import DenoiseOptions
from clearstem.recipes import CLEAN, EXTRACTION, STEMS, EngineName
from containers.audio.compose import Reader, Writer
from containers.audio.denoise import DenoiseReport, Model, ModelFile, ModelName, denoise
from containers.audio.separate import separate
from containers.audio.stream import Progress, Recording, RecordingWriter
from containers.stages.networks import checkpoint, restart_points, wanted, weights_notes
from containers.stages.shares import share
from containers.workspace import Workspace

_VOICE = "vocals"


def run(space: Workspace, progress: Progress) -> StageResult:
    """Keep ``clean``, as long as the source and of its form."""
    into = space.scratch / f"{CLEAN}.wav"
    strength = space.options(DenoiseOptions).strength
    with Recording.open(space.artifact("sound", of=EXTRACTION)) as source:
        with _writer(into, like=source) as writer:
            work = _keep_voice if space.job.engine.name is EngineName.VOICE else _reduce
            result = work(space, source, writer, strength, share(progress, 0.02, 0.95))
        space.keep(CLEAN, into, frames=source.frames)
    return result


def _reduce(
    space: Workspace, source: Reader, writer: Writer, strength: float, progress: Progress
) -> StageResult:
    engine = space.job.engine
    report = denoise(
        source,
        writer,
        engine="neural" if engine.name is EngineName.NEURAL else "spectral",
        model=_model(space),
        strength=strength,
        progress=progress,
    )
    denoising = Denoising(
        engine=EngineName(report.engine),
        model=engine.model,
        model_sha256="+".join(report.model_sha256) or None,
        strength=strength,
        versions=report.versions,
    )
    return StageResult(denoising=denoising, notes=_clean_note(report))


def _clean_note(report: DenoiseReport) -> tuple[str, ...]:
    """A result that equals its source is no failure, and looks like one."""
    return () if report.noisy_share else ("the recording is clean or silent: nothing was removed",)


def _model(space: Workspace) -> Model | None:
    """The network the job was promised; None where its engine has none.

    Raises
    ------
    MissingWeights
        This task sees no folder of models, or knows no such network.
    """
    engine, folder = space.job.engine, space.settings.models_dir
    if engine.name is not EngineName.NEURAL:
        return None
    try:
        denoiser = find_denoiser(engine.model)
    except EngineUnavailable as exc:
        raise MissingWeights(str(exc)) from exc
    if folder is None:
        raise MissingWeights(f"the files of {engine.model} are missing: no models folder is set")
    # By the sums of the promise: another version's files are not what the job was told.
    sums = (engine.sha256 or "").split("+")
    if len(sums) != len(denoiser.files):
        raise MissingWeights(f"{engine.model} has {len(denoiser.files)} files, not {len(sums)}")
    files = tuple(
        ModelFile(folder / file.file_name, sha256)
        for file, sha256 in zip(denoiser.files, sums, strict=True)
    )
    return Model(cast(ModelName, denoiser.name), files)


def _keep_voice(
    space: Workspace, source: Recording, writer: Writer, strength: float, progress: Progress
) -> StageResult:
    """Write the vocals, with what strength leaves of everything else."""
    blended = _Blend(source, writer, weight=np.float32(strength / 100))
    report = separate(
        source,
        {stem: blended if stem == _VOICE else _Nowhere() for stem in STEMS},
        engine="demucs",
        checkpoint=checkpoint(space),
        wanted=wanted(space),
        keep=lambda settled: restart_points(space, source, settled),
        progress=progress,
    )
    denoising = Denoising(
        engine=EngineName.VOICE,
        model=space.job.engine.model,
        model_sha256=report.model_sha256,
        strength=strength,
        versions=report.versions,
    )
    return StageResult(denoising=denoising, notes=weights_notes(space))


@dataclass(slots=True)
class _Blend:
    """Passes blocks on, mixed with the source they were made of."""

    source: Reader
    writer: Writer
    weight: np.float32
    _done: int = 0

    def write(self, block: NDArray[np.float32]) -> None:
        stop = self._done + block.shape[1]
        whole = self.source.read(self._done, stop)
        self.writer.write(whole + self.weight * (block - whole))
        self._done = stop


class _Nowhere:
    """Takes blocks that nobody wants."""

    def write(self, block: NDArray[np.float32]) -> None:
        del block


def _writer(path: Path, *, like: Reader) -> RecordingWriter:
    return RecordingWriter(path, rate_hz=like.rate_hz, channels=like.channels, frames=like.frames)

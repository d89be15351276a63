"""Stage ``audio_separation``: the source decoded once for all, and its four stems.

Everything a later stage needs of the original file is kept here: the sound as
float32, its tags and its cover. A network's work is kept on the way, so that a
task that is started again goes on where it was (`containers.stages.resume`). On
request the residual is kept too, the source minus the sum of its stems.
"""

import json
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from clearstem.errors import MissingWeights, WrongChecksum
from clearstem.facts import AudioFormat, Separation, StageResult
from clearstem.models import MODELS, SPECTRAL_MODEL, known_models, missing_weights, weights_path
from clearstem.options import SeparateOptions
from clearstem.recipes import RESIDUAL, STEMS, EngineName
from containers.audio.compose import Difference
from containers.audio.encode import check_output
from containers.audio.separate import SeparationReport, separate
from containers.audio.stream import (
    BLOCK_FRAMES,
    Decoded,
    Progress,
    Recording,
    RecordingWriter,
    decode,
)
from containers.audio.weights import Bag, Checkpoint
from containers.stages.shares import share
from containers.workspace import Workspace, sha256_of

# They import torch, which a job without a network need not wait for.
if TYPE_CHECKING:
    from containers.audio.backends import Settled, Wanted
    from containers.stages.resume import RestartPoints


def run(space: Workspace, progress: Progress) -> StageResult:
    """Keep ``source``, the stems, ``tags`` and, as the case may be, ``cover`` and ``residual``."""
    path = space.scratch / "source.wav"
    decoded = decode(space.source(), path, progress=share(progress, 0.0, 0.1))
    # Said now, not after all the work: the last stage could not write it.
    check_output(space.options(SeparateOptions).output_format, channels=decoded.format.channels)
    with Recording.open(path) as source:
        report = _separate(space, source, progress=share(progress, 0.1, 0.95))
    space.keep("source", path, frames=decoded.format.frames)
    _keep_labels(space, decoded)
    return StageResult(
        audio=_audio_format(decoded),
        separation=_separation(report),
        notes=decoded.warnings,
    )


def _separate(space: Workspace, source: Recording, *, progress: Progress) -> SeparationReport:
    paths = {stem: space.scratch / f"{stem}.wav" for stem in STEMS}
    form = {
        "rate_hz": source.rate_hz,
        "channels": source.channels,
        "frames": source.frames,
    }
    with ExitStack() as stack:
        writers = {
            stem: stack.enter_context(RecordingWriter(path, **form)) for stem, path in paths.items()
        }
        report = separate(
            source,
            writers,
            engine="demucs" if space.job.engine.name is EngineName.DEMUCS else "spectral",
            checkpoint=_checkpoint(space),
            wanted=_wanted(space),
            keep=lambda settled: _restart_points(space, source, settled),
            progress=progress,
        )
    if space.options(SeparateOptions).residual:
        paths[RESIDUAL] = space.scratch / f"{RESIDUAL}.wav"
        _write_residual(source, [paths[stem] for stem in STEMS], paths[RESIDUAL])
    for name, path in paths.items():
        space.keep(name, path, frames=source.frames)
    return report


def _write_residual(source: Recording, stems: list[Path], into: Path) -> None:
    with ExitStack() as stack:
        rest = Difference(source, *(stack.enter_context(Recording.open(path)) for path in stems))
        writer = stack.enter_context(
            RecordingWriter(into, rate_hz=rest.rate_hz, channels=rest.channels, frames=rest.frames)
        )
        for start in range(0, rest.frames, BLOCK_FRAMES):
            writer.write(rest.read(start, min(start + BLOCK_FRAMES, rest.frames)))


def _wanted(space: Workspace) -> "Wanted | None":
    if space.job.engine.name is not EngineName.DEMUCS:
        return None
    from containers.audio.backends import Wanted

    settings = space.settings
    return Wanted(precision=settings.separator_precision, cache_dir=settings.cache_dir)


def _restart_points(space: Workspace, source: Recording, settled: "Settled") -> "RestartPoints":
    from containers.stages.resume import RestartPoints

    versions = [f"{name} {number}" for name, number in sorted(space.versions.items())]
    weights = space.job.engine.sha256 or ""
    torch = version("torch")
    return RestartPoints(
        space, (sha256_of(source.path), weights, repr(settled), f"torch {torch}", *versions)
    )


def _checkpoint(space: Workspace) -> Checkpoint | Bag | None:
    """The weights the job was promised; `MissingWeights` if this task has them not."""
    engine, folder = space.job.engine, space.settings.models_dir
    if engine.name is not EngineName.DEMUCS or engine.sha256 is None:
        return None
    model = known_models(folder).get(engine.model)
    if model is None or folder is None:
        raise MissingWeights(missing_weights(model or MODELS["htdemucs"], models_dir=folder))
    if not model.parts:
        return Checkpoint(model.name, weights_path(model, models_dir=folder), engine.sha256)
    if model.sha256 != engine.sha256:
        raise WrongChecksum(f"{model.name} has sha256 {model.sha256}, not {engine.sha256}")
    parts = tuple(
        Checkpoint(model.name, weights_path(part, models_dir=folder), part.sha256)
        for part in model.parts
    )
    return Bag(model.name, parts, model.weights, model.sha256)


def _keep_labels(space: Workspace, decoded: Decoded) -> None:
    tags = space.scratch / "tags.json"
    tags.write_text(json.dumps(dict(decoded.tags), ensure_ascii=False))
    space.keep("tags", tags, frames=0)
    if decoded.cover is not None:
        _keep_cover(space, space.scratch / "cover", decoded.cover)


def _keep_cover(space: Workspace, path: Path, cover: bytes) -> None:
    path.write_bytes(cover)
    space.keep("cover", path, frames=0)


def _audio_format(decoded: Decoded) -> AudioFormat:
    found = decoded.format
    return AudioFormat(
        container=found.container,
        codec=found.codec,
        rate_hz=found.rate_hz,
        channels=found.channels,
        frames=found.frames,
        bit_depth=found.bit_depth,
    )


def _separation(report: SeparationReport) -> Separation:
    return Separation(
        engine=EngineName(report.engine),
        model=report.model or SPECTRAL_MODEL,
        model_sha256=report.model_sha256,
        device=report.device,
        preview=report.preview,
        residual_db=report.residual_db,
        versions=report.versions,
        backend=report.backend,
        precision=report.precision,
    )

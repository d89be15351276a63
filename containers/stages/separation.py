"""Stage ``audio_separation``: the source decoded once for all, and its four stems.

Everything a later stage needs of the original file is kept here: the sound as
float32, its tags and its cover.
"""

import json
from contextlib import ExitStack
from pathlib import Path

from clearstem.errors import MissingWeights
from clearstem.jobs import AudioFormat, Separation, StageResult
from clearstem.models import MODELS, SPECTRAL_MODEL, known_models, missing_weights, weights_path
from clearstem.recipes import STEMS, EngineName, SeparateOptions
from containers.audio.encode import check_output
from containers.audio.separate import Checkpoint, SeparationReport, separate
from containers.audio.stream import Decoded, Progress, Recording, RecordingWriter, decode
from containers.stages.shares import share
from containers.workspace import Workspace


def run(space: Workspace, progress: Progress) -> StageResult:
    """Keep ``source``, the four stems, ``tags`` and, if there is one, ``cover``."""
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
            progress=progress,
        )
    for stem, path in paths.items():
        space.keep(stem, path, frames=source.frames)
    return report


def _checkpoint(space: Workspace) -> Checkpoint | None:
    """The weights the job was promised; `MissingWeights` if this task has them not."""
    engine, folder = space.job.engine, space.settings.models_dir
    if engine.name is not EngineName.DEMUCS or engine.sha256 is None:
        return None
    model = known_models(folder).get(engine.model)
    if model is None or folder is None:
        raise MissingWeights(missing_weights(model or MODELS["htdemucs"], models_dir=folder))
    return Checkpoint(engine.model, weights_path(model, models_dir=folder), engine.sha256)


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
    )

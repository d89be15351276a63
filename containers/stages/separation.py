"""Stage ``audio_separation``: the source decoded once for all, and its four stems.

Everything a later stage needs of the original file is kept here: the sound as
float32, its tags and its cover. A network's work is kept on the way, so that a
task that is started again goes on where it was (`containers.stages.resume`). On
request the residual is kept too, the source minus the sum of its stems.
"""

from contextlib import ExitStack
from pathlib import Path

from clearstem.facts import Separation, StageResult
from clearstem.models import SPECTRAL_MODEL
from clearstem.options import SeparateOptions
from clearstem.recipes import RESIDUAL, STEMS, EngineName
from containers.audio.compose import Difference
from containers.audio.encode import check_output
from containers.audio.separate import SeparationReport, separate
from containers.audio.stream import (
    BLOCK_FRAMES,
    Progress,
    Recording,
    RecordingWriter,
    decode,
)
from containers.stages.networks import checkpoint, restart_points, wanted, weights_notes
from containers.stages.originals import audio_format, keep_labels
from containers.stages.shares import share
from containers.workspace import Workspace


def run(space: Workspace, progress: Progress) -> StageResult:
    """Keep ``source``, the stems, ``tags`` and, as the case may be, ``cover`` and ``residual``."""
    path = space.scratch / "source.wav"
    decoded = decode(space.source(), path, progress=share(progress, 0.0, 0.1))
    # Said now, not after all the work: the last stage could not write it.
    check_output(
        space.options(SeparateOptions).output_format,
        channels=decoded.format.channels,
        frames=decoded.format.frames,
    )
    with Recording.open(path) as source:
        report = _separate(space, source, progress=share(progress, 0.1, 0.95))
    space.keep("source", path, frames=decoded.format.frames)
    keep_labels(space, decoded)
    return StageResult(
        audio=audio_format(decoded),
        separation=_separation(report),
        notes=(*decoded.warnings, *weights_notes(space)),
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
            checkpoint=checkpoint(space),
            wanted=wanted(space),
            keep=lambda settled: restart_points(space, source, settled),
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

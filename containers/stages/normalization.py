"""Stage ``normalization``: the tracks at their level, as the files that users get.

The last stage. It puts the tracks where the job says, and beside them
``job.json``, which says how they came about.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from clearstem.facts import AudioFormat, Location, StageResult, Track
from clearstem.jobs import Job
from clearstem.options import SeparateOptions
from clearstem.recipes import COMPOSITION, DECOMPOSITION, MAIN, REPORT, RESIDUAL, SEPARATION, STEMS
from clearstem.records import dumps
from containers.audio.gains import Hot
from containers.audio.normalize import Normalized, NormalizedTrack, normalize
from containers.audio.stream import Progress
from containers.stages.originals import cover, tags
from containers.stages.results import loudness_of
from containers.stages.shares import share
from containers.workspace import Workspace

# Which stage left which track, under which name: the main track is the source.
_ORIGINS: Mapping[str, tuple[str, str]] = {
    **{stem: (SEPARATION, stem) for stem in STEMS},
    "harmonic": (DECOMPOSITION, "harmonic"),
    "percussive": (DECOMPOSITION, "percussive"),
    MAIN: (SEPARATION, "source"),
    "main_harmonic": (COMPOSITION, "main_harmonic"),
    "main_percussive": (COMPOSITION, "main_percussive"),
    RESIDUAL: (SEPARATION, RESIDUAL),
}


def run(space: Workspace, progress: Progress) -> StageResult:
    """Put the encoded tracks and the report in the job's destination."""
    options = space.options(SeparateOptions)
    folder = space.scratch / "tracks"
    folder.mkdir()
    done = normalize(
        _recordings(space, progress=share(progress, 0.0, 0.1)),
        folder,
        main=MAIN,
        format=options.output_format,
        tags=tags(space, of=SEPARATION),
        cover=cover(space, of=SEPARATION),
        target_lufs=options.target_lufs,
        ceiling_dbtp=options.ceiling_dbtp,
        gain=options.gain,
        hot=Hot.LIMITED if options.limit else Hot.TURNED_DOWN,
        receipts=(RESIDUAL,),
        progress=share(progress, 0.1, 0.95),
    )
    result = StageResult(
        loudness=loudness_of(done, gain=options.gain),
        tracks=tuple(_delivered(space, name, track) for name, track in done.tracks.items()),
        notes=(
            *_depth_note(space.job.audio, done.tracks[MAIN]),
            *done.conversions,
            *_limiter_note(done),
        ),
    )
    _deliver_report(space, result)
    return result


def _recordings(space: Workspace, *, progress: Progress) -> dict[str, Path]:
    paths = {}
    names = space.job.track_names
    for count, track in enumerate(names, start=1):
        stage, artifact = _ORIGINS[track]
        paths[track] = space.artifact(artifact, of=stage)
        progress(count, len(names))
    return paths


def _delivered(space: Workspace, name: str, track: NormalizedTrack) -> Track:
    extension = track.path.suffix.removeprefix(".")
    place = _destination(space.job, f"{name}.{extension}")
    space.put(name, track.path, frames=track.levels.frames, to=place)
    return Track(
        name=name,
        location=place,
        extension=extension,
        frames=track.levels.frames,
        size_bytes=track.size_bytes,
        sha256=track.sha256,
        true_peak_dbtp=track.levels.true_peak_dbtp,
        loudness_lufs=track.levels.loudness_lufs,
        max_momentary_lufs=track.levels.max_momentary_lufs,
        max_short_term_lufs=track.levels.max_short_term_lufs,
        loudness_range_lu=track.levels.loudness_range_lu,
    )


def _depth_note(source: AudioFormat | None, main: NormalizedTrack) -> tuple[str, ...]:
    """A change of bit depth is for the better here, and told all the same."""
    if source is None or source.bit_depth is None or source.bit_depth == main.bit_depth:
        return ()
    written = f"{main.bit_depth} bit" if main.bit_depth else "a lossy format"
    return (f"source of {source.bit_depth} bit written as {written}",)


def _limiter_note(done: Normalized) -> tuple[str, ...]:
    """Which tracks do not sum as they did, and by how much."""
    limited = {name: track.limited_db for name, track in done.tracks.items() if track.limited_db}
    if not limited:
        return ()
    told = ", ".join(f"{name} by up to {by:.1f} dB" for name, by in limited.items())
    return (f"peaks limited: {told}",)


def _deliver_report(space: Workspace, result: StageResult) -> None:
    report = space.scratch / REPORT
    document = {
        "job_id": space.job.job_id,
        "source": json.loads(dumps(space.job.source)),
        "audio": json.loads(dumps(space.job.audio)),
        "separation": json.loads(dumps(space.job.separation)),
        "result": json.loads(dumps(result)),
    }
    report.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    space.put("report", report, frames=0, to=_destination(space.job, report.name))


def _destination(job: Job, name: str) -> Location:
    return Location(job.destination.bucket, f"{job.destination.key}{name}")

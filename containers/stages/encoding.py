"""Stage ``encoding``: the clean sound at its level, as the file that the user gets.

A video's pictures are copied out of the original, or encoded anew where the client wants a
container that does not hold them; they were never touched before. The levels that
are told are those of the encoded sound, decoded again.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from clearstem.errors import SourceChanged
from clearstem.facts import Location, Loudness, StageResult, Track
from clearstem.options import DenoiseOptions, Gain
from clearstem.recipes import CLEAN, EXTRACTION, NOISE_REDUCTION
from containers.audio.encode import encode
from containers.audio.gains import Hot
from containers.audio.measure import Levels, measure_encoded
from containers.audio.normalize import CEILING_DBTP, normalize
from containers.audio.remux import remux
from containers.audio.stream import Progress, Recording
from containers.checksums import sha256_of
from containers.stages.originals import cover, tags
from containers.stages.outcome import Outcome, may_show_pictures, outcome_of, written_depth
from containers.stages.results import loudness_of, put_to_client
from containers.stages.shares import share
from containers.workspace import Workspace


@dataclass(frozen=True, slots=True)
class _Encoded:
    """The result on local disk, and what is known of its sound."""

    path: Path
    levels: Levels
    notes: tuple[str, ...]
    loudness: Loudness | None = None


def run(space: Workspace, progress: Progress) -> StageResult:
    """Put the track ``clean`` in the job's destination, and where its client wants it too.

    Raises
    ------
    SourceChanged
        The pictures to be copied are not those that belong to the sound.
    """
    clean = space.artifact(CLEAN, of=NOISE_REDUCTION)
    original = _original(space)
    outcome = outcome_of(space, original, source_bits=_source_bits(space))
    until = _share_of_sound(outcome)
    done = _sound(space, clean, outcome, progress=share(progress, 0.05, until))
    if original and outcome.has_pictures:
        done = _with_pictures(original, done, outcome, progress=share(progress, until, 0.9))
    track = _delivered(space, done, outcome)
    return StageResult(
        loudness=done.loudness,
        tracks=(track,),
        notes=(*outcome.notes, *done.notes),
        undelivered=put_to_client(space, done.path),
    )


def _share_of_sound(outcome: Outcome) -> float:
    """Up to where the sound moves the bar: encoding takes longer than copying."""
    if outcome.encodes_pictures:
        return 0.25
    return 0.7 if outcome.has_pictures else 0.9


def _original(space: Workspace) -> Path | None:
    """The original, fetched only where the result may show its pictures, and still the same."""
    if not may_show_pictures(space):
        return None
    path, known = space.source(), space.job.source.sha256
    # Who uploaded it may write there as long as his link is good.
    if known is not None and sha256_of(path) != known:
        raise SourceChanged("the recording was replaced while the job was working on it")
    return path


def _sound(space: Workspace, clean: Path, outcome: Outcome, *, progress: Progress) -> _Encoded:
    """The sound alone in the result's format."""
    folder = space.scratch / "encoded"
    folder.mkdir()
    target = space.options(DenoiseOptions).auto_level_lufs
    if target is None:
        return _as_it_is(space, clean, folder, outcome, progress=progress)
    return _leveled(space, clean, folder, outcome, target_lufs=target, progress=progress)


def _as_it_is(
    space: Workspace, clean: Path, folder: Path, outcome: Outcome, *, progress: Progress
) -> _Encoded:
    with Recording.open(clean) as recording:
        encoded = encode(
            recording,
            folder / f"{CLEAN}.{outcome.extension}",
            format=outcome.extension,
            bit_depth=_bit_depth(space, outcome),
            tags=tags(space, of=EXTRACTION),
            cover=_cover(space, outcome),
            progress=share(progress, 0.0, 0.6),
        )
    levels = measure_encoded(encoded, progress=share(progress, 0.6, 1.0))
    return _Encoded(
        encoded.path,
        levels,
        (*encoded.conversions, *_depth_lost(space, encoded.bit_depth)),
    )


def _leveled(
    space: Workspace,
    clean: Path,
    folder: Path,
    outcome: Outcome,
    *,
    target_lufs: float,
    progress: Progress,
) -> _Encoded:
    done = normalize(
        {CLEAN: clean},
        folder,
        main=CLEAN,
        format=outcome.extension,
        bit_depth=_bit_depth(space, outcome),
        tags=tags(space, of=EXTRACTION),
        cover=_cover(space, outcome),
        target_lufs=target_lufs,
        ceiling_dbtp=CEILING_DBTP,
        # A voice's peaks stand 15 to 20 dB above its loudness: turned down by them, hardly any
        # recording of speech would reach the level that was asked for.
        hot=Hot.LIMITED,
        progress=progress,
    )
    track = done.tracks[CLEAN]
    limited = (f"peaks limited by up to {track.limited_db:.1f} dB",) if track.limited_db else ()
    return _Encoded(
        track.path,
        track.levels,
        (*done.conversions, *limited, *_depth_lost(space, track.bit_depth)),
        loudness_of(done, gain=Gain.COMMON),
    )


def _cover(space: Workspace, outcome: Outcome) -> bytes | None:
    """The cover for a file of sound alone; with pictures it goes along with them."""
    return None if outcome.has_pictures else cover(space, of=EXTRACTION)


def _source_bits(space: Workspace) -> int | None:
    return space.job.audio.bit_depth if space.job.audio else None


def _bit_depth(space: Workspace, outcome: Outcome) -> int | None:
    return written_depth(outcome.extension, source_bits=_source_bits(space))


def _depth_lost(space: Workspace, written: int | None) -> tuple[str, ...]:
    """A note where a sample of the result holds less than one of the source; none of lossy ones."""
    source = space.job.audio
    if source is None or source.bit_depth is None or written is None:
        return ()
    told = f"source of {source.bit_depth} bit written as {written} bit"
    if written < source.bit_depth:
        return (told,)
    # 32 bits are always written as floating point, which holds an integer of up to 24.
    if source.bit_depth > 24 and not source.codec.startswith("pcm_f"):
        return (f"{told} floating point, which holds 24 of an integer",)
    return ()


def _with_pictures(
    original: Path, sound: _Encoded, outcome: Outcome, *, progress: Progress
) -> _Encoded:
    into = sound.path.with_name(f"{CLEAN}-with-pictures.{outcome.extension}")
    notes = remux(original, sound.path, into, container=outcome.extension, progress=progress)
    sound.path.unlink()
    into.replace(sound.path)
    return replace(sound, notes=(*sound.notes, *notes))


def _delivered(space: Workspace, done: _Encoded, outcome: Outcome) -> Track:
    destination = space.job.destination
    place = Location(destination.bucket, f"{destination.key}{CLEAN}.{outcome.extension}")
    artifact = space.put(CLEAN, done.path, frames=done.levels.frames, to=place)
    return Track(
        name=CLEAN,
        location=place,
        extension=outcome.extension,
        frames=done.levels.frames,
        size_bytes=artifact.size_bytes,
        sha256=artifact.sha256,
        true_peak_dbtp=done.levels.true_peak_dbtp,
        loudness_lufs=done.levels.loudness_lufs,
        max_momentary_lufs=done.levels.max_momentary_lufs,
        max_short_term_lufs=done.levels.max_short_term_lufs,
        loudness_range_lu=done.levels.loudness_range_lu,
    )

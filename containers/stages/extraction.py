"""Stage ``extraction``: the sound of a recording, decoded once for all.

Pictures stay where they are: the last stage copies them out of the original or encodes them
anew, and whether it will be able to is looked at here, before anything is worked on.
"""

from pathlib import Path

from clearstem.errors import AudioOutOfRange
from clearstem.facts import StageResult
from clearstem.options import DenoiseOptions
from containers.audio.encode import check_output
from containers.audio.gaps import Begin
from containers.audio.source import Source
from containers.audio.stream import Decoded, DecodeLimits, Progress, decode
from containers.stages.originals import audio_format, keep_labels
from containers.stages.outcome import Outcome, outcome_of, written_depth
from containers.stages.shares import share
from containers.workspace import Workspace


def run(space: Workspace, progress: Progress) -> StageResult:
    """Keep ``sound``, ``tags`` and, as the case may be, ``cover``."""
    original = space.source()
    outcome = _checked_outcome(space, original)
    path = space.scratch / "sound.wav"
    # Beside its pictures the sound begins where it began; without them silence has to say it.
    begin = Begin.SOUND if outcome.has_pictures else Begin.PICTURES
    decoded = _decode(space, original, path, begin=begin, progress=share(progress, 0.05, 0.9))
    _check_length(outcome, decoded)
    space.keep("sound", path, frames=decoded.format.frames)
    keep_labels(space, decoded)
    return StageResult(audio=audio_format(decoded), notes=decoded.warnings)


def _checked_outcome(space: Workspace, original: Path) -> Outcome:
    """The result's form; refused now where the last stage could not write it."""
    with Source(original) as source:
        told = source.format(frames=0)
    outcome = outcome_of(space, original, source_bits=told.bit_depth)
    check_output(outcome.extension, channels=told.channels)
    return outcome


def _check_length(outcome: Outcome, decoded: Decoded) -> None:
    """Refuse what would pass its format's size: how long it is, only decoding tells for sure."""
    check_output(
        outcome.extension,
        channels=decoded.format.channels,
        bit_depth=written_depth(outcome.extension, source_bits=decoded.format.bit_depth),
        frames=decoded.format.frames,
    )


def _decode(
    space: Workspace, original: Path, into: Path, *, begin: Begin, progress: Progress
) -> Decoded:
    chosen = space.options(DenoiseOptions).max_duration_s
    longest_s = min(chosen or DecodeLimits().max_seconds, DecodeLimits().max_seconds)
    limits = DecodeLimits(max_seconds=longest_s)
    try:
        return decode(original, into, begin=begin, progress=progress, limits=limits)
    except AudioOutOfRange as exc:
        told_s = _told_duration_s(original)
        if told_s <= longest_s:
            raise
        raise AudioOutOfRange(
            f"Duration exceeds the maximum limit of {longest_s / 60:g} minutes. "
            f"Duration: {told_s / 60:.2f} minutes"
        ) from exc


def _told_duration_s(original: Path) -> float:
    """The duration that the header tells, for a message."""
    with Source(original) as source:
        return source.expected_frames / source.rate_hz

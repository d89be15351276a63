"""What the results of both recipes have in common: how their level is told, where they are put."""

from pathlib import Path
from typing import TYPE_CHECKING

from clearstem.facts import Loudness
from clearstem.media import content_type
from clearstem.options import Gain
from containers.workspace import Workspace

if TYPE_CHECKING:
    # A stage's entry takes this module, and not the array libraries, before it has work.
    from containers.audio.normalize import Normalized


def loudness_of(done: "Normalized", *, gain: Gain) -> Loudness:
    """What normalization did, as the job's record has it.

    Parameters
    ----------
    done : Normalized
        What it says of itself.
    gain : Gain
        What it was asked for.
    """
    return Loudness(
        source_lufs=done.source.loudness_lufs,
        source_max_momentary_lufs=done.source.max_momentary_lufs,
        source_max_short_term_lufs=done.source.max_short_term_lufs,
        source_loudness_range_lu=done.source.loudness_range_lu,
        main_lufs=done.main_lufs,
        target_lufs=done.target_lufs,
        ceiling_dbtp=done.ceiling_dbtp,
        gain_db=done.gain_db,
        held_back_by=done.held_back_by,
        gain=gain,
        limited=any(track.limited_db for track in done.tracks.values()),
    )


def put_to_client(space: Workspace, path: Path) -> str | None:
    """Put a result to the job's output address; None, or a note on why it is not there.

    None, too, where the job has no such address.
    """
    if space.job.output_url is None:
        return None
    # It takes an HTTP client, which no other job needs.
    from containers.remote import deliver

    return deliver(space, path, content_type=content_type(path.suffix.removeprefix(".")))

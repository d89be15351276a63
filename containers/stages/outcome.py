"""What a noise reduction's result is: its format, and whether pictures go with the sound.

Decided twice from the same facts: before the work, to refuse what cannot be written, and at
its end, to write it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clearstem.media import VIDEO_OUTPUTS, denoised_extension
from clearstem.options import DenoiseOptions
from containers.audio.encode import depths_of
from containers.audio.pictures import holders, pictures_of
from containers.audio.recoding import check_decodable
from containers.workspace import Workspace

# Where the source's own container is not written, or holds no such pictures: these take nearly
# every kind and every kind, in this order.
_FURTHER: Final = ("mkv", "wmv")


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result's form.

    Attributes
    ----------
    extension : str
        Of the result.
    has_pictures : bool
        Whether the original's pictures go into it.
    encodes_pictures : bool
        Whether they are encoded anew for it, since it does not hold them as they are.
    notes : tuple of str
        What the user should know of that choice.
    """

    extension: str
    has_pictures: bool
    encodes_pictures: bool = False
    notes: tuple[str, ...] = ()


def may_show_pictures(space: Workspace) -> bool:
    """Whether a result of this name holds pictures: only then is the original looked at."""
    return _named(space) in VIDEO_OUTPUTS


def outcome_of(space: Workspace, original: Path | None, *, source_bits: int | None) -> Outcome:
    """What becomes of a job's original.

    A container that was asked for is the one that is written; pictures that it does not hold
    are encoded anew. Where none was asked for it is the source's, as its name says; Matroska or
    ASF where that holds no such pictures; and only what neither holds is encoded anew. AIFF is
    not written for samples of more bits than it holds, unless it was asked for.

    Parameters
    ----------
    original : Path or None
        The file; None where the result shows no pictures anyway.
    source_bits : int or None
        Bits of one of its samples; None for lossy codecs.

    Raises
    ------
    PictureNotHeld
        The container holds no such pictures, and they cannot be decoded.
    """
    asked = space.options(DenoiseOptions).output_extension
    extension = _named(space)
    if original is None or extension not in VIDEO_OUTPUTS:
        return _of_sound(space, source_bits)
    codecs = pictures_of(original)
    if not codecs:
        return Outcome(extension, has_pictures=False)
    fitting = holders(codecs)
    if extension in fitting:
        return Outcome(extension, has_pictures=True)
    further = next((each for each in _FURTHER if each in fitting), None)
    if asked is None and further is not None:
        note = f"written as {further}: {extension} holds no {codecs[0]}"
        return Outcome(further, has_pictures=True, notes=(note,))
    check_decodable(original, container=extension)
    return Outcome(extension, has_pictures=True, encodes_pictures=True)


def _named(space: Workspace) -> str:
    """The extension by name alone: the one asked for, else the source's or nearest to it."""
    asked = space.options(DenoiseOptions).output_extension
    return denoised_extension(space.job.source.extension, asked=asked)


def _of_sound(space: Workspace, source_bits: int | None) -> Outcome:
    asked = space.options(DenoiseOptions).output_extension
    extension = denoised_extension(space.job.source.extension, asked=asked, bit_depth=source_bits)
    if extension == _named(space):
        return Outcome(extension, has_pictures=False)
    note = f"written as {extension}: our {_named(space)} files hold no samples of {source_bits} bit"
    return Outcome(extension, has_pictures=False, notes=(note,))


def written_depth(extension: str, *, source_bits: int | None) -> int | None:
    """Bits of a sample in the result: the source's, or the next that the format has.

    None, which leaves it to the encoder, where the source or the format has no depth.
    """
    depths = depths_of(extension)
    if not depths or source_bits is None:
        return None
    return next((depth for depth in depths if depth >= source_bits), depths[-1])

"""What a noise reduction's result is: its format, and whether pictures go with the sound.

Decided twice from the same facts: before the work, to refuse what cannot be written, and at
its end, to write it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clearstem.media import VIDEO_OUTPUTS, denoised_extension
from clearstem.options import DenoiseOptions
from containers.audio.remux import check_holds, holders, pictures_of
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
    notes : tuple of str
        What the user should know of that choice.
    """

    extension: str
    has_pictures: bool
    notes: tuple[str, ...] = ()


def outcome_of(space: Workspace, original: Path) -> Outcome:
    """What becomes of a job's original.

    A container that was asked for is the one that is written, or the job fails. Where none was
    asked for it is the source's, as its name says; Matroska or ASF where that holds no such
    pictures.

    Raises
    ------
    PictureNotHeld
        The container that was asked for holds no such pictures.
    """
    asked = space.options(DenoiseOptions).output_extension
    extension = denoised_extension(space.job.source.extension, asked=asked)
    if extension not in VIDEO_OUTPUTS:
        return Outcome(extension, has_pictures=False)
    pictures = pictures_of(original)
    if not pictures.codecs:
        return Outcome(extension, has_pictures=False)
    fitting = holders(pictures.codecs)
    further = next((each for each in _FURTHER if each in fitting), None)
    if asked or extension in fitting or further is None:
        check_holds(extension, pictures)
        return Outcome(extension, has_pictures=True)
    codec = pictures.codecs[0]
    return Outcome(
        further, has_pictures=True, notes=(f"written as {further}: {extension} holds no {codec}",)
    )

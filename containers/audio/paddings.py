"""What an encoder adds before and behind the sound, where the container cannot say how much.

Most containers of mp3 and AAC tell it, and it is taken off. These do not, or not to the sample:
then nobody can take it off, and all that is left is to tell.
"""

from collections.abc import Mapping
from typing import Final

# In front 1105 frames of LAME and its decoder, 2112 of Apple's AAC; behind, less than a packet.
_AROUND: Final[Mapping[str, int]] = {"mp3": 1105 + 1151, "aac": 2112 + 1023}
# Demuxers of what has no place to tell it.
_SILENT: Final = frozenset({"aac", "avi", "wav", "flv", "asf", "mpeg", "mpegts"})


def untold(container: str, codec: str, *, rate_hz: int, is_end_told: bool) -> tuple[str, ...]:
    """What to tell of a recording whose encoder's padding is not known to the sample.

    Parameters
    ----------
    container, codec : str
        FFmpeg's names of demuxer and decoder.
    rate_hz : int
        Of the recording.
    is_end_told : bool
        Whether a packet said how much of it is no sound.

    Returns
    -------
    tuple of str
        Nothing where the length is exact, and of other codecs.
    """
    name, short = codec.removesuffix("float"), container.partition(",")[0]
    if short in _SILENT and name in _AROUND:
        return (
            f"source's beginning and length may be off by up to {_AROUND[name]} frames: "
            "the encoder's padding is not told",
        )
    if (short, name) == ("matroska", "aac") and not is_end_told:
        # FFmpeg's muxer tells the delay of it, and nothing of the last packet.
        return (
            "source's length may be off by up to 1023 frames: the encoder's padding is not told",
        )
    if (short, name) == ("mov", "mp3"):
        # All packets count as whole; the edit list, which knows better, counts in ms.
        most = rate_hz // 1000
        return (f"source's length may be off by up to {most} frames: it is told in ms alone",)
    return ()

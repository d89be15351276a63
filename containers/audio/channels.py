"""How a recording of any channel count is shown to a separator that knows stereo.

A group is one or two channels that are separated together. Two channels form a pair where
they are the left and right of one plane of loudspeakers; a centre, a back centre or a
low-frequency channel stands alone, because as half of a pair it would be heard as a sound
panned hard to one side.
"""

Group = tuple[int, ...]

# The default orders of WAVE_FORMAT_EXTENSIBLE (dwChannelMask) and of FFmpeg's layouts.
_GROUPS: dict[int, tuple[Group, ...]] = {
    1: ((0,),),  # mono
    2: ((0, 1),),  # stereo
    3: ((0, 1), (2,)),  # L R C
    4: ((0, 1), (2, 3)),  # L R Lb Rb
    5: ((0, 1), (2,), (3, 4)),  # L R C Lb Rb
    6: ((0, 1), (2,), (3,), (4, 5)),  # L R C LFE Lb Rb
    7: ((0, 1), (2,), (3,), (4,), (5, 6)),  # L R C LFE Cb Ls Rs
    8: ((0, 1), (2,), (3,), (4, 5), (6, 7)),  # L R C LFE Lb Rb Ls Rs
}


def channel_groups(channels: int) -> tuple[Group, ...]:
    """The channels that are separated together, every channel in exactly one group.

    Parameters
    ----------
    channels
        Channel count of the recording, >= 1.

    Returns
    -------
    tuple of groups
        In channel order. Above eight channels there is no default layout: pairs, and the
        last channel by itself if it is left over.
    """
    if channels in _GROUPS:
        return _GROUPS[channels]
    return tuple(tuple(range(i, min(i + 2, channels))) for i in range(0, channels, 2))

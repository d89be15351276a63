"""In which order channels come, ours and that of Vorbis."""

from collections.abc import Mapping

LAYOUTS = ("mono", "stereo", "3.0", "quad", "5.0", "5.1", "6.1", "7.1")
"""For 1 to 8 channels the default order of WAVE_FORMAT_EXTENSIBLE, by FFmpeg's name for it."""

VORBIS_ORDER: Mapping[int, tuple[int, ...]] = {
    3: (0, 2, 1),
    5: (0, 2, 1, 3, 4),
    6: (0, 2, 1, 4, 5, 3),
    7: (0, 2, 1, 5, 6, 4, 3),
    8: (0, 2, 1, 6, 7, 4, 5, 3),
}
"""For each Vorbis channel its place in that order, where the two differ (Vorbis I
specification, section 4.3.9)."""

LIBOPUS_ORDER: Mapping[int, tuple[int, ...]] = {5: (0, 1, 4, 2, 3), 7: (0, 1, 4, 3, 5, 2, 6)}
"""In which order FFmpeg 8's libopus has to be given our channels so that they end up where they
belong: of these two layouts it confuses three, as libopus's own decoder shows."""

"""How long an attempt of a stage may take in Batch, by the slowest that it may have to do.

An attempt that uses up its time is final: Batch does not retry it. So the time only guards
against one that hangs, and has to hold whatever a stage takes that does what it is asked.
"""

import math
from typing import Final

from clearstem.recipes import NOISE_REDUCTION

# Hours of music that 500 MB of MP3 hold; what is made of more of it, at 44.1 kHz and in
# stereo, does not fit on a task's disk.
LONGEST_S: Final = 8 * 3600
# What other tasks of the same machine, storage and an older kind of CPU add.
_MARGIN: Final = 1.25
_HOUR_S: Final = 3600

# Seconds of work for a second of music. Of the stages without a network normalization takes
# longest, a minute for the three of `infra.cost`.
_LIGHT: Final = 60 / 180
# Four networks, as htdemucs_ft has; each takes a T4 half a minute for the three.
_ON_GPU: Final = 4 * 30 / 180
# The same four on four CPUs, where each takes as long as the music lasts.
_ON_CPUS: Final = 4.0
# One network, for the voice, on two CPUs.
_VOICE: Final = 2.0


def _attempt_s(pace: float) -> int:
    """Seconds, in whole hours, for the longest recording at a pace."""
    return math.ceil(LONGEST_S * pace * _MARGIN / _HOUR_S) * _HOUR_S


LIGHT_S: Final = _attempt_s(_LIGHT)
GPU_SEPARATION_S: Final = _attempt_s(_ON_GPU)
CPU_SEPARATION_S: Final = _attempt_s(_ON_CPUS)


def light_attempt_s(stage: str) -> int:
    """Seconds that an attempt of a stage may take on two CPUs, a separation without a network."""
    return _attempt_s(_VOICE) if stage == NOISE_REDUCTION else LIGHT_S

"""What a job cost: seconds and estimated dollars of each stage.

The price table of the service stands here and nowhere else: receipts and the
cost model (``python -m infra.cost``) read the same one, so they agree.

Prices are AWS's list prices for us-east-1 without free tiers, taken down in
2026; a bill differs by region, discounts and the Spot market.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from clearstem.jobs import Job
from clearstem.recipes import GPU_ENGINES, SEPARATION

_HOUR_S: Final = 3600.0

# Up to this many frames a stage without a network runs as a function: about
# ten minutes at 48 kHz. The state machines are built with the same numbers.
SHORT_FRAMES: Final = 30_000_000
# The same before the recording is decoded: what holds an hour of speech in
# most formats, when nothing but the bytes is known.
SHORT_BYTES: Final = 32 * 1024 * 1024
# A GPU machine's disk: the image unpacks to about 8 GB, beside the system; and six recordings as
# float32, of the longest of which, eight hours at 44.1 kHz, one takes 10 GB.
GPU_DISK_GB: Final = 100
# What a Batch task may write: ten tracks of the longest recording, as float32 and encoded.
BATCH_DISK_GB: Final = 200
# Nearly what a Batch task's 2 vCPU are; a new account gets no more.
FUNCTION_MEMORY_MB: Final = 3008


class Machine(StrEnum):
    """What a stage runs on."""

    GPU = "gpu"
    BATCH = "batch"
    FUNCTION = "function"


# g4dn.xlarge on Spot over the last months; a third of its On-Demand price.
_GPU_PER_HOUR: Final = 0.21
# gp3, at 8 cents a GB and month of 730 hours.
_GPU_DISK_GB_PER_HOUR: Final = 0.08 / 730
# A public IPv4 address, which machines and tasks have in place of a NAT gateway.
_ADDRESS_PER_HOUR: Final = 0.005
# Fargate on Linux and x86: 2 vCPU, 4 GB of memory.
_VCPU_PER_HOUR: Final = 0.04048
_GB_PER_HOUR: Final = 0.004445
# Of a Fargate task's disk, beyond the 20 GB that come with it.
_DISK_GB_PER_HOUR: Final = 0.000111
_DISK_GB_INCLUDED: Final = 20
# Lambda on x86.
_GB_SECOND: Final = 0.0000166667

DOLLARS_PER_SECOND: Final[Mapping[Machine, float]] = {
    Machine.GPU: (_GPU_PER_HOUR + GPU_DISK_GB * _GPU_DISK_GB_PER_HOUR + _ADDRESS_PER_HOUR)
    / _HOUR_S,
    Machine.BATCH: (
        2 * _VCPU_PER_HOUR
        + 4 * _GB_PER_HOUR
        + (BATCH_DISK_GB - _DISK_GB_INCLUDED) * _DISK_GB_PER_HOUR
        + _ADDRESS_PER_HOUR
    )
    / _HOUR_S,
    Machine.FUNCTION: FUNCTION_MEMORY_MB / 1024 * _GB_SECOND,
}


@dataclass(frozen=True, slots=True)
class StageCost:
    """One stage of a receipt.

    Attributes
    ----------
    seconds : float
        From its start to its end, retries included.
    dollars : float
        Those seconds at the price of its machine.
    """

    name: str
    machine: Machine
    seconds: float
    dollars: float


@dataclass(frozen=True, slots=True)
class Receipt:
    """What has been spent on a job's stages so far.

    Storage, requests and downloads are not in it: they are the account's, not
    a stage's. ``docs/cost.md`` has them.
    """

    stages: tuple[StageCost, ...]

    @property
    def seconds(self) -> float:
        """Seconds of all stages."""
        return sum(stage.seconds for stage in self.stages)

    @property
    def dollars(self) -> float:
        """Estimated dollars of all stages."""
        return sum(stage.dollars for stage in self.stages)


def stage_dollars(seconds: float, *, machine: Machine) -> float:
    """Estimated dollars of so many seconds on a machine."""
    return seconds * DOLLARS_PER_SECOND[machine]


def receipt(job: Job) -> Receipt:
    """The receipt of a job: of every stage that has ended, well or badly."""
    return Receipt(
        tuple(
            _stage_cost(run.name, run.duration_s, machine=_machine(job, run.name))
            for run in job.stages
            if run.duration_s is not None
        )
    )


def _stage_cost(name: str, seconds: float, *, machine: Machine) -> StageCost:
    dollars = stage_dollars(seconds, machine=machine)
    return StageCost(name, machine, seconds, dollars)


def _machine(job: Job, stage: str) -> Machine:
    frames = None if job.audio is None else job.audio.frames
    return stage_machine(job, stage, frames=frames)


def stage_machine(job: Job, stage: str, *, frames: float | None) -> Machine:
    """Where a stage runs, by the rules of the default template.

    Parameters
    ----------
    frames : float or None
        Samples per channel of the recording; None where nobody knows yet.
    """
    if stage == SEPARATION and job.engine.name in GPU_ENGINES:
        return Machine.GPU
    if job.recipe.position(stage) == 0:
        # What lies at an address had no size when the state machine asked.
        size = 0 if job.source.url is not None else job.source.size_bytes
        return Machine.FUNCTION if 0 < size <= SHORT_BYTES else Machine.BATCH
    is_short = frames is not None and frames <= SHORT_FRAMES
    return Machine.FUNCTION if is_short else Machine.BATCH

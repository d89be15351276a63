"""Separation of a recording into four stems, whichever engine does it.

Two engines answer the same question. `demucs` is a trained network and needs its weights;
`spectral` needs nothing and is a preview: it says what the pipeline does, not how good it
can sound. The caller chooses, and what was chosen is run or fails: nothing falls back.

Engines are imported when they are asked for, so that `spectral` does not wait for torch.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from clearstem.errors import MissingWeights, NonFiniteOutput, UnusableCheckpoint
from clearstem.recipes import STEMS
from containers.audio.compose import Reader, Writer
from containers.audio.stream import Progress, ignore
from containers.audio.weights import Bag, Checkpoint

if TYPE_CHECKING:
    from containers.audio.backends import Settled, Wanted
    from containers.audio.demucs_engine import Keep

EngineName = Literal["demucs", "spectral"]


@dataclass(frozen=True, slots=True)
class SeparationReport:
    """What made the stems, and how well they add up.

    Attributes
    ----------
    engine
        `demucs` or `spectral`.
    model, model_sha256
        The network and the checksum of its weights; None without one.
    device
        Where it ran: `cpu` or `cuda`.
    backend
        What ran it: `torch` or `openvino`, or `numba` for `spectral`.
    precision
        What it was computed in: `fp32`, `bf16` or `fp16`.
    preview
        Whether the stems are a preview.
    residual_db
        Energy of the source minus the sum of its stems, over the energy of the source, in
        dB; None where the source is silent or the residual is exactly 0.
    versions
        Package versions that the result depends on.
    """

    engine: EngineName
    model: str | None
    model_sha256: str | None
    device: str
    preview: bool
    residual_db: float | None
    versions: Mapping[str, str] = field(default_factory=dict)
    backend: str = "torch"
    precision: str = "fp32"


def separate(
    source: Reader,
    writers: Mapping[str, Writer],
    *,
    engine: EngineName,
    checkpoint: Checkpoint | Bag | None = None,
    wanted: "Wanted | None" = None,
    keep: "Callable[[Settled], Keep] | None" = None,
    progress: Progress = ignore,
) -> SeparationReport:
    """Write the four stems of `source`.

    Parameters
    ----------
    source
        Any rate, channel count and length from 1 frame on; finite samples.
    writers
        One for each of `STEMS`. Each takes float32 blocks of shape (channels, frames) at
        the source's rate, ``source.frames`` frames in all.
    engine
        Which engine; never another one.
    checkpoint
        The weights for `demucs`; not looked at by `spectral`.
    wanted
        Device, backend and precision for `demucs`; `spectral` runs on the CPU.
    keep
        Given what runs the network, who holds blocks of an interrupted run of `demucs`.
        `spectral` keeps none: it makes a minute of stems in less time than storing takes.
    progress
        Called after every block with (frames written, frames in all).

    Raises
    ------
    ValueError
        If the writers are not those of the four stems, or there is no such engine.
    AudioOutOfRange
        If `source` holds samples that are NaN or infinite.
    MissingWeights, WrongChecksum, UnsafeCheckpoint, UnusableCheckpoint
        If `demucs` is asked for and its weights are not there or not to be used.
    CardMissing, CardOutOfMemory
        If a CUDA card is asked for and not there, or has no room for one segment.
    EngineUnavailable
        If the backend or precision asked for is not there, or there is no such device.
    NonFiniteOutput
        If the network answers with samples that are NaN or infinite.

    Notes
    -----
    Silence gives silence, channel group by channel group. One sample is a recording like any
    other, and so is a constant, which the preview gives to the bass. Clipped sound is separated
    as it is, and stems may pass full scale: nothing is clipped here. Memory does not grow with
    the length; ten hours differ from ten minutes in nothing else.
    """
    if set(writers) != set(STEMS):
        msg = f"writers for {', '.join(sorted(writers))}: must be {', '.join(STEMS)}"
        raise ValueError(msg)
    # For callers that no type checker saw: no engine stands in for another.
    if engine not in get_args(EngineName):
        msg = f"engine {engine!r}: must be {' or '.join(get_args(EngineName))}"
        raise ValueError(msg)
    if engine == "spectral":
        return _by_spectral(source, writers, progress)
    if checkpoint is None:
        msg = (
            "the engine demucs needs weights and none are configured; "
            "run `clearstem models fetch htdemucs`, or choose the engine `spectral`"
        )
        raise MissingWeights(msg)
    return _by_demucs(source, writers, checkpoint, wanted, keep, progress)


def _by_demucs(
    source: Reader,
    writers: Mapping[str, Writer],
    weights: Checkpoint | Bag,
    wanted: "Wanted | None",
    keep: "Callable[[Settled], Keep] | None",
    progress: Progress,
) -> SeparationReport:
    # torch takes a second to import, which the other engine need not spend.
    from containers.audio import backends, demucs_engine

    network, settled = backends.load_network(weights, wanted or backends.Wanted())
    if set(network.stems) != set(STEMS):
        msg = f"{weights.model} separates {', '.join(network.stems)}; must be {', '.join(STEMS)}"
        raise UnusableCheckpoint(msg)
    order = [network.stems.index(stem) for stem in STEMS]
    kept = keep(settled) if keep else demucs_engine.keep_nothing
    stems = demucs_engine.demucs_stems(source, network, keep=kept)
    also = ("openvino",) if settled.backend == "openvino" else ()
    return SeparationReport(
        engine="demucs",
        model=weights.model,
        model_sha256=weights.sha256,
        device=settled.device,
        preview=False,
        residual_db=_write(source, (block[order] for block in stems), writers, progress),
        versions=_versions("demucs", "torch", "numpy", "soxr", *also),
        backend=settled.backend,
        precision=settled.precision,
    )


def _by_spectral(
    source: Reader, writers: Mapping[str, Writer], progress: Progress
) -> SeparationReport:
    from containers.audio.spectral_engine import spectral_stems

    return SeparationReport(
        engine="spectral",
        model=None,
        model_sha256=None,
        device="cpu",
        preview=True,
        residual_db=_write(source, spectral_stems(source), writers, progress),
        versions=_versions("numba", "numpy", "scipy"),
        backend="numba",
    )


def _versions(*packages: str) -> dict[str, str]:
    return {package: version(package) for package in packages}


def _write(
    source: Reader,
    blocks: Iterator[NDArray[np.float32]],
    writers: Mapping[str, Writer],
    progress: Progress,
) -> float | None:
    """Write blocks in the order of `STEMS`; the residual in dB."""
    done = 0
    energy = residual = 0.0
    for block in blocks:
        stop = done + block.shape[2]
        if not np.isfinite(block).all():
            between = f"{done / source.rate_hz:.1f} s and {stop / source.rate_hz:.1f} s"
            msg = f"the separation has NaN or infinite samples between {between}"
            raise NonFiniteOutput(msg)
        for stem, samples in zip(STEMS, block, strict=True):
            writers[stem].write(samples)
        whole = source.read(done, stop)
        energy += _energy(whole)
        residual += _energy(whole - block.sum(axis=0, dtype=np.float64))
        done = stop
        progress(done, source.frames)
    return 10 * float(np.log10(residual / energy)) if energy > 0 and residual > 0 else None


def _energy(samples: NDArray[np.floating]) -> float:
    return float(np.square(samples, dtype=np.float64).sum())

"""Which backend runs a checkpoint's network, and what it turned out to be.

Settled before the first sample: OpenVINO where it is installed, the device is the CPU and
it knows the network; else torch. What was settled is reported with the result.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch

from clearstem.errors import EngineUnavailable
from containers.audio import openvino_core
from containers.audio.checkpoints import load_checkpoint
from containers.audio.network import Network, Precision, bag_of, pick_device, stereo_network
from containers.audio.weights import Bag, Checkpoint
from containers.checksums import sha256_of

# Hexadecimal digits of a sha256.
_WHOLE_DIGITS = 64

BackendName = Literal["torch", "openvino"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the caller asks of the machine.

    Attributes
    ----------
    device
        ``auto`` (CUDA where there is one, else the CPU), ``cpu`` or ``cuda``.
    backend
        ``auto`` (OpenVINO where it can), ``torch`` or ``openvino``.
    precision
        ``fp32``; or what is faster and not checked against fp32 on real weights: ``bf16``
        on every device, ``fp16`` on CUDA.
    cache_dir
        Where OpenVINO's conversions are kept; None converts at every run.
    """

    device: str = "auto"
    backend: str = "auto"
    precision: str = "fp32"
    cache_dir: Path | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """What runs a network.

    Attributes
    ----------
    device
        ``cpu`` or ``cuda``.
    backend
        ``torch`` or ``openvino``.
    precision
        ``fp32``, ``bf16`` or ``fp16``.
    """

    device: str
    backend: BackendName
    precision: Precision


def load_network(weights: Checkpoint | Bag, wanted: Wanted) -> tuple[Network, Settled]:
    """The network of a checkpoint, or of a bag of them, ready to run.

    Raises
    ------
    MissingWeights, WrongChecksum, UnsafeCheckpoint, UnusableCheckpoint
        As `load_checkpoint`, and if the networks of a bag do not fit together.
    CardMissing
        If a CUDA card is asked for and not there.
    EngineUnavailable
        If the backend or the precision asked for is not there, or there is no such device.
    """
    precision = _checked(wanted)
    device = pick_device(wanted.device)
    parts = weights.parts if isinstance(weights, Bag) else (weights,)
    models = [load_checkpoint(part.path, sha256=part.sha256, model=part.model) for part in parts]
    backend = _backend(wanted.backend, device, models)
    networks = []
    for part, model in zip(parts, models, strict=True):
        if backend == "openvino":
            network = openvino_core.openvino_network(
                model, sha256=_whole_sum(part), cache_dir=wanted.cache_dir, precision=precision
            )
        else:
            network = stereo_network(model, device=device, precision=precision)
        networks.append(network)
    one = bag_of(networks, weights.weights) if isinstance(weights, Bag) else networks[0]
    return one, Settled(device.type, backend, precision)


def keep_conversion(part: Checkpoint, *, cache_dir: Path) -> str | None:
    """Convert a network for OpenVINO and keep that, for whoever runs it on a CPU.

    Returns
    -------
    str or None
        Why OpenVINO does not run it; None where the conversion is in `cache_dir` now.

    Raises
    ------
    MissingWeights, WrongChecksum, UnsafeCheckpoint, UnusableCheckpoint
        As `load_checkpoint`.
    """
    model = load_checkpoint(part.path, sha256=part.sha256, model=part.model)
    obstacle = _obstacle(torch.device("cpu"), [model])
    if obstacle is None:
        openvino_core.converted(model, sha256=_whole_sum(part), cache_dir=cache_dir)
    return obstacle


def _whole_sum(part: Checkpoint) -> str:
    """The sum that tells a file from every other, even where only its beginning is pinned."""
    if len(part.sha256) == _WHOLE_DIGITS:
        # What the file was compared with when it was loaded.
        return part.sha256.lower()
    return sha256_of(part.path)


def _checked(wanted: Wanted) -> Precision:
    for precision in get_args(Precision):
        if precision == wanted.precision:
            return precision  # type: ignore[no-any-return] # one of the literals
    msg = f"precision {wanted.precision!r}: must be one of {', '.join(get_args(Precision))}"
    raise EngineUnavailable(msg)


def _backend(wanted: str, device: torch.device, models: Sequence[torch.nn.Module]) -> BackendName:
    if wanted not in ("auto", *get_args(BackendName)):
        msg = f"backend {wanted!r}: must be auto, torch or openvino"
        raise EngineUnavailable(msg)
    if wanted == "torch":
        return "torch"
    obstacle = _obstacle(device, models)
    if obstacle is None:
        return "openvino"
    if wanted == "openvino":
        msg = f"backend openvino: {obstacle}"
        raise EngineUnavailable(msg)
    return "torch"


def _obstacle(device: torch.device, models: Sequence[torch.nn.Module]) -> str | None:
    if device.type != "cpu":
        return f"runs on the CPU, and the device is {device.type}"
    if not openvino_core.is_installed():
        return "is not installed; `pip install 'clearstem[openvino]'` brings it"
    if not all(openvino_core.can_run(model) for model in models):
        return "runs networks of the kind of htdemucs only"
    return None

"""Separation networks as functions of stereo segments, whatever runs them.

What runs a network is its backend: torch on the CPU or a CUDA card, or OpenVINO on the CPU
(`containers.audio.openvino_core`). The engine that cuts and joins a recording sees none of
that: it sees a `Network`, and a bag of networks is one too.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch

from clearstem.errors import CardMissing, EngineUnavailable, UnusableCheckpoint
from containers.audio.overlap import Floats, Segments, Stream, each

# TF32, ten bits of mantissa in fp32's clothes, is none of them: see `without_tf32`.
Precision = Literal["fp32", "bf16", "fp16"]

# What torch computes in under autocast; None leaves float32 alone.
_AUTOCAST: dict[Precision, torch.dtype | None] = {
    "fp32": None,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


@dataclass(frozen=True, slots=True)
class Network:
    """A separation network, or a bag of them, seen as functions of stereo segments.

    Attributes
    ----------
    stems
        What it separates, in the order of its answers.
    rate_hz
        The rate it was trained at.
    segments
        The longest segment it takes and how segments overlap.
    padded
        How long a shorter segment has to be made before it is passed in.
    forwards
        One for each network of the bag: float32 (2, n) to float32 (stems, 2, n); input
        scaled to deviation 1.
    weights
        Of each network's answer, for each stem; None for a single network.
    ahead
        How many segments a forward may read before it answers the first; a kill loses them.
    """

    stems: tuple[str, ...]
    rate_hz: int
    segments: Segments
    padded: Callable[[int], int]
    forwards: tuple[Stream, ...]
    weights: tuple[tuple[float, ...], ...] | None = None
    ahead: int = 1

    def combined(self, answers: Sequence[Floats]) -> Floats:
        """The weighted mean of the networks' answers.

        The same float32 operations in the same order as ``demucs.apply.apply_model`` on a
        ``BagOfModels``. They are done block by block there as here, because they are done
        sample by sample.

        Parameters
        ----------
        answers
            One float32 (stems, channels, n) for each network.
        """
        if self.weights is None:
            return answers[0]
        total: Floats = np.zeros_like(answers[0])
        for answer, weights in zip(answers, self.weights, strict=True):
            total += answer * _column(weights)
        # demucs adds the weights up in float64.
        total /= _column([sum(of_stem) for of_stem in zip(*self.weights, strict=True)])
        return total


def _column(weights: Sequence[float]) -> Floats:
    return np.array(weights, np.float32)[:, np.newaxis, np.newaxis]


def pick_device(wanted: str) -> torch.device:
    """The device that `wanted` means here.

    Parameters
    ----------
    wanted
        ``auto`` (CUDA where there is one, else the CPU), ``cpu`` or ``cuda``.

    Raises
    ------
    CardMissing
        If CUDA is asked for and not there.
    EngineUnavailable
        If the name is none of the three.
    """
    if wanted not in ("auto", "cpu", "cuda"):
        msg = f"device {wanted!r}: must be auto, cpu or cuda"
        raise EngineUnavailable(msg)
    if wanted == "cuda" and not torch.cuda.is_available():
        msg = "device cuda: torch sees no CUDA device on this machine"
        raise CardMissing(msg)
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def stereo_network(
    model: torch.nn.Module, *, device: torch.device, precision: Precision = "fp32"
) -> Network:
    """`model` run by torch on `device`; the model is moved there.

    Parameters
    ----------
    model
        A network of the Demucs family.
    device
        The CPU, where segments are run one by one, or a CUDA card, where they are run in
        batches that fit its memory.
    precision
        ``fp32``, never TF32; or the type that torch's autocast multiplies and convolves in:
        ``bf16``, or on a card ``fp16``.

    Raises
    ------
    UnusableCheckpoint
        If it does not take stereo.
    EngineUnavailable
        If the device has no such precision.
    """
    described: Any = model
    if described.audio_channels != 2:
        msg = f"the network takes {described.audio_channels} channels; only stereo is run"
        raise UnusableCheckpoint(msg)
    if precision == "fp16" and device.type == "cpu":
        msg = "precision fp16: must be fp32 or bf16 on a CPU"
        raise EngineUnavailable(msg)
    model.to(device).eval()
    network = Network(
        stems=tuple(described.sources),
        rate_hz=described.samplerate,
        segments=Segments(int(described.samplerate * described.segment)),
        padded=getattr(described, "valid_length", lambda length: length),
        forwards=(each(_by_torch(model, precision)),),
    )
    return network if device.type == "cpu" else _on_card(network, model, device, precision)


def _by_torch(model: torch.nn.Module, precision: Precision) -> Callable[[Floats], Floats]:
    def forward(block: Floats) -> Floats:
        with torch.inference_mode(), without_fused_attention(), autocast("cpu", precision):
            answer: torch.Tensor = model(torch.from_numpy(block)[None])
        stems: Floats = answer[0].float().numpy()
        return stems

    return forward


def _on_card(
    network: Network, model: torch.nn.Module, device: torch.device, precision: Precision
) -> Network:
    from containers.audio import card

    def forward(batch: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode(), without_tf32(), autocast(device.type, precision):
            answer: torch.Tensor = model(batch).float()
        return answer

    most = card.most_in_batch(network.segments, rate_hz=network.rate_hz)
    stream = card.batched_on(device, forward, most=most)
    # One batch is computed while the next is cut.
    return replace(network, forwards=(stream,), ahead=2 * most)


def autocast(device: str, precision: Precision) -> AbstractContextManager[object]:
    """The context in which torch computes in `precision`."""
    kind = _AUTOCAST[precision]
    return nullcontext() if kind is None else torch.autocast(device, kind)


@contextmanager
def without_tf32() -> Iterator[None]:
    """Have a card multiply and convolve float32 as float32.

    By itself torch convolves in TF32 where a card has it, as A10G and L4 do and T4 does not: one
    name would mean two precisions, on machines that one queue hands out.
    """
    backends: Any = torch.backends  # its flags have no types
    before = backends.cudnn.allow_tf32, backends.cuda.matmul.allow_tf32
    backends.cudnn.allow_tf32 = backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        backends.cudnn.allow_tf32, backends.cuda.matmul.allow_tf32 = before


@contextmanager
def without_fused_attention() -> Iterator[None]:
    """On a CPU, Demucs runs 1.11 times as fast without torch's fused encoder layer."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def bag_of(networks: Sequence[Network], weights: tuple[tuple[float, ...], ...]) -> Network:
    """Several networks as one, whose answer is their weighted mean.

    All of them stay in memory at once: four of htdemucs's size are 0.7 GB of weights. One
    pass after the other would need the stems of a pass on disk, 85 MB a minute, and a
    restart could not begin before the last pass.

    Parameters
    ----------
    networks
        Of equal stems, rate and segments.
    weights
        For each network, the weight of each of its stems.

    Raises
    ------
    UnusableCheckpoint
        If the networks differ, or the weights do not fit them.
    """
    first = networks[0]
    forms = {(network.stems, network.rate_hz, network.segments) for network in networks}
    if len(forms) != 1:
        msg = f"the networks of a bag must have one form; these have {sorted(forms, key=str)}"
        raise UnusableCheckpoint(msg)
    totals = [sum(of_stem) for of_stem in zip(*weights, strict=False)]
    fits = len(weights) == len(networks) and all(len(w) == len(first.stems) for w in weights)
    if not fits or not all(total > 0 for total in totals):
        msg = (
            f"weights {weights}: must be {len(networks)} rows of {len(first.stems)}, "
            "and add up to more than 0 for each stem"
        )
        raise UnusableCheckpoint(msg)
    forwards = tuple(forward for network in networks for forward in network.forwards)
    return replace(first, forwards=forwards, weights=weights)

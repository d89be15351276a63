"""Separation by a Demucs network, streaming.

Equal bit by bit to ``demucs.apply.apply_model(model, mix, shifts=0, split=True,
overlap=0.25)`` with the normalisation of ``demucs.api``, on the same device and given the
same mean and deviation, while holding one segment of the recording instead of all of it.

A network is trained on stereo at one rate. Other rates are converted there and back. The
channels of other recordings are shown to it in groups (`containers.audio.channels`): a
single channel as two equal ones, whose results are averaged. Each group is normalised by
itself, as if it were a recording of its own.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from clearstem.errors import AudioOutOfRange, EngineUnavailable, UnusableCheckpoint
from containers.audio.channels import Group, channel_groups
from containers.audio.compose import Reader
from containers.audio.overlap import Floats, Forward, Segments, overlap_add
from containers.audio.resample import BlockResampler, ResampledReader
from containers.audio.stream import BLOCK_FRAMES

# What demucs.api adds to the deviation so that silence does not divide by zero.
_DEVIATION_FLOOR = np.float32(1e-8)


@dataclass(frozen=True, slots=True)
class Network:
    """A separation network, seen as a function of stereo blocks.

    Attributes
    ----------
    stems
        What it separates, in the order of its answers.
    rate_hz
        The rate it was trained at.
    segments
        The longest block it takes and how blocks overlap.
    padded
        How long a shorter block has to be made before it is passed in.
    forward
        float32 (2, n) to float32 (stems, 2, n); input scaled to deviation 1.
    """

    stems: tuple[str, ...]
    rate_hz: int
    segments: Segments
    padded: Callable[[int], int]
    forward: Forward


@dataclass(frozen=True, slots=True)
class Level:
    """Mean and deviation by which a group is normalised.

    Attributes
    ----------
    mean, deviation
        Of the mean of the group's channels over the whole recording; the deviation is the
        unbiased one plus 1e-8, as in ``demucs.api``.
    silent
        Whether every sample is 0.
    """

    mean: np.float32
    deviation: np.float32
    silent: bool


def pick_device(wanted: str) -> torch.device:
    """The device that `wanted` means here.

    Parameters
    ----------
    wanted
        ``auto`` (CUDA where there is one, else the CPU), ``cpu`` or ``cuda``.

    Raises
    ------
    EngineUnavailable
        If CUDA is asked for and not there, or the name is none of the three.
    """
    if wanted not in ("auto", "cpu", "cuda"):
        msg = f"device {wanted!r}: must be auto, cpu or cuda"
        raise EngineUnavailable(msg)
    if wanted == "cuda" and not torch.cuda.is_available():
        msg = "device cuda: torch sees no CUDA device here"
        raise EngineUnavailable(msg)
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def stereo_network(model: torch.nn.Module, *, device: torch.device) -> Network:
    """`model` as a `Network` on `device`; the model is moved there.

    Raises
    ------
    UnusableCheckpoint
        If it does not take stereo.
    """
    described: Any = model
    if described.audio_channels != 2:
        msg = f"the network takes {described.audio_channels} channels; only stereo is run"
        raise UnusableCheckpoint(msg)
    model.to(device).eval()

    def forward(block: Floats) -> Floats:
        with torch.inference_mode(), _without_fused_attention():
            answer: torch.Tensor = model(torch.from_numpy(block)[None].to(device))
        stems: Floats = answer[0].cpu().numpy()
        return stems

    return Network(
        stems=tuple(described.sources),
        rate_hz=described.samplerate,
        segments=Segments(int(described.samplerate * described.segment)),
        padded=getattr(described, "valid_length", lambda length: length),
        forward=forward,
    )


@contextmanager
def _without_fused_attention() -> Iterator[None]:
    """On a CPU, Demucs runs 1.11 times as fast without torch's fused encoder layer."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def demucs_stems(source: Reader, network: Network) -> Iterator[Floats]:
    """The stems of `source`, block by block.

    Parameters
    ----------
    source
        Any rate, channel count and length from 1 frame on.
    network
        What separates it.

    Yields
    ------
    ndarray
        float32 (stems, channels, n) at the source's rate, in the network's order of stems,
        ``source.frames`` frames in all. Blocks may be empty. Where a group of channels is
        digitally silent, so are its stems.

    Raises
    ------
    AudioOutOfRange
        If `source` holds samples that are NaN or infinite.
    """
    reader = (
        source
        if source.rate_hz == network.rate_hz
        else ResampledReader(source, rate_hz=network.rate_hz)
    )
    groups = channel_groups(source.channels)
    levels = measure_levels(reader, groups)
    back = BlockResampler(
        from_hz=network.rate_hz,
        to_hz=source.rate_hz,
        channels=len(network.stems) * source.channels,
        frames=source.frames,
    )
    done = 0
    streams = [
        group_stems(reader, network, group, level)
        for group, level in zip(groups, levels, strict=True)
    ]
    for blocks in zip(*streams, strict=True):
        stems = np.concatenate(blocks, axis=1)
        done += stems.shape[2]
        flat = stems.reshape(-1, stems.shape[2])
        ready = back.convert(flat, last=done == reader.frames)
        yield ready.reshape(*stems.shape[:2], -1)


def group_stems(reader: Reader, network: Network, group: Group, level: Level) -> Iterator[Floats]:
    """The stems of one group of channels at the network's rate.

    Yields
    ------
    ndarray
        float32 (stems, len(group), n), ``reader.frames`` frames in all.
    """
    pair = [group[0], group[-1]]

    def read(start: int, stop: int) -> Floats:
        # What lies outside the recording is zero to the network after normalisation.
        first, last = max(start, 0), min(stop, reader.frames)
        block = np.zeros((2, stop - start), np.float32)
        known = reader.read(first, last)[pair]
        block[:, first - start : last - start] = (known - level.mean) / level.deviation
        return block

    def silence(block: Floats) -> Floats:
        return np.zeros((len(network.stems), *block.shape), np.float32)

    for stems in overlap_add(
        read,
        reader.frames,
        segments=network.segments,
        forward=silence if level.silent else network.forward,
        padded=network.padded,
    ):
        scaled = stems * level.deviation + level.mean
        yield scaled if len(group) == 2 else scaled.mean(axis=1, keepdims=True)


def measure_levels(reader: Reader, groups: tuple[Group, ...]) -> list[Level]:
    """Mean and deviation of every group, in one pass over the recording.

    Blocks are merged in float64 (Chan, Golub & LeVeque, "Updating formulae and a pairwise
    algorithm for computing sample variances", 1979). ``demucs.api`` computes both in float32
    over the whole recording at once; the two agree to 1e-6 of the deviation.

    Parameters
    ----------
    reader
        The recording at the network's rate.
    groups
        The channels of each group.

    Raises
    ------
    AudioOutOfRange
        If a sample is NaN or infinite.
    """
    count, peak = 0, np.zeros(len(groups))
    mean, squares = np.zeros(len(groups)), np.zeros(len(groups))
    for start in range(0, reader.frames, BLOCK_FRAMES):
        block = reader.read(start, min(start + BLOCK_FRAMES, reader.frames))
        if not np.isfinite(block).all():
            msg = f"NaN or infinite samples after {start / reader.rate_hz:.1f} s"
            raise AudioOutOfRange(msg)
        mono = np.stack([block[list(group)].mean(axis=0) for group in groups]).astype(np.float64)
        peak = np.maximum(peak, [np.abs(block[list(group)]).max() for group in groups])
        size = mono.shape[1]
        own = mono.mean(axis=1)
        off = own - mean
        squares += ((mono.T - own) ** 2).sum(axis=0) + off**2 * count * size / (count + size)
        mean += off * size / (count + size)
        count += size
    deviation = np.sqrt(squares / max(count - 1, 1)).astype(np.float32) + _DEVIATION_FLOOR
    return [
        Level(np.float32(mean[i]), deviation[i], bool(peak[i] == 0)) for i in range(len(groups))
    ]

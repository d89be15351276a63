"""Separation by a Demucs network, streaming.

Equal bit by bit to ``demucs.apply.apply_model(model, mix, shifts=0, split=True,
overlap=0.25)`` with the normalisation of ``demucs.api``, for a network as for a bag of them,
on the same device and given the same mean and deviation, while holding one segment of the
recording instead of all of it.

A network is trained on stereo at one rate. Other rates are converted there and back. The
channels of other recordings are shown to it in groups (`containers.audio.channels`): a
single channel as two equal ones, whose results are averaged. Each group is normalised by
itself, as if it were a recording of its own.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from clearstem.errors import AudioOutOfRange
from containers.audio.channels import Group, channel_groups
from containers.audio.compose import Reader
from containers.audio.network import Network
from containers.audio.overlap import Floats, Segments, each, overlap_add
from containers.audio.resample import BlockResampler, ResampledReader
from containers.audio.stream import BLOCK_FRAMES

# What demucs.api adds to the deviation so that silence does not divide by zero.
_DEVIATION_FLOOR = np.float32(1e-8)


@dataclass(frozen=True, slots=True)
class Making:
    """What blocks of stems are made with; equal ones make equal blocks of a recording.

    Attributes
    ----------
    stems, rate_hz, segments
        Of the network, as in `Network`.
    ahead
        The same; it decides when blocks come, not what is in them.
    """

    stems: tuple[str, ...]
    rate_hz: int
    segments: Segments
    ahead: int = field(default=1, compare=False, repr=False)


Blocks = Callable[[int], Iterator[Floats]]
"""The stems at the network's rate from a numbered block on: float32 (stems, channels, n)."""

Keep = Callable[[Blocks, Making], Iterator[Floats]]
"""Gives all blocks in order; those it holds from an earlier run need not be made."""


def keep_nothing(blocks: Blocks, _making: Making) -> Iterator[Floats]:
    """All blocks, made anew."""
    return blocks(0)


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


def demucs_stems(
    source: Reader, network: Network, *, keep: Keep = keep_nothing
) -> Iterator[Floats]:
    """The stems of `source`, block by block.

    Parameters
    ----------
    source
        Any rate, channel count and length from 1 frame on.
    network
        What separates it.
    keep
        Who may hold blocks of an earlier run, and keep those of this one. Blocks are kept
        before the rate is converted back, since a converter cannot begin in the middle.

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
    reader = _at_rate(source, network)
    groups = channel_groups(source.channels)
    levels = measure_levels(reader, groups)
    back = BlockResampler(
        from_hz=network.rate_hz,
        to_hz=source.rate_hz,
        channels=len(network.stems) * source.channels,
        frames=source.frames,
    )

    def blocks(first: int) -> Iterator[Floats]:
        streams = [
            group_stems(reader, network, group, level, first=first)
            for group, level in zip(groups, levels, strict=True)
        ]
        for parts in zip(*streams, strict=True):
            yield np.concatenate(parts, axis=1)

    done = 0
    making = Making(network.stems, network.rate_hz, network.segments, network.ahead)
    for stems in keep(blocks, making):
        done += stems.shape[2]
        flat = stems.reshape(-1, stems.shape[2])
        ready = back.convert(flat, last=done == reader.frames)
        yield ready.reshape(*stems.shape[:2], -1)


def _at_rate(source: Reader, network: Network) -> Reader:
    if source.rate_hz == network.rate_hz:
        return source
    # Groups and the networks of a bag read it side by side, each so many segments ahead.
    history = network.ahead * network.segments.length
    return ResampledReader(source, rate_hz=network.rate_hz, history=history)


def group_stems(
    reader: Reader, network: Network, group: Group, level: Level, *, first: int = 0
) -> Iterator[Floats]:
    """The stems of one group of channels at the network's rate.

    Parameters
    ----------
    reader
        The recording at the network's rate.
    network
        What separates it.
    group
        One or two of its channels.
    level
        What they are normalised by.
    first
        Number of the block to begin at.

    Yields
    ------
    ndarray
        float32 (stems, len(group), n); from block 0 on, ``reader.frames`` frames in all.
    """
    pair = [group[0], group[-1]]

    def read(start: int, stop: int) -> Floats:
        # What lies outside the recording is zero to the network after normalisation.
        begin, end = max(start, 0), min(stop, reader.frames)
        block = np.zeros((2, stop - start), np.float32)
        known = reader.read(begin, end)[pair]
        block[:, begin - start : end - start] = (known - level.mean) / level.deviation
        return block

    def silence(block: Floats) -> Floats:
        return np.zeros((len(network.stems), *block.shape), np.float32)

    streams = [
        overlap_add(
            read,
            reader.frames,
            segments=network.segments,
            forward=each(silence) if level.silent else forward,
            padded=network.padded,
            first=first,
        )
        for forward in network.forwards
    ]
    for answers in zip(*streams, strict=True):
        scaled = network.combined(answers) * level.deviation + level.mean
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

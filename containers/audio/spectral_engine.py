"""Separation without a trained network: a preview of what the stems are.

Four old observations are put together as masks on one spectrogram: drums are short in time
and wide in frequency, a bass plays low and steady, an accompaniment repeats itself while a
voice does not, and the voice is mixed to the centre. On real songs the result is 1 to 3 dB
of SDR where a trained network reaches 9: enough to hear what goes where.

References
----------
D. Fitzgerald, "Harmonic/percussive separation using median filtering", DAFx-10, 2010.
Z. Rafii & B. Pardo, "Music/voice separation using the similarity matrix" (REPET-SIM),
ISMIR 2012.
C. Avendano, "Frequency-domain source identification and manipulation in stereo mixes",
WASPAA 2003 (the similarity of two channels).
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from clearstem.errors import AudioOutOfRange
from containers.audio.channels import Group, channel_groups
from containers.audio.compose import Reader
from containers.audio.median import (
    lane_columns,
    median_along_columns,
    median_along_rows,
    median_of_rows,
)
from containers.audio.overlap import Floats, Segments, each, overlap_add
from containers.audio.stft import SLOTS, Complex, overlapped, slot_weights, transform

# Long enough for music to repeat itself, short enough to bound memory.
SEGMENT_S = 20.0
# Above 100 kHz segments get shorter instead: 6 channels at 192 kHz stay within 1.5 GB.
_SEGMENT_FRAMES = 2_000_000
# 4096 samples at 44.1 kHz: resolves the notes of a bass.
_FRAME_S = 4096 / 44_100
# 31 frames are 0.7 s, longer than a note's attack; 31 bins are 330 Hz, wider than a partial.
_MEDIAN_WIDTH = 31
# How many like frames tell what repeats.
_LIKE_FRAMES = 25
# A bass guitar's notes lie below 200 Hz, a voice's fundamental above 120 Hz.
_BASS_BELOW_HZ = 200.0
_VOICE_ABOVE_HZ = 120.0
# 24 dB per octave in amplitude for both.
_SLOPE = 8
_TINY = np.float32(1e-20)


def spectral_stems(source: Reader) -> Iterator[Floats]:
    """The stems of `source`, block by block, in memory that its length does not change.

    Parameters
    ----------
    source
        Any rate, channel count and length from 1 frame on. A group of one channel has no
        centre, so its voice is told by repetition alone.

    Yields
    ------
    ndarray
        float32 (4, channels, n) in the order vocals, drums, bass, other, ``source.frames``
        frames in all. Other is what the first three leave of the source, so the four add up
        to it within float32 rounding. Silence gives silence.

    Raises
    ------
    AudioOutOfRange
        If `source` holds samples that are NaN or infinite.
    """
    segments = Segments(min(_SEGMENT_FRAMES, max(2, round(SEGMENT_S * source.rate_hz))))
    groups = [_group_stems(source, group, segments) for group in channel_groups(source.channels)]
    done = 0
    for blocks in zip(*groups, strict=True):
        told = np.concatenate(blocks, axis=1)
        rest = source.read(done, done + told.shape[2]) - told.sum(axis=0)
        done += told.shape[2]
        yield np.concatenate([told, rest[np.newaxis]])


def _group_stems(source: Reader, group: Group, segments: Segments) -> Iterator[Floats]:
    def read(start: int, stop: int) -> Floats:
        block: Floats = source.read(start, stop)[list(group)]
        if not np.isfinite(block).all():
            msg = f"NaN or infinite samples after {max(0, start) / source.rate_hz:.1f} s"
            raise AudioOutOfRange(msg)
        return block

    def forward(block: Floats) -> Floats:
        return separate_segment(block, rate_hz=source.rate_hz)

    return overlap_add(read, source.frames, segments=segments, forward=each(forward))


def separate_segment(samples: Floats, *, rate_hz: int) -> Floats:
    """Vocals, drums and bass of one or two channels that fit into memory.

    Parameters
    ----------
    samples
        float32 (1 or 2, n), n >= 1, finite.
    rate_hz
        Their rate.

    Returns
    -------
    ndarray
        float32 (3, 1 or 2, n) in the order vocals, drums, bass. Both channels are filtered
        by the same masks, which add up to at most 1.
    """
    n_fft = max(64, 2 ** round(np.log2(_FRAME_S * rate_hz)))
    spectra = _spectra(samples, n_fft)
    masks = _masks(spectra, rate_hz / n_fft)
    stems = np.empty((len(masks), *samples.shape), np.float32)
    for stem, mask in zip(stems, masks, strict=True):
        for channel, spectrum in zip(stem, spectra, strict=True):
            channel[:] = _samples(spectrum * mask, len(channel), n_fft)
    return stems


def _spectra(samples: Floats, n_fft: int) -> list[Complex]:
    hop = n_fft // SLOTS
    frames = 1 + -(-samples.shape[1] // hop)
    before = n_fft // 2
    after = (frames - 1) * hop + n_fft - before - samples.shape[1]
    return [transform(np.pad(channel, (before, after)), n_fft=n_fft) for channel in samples]


def _samples(spectrum: Complex, length: int, n_fft: int) -> Floats:
    slots = overlapped(spectrum, n_fft=n_fft)
    slots /= slot_weights(0, len(slots), frames=len(spectrum), n_fft=n_fft)
    return slots.reshape(-1)[n_fft // 2 :][:length]


def _masks(spectra: list[Complex], bin_hz: float) -> tuple[Floats, Floats, Floats]:
    """Share of vocals, drums and bass in every bin, shape (frames, bins) each."""
    energy = np.mean([np.square(part.real) + np.square(part.imag) for part in spectra], axis=0)
    bins = energy.shape[1]
    magnitudes = np.zeros((len(energy), lane_columns(bins)), np.float32)
    magnitudes[:, :bins] = np.sqrt(energy)
    drums = _sudden(magnitudes)[:, :bins]
    hz = (np.arange(bins) * bin_hz).astype(np.float32)
    steady = 1 - drums
    bass = steady / (1 + (hz / np.float32(_BASS_BELOW_HZ)) ** _SLOPE)
    voice = _unrepeated(magnitudes)[:, :bins] * _centred(spectra)
    voice *= (steady - bass) / (1 + (np.float32(_VOICE_ABOVE_HZ) / np.maximum(hz, 1)) ** _SLOPE)
    return voice, drums, bass


def _sudden(magnitudes: Floats) -> Floats:
    """How percussive each bin is, 0 to 1: Fitzgerald's soft mask, eq. 10."""
    reach = _MEDIAN_WIDTH // 2
    around = np.arange(-reach, len(magnitudes) + reach) % (2 * len(magnitudes))
    mirrored = np.minimum(around, 2 * len(magnitudes) - 1 - around)
    steady = np.square(median_along_rows(magnitudes[mirrored], width=_MEDIAN_WIDTH))
    columns = magnitudes.shape[1]
    sudden = np.square(median_along_columns(magnitudes, columns=columns, width=_MEDIAN_WIDTH))
    share: Floats = sudden / np.maximum(sudden + steady, _TINY)
    return share


def _unrepeated(magnitudes: Floats) -> Floats:
    """How far each bin stands out from the frames most like its own, 0 to 1.

    What repeats is the median over the most similar frames by cosine (Rafii & Pardo, eqs. 1
    to 4). The root keeps the share of a voice that is as loud as what repeats.
    """
    count = min(_LIKE_FRAMES, (len(magnitudes) - 1) // 2 * 2 + 1)
    if count < 3:
        return np.zeros_like(magnitudes)
    length = np.sqrt(np.square(magnitudes).sum(axis=1, keepdims=True))
    direction = magnitudes / np.maximum(length, _TINY)
    # Threads of the BLAS wait for each other by spinning: where stages share the cores, two
    # of them have stood still for minutes over a product of milliseconds.
    with threadpool_limits(1, user_api="blas"):
        similarity = direction @ direction.T
    chosen = _most_alike(similarity, count)
    repeated = np.minimum(median_of_rows(magnitudes, chosen), magnitudes)
    share: Floats = np.sqrt((magnitudes - repeated) / np.maximum(magnitudes, _TINY))
    return share


def _most_alike(similarity: Floats, count: int) -> NDArray[np.intp]:
    return np.ascontiguousarray(np.argpartition(-similarity, count - 1, axis=1)[:, :count])


def _centred(spectra: list[Complex]) -> Floats | np.float32:
    """How alike both channels are in each bin, 0 to 1 (Avendano, eq. 2, in phase only)."""
    if len(spectra) == 1:
        return np.float32(1)
    left, right = spectra
    shared = 2 * (left.real * right.real + left.imag * right.imag)
    energy = np.square(np.abs(left)) + np.square(np.abs(right))
    alike: Floats = np.clip(shared / np.maximum(energy, _TINY), 0, 1)
    return np.square(alike)

"""Noise reduction of a recording, whichever engine does it.

`spectral` needs nothing: noisereduce's gate with a profile of the recording's own pauses.
`neural` is a small trained network for speech and needs its files. The caller chooses, and
what was chosen is run or fails: nothing falls back.

Both leave a clean voice alone: their answer is blended in by how noisy the seconds around
it are (`containers.audio.noise_floor`), and digital silence stays what it is. How noisy they are
a network's answer tells best, so that is written to a temporary file first.
"""

import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Final, Literal, get_args

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from clearstem.errors import MissingWeights, WrongChecksum
from containers.audio.compose import Reader, Writer
from containers.audio.noise_floor import (
    SEGMENT_S,
    Levels,
    measure_levels,
    noisiness,
    noisiness_by_answer,
    quiet_segments,
    share_at,
)
from containers.audio.stream import (
    BLOCK_FRAMES,
    Progress,
    Recording,
    RecordingWriter,
    ignore,
)

EngineName = Literal["spectral", "neural"]
ModelName = Literal["dtln", "gtcrn"]
Floats = NDArray[np.float32]
Exact = NDArray[np.float64]

# 64 ms: what 1024 samples are at 16 kHz, where the gate was measured.
_HOP_S: Final = 0.016
# What full strength takes away from a closed bin: with all of it, residues start to chirp.
_DECREASE: Final = 0.8
# noisereduce's 500 Hz blur a voice's partials into the noise between them: 150 Hz measured
# 0.06 PESQ and 1.4 dB better.
_SMOOTH_HZ: Final = 150.0
# What a network's answer is of the whole at full strength: the rest, 26 dB down, covers the
# holes that it leaves between words. 0.90 to 0.97 measured within 0.03 PESQ.
_NETWORK_SHARE: Final = 0.95
# Share of the time that the network takes; the rest is blending.
_NETWORK_TIME: Final = 0.95
# The profile has 12 s of pauses at most, as noisereduce clips its own.
_MOST_SEGMENTS: Final = round(12 / SEGMENT_S)


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file of a model, and the checksum that it must have."""

    path: Path
    sha256: str


@dataclass(frozen=True, slots=True)
class Model:
    """The network for the engine `neural`.

    Attributes
    ----------
    name
        ``dtln`` or ``gtcrn``.
    files
        Its ONNX files, in order: two for ``dtln``, one for ``gtcrn``.
    """

    name: ModelName
    files: tuple[ModelFile, ...]


@dataclass(frozen=True, slots=True)
class DenoiseReport:
    """What reduced the noise, and of how much of the recording.

    Attributes
    ----------
    engine
        `spectral` or `neural`.
    model
        The network's name; None without one.
    model_sha256
        Checksums of its files in order; empty without one.
    device
        Where it ran: `cpu`.
    noisy_share
        Mean of how much of the engine's answer was blended in, 0 (all clean) to 1.
    profile_s
        Seconds of pauses that the gate learnt the noise from; 0 for `neural` and silence.
    versions
        Package versions that the result depends on.
    """

    engine: EngineName
    model: str | None
    model_sha256: tuple[str, ...]
    device: str
    noisy_share: float
    profile_s: float
    versions: Mapping[str, str] = field(default_factory=dict)


def denoise(
    source: Reader,
    writer: Writer,
    *,
    engine: EngineName,
    model: Model | None = None,
    strength: float = 100.0,
    progress: Progress = ignore,
) -> DenoiseReport:
    """Write `source` with less noise.

    Parameters
    ----------
    source
        8 to 192 kHz, any channel count and length from 1 frame on; finite samples, as every
        decoded Recording has. It is read three times over.
    writer
        Takes float32 blocks of shape (channels, frames), in order; ``source.frames`` in all.
    engine
        Which engine; never another one.
    model
        The files for `neural`; not looked at by `spectral`.
    strength
        Percent, 1 to 100. Of the gate's depth for `spectral`, of the network's answer against
        the source for `neural`.
    progress
        Called after every block with (frames done, frames in all).

    Raises
    ------
    ValueError
        For an engine or a strength that is none.
    AudioOutOfRange
        If `source` holds samples that are NaN or infinite.
    MissingWeights, WrongChecksum, UnusableCheckpoint
        If `neural` is asked for and its files are not there or not to be used.
    NonFiniteOutput
        If the network answers with samples that are NaN or infinite.

    Notes
    -----
    Digital silence and clean recordings are passed on as they are; so is one sample. A constant
    has no pauses and counts as noise. Clipped sound is like any other, and nothing is clipped
    here. What is kept of a recording is a level for each fifth of a second: ten hours of mono at
    8 kHz took 391 MB.
    """
    if engine not in get_args(EngineName):
        msg = f"engine {engine!r}: must be {' or '.join(get_args(EngineName))}"
        raise ValueError(msg)
    if not 1 <= strength <= 100:
        msg = f"strength {strength}: must be from 1 to 100 percent"
        raise ValueError(msg)
    content = _checked_files(model) if engine == "neural" else ()
    levels = measure_levels(source)
    if levels.loud_power == 0:
        _write(source, _unchanged(source), writer, np.zeros(1), levels, progress)
        shares, profile_s = np.zeros(1), 0.0
    elif engine == "neural" and model is not None:
        shares, profile_s = (
            _by_network(
                source, writer, model, content, levels, strength=strength, progress=progress
            ),
            0.0,
        )
    else:
        shares, profile_s = _by_gate(source, writer, levels, strength=strength, progress=progress)
    neural = model if engine == "neural" else None
    packages = ("onnxruntime", "soxr") if neural else ("numba",)
    return DenoiseReport(
        engine=engine,
        model=neural.name if neural else None,
        model_sha256=tuple(file.sha256 for file in neural.files) if neural else (),
        device="cpu",
        noisy_share=float(shares.mean()),
        profile_s=profile_s,
        versions={name: version(name) for name in (*packages, "numpy", "scipy")},
    )


def _by_gate(
    source: Reader, writer: Writer, levels: Levels, *, strength: float, progress: Progress
) -> tuple[Exact, float]:
    """Write `source` gated where it is noisy; how noisy it is, and the profile's seconds."""
    shares = noisiness(levels)
    if not shares.any():
        _write(source, _unchanged(source), writer, shares, levels, progress)
        return shares, 0.0
    quiet = quiet_segments(levels, most=_MOST_SEGMENTS)
    _write(source, _spectral(source, levels, quiet, strength), writer, shares, levels, progress)
    return shares, len(quiet) * levels.segment_frames / source.rate_hz


def _by_network(
    source: Reader,
    writer: Writer,
    model: Model,
    content: tuple[bytes, ...],
    levels: Levels,
    *,
    strength: float,
    progress: Progress,
) -> Exact:
    """Write `source` through the network where it is noisy; how noisy it is."""
    until = round(_NETWORK_TIME * source.frames)
    with tempfile.TemporaryDirectory(prefix="clearstem-answer-") as folder:
        path = Path(folder) / "answer.wav"
        with RecordingWriter(
            path, rate_hz=source.rate_hz, channels=source.channels, frames=source.frames
        ) as kept:
            for block in _neural(source, model, content, levels):
                kept.write(block)
                progress(round(_NETWORK_TIME * kept.frames_written), source.frames)
        with Recording.open(path) as answer:
            shares = noisiness_by_answer(levels, measure_levels(answer))
            weight = _NETWORK_SHARE * strength / 100

            def blended(done: int, total: int) -> None:
                progress(until + (total - until) * done // total, total)

            _write(source, answer.blocks(), writer, weight * shares, levels, blended)
    return shares


def _checked_files(model: Model | None) -> tuple[bytes, ...]:
    """The files' bytes; what is loaded is what was compared."""
    if model is None:
        msg = "the engine neural needs a model and none is configured; choose `spectral`"
        raise MissingWeights(msg)
    return tuple(_checked_bytes(file) for file in model.files)


def _checked_bytes(file: ModelFile) -> bytes:
    try:
        content = file.path.read_bytes()
    except FileNotFoundError as exc:
        raise MissingWeights(f"no model file {file.path}") from exc
    found = hashlib.sha256(content).hexdigest()
    if found != file.sha256.lower():
        raise WrongChecksum(f"{file.path.name} has sha256 {found}, not {file.sha256}")
    return content


def _unchanged(source: Reader) -> Iterator[Floats]:
    for start in range(0, source.frames, BLOCK_FRAMES):
        yield source.read(start, min(start + BLOCK_FRAMES, source.frames))


def _neural(
    source: Reader, model: Model, content: tuple[bytes, ...], levels: Levels
) -> Iterator[Floats]:
    # Only this engine needs ONNX Runtime, which not every image has.
    from containers.audio.neural_denoise import enhanced, load_network

    make = load_network(model.name, content)
    return enhanced(source, make, loud_power=levels.loud_power)


def _spectral(
    source: Reader, levels: Levels, quiet: NDArray[np.intp], strength: float
) -> Iterator[Floats]:
    from containers.audio.spectral_gate import Shape, Stationary, gated, noise_threshold

    n_fft = frame_length(source.rate_hz)
    length = levels.segment_frames
    starts = [int(segment) * length for segment in quiet]
    pauses = [source.read(at, min(at + length, source.frames)) for at in starts]
    threshold = noise_threshold(np.concatenate(pauses, axis=1), n_fft=n_fft)
    shape = Shape(
        n_fft=n_fft,
        decrease=_DECREASE * strength / 100,
        smooth_hz=_SMOOTH_HZ,
        edges="mirrored",
    )
    return gated(source, rule=Stationary(threshold), shape=shape)


def frame_length(rate_hz: int) -> int:
    """Samples of the gate's frames at a rate: about 64 ms, and quick to transform."""
    return 4 * int(scipy.fft.next_fast_len(round(_HOP_S * rate_hz), real=True))


def _write(
    source: Reader,
    answer: Iterator[Floats],
    writer: Writer,
    shares: Exact,
    levels: Levels,
    progress: Progress,
) -> None:
    """Write `answer`, blended with the source where that is clean."""
    done = 0
    for block in answer:
        stop = done + block.shape[1]
        whole = source.read(done, stop)
        writer.write(whole + share_at(shares, levels, done, stop) * (block - whole))
        done = stop
        progress(done, source.frames)

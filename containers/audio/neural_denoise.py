"""Noise reduction by a trained network, block by block, at any rate.

The networks know speech at 16 kHz, frame after frame, with a memory of their own. Here the
recording is brought to 16 kHz and to the level they were trained at, goes through them in
blocks, and comes back on the same sample. What lies above their band is kept and turned down
whenever the network turns its own upper octave down. Every channel has a network's memory of
its own; the band above has one gain for all of them.

ONNX Runtime on the CPU, one thread: the networks are so small that threads only wait.

References
----------
N. L. Westhausen, B. T. Meyer, "Dual-signal transformation LSTM network for real-time noise
suppression", Interspeech 2020 (`dtln`: frames of 512, 128 apart, no window).
X. Rong et al., "GTCRN: a speech enhancement model requiring ultralow computational
resources", ICASSP 2024 (`gtcrn`: frames of 512, 256 apart, root of a Hann window).
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Literal, Protocol

import numpy as np
import onnxruntime
import scipy.signal
from numpy.typing import NDArray

from clearstem.errors import NonFiniteOutput, UnusableCheckpoint
from containers.audio.compose import Reader
from containers.audio.resample import BlockResampler, ResampledReader

Floats = NDArray[np.float32]

NetworkName = Literal["dtln", "gtcrn"]

RATE_HZ: Final = 16_000
_FRAME = 512
# 4 s at 16 kHz.
_BLOCK = 65_536
# Level of loud speech in the networks' training material, -26 dBFS (ITU-T P.56 practice).
_TRAINED_POWER = 10 ** (-26 / 10)
# Where the octave lies that the band above the network's follows.
_UPPER_HZ = 4_000.0
# 10 ms: shorter and single glottal pulses would modulate the band above.
_FOLLOW_S = 0.01
# 20 dB at most: below that the band above only sounds cut off.
_LEAST_GAIN = 0.1


class Network(Protocol):
    """One channel's network with its memory.

    Attributes
    ----------
    hop : int
        Samples between the frames of 512.
    """

    @property
    def hop(self) -> int: ...  # noqa: D102 # told above

    def frames(self, frames: Floats) -> Floats:
        """Consecutive frames, (n, 512), as they are to be added up, (n, 512)."""
        ...


class Dtln:
    """DTLN: a mask on the spectrum, then a filter on what it left, each with its LSTMs."""

    hop = 128

    def __init__(self, sessions: Sequence[Any]) -> None:
        self._first, self._second = sessions
        self._first_state, self._second_state = (_zeros(s.get_inputs()[1]) for s in sessions)

    def frames(self, frames: Floats) -> Floats:
        """See `Network`."""
        spectrum = np.fft.rfft(frames, axis=1).astype(np.complex64)
        size = np.abs(spectrum)
        names = [i.name for i in self._first.get_inputs()]
        for t, row in enumerate(size):
            given = {names[0]: row[None, None], names[1]: self._first_state}
            mask, self._first_state = self._first.run(None, given)
            spectrum[t] *= mask[0, 0]
        masked = np.fft.irfft(spectrum, _FRAME, axis=1).astype(np.float32)
        names = [i.name for i in self._second.get_inputs()]
        for t, row in enumerate(masked):
            given = {names[0]: row[None, None], names[1]: self._second_state}
            out, self._second_state = self._second.run(None, given)
            masked[t] = out[0, 0]
        return masked


class Gtcrn:
    """GTCRN: a complex mask on the spectrum, with three caches for memory."""

    hop = 256

    def __init__(self, sessions: Sequence[Any]) -> None:
        (self._session,) = sessions
        given = self._session.get_inputs()
        self._input = given[0].name
        self._state = {place.name: _zeros(place) for place in given[1:]}
        turn = 2 * np.pi * np.arange(_FRAME) / _FRAME
        self._window = np.sqrt(0.5 - 0.5 * np.cos(turn)).astype(np.float32)

    def frames(self, frames: Floats) -> Floats:
        """See `Network`."""
        spectrum = np.fft.rfft(frames * self._window, axis=1).astype(np.complex64)
        for t, row in enumerate(spectrum):
            pair = np.stack([row.real, row.imag], axis=-1)[None, :, None, :]
            out, *state = self._session.run(None, {self._input: pair, **self._state})
            self._state = dict(zip(self._state, state, strict=True))
            spectrum[t] = out[0, :, 0, 0] + 1j * out[0, :, 0, 1]
        return (np.fft.irfft(spectrum, _FRAME, axis=1) * self._window).astype(np.float32)


_NETWORKS: Final[dict[NetworkName, tuple[int, Callable[[Sequence[Any]], Network]]]] = {
    "dtln": (2, Dtln),
    "gtcrn": (1, Gtcrn),
}


def load_network(name: NetworkName, files: Sequence[bytes]) -> Callable[[], Network]:
    """A maker of networks with an empty memory each, over one copy of the weights.

    Parameters
    ----------
    name
        Which network.
    files
        The bytes of its model files, in order: two for `dtln`, one for `gtcrn`.

    Raises
    ------
    UnusableCheckpoint
        If these are not as many files as the network has, or no ONNX models.
    """
    count, make = _NETWORKS[name]
    if len(files) != count:
        msg = f"{name} has {count} model files, not {len(files)}"
        raise UnusableCheckpoint(msg)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        sessions = [
            onnxruntime.InferenceSession(f, options, providers=["CPUExecutionProvider"])
            for f in files
        ]
    except Exception as exc:  # its exceptions share no class but this
        msg = f"the files of {name} are no ONNX models: {exc}"
        raise UnusableCheckpoint(msg) from exc
    return lambda: make(sessions)


def _zeros(place: Any) -> Floats:
    """An empty memory for one input of a session; an open dimension is a batch of one."""
    shape = [size if isinstance(size, int) else 1 for size in place.shape]
    return np.zeros(shape, np.float32)


class Enhancer:
    """One channel's samples through a network, in blocks, without delay in the end.

    What comes out starts with the sample that went in first; `finish` gives the rest.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        lead = _FRAME - network.hop
        self._waiting = np.zeros(lead, np.float32)
        self._sum = np.zeros(lead, np.float32)
        self._skip = lead
        self._owed = 0

    def feed(self, samples: Floats) -> Floats:
        """The samples that are certain once these (n,) are known; any n, 0 included."""
        self._owed += len(samples)
        return self._advance(samples)

    def finish(self) -> Floats:
        """What is left, so that as many samples came out as went in."""
        return self._advance(np.zeros(_FRAME + self._network.hop, np.float32))

    def _advance(self, samples: Floats) -> Floats:
        hop = self._network.hop
        waiting = np.concatenate([self._waiting, samples])
        count = max(0, (len(waiting) - _FRAME) // hop + 1)
        self._waiting = waiting[count * hop :]
        if not count:
            return np.zeros(0, np.float32)
        views = np.lib.stride_tricks.sliding_window_view(waiting, _FRAME)[::hop][:count]
        total = np.zeros(count * hop + _FRAME - hop, np.float32)
        total[: len(self._sum)] = self._sum
        for t, frame in enumerate(self._network.frames(views)):
            total[t * hop : t * hop + _FRAME] += frame
        self._sum = total[count * hop :]
        ready = total[self._skip : count * hop]
        self._skip = max(0, self._skip - count * hop)
        ready = ready[: self._owed]
        self._owed -= len(ready)
        return ready


class _UpperGain:
    """Gain of the network in its upper octave, sample by sample, over all channels."""

    def __init__(self, channels: int) -> None:
        self._high = scipy.signal.butter(4, _UPPER_HZ, "highpass", fs=RATE_HZ, output="sos")
        self._high_state = np.zeros((len(self._high), 2 * channels, 2))
        self._pole = np.exp(-1 / (_FOLLOW_S * RATE_HZ))
        self._mean_state = np.zeros((2, 1))

    def __call__(self, before: Floats, after: Floats) -> Floats:
        """Gain (1, n) that took `before` to `after`, both (channels, n)."""
        both = np.concatenate([before, after])
        high, self._high_state = scipy.signal.sosfilt(self._high, both, axis=1, zi=self._high_state)
        energy = np.square(high).reshape(2, len(before), -1).sum(axis=1)
        mean, self._mean_state = scipy.signal.lfilter(
            [1 - self._pole], [1, -self._pole], energy, axis=1, zi=self._mean_state
        )
        # Where the octave is silent there is nothing to follow.
        silent = mean[0] <= np.finfo(np.float32).tiny
        ratio = np.where(silent, 1, mean[1] / np.where(silent, 1, mean[0]))
        gain: Floats = np.clip(np.sqrt(ratio), _LEAST_GAIN, 1)[np.newaxis].astype(np.float32)
        return gain


def enhanced(source: Reader, make: Callable[[], Network], *, loud_power: float) -> Iterator[Floats]:
    """`source` through a network.

    Parameters
    ----------
    source
        Any rate, channel count and length from 1 frame on; finite samples.
    make
        As `load_network` gives it; called once for every channel.
    loud_power
        Mean square of the loud moments, > 0: what is brought to the trained level.

    Yields
    ------
    ndarray
        float32 (channels, n), in order, ``source.frames`` frames in all, where
        ``source.rate_hz`` is 16 kHz exactly what the network says.

    Raises
    ------
    NonFiniteOutput
        If the network answers with samples that are NaN or infinite.
    """
    scale = np.float32(np.sqrt(_TRAINED_POWER / loud_power))
    channels = source.channels
    back = BlockResampler(
        from_hz=RATE_HZ, to_hz=source.rate_hz, channels=2 * channels + 1, frames=source.frames
    )
    gain = _UpperGain(channels)
    done = 0
    for narrow, answer, last in _answers(source, make, scale):
        # A gain of 1 is passed on as 0, for the converter fades in and out from 0.
        loss = 1 - gain(narrow, answer)
        ready = back.convert(np.concatenate([narrow, answer, loss]), last=last)
        whole = source.read(done, done + ready.shape[1])
        above = whole - ready[:channels]
        done += ready.shape[1]
        yield ready[channels : 2 * channels] + above * (1 - ready[2 * channels :])


def _answers(
    source: Reader, make: Callable[[], Network], scale: np.float32
) -> Iterator[tuple[Floats, Floats, bool]]:
    """Blocks at 16 kHz as they were, as the network has them, and whether they are the last."""
    reader = ResampledReader(source, rate_hz=RATE_HZ)
    enhancers = [Enhancer(make()) for _ in range(source.channels)]
    held = np.zeros((source.channels, 0), np.float32)
    for start in range(0, reader.frames, _BLOCK):
        stop = min(start + _BLOCK, reader.frames)
        block = reader.read(start, stop)
        last = stop == reader.frames
        parts = [e.feed(row * scale) for e, row in zip(enhancers, block, strict=True)]
        if last:
            ends = [e.finish() for e in enhancers]
            parts = [np.concatenate(pair) for pair in zip(parts, ends, strict=True)]
        answer = np.stack(parts) / scale
        if not np.isfinite(answer).all():
            msg = f"the network's answer has NaN or infinite samples before {stop / RATE_HZ:.1f} s"
            raise NonFiniteOutput(msg)
        held = np.concatenate([held, block], axis=1)
        narrow, held = held[:, : answer.shape[1]], held[:, answer.shape[1] :]
        yield narrow, answer, last

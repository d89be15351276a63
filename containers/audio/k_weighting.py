"""The K-weighting of ITU-R BS.1770-4 and the energy behind it, at the speed of the processor.

Two channels go through both filters in the two lanes of one vector register, written as LLVM
instructions by a numba intrinsic: numba itself does not pack neighbouring statements into
vectors, and a recursive filter offers its compiler no loop to vectorise. The recurrence of
one filter is then the only thing that is waited for.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from llvmlite import ir  # type: ignore[import-untyped] # it ships no types
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

# Below this a filter state is silence: 600 dB under full scale, long before it turns into the
# denormal numbers that processors are slow with.
_SILENT = 1e-30

_LANES = 2
_PAIR = ir.VectorType(ir.DoubleType(), _LANES)
# Values of state per channel: two for each filter in direct form II transposed.
STATES = 4


def k_weighting(rate_hz: int) -> NDArray[np.float64]:
    """The two filters of the K-weighting for any rate.

    BS.1770-4 prints coefficients for 48 kHz alone. Brecht De Man found the analogue
    prototypes that they come from ("Evaluation of Implementations of the EBU R128 Loudness
    Measurement", AES 145, 2018): at 48 kHz they give the printed figures.

    Parameters
    ----------
    rate_hz : int
        Frames per second.

    Returns
    -------
    ndarray of float64, shape (2, 5)
        b0, b1, b2, a1, a2 of the shelf, then of the high-pass.
    """
    shelf_hz, shelf_q, shelf_db = 1681.9744509555319, 0.7071752369554193, 3.99984385397
    k = math.tan(math.pi * shelf_hz / rate_hz)
    high = 10.0 ** (shelf_db / 20.0)
    band = high**0.499666774155
    a0 = 1.0 + k / shelf_q + k * k
    shelf = (
        (high + band * k / shelf_q + k * k) / a0,
        2.0 * (k * k - high) / a0,
        (high - band * k / shelf_q + k * k) / a0,
        2.0 * (k * k - 1.0) / a0,
        (1.0 - k / shelf_q + k * k) / a0,
    )
    pass_hz, pass_q = 38.13547087613982, 0.5003270373253953
    k = math.tan(math.pi * pass_hz / rate_hz)
    a0 = 1.0 + k / pass_q + k * k
    high_pass = (1.0, -2.0, 1.0, 2.0 * (k * k - 1.0) / a0, (1.0 - k / pass_q + k * k) / a0)
    return np.array((shelf, high_pass))


# Any: the one function of this module that numba gives no types.
_variable: Any = cgutils.alloca_once_value


# A product may be added without being rounded first.
_FUSED = ("contract",)


def _emit_biquad(
    builder: ir.IRBuilder, coefficients: list[ir.Value], state: list[ir.Value], value: ir.Value
) -> ir.Value:
    """One step of a filter in direct form II transposed; `state` are the places of its two."""
    b0, b1, b2, a1, a2 = coefficients
    near, far = state

    def product(a: ir.Value, b: ir.Value) -> ir.Value:
        return builder.fmul(a, b, flags=_FUSED)

    out = builder.fadd(product(b0, value), builder.load(near), flags=_FUSED)
    # What is known before `out` comes first: the chain from `out` to the next one is two
    # operations long.
    early = builder.fadd(product(b1, value), builder.load(far), flags=_FUSED)
    builder.store(builder.fsub(early, product(a1, out), flags=_FUSED), near)
    builder.store(builder.fsub(product(b2, value), product(a2, out), flags=_FUSED), far)
    return out


@dataclass(frozen=True, slots=True)
class _Given:
    """The arguments of an intrinsic as LLVM values."""

    context: Any
    builder: ir.IRBuilder
    kinds: Any
    values: Any

    def data(self, place: int) -> ir.Value:
        """Where an array argument begins."""
        array = self.context.make_array(self.kinds[place])
        return array(self.context, self.builder, self.values[place]).data

    def number(self, place: int) -> ir.Value:
        """An integer argument."""
        return self.context.cast(self.builder, self.values[place], self.kinds[place], types.intp)

    def coefficient(self, place: int, at: int) -> ir.Value:
        """An element of an array argument, in both lanes."""
        value = self.builder.load(self.builder.gep(self.data(place), [_index(at)]))
        return _both(self.builder, value, value)

    def pair(self, place: int, row: int) -> ir.Value:
        """Where a row of an array argument of two columns lies."""
        address = self.builder.gep(self.data(place), [_index(_LANES * row)])
        return self.builder.bitcast(address, _PAIR.as_pointer())


def _index(value: int) -> ir.Constant:
    return ir.Constant(ir.IntType(64), value)


def _both(builder: ir.IRBuilder, low: ir.Value, high: ir.Value) -> ir.Value:
    packed = builder.insert_element(ir.Constant(_PAIR, ir.Undefined), low, _index(0))
    return builder.insert_element(packed, high, _index(1))


def _filter_pair_code(
    _typing: Any,
    samples: Any,
    first: Any,
    second: Any,
    step: Any,
    start: Any,
    stop: Any,
    coefficients: Any,
    state: Any,
    sums: Any,
) -> tuple[Any, Callable[..., ir.Value]]:
    """Filter frames `start` to `stop` of two channels and add their squares to `sums`.

    Frame n of a channel is ``samples[first + n * step]``, `second` for `first` in the other.
    `samples` are contiguous float32, `coefficients` as `k_weighting` gives them, `state`
    (STATES, 2) and `sums` (2,) contiguous float64. Indices are unchecked.
    """
    signature = types.void(samples, first, second, step, start, stop, coefficients, state, sums)

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        given = _Given(context, builder, signature.args, args)
        filters = [[given.coefficient(6, 5 * n + k) for k in range(5)] for n in range(2)]
        homes = [*(given.pair(7, row) for row in range(STATES)), given.pair(8, 0)]
        # LLVM turns these into registers.
        held = [_variable(builder, builder.load(home, align=8)) for home in homes]
        _emit_frames(given, filters, held)
        for home, last in zip(homes, held, strict=True):
            builder.store(builder.load(last), home, align=8)
        return context.get_dummy_value()

    return signature, emit


def _emit_frames(given: _Given, filters: list[list[ir.Value]], held: list[ir.Value]) -> None:
    """The loop over the frames; `held` are the filters' states, then the sum of squares."""
    builder = given.builder
    low, high, pace, begin, end = (given.number(place) for place in range(1, 6))
    channels = [builder.gep(given.data(0), [offset]) for offset in (low, high)]
    with cgutils.for_range(builder, end, start=begin) as loop:
        at = builder.mul(loop.index, pace)
        read = [builder.load(builder.gep(channel, [at])) for channel in channels]
        value = _both(builder, *(builder.fpext(sample, ir.DoubleType()) for sample in read))
        for n, coefficients in enumerate(filters):
            value = _emit_biquad(builder, coefficients, held[2 * n : 2 * n + 2], value)
        energy = builder.fmul(value, value, flags=_FUSED)
        builder.store(builder.fadd(energy, builder.load(held[-1]), flags=_FUSED), held[-1])


# Any: inside compiled functions it is called without its first parameter.
_filter_pair: Any = intrinsic(_filter_pair_code)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def add_energy(
    samples: Any,
    frames: Any,
    pair: Any,
    step: Any,
    weights: Any,
    coefficients: Any,
    state: Any,
    sums: Any,
    edges: Any,
    position: Any,
    energy: Any,
) -> Any:
    """Filter two channels of a block and add their weighted squares to the sums between edges.

    Parameters
    ----------
    samples : ndarray of float32, shape (n,)
        A block, C-contiguous; its first frame is frame `position` of the recording.
    frames : int
        Length of the block.
    pair : tuple of int
        Where in `samples` each channel begins; may be the same place twice.
    step : int
        From each sample of a channel to its next.
    weights : ndarray of float64, shape (2,)
        What each channel's energy counts.
    coefficients : ndarray of float64, shape (2, 5)
        As `k_weighting` gives them.
    state : ndarray of float64, shape (STATES, 2)
        Of the filters; changed.
    sums : ndarray of float64, shape (2,)
        Squares of each channel since the latest edge; changed.
    edges : ndarray of int64
        Ascending frames, the first the latest one passed, the last beyond the block.
    energy : ndarray of float64
        Added to, one value for each stretch from an edge to the next.

    Returns
    -------
    int
        How many edges were passed.
    """
    start = edge = 0
    while start < frames:
        stop = min(frames, edges[edge + 1] - position)
        _filter_pair(samples, pair[0], pair[1], step, start, stop, coefficients, state, sums)
        start = stop
        if position + start == edges[edge + 1]:
            energy[edge] += weights[0] * sums[0] + weights[1] * sums[1]
            sums[:] = 0.0
            edge += 1
            for lane in range(state.shape[1]):
                loudest = 0.0
                for row in range(state.shape[0]):
                    loudest = max(loudest, abs(state[row, lane]))
                if loudest < _SILENT:
                    state[:, lane] = 0.0
    return edge

"""Exact sliding medians of spectrograms, sixteen columns at a time.

The median filter is what harmonic-percussive separation spends its time on. Here it
is a fixed network of minima and maxima without a branch, so that every lane of a
vector register sorts its own window: two neighbouring windows of odd width ``w``
share ``w - 1`` values, one pruned network finds the two middle ones of those, and the
value that is in one window only is clamped between them.

The network is emitted as LLVM vector instructions by a numba intrinsic. The functions
that use it live in this file, hence numba's own on-disk cache holds them: no generated
source, no compiler run in a warm process. Numba keeps it by its own version, a sha256 of
this file, the window's width (in the function's closure), the types and the processor; what a
function compiles in from another file would not count, and nothing is.

Threads are the caller's business: everything here releases the GIL and none of it
needs a numba threading layer.

References
----------
K. E. Batcher, "Sorting networks and their applications", AFIPS 1968 (odd-even merge).
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np
from llvmlite import ir  # type: ignore[import-untyped] # it ships no types
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

# One AVX-512 register of float32; LLVM splits it where registers are shorter.
LANES = 16
# The network grows as w log²w and so does its compilation; wider windows than this
# (3 s of a spectrogram with a hop of 512 at 44.1 kHz) have no use in separation.
MAX_WIDTH = 255

Floats = NDArray[np.float32]


class Comparator(NamedTuple):
    """One step of a network: the smaller value goes to `low`, the larger to `high`.

    `keeps_low` and `keeps_high` tell which of the two results a later step needs.
    """

    low: int
    high: int
    keeps_low: bool
    keeps_high: bool


def sorting_network(size: int) -> list[tuple[int, int]]:
    """Batcher's odd-even merge sort as pairs of wires, for any number of wires.

    Parameters
    ----------
    size
        Number of wires, >= 1.

    Returns
    -------
    list of (low, high)
        Comparators in order; applied in turn they leave the wires in rising order.
    """
    pairs = []
    run = 1
    while run < size:
        step = run
        while step >= 1:
            for start in range(step % run, size - step, 2 * step):
                for wire in range(start, min(start + step, size - step)):
                    # Both ends must lie in the same pair of runs being merged.
                    if wire // (2 * run) == (wire + step) // (2 * run):
                        pairs.append((wire, wire + step))
            step //= 2
        run *= 2
    return pairs


def selection_network(size: int, wanted: frozenset[int]) -> list[Comparator]:
    """The part of `sorting_network` that reaches the `wanted` wires.

    Parameters
    ----------
    size
        Number of wires.
    wanted
        Ranks (from 0) that must come out on their own wire.

    Returns
    -------
    list of Comparator
        In order; all other wires end with arbitrary values.
    """
    needed = set(wanted)
    kept = []
    for low, high in reversed(sorting_network(size)):
        step = Comparator(low, high, low in needed, high in needed)
        if step.keeps_low or step.keeps_high:
            kept.append(step)
            needed |= {low, high}
    return kept[::-1]


def checked_width(width: int) -> int:
    """`width` if it is the width of a median window.

    Raises
    ------
    ValueError
        If it is even or outside 3 to `MAX_WIDTH`.
    """
    if not 3 <= width <= MAX_WIDTH or width % 2 == 0:
        msg = f"median width {width}: must be odd and from 3 to {MAX_WIDTH}"
        raise ValueError(msg)
    return width


def lane_columns(columns: int) -> int:
    """`columns` rounded up to the row length that the filters ask for.

    Two vectors, because the filter along a row works on even and odd columns apart.
    """
    return -(-columns // (2 * LANES)) * 2 * LANES


def _smaller(builder: ir.IRBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
    return builder.select(builder.fcmp_ordered("<", a, b), a, b)


def _larger(builder: ir.IRBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


def _emit_medians(builder: ir.IRBuilder, window: list[ir.Value]) -> tuple[ir.Value, ir.Value]:
    """Medians of ``window[:-1]`` and ``window[1:]``, lane by lane."""
    first, *shared, last = window
    below, above = len(shared) // 2 - 1, len(shared) // 2
    for step in selection_network(len(shared), frozenset({below, above})):
        a, b = shared[step.low], shared[step.high]
        if step.keeps_low:
            shared[step.low] = _smaller(builder, a, b)
        if step.keeps_high:
            shared[step.high] = _larger(builder, a, b)

    def clamped(value: ir.Value) -> ir.Value:
        return _smaller(builder, _larger(builder, value, shared[below]), shared[above])

    return clamped(first), clamped(last)


def _median_pair_code(
    _typing: Any,
    values: Any,
    start: Any,
    pair_step: Any,
    odd_step: Any,
    medians: Any,
    at: Any,
    odd_at: Any,
    width: Any,
) -> tuple[Any, Callable[..., ir.Value]]:
    """Write the medians of two neighbouring windows for `LANES` neighbouring columns.

    Value ``k`` of the windows (``0 <= k <= width``) is read at the flat index
    ``start + (k // 2) * pair_step + (k % 2) * odd_step`` of `values`; the median of
    values ``0 .. width - 1`` goes to index `at` of `medians` and that of ``1 .. width``
    to `odd_at`. Indices are unchecked.
    """
    count = width.literal_value + 1
    signature = types.void(values, start, pair_step, odd_step, medians, at, odd_at, width)

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        vector = ir.VectorType(ir.FloatType(), LANES)
        arrays = {
            place: context.make_array(signature.args[place])(context, builder, args[place])
            for place in (0, 4)
        }
        number = {
            place: context.cast(builder, args[place], signature.args[place], types.intp)
            for place in (1, 2, 3, 5, 6)
        }

        def pointer(array: int, index: ir.Value) -> ir.Value:
            address = builder.gep(arrays[array].data, [index])
            return builder.bitcast(address, vector.as_pointer())

        index_type = number[1].type
        window = []
        for k in range(count):
            pairs = builder.mul(ir.Constant(index_type, k // 2), number[2])
            index = builder.add(number[1], pairs)
            if k % 2:
                index = builder.add(index, number[3])
            window.append(builder.load(pointer(0, index), align=4))
        even, odd = _emit_medians(builder, window)
        builder.store(even, pointer(4, number[5]), align=4)
        builder.store(odd, pointer(4, number[6]), align=4)
        return context.get_dummy_value()

    return signature, emit


# Any: inside compiled functions it is called without its first parameter.
_store_median_pair: Any = intrinsic(prefer_literal=True)(_median_pair_code)


@functools.cache
def _row_filter(width: int) -> Any:
    """The compiled filter down the rows; compiled once per machine and width."""

    @numba.njit(cache=True, nogil=True, boundscheck=False, error_model="numpy")
    def along_rows(padded: Any, medians: Any) -> None:
        rows, columns = medians.shape
        values, out = padded.reshape(-1), medians.reshape(-1)
        for pair in range(0, rows, 2):
            top = min(pair, rows - 2)
            for column in range(0, columns, LANES):
                at = top * columns + column
                _store_median_pair(values, at, 2 * columns, columns, out, at, at + columns, width)

    return along_rows


@functools.cache
def _column_filter(width: int) -> Any:
    """The compiled filter along the columns."""
    reach = width // 2

    @numba.njit(cache=True, nogil=True, boundscheck=False, error_model="numpy")
    def along_columns(magnitudes: Any, count: Any, medians: Any) -> None:
        half = medians.shape[1] // 2
        stride = half + reach + 1
        # Even and odd columns apart: neighbours of a window pair then are neighbours
        # in memory for all lanes.
        split = np.zeros(2 * stride, np.float32)
        result = np.empty(2 * half, np.float32)
        for row in range(magnitudes.shape[0]):
            for place in range(count + 2 * reach):
                mirrored = (place - reach) % (2 * count)
                if mirrored >= count:
                    mirrored = 2 * count - 1 - mirrored
                split[(place & 1) * stride + (place >> 1)] = magnitudes[row, mirrored]
            for lane in range(0, half, LANES):
                _store_median_pair(split, lane, 1, stride, result, lane, half + lane, width)
            for column in range(half):
                medians[row, 2 * column] = result[column]
                medians[row, 2 * column + 1] = result[half + column]

    return along_columns


@functools.cache
def _choice_filter(width: int) -> Any:
    """The compiled median over rows from anywhere."""

    @numba.njit(cache=True, nogil=True, boundscheck=False, error_model="numpy")
    def over_chosen(magnitudes: Any, chosen: Any, medians: Any) -> None:
        columns = magnitudes.shape[1]
        # The extra last row feeds the second window of the pair, which nobody reads.
        window = np.zeros((width + 1, columns), np.float32)
        result = np.empty(2 * columns, np.float32)
        values = window.reshape(-1)
        for row in range(chosen.shape[0]):
            for place in range(width):
                window[place] = magnitudes[chosen[row, place]]
            for column in range(0, columns, LANES):
                _store_median_pair(
                    values, column, 2 * columns, columns, result, column, columns + column, width
                )
            medians[row] = result[:columns]

    return over_chosen


def median_along_rows(context: Floats, *, width: int) -> Floats:
    """Sliding median down the rows of `context`, column by column.

    Parameters
    ----------
    context
        float32, C-contiguous, shape (rows + width - 1, columns): ``width // 2`` rows of
        context come before and after the rows asked for. ``columns`` as `lane_columns`
        gives it. Finite.
    width
        Odd width of the window in rows, 3 to `MAX_WIDTH`.

    Returns
    -------
    ndarray
        float32, shape (rows, columns).

    Raises
    ------
    ValueError
        For a width that is even or out of range, or an unsuitable shape.
    """
    rows = context.shape[0] - checked_width(width) + 1
    if rows < 1:
        msg = f"{context.shape[0]} rows hold no window of {width}"
        raise ValueError(msg)
    _check_columns(context)
    if rows == 1:
        # The filter works on pairs of windows; the second one is dropped again.
        return median_along_rows(np.concatenate([context, context[-1:]]), width=width)[:1]
    medians = np.empty((rows, context.shape[1]), np.float32)
    _row_filter(width)(context, medians)
    return medians


def median_along_columns(magnitudes: Floats, *, columns: int, width: int) -> Floats:
    """Sliding median along the first `columns` of each row, mirrored at both ends.

    Mirroring repeats the edge value (``d c b a | a b c d | d c b a``), as scipy's
    ``mode="reflect"`` does.

    Parameters
    ----------
    magnitudes
        float32, C-contiguous, shape (rows, n) with ``n`` as `lane_columns` gives it. Finite.
    columns
        How many columns of a row are filled, 1 to ``n``.
    width
        Odd width of the window in columns, 3 to `MAX_WIDTH`.

    Returns
    -------
    ndarray
        float32, shape (rows, n); columns past `columns` hold nothing of use.

    Raises
    ------
    ValueError
        For a width that is even or out of range, or an unsuitable shape.
    """
    _check_columns(magnitudes)
    if not 1 <= columns <= magnitudes.shape[1]:
        msg = f"{columns} columns: must be from 1 to {magnitudes.shape[1]}"
        raise ValueError(msg)
    medians = np.empty_like(magnitudes)
    _column_filter(checked_width(width))(magnitudes, columns, medians)
    return medians


def median_of_rows(magnitudes: Floats, chosen: NDArray[np.intp]) -> Floats:
    """Median, column by column, of the rows that each line of `chosen` names.

    Parameters
    ----------
    magnitudes
        float32, C-contiguous, shape (rows, n) with ``n`` as `lane_columns` gives it. Finite.
    chosen
        Row numbers, shape (results, w) with odd ``w``; numbers may repeat.

    Returns
    -------
    ndarray
        float32, shape (results, n).

    Raises
    ------
    ValueError
        For an even or too large ``w``, an unsuitable shape or a row that is not there.
    """
    _check_columns(magnitudes)
    if chosen.size and not 0 <= chosen.min() <= chosen.max() < magnitudes.shape[0]:
        msg = f"rows {chosen.min()} to {chosen.max()} asked of {magnitudes.shape[0]}"
        raise ValueError(msg)
    medians = np.empty((chosen.shape[0], magnitudes.shape[1]), np.float32)
    _choice_filter(checked_width(chosen.shape[1]))(magnitudes, chosen, medians)
    return medians


def _check_columns(magnitudes: Floats) -> None:
    columns = magnitudes.shape[1]
    if columns == 0 or columns != lane_columns(columns):
        msg = f"{columns} columns: must be a multiple of {2 * LANES}"
        raise ValueError(msg)

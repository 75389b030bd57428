"""Exact percentiles of values that come slab by slab, without sorting or keeping them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import floor

import numpy as np

_HIGH_BITS = 16
_BINS = 1 << _HIGH_BITS

Chunks = Callable[[], Iterable[np.ndarray]]


def percentiles(chunks: Chunks, wanted: Sequence[float]) -> list[float]:
    """Percentiles, linearly interpolated between the two nearest values.

    Two passes: a float32's bits, read as an integer, are in the order of its value, so that
    a histogram of the upper half of the bits tells in which of 65536 bins a rank lies, and one of
    the lower half in that bin alone which value it is. `np.percentile` gives the same, except
    that it counts ranks in the array's own float32, which cannot tell those of large volumes
    apart.

    Args:
        chunks: called for each pass; gives float32 arrays of any shape, never NaN.
        wanted: percentages in [0, 100].

    Raises:
        ValueError: there are no values.
    """
    high = sum((_count(_keys(c) >> _HIGH_BITS) for c in chunks()), np.zeros(_BINS, np.int64))
    total = int(high.sum())
    if total == 0:
        raise ValueError("no values to take percentiles of")
    places = [(total - 1) * percentage / 100 for percentage in wanted]
    ranks = sorted({min(floor(p) + step, total - 1) for p in places for step in (0, 1)})
    before = np.concatenate([[0], np.cumsum(high)])
    bins = np.searchsorted(before, ranks, side="right") - 1
    low = {int(b): np.zeros(_BINS, np.int64) for b in bins}
    for chunk in chunks():
        keys = _keys(chunk)
        upper = keys >> _HIGH_BITS
        for b, counts in low.items():
            counts += _count(keys[upper == b] & (_BINS - 1))
    values = {}
    for rank, b in zip(ranks, bins, strict=True):
        inside = np.searchsorted(np.cumsum(low[int(b)]), rank - before[b], side="right")
        values[rank] = _value((int(b) << _HIGH_BITS) + int(inside))
    results = []
    for place in places:
        first, second = (values[min(floor(place) + step, total - 1)] for step in (0, 1))
        results.append(first + (second - first) * (place - floor(place)))
    return results


def _keys(values: np.ndarray) -> np.ndarray:
    """(N,) uint32 in the order of the float32 values."""
    bits = np.ascontiguousarray(values, dtype=np.float32).ravel().view(np.uint32)
    # Negative numbers: the larger the bits, the smaller the value.
    return bits ^ np.where(bits >> 31, np.uint32(0xFFFFFFFF), np.uint32(0x80000000))


def _value(key: int) -> float:
    bits = key ^ (0x80000000 if key >> 31 else 0xFFFFFFFF)
    return float(np.array(bits, dtype=np.uint32).view(np.float32))


def _count(keys: np.ndarray) -> np.ndarray:
    return np.bincount(keys, minlength=_BINS)

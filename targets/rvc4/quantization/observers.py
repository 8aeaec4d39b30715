"""Ranges of activations, measured frame by frame: only statistics are kept between frames.

There are three ways to choose a range: all values (`min-max`); a share of the values (`percentile`,
with the same result as ONNX Runtime's percentile calibrator, from the tails alone); and the range with
the least quantization error (`mse`), from a histogram.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Ranges = dict[str, tuple[float, float]]
# ONNX Runtime's PercentileCalibrater rounds a percentile to the edge of one of these bins.
_PERCENTILE_BINS: Final = 2048
# Half of the bins may be beyond the largest value, and half of them are below zero.
_BINS: Final = 8192
_SHRINKS: Final = np.geomspace(1.0, 0.02, 96)
# A row without a larger value is masked altogether.
_MASKED: Final = -1e3
_CHUNK_BYTES: Final = 512 << 20


class Observer:
    """The statistics of one tensor.

    Args:
        tail: How many of the largest and of the smallest values to keep, for percentiles.
        histogram: Whether to count values, for the least error.
    """

    def __init__(self, *, tail: int = 0, histogram: bool = False) -> None:
        self.low = math.inf
        self.high = -math.inf
        self.count = 0
        self.peak = math.inf
        self._tail = tail
        self._lows: NDArray[np.float32] = np.empty(0, np.float32)
        self._highs: NDArray[np.float32] = np.empty(0, np.float32)
        self._counts: NDArray[np.int64] | None = np.zeros(_BINS, np.int64) if histogram else None
        self._bound = 0.0

    def see(self, values: NDArray[np.float32]) -> None:
        """Add the values of one frame.

        Args:
            values: float32 of any shape, in the tensor's own unit; values that are not finite are
                ignored.
        """
        flat = values.ravel()
        if not flat.size:
            return
        low, high = float(flat.min()), float(flat.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            flat = flat[np.isfinite(flat)]
            if not flat.size:
                return
            low, high = float(flat.min()), float(flat.max())
        self.low, self.high = min(self.low, low), max(self.high, high)
        self.count += flat.size
        if self._tail:
            self._highs = _largest(self._highs, flat, self._tail)
            self._lows = -_largest(-self._lows, flat, self._tail, negated=True)
        if self._counts is not None:
            self._add(flat, max(-low, high))

    def see_rows(self, values: NDArray[np.float32], axis: int | None) -> None:
        """Add a frame to `peak`, the lowest of the rows' largest values; masked rows do not count.

        Args:
            values: The tensor, of any shape.
            axis: That of the rows; None if each value is the largest of a row.
        """
        largest = values if axis is None else values.max(axis=axis)
        real = largest[largest > _MASKED]
        if real.size:
            self.peak = min(self.peak, float(real.min()))

    def _add(self, flat: NDArray[np.float32], largest: float) -> None:
        """Count into bins over ±bound; when the bound is too small it doubles and bins merge."""
        assert self._counts is not None
        if largest == 0:
            self._counts[_BINS // 2] += flat.size
            return
        if self._bound == 0:
            self._bound = 2.0 ** math.ceil(math.log2(largest))
        while largest > self._bound:
            merged = self._counts.reshape(-1, 2).sum(axis=1)
            self._counts = np.zeros(_BINS, np.int64)
            self._counts[_BINS // 4 : 3 * _BINS // 4] = merged
            self._bound *= 2
        scaled = flat * np.float32(_BINS / 2 / self._bound)
        scaled += np.float32(_BINS // 2)
        index = scaled.astype(np.int64)
        np.minimum(index, _BINS - 1, out=index)
        self._counts += np.bincount(index, minlength=_BINS)

    def min_max(self) -> tuple[float, float]:
        """The smallest and the largest value seen."""
        return (self.low, self.high) if self.count else (0.0, 0.0)

    def percentile(self, percentile: float) -> tuple[float, float]:
        """The range that leaves out the outermost values, half of them on each side.

        As ONNX Runtime's PercentileCalibrater (asymmetric): edges of 2048 bins over ± the largest.
        """
        if not self.count:
            return 0.0, 0.0
        largest = np.float32(max(abs(self.low), abs(self.high)))
        edges = np.linspace(-largest, largest, _PERCENTILE_BINS + 1).astype(np.float32)
        cut = (100.0 - percentile) / 200.0
        high = self._edge(edges, self._highs, self.count - math.ceil(self.count * (1 - cut)))
        low = self._edge(edges, self._lows, math.ceil(self.count * cut) - 1)
        return max(low, self.low), min(high, self.high)

    def _edge(self, edges: NDArray[np.float32], tail: NDArray[np.float32], rank: int) -> float:
        """The lower edge of the bin that holds the value of that rank, counted from outside."""
        value = tail[min(max(rank, 0), len(tail) - 1)]
        index = int(np.searchsorted(edges, value, side="right")) - 1
        return float(edges[min(index, _PERCENTILE_BINS - 1)])

    def least_error(self, bits: int) -> tuple[float, float]:
        """The range whose squared error of quantization is least: rounding inside, clipping outside.

        The mean squared error of rounding to steps of width d is d²/12.
        """
        low, high = min(self.low, 0.0), max(self.high, 0.0)
        if not self.count or self._counts is None or low == high:
            return self.min_max()
        width = 2 * self._bound / _BINS
        centers = (np.arange(_BINS) + 0.5) * width - self._bound
        counts = self._counts.astype(np.float64)
        # Every range has an exact code for zero, so values that a ReLU sets to zero have no error.
        counts[_BINS // 2] = 0 if low == 0 else counts[_BINS // 2]
        above = _clipped(counts, centers, high * _SHRINKS)
        below = _clipped(counts[::-1], -centers[::-1], -low * _SHRINKS)
        step = (high * _SHRINKS[None, :] - low * _SHRINKS[:, None]) / (2**bits - 1)
        error = counts.sum() * step**2 / 12 + above[None, :] + below[:, None]
        row, column = np.unravel_index(int(np.argmin(error)), error.shape)
        return float(low * _SHRINKS[row]), float(high * _SHRINKS[column])


def _largest(
    kept: NDArray[np.float32], values: NDArray[np.float32], count: int, *, negated: bool = False
) -> NDArray[np.float32]:
    """The `count` largest of what was kept and of new values (or of the new values' negatives)."""
    if len(kept) == count:
        bound = kept[-1]
        new = -values[values < -bound] if negated else values[values > bound]
    else:
        new = -values if negated else values
    if not new.size:
        return kept
    merged = np.concatenate([kept, new])
    if merged.size > count:
        merged = np.partition(merged, merged.size - count)[merged.size - count :]
    return np.sort(merged)[::-1]


def _clipped(counts: NDArray[Any], centers: NDArray[Any], bounds: NDArray[Any]) -> NDArray[Any]:
    """Sum of counts · (center - bound)² over the centers beyond each bound."""
    sums = [np.append(np.cumsum((counts * centers**power)[::-1])[::-1], 0.0) for power in range(3)]
    first = np.searchsorted(centers, bounds, side="right")
    n, s, q = (total[first] for total in sums)
    error: NDArray[Any] = np.maximum(q - 2 * bounds * s + bounds**2 * n, 0.0)
    return error


def measure(
    model: str,
    frames: Iterable[Mapping[str, NDArray[Any]]],
    frame_count: int,
    *,
    percentile: float | None = None,
    histogram: bool = False,
    rows: Mapping[str, int | None] | None = None,
) -> dict[str, Observer]:
    """Run frames through a float model and observe every float tensor of it.

    Args:
        model: An ONNX file with static shapes.
        frames: For each frame, by input name, an array in the model's input shape and dtype.
        frame_count: The number of frames: it bounds how much of the tails is kept.
        percentile: Keep the tails that this percentile needs.
        histogram: Count values for `Observer.least_error`.
        rows: Tensors of which `Observer.peak` is wanted, with the axis of their rows.

    Returns:
        The observers by tensor name.
    """
    reduced = percentile is None and not histogram
    rows = rows or {}
    run_frame, sizes = _watched(model, rows, reduced=reduced)
    observers = {
        name: Observer(tail=_tail(size * frame_count, percentile), histogram=histogram)
        for name, size in sizes.items()
    }
    for feed in frames if observers else ():
        for name, values in feed.items():
            if name in observers:
                observers[name].see(values)
        if not run_frame(feed, observers):
            # Values that are not finite hide the range of the others: from now on, check each value.
            run_frame, _ = _watched(model, rows, reduced=False)
            run_frame(feed, observers)
    return observers


def _tail(count: int, percentile: float | None) -> int:
    return 0 if percentile is None else int(count * (100.0 - percentile) / 200.0) + 2


def _watched(
    model: str, rows: Mapping[str, int | None], *, reduced: bool
) -> tuple[Any, dict[str, int]]:
    """A function that runs one frame past the observers, and the number of elements of each tensor.

    With `reduced` the graph itself finds minimum and maximum, and activations are freed as usual.
    """
    import onnx_ir as ir

    from converter.sources.onnx_session import session_of

    graph_model = ir.load(model)
    graph = graph_model.graph
    values = [*graph.inputs, *(output for node in graph for output in node.outputs)]
    watched = [value for value in values if value.name and value.dtype == ir.DataType.FLOAT]
    sizes = {
        str(value.name): math.prod(int(size) for size in value.shape if isinstance(size, int))
        for value in watched
        if value.shape is not None
    }
    inner = [value for value in watched if not value.is_graph_input()]
    if not inner:  # such as an ArgMax alone: only the inputs have ranges
        return (lambda _feed, _observers: True), sizes
    del graph.outputs[:]
    if reduced:
        for index, value in enumerate(inner):
            for kind in ("Min", "Max"):
                node = ir.node(f"Reduce{kind}", [value], {"keepdims": 0})
                node.outputs[0].name = f"nnconvert:{kind}:{index}"
                node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
                node.outputs[0].shape = ir.Shape([])
                graph.append(node)
                graph.outputs.append(node.outputs[0])
        graph.outputs.extend(value for value in inner if value.name in rows)
    else:
        graph.outputs.extend(inner)
    path = f"{model}.watched.onnx"
    ir.save(graph_model, path)
    session = session_of(path)
    names = [str(value.name) for value in inner]

    def run_reduced(feed: Mapping[str, NDArray[Any]], observers: Mapping[str, Observer]) -> bool:
        found = session.run(None, feed)
        extremes, whole = np.asarray(found[: 2 * len(names)], np.float32), found[2 * len(names) :]
        if not np.isfinite(extremes).all():
            return False
        for index, name in enumerate(names):
            observers[name].see(extremes[2 * index : 2 * index + 2])
        for name, values in zip((name for name in names if name in rows), whole, strict=True):
            observers[name].see_rows(values, rows[name])
        return True

    def run_whole(feed: Mapping[str, NDArray[Any]], observers: Mapping[str, Observer]) -> bool:
        for chunk in _chunks(names, sizes):
            for name, found in zip(chunk, session.run(chunk, feed), strict=True):
                observers[name].see(found)
                if name in rows:
                    observers[name].see_rows(found, rows[name])
        return True

    return (run_reduced if reduced else run_whole), sizes


def _chunks(names: Sequence[str], sizes: Mapping[str, int]) -> list[list[str]]:
    """Names in groups whose tensors fit into memory together."""
    chunks: list[list[str]] = [[]]
    room = _CHUNK_BYTES
    for name in names:
        needed = 4 * sizes.get(name, 0)
        if needed > room and chunks[-1]:
            chunks.append([])
            room = _CHUNK_BYTES
        chunks[-1].append(name)
        room -= needed
    return chunks

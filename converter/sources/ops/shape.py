"""Operators that move numbers about: reshaping, cutting, joining, repeating.

Formulas: OpenVINO's operation specifications (opset1 to opset16).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import onnx_ir as ir

from converter.sources.ops.elementwise import Rule
from converter.sources.ops.emitter import Emitter, Inexpressible

_INT64: Final = np.iinfo(np.int64)


def reshape(e: Emitter) -> Sequence[ir.Value]:
    """Reshape-1; a zero copies the size only where `special_zero` says so."""
    wanted = e.known(1)
    if wanted is None or e.attributes["special_zero"] or (wanted != 0).all():
        return [e.op("Reshape", e.x(), e.vector(1))]
    return [e.op("Reshape", e.x(), e.vector(1), allowzero=1)]


def squeeze(e: Emitter) -> Sequence[ir.Value]:
    """Squeeze-1 and Squeeze-15; axes that are not of size one stay."""
    if not e.has(1):
        return [e.op("Squeeze", e.x())]
    axes, sizes = e.axes(1), e.sizes()
    axes = sorted({axis for axis in axes if sizes[axis] in (1, None)})
    return [e.squeeze(e.x(), *axes) if axes else e.op("Identity", e.x())]


def unsqueeze(e: Emitter) -> Sequence[ir.Value]:
    """Unsqueeze-1."""
    return [e.unsqueeze(e.x(), *e.ints_of(1))]


def transpose(e: Emitter) -> Sequence[ir.Value]:
    """Transpose-1; no order turns the axes round."""
    order = e.ints_of(1) or list(reversed(range(e.rank())))
    return [e.op("Transpose", e.x(), perm=order)]


def concat(e: Emitter) -> Sequence[ir.Value]:
    """Concat-1."""
    return [e.op("Concat", *e.inputs(), axis=int(e.attributes["axis"]))]


def split(e: Emitter) -> Sequence[ir.Value]:
    """Split-1: parts of the same size."""
    axis, count = e.axes(1)[0], int(e.attributes["num_splits"])
    sizes = [e.sizes()[axis]] if e.sizes()[axis] is None else [int(e.shape()[axis] / count)] * count
    if None in sizes:
        return e.ops("Split", count, e.x(), axis=axis)
    return e.ops("Split", count, e.x(), e.ints(*(int(size or 0) for size in sizes)), axis=axis)


def variadic_split(e: Emitter) -> Sequence[ir.Value]:
    """VariadicSplit-1: parts of given sizes, one of which may be the rest."""
    axis, sizes = e.axes(1)[0], e.ints_of(2)
    if -1 in sizes:
        whole = e.sizes()[axis]
        if whole is None:
            raise Inexpressible(" whose split axis is dynamic")
        sizes[sizes.index(-1)] = whole - sum(sizes) - 1
    return e.ops("Split", len(sizes), e.x(), e.ints(*sizes), axis=axis)


def strided_slice(e: Emitter) -> Sequence[ir.Value]:
    """StridedSlice-1: masks say where an end is the tensor's, an axis is new or goes, or many are kept.

    A bit in `new_axis_mask` wins over one in `shrink_axis_mask`, the ellipsis over both.
    """
    rank, count = e.rank(), int(e.node.input_value(1).get_shape()[0])
    begin_mask, end_mask, new, shrink, dots = (
        _mask(e, f"{name}_mask", count)
        for name in ("begin", "end", "new_axis", "shrink_axis", "ellipsis")
    )
    strides = e.ints_of(3) if e.has(3) else [1] * count
    begins, ends = e.known(1), e.known(2)
    if begins is None or ends is None:
        return [_computed_slice(e, begin_mask, end_mask, strides, any([*new, *shrink, *dots]))]
    taken = sum(not (new[i] or dots[i]) for i in range(count))
    axis, cut, added, gone, position = 0, [], [], [], 0
    for i in range(count):
        if dots[i]:
            kept = rank - taken
            axis, position = axis + kept, position + kept
        elif new[i]:
            added.append(position)
            position += 1
        elif shrink[i]:
            begin = int(begins[i])
            cut.append((begin, begin + 1 if begin != -1 else _INT64.max, axis, 1))
            gone.append(axis)
            axis += 1
        else:
            forward = strides[i] > 0
            first = _INT64.max if not forward else 0
            last = _INT64.max if forward else _INT64.min
            start = first if begin_mask[i] else int(begins[i])
            stop = last if end_mask[i] else int(ends[i])
            cut.append((start, stop, axis, strides[i]))
            axis, position = axis + 1, position + 1
    cut = [item for item in cut if (item[0], item[1], item[3]) != (0, _INT64.max, 1)]
    y = e.x()
    if cut:
        y = e.op("Slice", y, *(e.ints(*values) for values in zip(*cut, strict=True)))
    return [e.unsqueeze(e.squeeze(y, *gone), *added)]


def _mask(e: Emitter, name: str, count: int) -> list[bool]:
    """A mask with one bit for each end; missing bits are not set."""
    bits = [bool(bit) for bit in e.attributes.get(name) or []]
    return (bits + [False] * count)[:count]


def _computed_slice(
    e: Emitter, begin_mask: list[bool], end_mask: list[bool], strides: list[int], more: bool
) -> ir.Value:
    if more:
        raise Inexpressible(" whose ends are computed")
    ends = []
    for index, mask, whole in (
        (1, begin_mask, (0, _INT64.max)),
        (2, end_mask, (_INT64.max, _INT64.min)),
    ):
        neutral = [whole[0] if stride > 0 else whole[1] for stride in strides]
        given = e.vector(index)
        ends.append(
            e.op("Where", e.constant(mask, bool), e.ints(*neutral), given) if any(mask) else given
        )
    return e.op("Slice", e.x(), *ends, e.ints(*range(len(strides))), e.ints(*strides))


def slice_(e: Emitter) -> Sequence[ir.Value]:
    """Slice-8: start, stop, step, axes."""
    start, stop, step = (e.vector(index) for index in (1, 2, 3))
    count = int(e.node.input_value(1).get_shape()[0])
    axes = e.vector(4) if e.has(4) else e.ints(*range(count))
    return [e.op("Slice", e.x(), start, stop, axes, step)]


def pad(e: Emitter) -> Sequence[ir.Value]:
    """Pad-1 and Pad-12; what is mirrored and cut at once is gathered axis by axis."""
    begin, end = e.ints_of(1), e.ints_of(2)
    mode = str(e.attributes["pad_mode"]).lower()
    if mode == "constant":
        fill = e.x(3) if e.has(3) else e.like(0)
        return [e.op("Pad", e.x(), e.ints(*begin, *end), fill, mode="constant")]
    if mode in ("edge", "reflect") and min(begin + end) >= 0:
        return [e.op("Pad", e.x(), e.ints(*begin, *end), mode=mode)]
    y = e.x()
    for axis, (before, after) in enumerate(zip(begin, end, strict=True)):
        if before or after:
            places = np.pad(
                np.arange(e.shape()[axis]),
                (max(before, 0), max(after, 0)),
                mode,  # type: ignore[call-overload]
            )
            places = places[max(-before, 0) : len(places) + min(after, 0)]
            y = e.op("Gather", y, e.ints(*places), axis=axis)
    return [y if e.nodes else e.op("Identity", y)]


def tile(e: Emitter) -> Sequence[ir.Value]:
    """Tile-1; the shorter of shape and repeats gets ones in front."""
    rank, count = e.rank(), int(e.node.input_value(1).get_shape()[0])
    x = e.x()
    if count > rank:
        x = e.unsqueeze(x, *range(count - rank))
    repeats = e.vector(1)
    if count < rank:
        repeats = e.op("Concat", e.ints(*[1] * (rank - count)), repeats, axis=0)
    return [e.op("Tile", x, repeats)]


def broadcast(e: Emitter) -> Sequence[ir.Value]:
    """Broadcast-1 and Broadcast-3: by NumPy's rules, both ways, or with given axes ("none")."""
    mode = str(e.attributes["mode"]).lower()
    x = e.x()
    if mode in ("explicit", "none"):
        axes, rank = e.ints_of(2), e.node.get_output_partial_shape(0).rank.get_length()
        x = e.unsqueeze(x, *(axis for axis in range(rank) if axis not in axes))
    elif mode == "pdpd":
        raise Inexpressible(" in the mode pdpd")
    return [e.op("Expand", x, e.vector(1))]


def shape_of(e: Emitter) -> Sequence[ir.Value]:
    """ShapeOf-1 and ShapeOf-3."""
    return [e.cast(e.op("Shape", e.x()), e.out_dtype(), ir.DataType.INT64)]


def range_(e: Emitter) -> Sequence[ir.Value]:
    """Range-1 and Range-4."""
    ends = []
    for index in range(3):
        end = e.cast(e.x(index), e.out_dtype(), e.dtype(index))
        ends.append(end if e.rank(index) == 0 else e.op("Reshape", end, e.constant([], np.int64)))
    return [e.op("Range", *ends)]


def depth_to_space(e: Emitter) -> Sequence[ir.Value]:
    """DepthToSpace-1."""
    if e.rank() != 4:
        raise Inexpressible(f" of {e.rank()} axes")
    mode = "DCR" if e.attributes["mode"] == "blocks_first" else "CRD"
    return [e.op("DepthToSpace", e.x(), blocksize=int(e.attributes["block_size"]), mode=mode)]


def space_to_depth(e: Emitter) -> Sequence[ir.Value]:
    """SpaceToDepth-1; the channel before the block is a transposition."""
    size = int(e.attributes["block_size"])
    if e.rank() != 4:
        raise Inexpressible(f" of {e.rank()} axes")
    if e.attributes["mode"] == "blocks_first":
        return [e.op("SpaceToDepth", e.x(), blocksize=size)]
    n, c, h, w = e.shape()
    y = e.reshape(e.x(), [n, c, h // size, size, w // size, size])
    y = e.transpose(y, [0, 1, 3, 5, 2, 4])
    return [e.reshape(y, e.out_shape())]


def shuffle_channels(e: Emitter) -> Sequence[ir.Value]:
    """ShuffleChannels-1: the groups of an axis take turns."""
    shape, groups = e.shape(), int(e.attributes["group"])
    axis = int(e.attributes["axis"]) % len(shape)
    front, back = shape[:axis], shape[axis + 1 :]
    y = e.reshape(e.x(), [*front, groups, shape[axis] // groups, *back])
    order = list(range(len(shape) + 1))
    order[axis], order[axis + 1] = axis + 1, axis
    return [e.reshape(e.transpose(y, order), shape)]


def roll(e: Emitter) -> Sequence[ir.Value]:
    """Roll-7: what leaves an axis at its end comes in at its start."""
    y, shape = e.x(), e.shape()
    shifts, axes = e.ints_of(1), e.axes(2)
    shifts = shifts * len(axes) if len(shifts) == 1 else shifts
    for shift, axis in zip(shifts, axes, strict=True):
        cut = (shape[axis] - shift) % shape[axis]
        if cut:
            parts = e.slice(y, axis, cut, shape[axis]), e.slice(y, axis, 0, cut)
            y = e.op("Concat", *parts, axis=axis)
    return [y if e.nodes else e.op("Identity", y)]


def reverse(e: Emitter) -> Sequence[ir.Value]:
    """Reverse-1; the axes are numbers or a mask."""
    given = e.ints_of(1)
    if str(e.attributes["mode"]).lower() == "mask":
        given = [axis for axis, bit in enumerate(given) if bit]
    y = e.x()
    for axis in given:
        y = e.slice(y, axis, -1, _INT64.min, -1)
    return [y if given else e.op("Identity", y)]


def reverse_sequence(e: Emitter) -> Sequence[ir.Value]:
    """ReverseSequence-1."""
    batch, time = (int(e.attributes[key]) % e.rank() for key in ("batch_axis", "seq_axis"))
    if {batch, time} != {0, 1}:
        raise Inexpressible(f" over the axes {batch} and {time}")
    return [e.op("ReverseSequence", e.x(), e.i64(1), batch_axis=batch, time_axis=time)]


def space_to_batch(e: Emitter) -> Sequence[ir.Value]:
    """SpaceToBatch-2: block, pads before, pads behind, a number for each axis."""
    block, before, behind = (e.ints_of(index) for index in (1, 2, 3))
    y = e.op("Pad", e.x(), e.ints(*before, *behind), e.like(0), mode="constant")
    padded = np.add(e.shape(), np.add(before, behind))
    rank = len(block)
    y = e.reshape(y, [v for size, b in zip(padded, block, strict=True) for v in (int(size) // b, b)])
    y = e.transpose(y, [*range(1, 2 * rank, 2), *range(0, 2 * rank, 2)])
    return [e.reshape(y, e.out_shape())]


def batch_to_space(e: Emitter) -> Sequence[ir.Value]:
    """BatchToSpace-2: block, crops before, crops behind, a number for each axis."""
    block, before, behind = (e.ints_of(index) for index in (1, 2, 3))
    shape, rank = e.shape(), len(block)
    inner = [shape[0] // int(np.prod(block)), *shape[1:]]
    y = e.reshape(e.x(), [*block, *inner])
    y = e.transpose(y, [v for axis in range(rank) for v in (rank + axis, axis)])
    whole = [size * b for size, b in zip(inner, block, strict=True)]
    y = e.reshape(y, whole)
    for axis in range(rank):
        if before[axis] or behind[axis]:
            y = e.slice(y, axis, before[axis], whole[axis] - behind[axis])
    return [y]


RULES: Final[Mapping[str, Rule]] = {
    "BatchToSpace": batch_to_space,
    "Broadcast": broadcast,
    "Concat": concat,
    "DepthToSpace": depth_to_space,
    "Pad": pad,
    "Range": range_,
    "Reshape": reshape,
    "Reverse": reverse,
    "ReverseSequence": reverse_sequence,
    "Roll": roll,
    "ShapeOf": shape_of,
    "ShuffleChannels": shuffle_channels,
    "Slice": slice_,
    "SpaceToBatch": space_to_batch,
    "SpaceToDepth": space_to_depth,
    "Split": split,
    "Squeeze": squeeze,
    "StridedSlice": strided_slice,
    "Tile": tile,
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
    "VariadicSplit": variadic_split,
}

"""Resize as matrix products or as lookups: what a compiler's own resizing does not do.

Formulas: `converter.graph.resampling`, from ONNX's operator specification.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from converter.graph import resampling
from converter.graph.rewrite import (
    Builder,
    Rule,
    array_of,
    float_attribute,
    input_of,
    int_attribute,
    ints_attribute,
    static_shape,
    text_attribute,
)
from converter.graph.rules.common import move_axis, x_of

# Matrices whose numbers differ by less are one in float16.
_SAME: Final = 2.0**-12
# What the Myriad compiler's own stages resize: two axes behind channels.
_NATIVE_COORDINATES: Final = resampling.COORDINATES - {"half_pixel_symmetric", "tf_crop_and_resize"}


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis of a Resize.

    Attributes:
        size, new: Its length before and after.
        scale: By which coordinates are divided; new / size is another where a product was rounded.
        start, end: The region of `tf_crop_and_resize`.
    """

    axis: int
    size: int
    new: int
    scale: float
    start: float
    end: float


@dataclass(frozen=True, kw_only=True)
class Resize:
    """What a node asks for, of opset 11 or newer.

    Attributes:
        axes: Those that change.
        outside: The value beyond the ends, of `tf_crop_and_resize`; None takes the end's.
    """

    mode: str
    coordinates: str
    rounding: str
    antialias: bool
    cubic: float
    exclude_outside: bool
    axes: tuple[Axis, ...]
    outside: float | None

    def places(self, axis: Axis) -> resampling.Places:
        """Where each new place of an axis lies."""
        return resampling.coordinates(
            self.coordinates, axis.size, axis.new, axis.scale, axis.start, axis.end
        )

    def indices(self, axis: Axis) -> NDArray[np.int64]:
        """The element that each new place of an axis takes, in mode `nearest`."""
        return resampling.nearest(self.places(axis), self.rounding, axis.size, axis.scale)

    def matrix(self, axis: Axis) -> NDArray[np.float64]:
        """New size × old size, in the modes `linear` and `cubic`."""
        x, a = self.places(axis), self.cubic if self.mode == "cubic" else None
        if self.antialias:
            return resampling.antialiased(
                x, axis.size, axis.scale, a=a, exclude_outside=self.exclude_outside
            )
        if a is None:
            return resampling.linear(x, axis.size)
        return resampling.cubic(x, axis.size, a, exclude_outside=self.exclude_outside)


def read_resize(node: ir.Node) -> Resize | None:
    """What a Resize asks for; None if it is computed, or of an opset before 11."""
    x = static_shape(node.inputs[0])
    version = node.graph.opset_imports.get("", 0) if isinstance(node.graph, ir.Graph) else 0
    if x is None or version < 11:
        return None
    named = ints_attribute(node, "axes")
    over = list(range(len(x))) if named is None else [axis % len(x) for axis in named]
    asked = _scales_and_sizes(node, x, over)
    if asked is None:
        return None
    scales, sizes = asked
    coordinates = text_attribute(node, "coordinate_transformation_mode", "half_pixel")
    crops = coordinates == "tf_crop_and_resize"
    region = array_of(input_of(node, 1)) if crops else np.repeat([0.0, 1.0], len(over))
    if region is None or region.size != 2 * len(over):
        return None
    starts, ends = np.split(region.ravel().astype(float), 2)
    mode = text_attribute(node, "mode", "nearest")
    changes = any(x[axis] != new for axis, new in zip(over, sizes, strict=True))
    antialias = bool(int_attribute(node, "antialias", 0)) and mode != "nearest"
    # ONNX Runtime copies where no size changes, and an antialiased axis whose size does not. It leaves
    # an axis of scale 1 alone, whatever its region.
    axes = tuple(
        Axis(axis=axis, size=x[axis], new=new, scale=scale, start=start, end=end)
        for axis, new, scale, start, end in zip(over, sizes, scales, starts, ends, strict=True)
        if x[axis] != new or (scale != 1 and changes and not antialias)
    )
    return Resize(
        mode=mode,
        coordinates=coordinates,
        rounding=text_attribute(node, "nearest_mode", "round_prefer_floor"),
        antialias=antialias,
        cubic=float_attribute(node, "cubic_coeff_a", -0.75),
        exclude_outside=bool(int_attribute(node, "exclude_outside", 0)),
        axes=axes,
        outside=float_attribute(node, "extrapolation_value", 0.0) if crops else None,
    )


def _scales_and_sizes(
    node: ir.Node, x: Sequence[int], over: Sequence[int]
) -> tuple[list[float], list[int]] | None:
    """The scales and the new sizes of the axes `over`; None if they are computed."""
    given, wanted = array_of(input_of(node, 2)), array_of(input_of(node, 3))
    if given is not None and given.size:
        factors = given.ravel().astype(np.float32)
        sizes = [int(np.float32(x[axis]) * factor) for axis, factor in zip(over, factors, strict=True)]
        return [float(factor) for factor in factors], sizes
    if wanted is None:
        return None
    sizes = [int(size) for size in wanted.ravel()]
    ratios = [size / x[axis] for axis, size in zip(over, sizes, strict=True)]
    policy = text_attribute(node, "keep_aspect_ratio_policy", "stretch")
    if policy == "stretch":
        return ratios, sizes
    ratio = min(ratios) if policy == "not_larger" else max(ratios)
    return [ratio] * len(over), [math.floor(ratio * x[axis] + 0.5) for axis in over]


def resize_as_products(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Linear and cubic: a product with a constant matrix (new × old) along each axis that changes.

    All coordinates, antialiasing, `exclude_outside`, any axes and ranks; opset 11 and newer.
    """
    asked = read_resize(node)
    if asked is None or asked.mode == "nearest":
        return None
    y, shape = x_of(node), list(static_shape(x_of(node)) or ())
    # The axis that shrinks most comes first, so that the others have less to do.
    for axis in sorted(asked.axes, key=lambda axis: axis.new / axis.size):
        y = move_axis(b, y, shape, axis.axis, -1)
        y = b.op("MatMul", y, b.constant(asked.matrix(axis).T))
        shape[axis.axis] = axis.new
        y = move_axis(b, y, shape, axis.axis, -1, back=True)
    return [_with_outside(b, y, asked, len(shape))]


def resize_nearest_as_gather(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Nearest: a Gather of constant indices along each axis that changes.

    All coordinates and roundings, any axes and ranks; opset 11 and newer.
    """
    asked = read_resize(node)
    if asked is None or asked.mode != "nearest":
        return None
    y = x_of(node)
    for axis in sorted(asked.axes, key=lambda axis: axis.new / axis.size):
        y = b.op("Gather", y, b.ints(*asked.indices(axis)), axis=axis.axis)
    return [_with_outside(b, y, asked, len(static_shape(x_of(node)) or ()))]


def _with_outside(b: Builder, y: ir.Value, asked: Resize, rank: int) -> ir.Value:
    """The value of `tf_crop_and_resize` where one of the coordinates is beyond an end."""
    if asked.outside is None:
        return y
    inside = np.ones([1] * rank)
    for axis in asked.axes:
        x = asked.places(axis)
        within = (x >= 0) & (x <= axis.size - 1)
        inside = inside * within.reshape([-1 if index == axis.axis else 1 for index in range(rank)])
    if inside.all():
        return y
    y = b.op("Mul", y, b.constant(inside))
    return b.op("Add", y, b.constant(asked.outside * (1 - inside))) if asked.outside else y


def resize(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Products or lookups, but for what the Myriad compiler's own stages do right.

    These take two axes behind the channels, and scales that are new size over old size.
    """
    asked, shape = read_resize(node), static_shape(x_of(node))
    if asked is None or shape is None:
        return None
    if not _is_native(asked, len(shape)):
        return (resize_nearest_as_gather if asked.mode == "nearest" else resize_as_products)(node, b)
    if text_attribute(node, "keep_aspect_ratio_policy", "stretch") == "stretch":
        return None
    sizes = list(shape)
    for axis in asked.axes:
        sizes[axis.axis] = axis.new
    return [
        b.op(
            "Resize", x_of(node), None, None, b.ints(*sizes), mode=asked.mode,
            coordinate_transformation_mode=asked.coordinates, nearest_mode=asked.rounding,
        )
    ]  # fmt: skip


def _is_native(asked: Resize, rank: int) -> bool:
    if rank != 4 or any(axis.axis < 2 for axis in asked.axes):
        return False
    if asked.coordinates not in _NATIVE_COORDINATES or asked.mode not in ("nearest", "linear"):
        return False
    taken: Callable[[Axis], NDArray[np.float64] | NDArray[np.int64]]
    taken = asked.indices if asked.mode == "nearest" else replace(asked, antialias=False).matrix
    wanted = asked.indices if asked.mode == "nearest" else asked.matrix
    return all(
        np.allclose(wanted(axis), taken(replace(axis, scale=axis.new / axis.size)), rtol=0, atol=_SAME)
        for axis in asked.axes
    )


RULES: Final[Mapping[str, Rule]] = {
    "Resize": resize,
}

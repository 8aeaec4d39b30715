"""Resize in the forms that the HTP computes rightly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import onnx_ir as ir

from converter.graph.rewrite import Builder, static_shape
from converter.graph.rules.resize import (
    Resize,
    read_resize,
    resize_as_products,
    resize_nearest_as_gather,
)

# What the HTP interpolates over rightly, if the scales are new sizes over old ones.
_COORDINATES: Final = ("align_corners", "asymmetric", "half_pixel", "pytorch_half_pixel")
# Matrices whose numbers differ by less are one in float16.
_SAME: Final = 2.0**-12


def resize(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Products with matrices, or lookups, but for what the HTP's own resizing does.

    It takes new sizes over old ones for the scales, rounds to the nearest in one way only, and knows
    neither antialiasing nor regions.
    """
    asked, shape = read_resize(node), static_shape(node.inputs[0])
    if asked is None or shape is None or not asked.axes:
        return None
    if asked.mode != "nearest":
        return None if _is_interpolated(asked, len(shape)) else resize_as_products(node, b)
    if not _is_plane(asked, len(shape)):
        return resize_nearest_as_gather(node, b)
    floors = replace(asked, coordinates="asymmetric", rounding="floor")
    by_size = [replace(axis, scale=axis.new / axis.size) for axis in asked.axes]
    if asked.outside is not None or any(
        (asked.indices(axis) != floors.indices(other)).any()
        for axis, other in zip(asked.axes, by_size, strict=True)
    ):
        return resize_nearest_as_gather(node, b)
    if (asked.coordinates, asked.rounding) == ("asymmetric", "floor"):
        return None
    sizes = list(shape)
    for axis in asked.axes:
        sizes[axis.axis] = axis.new
    return [
        b.op(
            "Resize",
            node.inputs[0],
            None,
            None,
            b.ints(*sizes),
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
    ]


def _is_plane(asked: Resize, rank: int) -> bool:
    return rank == 4 and all(axis.axis >= 2 for axis in asked.axes)


def _is_interpolated(asked: Resize, rank: int) -> bool:
    """Whether the HTP's linear and cubic resizing compute what is asked for."""
    if not _is_plane(asked, rank) or asked.coordinates not in _COORDINATES or asked.exclude_outside:
        return False
    if asked.coordinates == "pytorch_half_pixel" and any(axis.new == 1 for axis in asked.axes):
        return False
    taken = replace(asked, antialias=False)
    return all(
        np.allclose(
            asked.matrix(axis),
            taken.matrix(replace(axis, scale=axis.new / axis.size)),
            rtol=0,
            atol=_SAME,
        )
        for axis in asked.axes
    )

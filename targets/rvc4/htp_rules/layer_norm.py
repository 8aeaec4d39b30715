"""Layer and root-mean-square normalization that a model writes out, in forms that float16 holds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from converter.graph.rewrite import Builder, static_shape
from converter.graph.rules import layer_norm
from converter.graph.rules.normalization import over_root_mean_square
from targets.rvc4.htp_rules.normalization import over_last_axis


def written_out(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """(x - mean) / √(mean((x - mean)²) + ε) as LayerNormalization, between Transposes where need be.

    Written out, the squares leave float16 where |x - mean| > 256, and 8 bits tell little of them.
    """
    found = layer_norm.layer_norm(node)
    shape = static_shape(found.x) if found else None
    if found is None or shape is None:
        return None
    rest = [axis for axis in range(len(shape)) if axis not in found.axes]
    perm = [*rest, *found.axes]
    moved = found.x if perm == sorted(perm) else b.op("Transpose", found.x, perm=perm)
    sizes = [shape[axis] for axis in perm]
    ones = b.constant(np.ones(math.prod(sizes[len(rest) :])))
    y = over_last_axis(b, moved, sizes, len(rest), [ones], found.epsilon)
    if moved is found.x:
        return [y]
    return [b.op("Transpose", y, perm=[int(place) for place in np.argsort(perm)])]


def root_mean_square(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """X / √(mean(x²) + ε) with squares that float16 holds: of x over its largest magnitude."""
    found = layer_norm.root_mean_square(node)
    if found is None or found.epsilon <= 0:
        return None
    return [over_root_mean_square(b, found.x, found.axes, found.epsilon)]

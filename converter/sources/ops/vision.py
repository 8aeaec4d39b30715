"""Operators of detectors: boxes, regions of interest, YOLO's own layers.

Formulas: OpenVINO's operation specifications (opset1 to opset9); for RegionYolo its source.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import onnx_ir as ir

from converter.sources.ops.elementwise import Rule
from converter.sources.ops.emitter import Emitter, Inexpressible


def grid_sample(e: Emitter) -> Sequence[ir.Value]:
    """GridSample-9."""
    a = e.attributes
    return [
        e.op(
            "GridSample",
            e.x(),
            e.x(1),
            align_corners=int(a["align_corners"]),
            mode=str(a["mode"]).lower(),
            padding_mode=str(a["padding_mode"]).lower(),
        )
    ]


def roi_align(e: Emitter) -> Sequence[ir.Value]:
    """ROIAlign-3, which does not move by half a pixel, and ROIAlign-9."""
    a = e.attributes
    aligned = str(a.get("aligned_mode", "asymmetric")).lower()
    modes = {"asymmetric": "output_half_pixel", "half_pixel_for_nn": "half_pixel"}
    if aligned not in modes or str(a["mode"]).lower() != "avg":
        raise Inexpressible(f" in the mode {a['mode']}, {aligned}")
    return [
        e.op(
            "RoiAlign",
            e.x(),
            e.x(1),
            e.i64(2),
            coordinate_transformation_mode=modes[aligned],
            mode="avg",
            output_height=int(a["pooled_h"]),
            output_width=int(a["pooled_w"]),
            sampling_ratio=int(a["sampling_ratio"]),
            spatial_scale=float(a["spatial_scale"]),
        )
    ]


def non_max_suppression(e: Emitter) -> Sequence[ir.Value]:
    """NonMaxSuppression-1, -3, -4 and, with the scores and the count, -5 and -9."""
    a = e.attributes
    if e.has(5) and (e.known(5) is None or e.scalar(5) != 0):
        raise Inexpressible(" that lessens scores instead of dropping boxes")
    limits = [e.op("Reshape", e.i64(2), e.ints(1))] if e.has(2) else [e.ints(0)]
    for index in (3, 4):
        limit = e.like(0.0) if not e.has(index) else e.cast(e.x(index), e.dtype(), e.dtype(index))
        limits.append(e.op("Reshape", limit, e.ints(1)))
    center = int(str(a["box_encoding"]).lower() == "center")
    found = e.op("NonMaxSuppression", e.x(), e.x(1), *limits, center_point_box=center)
    scores = e.unsqueeze(e.op("GatherND", e.x(1), found), 1)
    one_list = e.sizes(1)[:2] == [1, 1]  # sorted as it is
    if a["sort_result_descending"] and not one_list:
        count = e.slice(e.op("Shape", found), 0, 0, 1)
        flat = e.op("Reshape", scores, e.ints(-1))
        _, order = e.ops("TopK", 2, flat, count, axis=0, largest=1, sorted=1)
        found, scores = (e.op("Gather", value, order, axis=0) for value in (found, scores))
    indices = e.cast(found, e.out_dtype(), ir.DataType.INT64)
    if e.node.get_output_size() == 1:
        return [indices]
    count = e.slice(e.op("Shape", found), 0, 0, 1)
    places = e.cast(e.slice(found, 1, 0, 2), e.dtype(1))
    return [
        indices,
        e.op("Concat", places, scores, axis=1),
        e.cast(count, e.out_dtype(2), ir.DataType.INT64),
    ]


def roi_pooling(e: Emitter) -> Sequence[ir.Value]:
    """ROIPooling-1 and -2 of maxima."""
    a = e.attributes
    size = (
        [int(a[key]) for key in ("pooled_h", "pooled_w")] if "pooled_h" in a else list(a["output_size"])
    )
    if str(a["method"]).lower() != "max":
        raise Inexpressible(f" by the method {a['method']}")
    return [
        e.op("MaxRoiPool", e.x(), e.x(1), pooled_shape=size, spatial_scale=float(a["spatial_scale"]))
    ]


def region_yolo(e: Emitter) -> Sequence[ir.Value]:
    """RegionYolo-1: of each box x, y and the objectness, and the classes, through a sigmoid.

    With `do_softmax` (YOLOv2) the classes are weighed against each other instead.
    """
    a = e.attributes
    n, _, h, w = e.shape()
    coords, classes, softmax = int(a["coords"]), int(a["classes"]), bool(a["do_softmax"])
    boxes = int(a["num"]) if softmax else len(a["mask"])
    x = e.reshape(e.x(), [n, boxes, coords + 1 + classes, h, w])
    place, size, rest = e.ops("Split", 3, x, e.ints(2, coords - 2, 1 + classes), axis=2)
    parts = [e.op("Sigmoid", place), size]
    if softmax:
        sure, rest = e.ops("Split", 2, rest, e.ints(1, classes), axis=2)
        parts += [e.op("Sigmoid", sure), e.op("Softmax", rest, axis=2)]
    else:
        parts.append(e.op("Sigmoid", rest))
    return [e.reshape(e.op("Concat", *parts, axis=2), e.out_shape())]


def reorg_yolo(e: Emitter) -> Sequence[ir.Value]:
    """ReorgYolo-2: Darknet's reorganization, which reads the tensor as a larger and thinner one."""
    n, c, h, w = e.shape()
    given = e.attributes["stride"]
    stride = int(given if isinstance(given, int) else given[0])
    x = e.reshape(e.x(), [n, c // stride**2, h * stride, w * stride])
    return [e.reshape(e.op("SpaceToDepth", x, blocksize=stride), e.out_shape())]


RULES: Final[Mapping[str, Rule]] = {
    "GridSample": grid_sample,
    "NonMaxSuppression": non_max_suppression,
    "ROIAlign": roi_align,
    "ROIPooling": roi_pooling,
    "RegionYolo": region_yolo,
    "ReorgYolo": reorg_yolo,
}

"""The profile of a DLC: multiply-accumulates, sizes at their real width, what lives when."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from converter.profile import Profile, ProfiledNode
from targets.rvc4.dlc.islands import island_nodes
from targets.rvc4.dlc.read import STATIC, Dlc, DlcNode, DlcTensor, read_dlc_file

_BITS: Final = {"boolean": 8, "int4": 4, "uint4": 4}
_CONVERSIONS: Final = frozenset({"Cast", "Convert", "Dequantize", "Quantize"})
_CONVOLUTIONS: Final = frozenset({"Conv2d", "Conv3d", "DepthWiseConv2d"})
_TRANSPOSED: Final = frozenset({"TransposeConv2d", "TransposeConv3d"})
# Products whose factors the graph does not show.
_UNTOLD: Final = frozenset({"Gru", "Lstm"})


def profile_file(path: Path) -> Profile:
    """The profile of a DLC.

    Raises:
        ArchiveError: It is none, or is damaged.
    """
    return profile_of(read_dlc_file(path))


def profile_of(dlc: Dlc) -> Profile:
    """The profile of a DLC that was read."""
    tensors = {tensor.name: tensor for tensor in dlc.tensors}
    islands = {node.name for node in island_nodes(dlc)}
    integer = any(tensor.is_fixed_point for tensor in dlc.tensors)
    nodes = [_node(node, tensors, integer and node.name in islands) for node in dlc.nodes]
    peak, at = _peak(dlc, tensors)
    conversions = [node for node in nodes if node.unit == "conversion"]
    return Profile(
        kind="dlc",
        target="rvc4",
        nodes=nodes,
        weight_bytes=sum(_bytes(tensor) for tensor in dlc.tensors if tensor.kind == STATIC),
        peak_bytes=peak,
        peak_at=at,
        peak_is="computed: the tensors that live at a node, if nodes run in the file's order and "
        "nothing is tiled",
        counts={
            "conversions": len(conversions),
            "conversion_bytes": sum(node.read_bytes + node.written_bytes for node in conversions),
            "floating_point_islands": sum(node.unit == "float island" for node in nodes),
        },
    )


def _node(node: DlcNode, tensors: Mapping[str, DlcTensor], is_island: bool) -> ProfiledNode:
    reads = [tensors[name] for name in dict.fromkeys(node.inputs) if name in tensors]
    writes = [tensors[name] for name in node.outputs if name in tensors]
    computed = [tensor for tensor in (*reads, *writes) if tensor.kind != STATIC]
    unit = "float island" if is_island else "/".join(sorted({tensor.dtype for tensor in computed}))
    return ProfiledNode(
        name=node.name,
        operator=node.op,
        unit="conversion" if node.op in _CONVERSIONS else unit,
        macs=_macs(node, tensors),
        weight_bytes=sum(_bytes(tensor) for tensor in reads if tensor.kind == STATIC),
        read_bytes=sum(_bytes(tensor) for tensor in reads if tensor.kind != STATIC),
        written_bytes=sum(map(_bytes, writes)),
    )


def _macs(node: DlcNode, tensors: Mapping[str, DlcTensor]) -> int | None:
    """The multiply-accumulates of a node; weights are [height, width, in / groups, out], [out, in]."""
    if node.op in _UNTOLD:
        return None
    x, w, y = (
        tensors[names[place]].shape if len(names) > place and names[place] in tensors else ()
        for names, place in ((node.inputs, 0), (node.inputs, 1), (node.outputs, 0))
    )
    if node.op in _CONVOLUTIONS:
        return math.prod(y) * math.prod(w[:-1]) if w else None
    if node.op in _TRANSPOSED:
        # Each number of the input goes to a window of the output, in the channels of its group.
        return math.prod(x) * math.prod(w[:-2]) * w[-1] if w else None
    if node.op == "FullyConnected":
        return math.prod(y) * w[-1] if w else None
    if node.op == "MatMul":
        if len(x) < 2 or not y:
            return None
        # Whichever of its two axes is the output's, the other is summed over.
        return math.prod(y) * (x[-1] * x[-2] // y[-2]) if y[-2] else None
    return 0


def _peak(dlc: Dlc, tensors: Mapping[str, DlcTensor]) -> tuple[int, str]:
    """The most bytes that computed tensors take while a node runs, and the node."""
    last = {name: index for index, node in enumerate(dlc.nodes) for name in node.inputs}
    last |= {tensor.name: len(dlc.nodes) for tensor in dlc.outputs}
    alive = {tensor.name: _bytes(tensor) for tensor in dlc.inputs}
    peak, at = sum(alive.values()), ""
    for index, node in enumerate(dlc.nodes):
        alive |= {name: _bytes(tensors[name]) for name in node.outputs if name in tensors}
        now = sum(alive.values())
        if now > peak:
            peak, at = now, node.name
        alive = {name: size for name, size in alive.items() if last.get(name, -1) > index}
    return peak, at


def _bytes(tensor: DlcTensor) -> int:
    width = _BITS.get(tensor.dtype) or _width(tensor.dtype)
    return (math.prod(tensor.shape) * width + 7) // 8


def _width(dtype: str) -> int:
    """The bits that a type's name ends in; 0 for a type that is not known."""
    digits = "".join(letter for letter in dtype if letter.isdigit())
    return int(digits) if digits and not dtype.startswith("type") else 0

"""The profile of a blob: its stages, where they run, and the memory that its compiler laid out."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

import numpy as np

from converter.profile import Profile, ProfiledNode
from targets.rvc2.blob.graph import Buffer, Location, Stage, read_stages
from targets.rvc2.blob.hardware_words import HARDWARE, HardwareOperation, Unit
from targets.rvc2.blob.read import read_blob
from targets.rvc2.blob.stages.table import name_of
from targets.rvc2.blob.superblob import is_superblob, read_superblob

_BY_WEIGHTS: Final = frozenset({"Conv", "Im2ColConvolution", "DepthConv", "FC"})
_TRANSPOSED: Final = frozenset({"Deconvolution", "DepthDeconv"})
_UNTOLD: Final = frozenset({"GEMM", "LSTMCell", "ConvND", "RefConvolution"})
_COPIES: Final = frozenset({"Copy", "Convert", "Permute"})


def profile_file(path: Path) -> Profile:
    """The profile of a `.blob`, or of the base of a `.superblob`.

    Raises:
        ArchiveError: It is none, or is damaged.
    """
    data = path.read_bytes()
    kind = "blob"
    if is_superblob(data):
        kind, data = "superblob", read_superblob(data, path.name).base
    blob = read_blob(data, path.name)
    stages = read_stages(data, blob, path.name)
    nodes = [node for stage in stages for node in _nodes(stage)]
    near = [buffer for stage in stages for buffer in stage.buffers if buffer.location is Location.CMX]
    cmx = max(map(_end, near), default=0) - min((buffer.offset for buffer in near), default=0)
    copies = [node for node in nodes if node.operator in _COPIES]
    return Profile(
        kind=kind,
        target="rvc2",
        nodes=nodes,
        weight_bytes=len(data) - blob.constants_at,
        peak_bytes=blob.bss_bytes + cmx,
        peak_at="",
        peak_is="laid out by the compiler: the blob's memory outside of CMX, and what it uses of CMX",
        counts={
            "shave_cores": blob.shaves,
            "cmx_slices": blob.cmx_slices,
            "cmx_used_bytes": cmx,
            "ddr_used_bytes": blob.bss_bytes,
            "copies_and_conversions": len(copies),
            "copied_bytes": sum(node.read_bytes + node.written_bytes for node in copies),
            "stages_not_read": sum(bool(stage.problem) for stage in stages),
        },
    )


def _nodes(stage: Stage) -> list[ProfiledNode]:
    """A stage, and the one that runs beside it."""
    name = name_of(stage.type)
    by_location = dict.fromkeys(("weights", "tensors"), 0)
    for buffer in stage.buffers:
        if buffer.is_there:
            kind = "weights" if buffer.location is Location.CONSTANT else "tensors"
            by_location[kind] += _bytes(buffer)
    # What a stage reads and what it writes its type knows; the last tensor is its result mostly.
    tensors = [b for b in stage.buffers if b.is_there and b.location is not Location.CONSTANT]
    written = _bytes(tensors[_result(stage, tensors)]) if tensors else 0
    node = ProfiledNode(
        name=f"{name} ({stage.index})",
        operator=name,
        unit="hardware" if stage.type == HARDWARE else "SHAVE",
        macs=_macs(stage, name),
        weight_bytes=by_location["weights"],
        read_bytes=by_location["tensors"] - written,
        written_bytes=written,
    )
    beside = [] if stage.injected is None else _nodes(stage.injected)
    return [node, *beside]


def _result(stage: Stage, tensors: list[Buffer]) -> int:
    if stage.operations:
        return next(
            (i for i, b in enumerate(tensors) if b is stage.buffers[stage.operations[0].target]), -1
        )
    return 1 if len(tensors) > 1 else 0


def _macs(stage: Stage, name: str) -> int | None:
    if stage.operations:
        return sum(_operation_macs(stage, operation) for operation in stage.operations)
    if stage.problem or name in _UNTOLD or stage.type == HARDWARE:
        return None
    if name not in _BY_WEIGHTS | _TRANSPOSED:
        return 0
    weights = [b for b in stage.buffers if b.location is Location.CONSTANT]
    if not weights or len(stage.buffers) < 2:
        return None
    # A weight is used once for each pixel of the output, or of the input where it is spread out.
    image = stage.buffers[0 if name in _TRANSPOSED else 1]
    pixels = math.prod(_sizes(image).get(axis, 1) for axis in "DHW") * _sizes(image).get("N", 1)
    if name == "FC":
        pixels = 1
    return pixels * max(buffer.size for buffer in weights)


def _operation_macs(stage: Stage, operation: HardwareOperation) -> int:
    """As the unit is told: with the channels that the compiler added."""
    if operation.unit is Unit.POOL:
        return 0
    source, target = _sizes(stage.buffers[operation.source]), _sizes(stage.buffers[operation.target])
    pooled = math.prod(operation.pool_kernel) if operation.unit is Unit.CONVOLUTION_POOL else 1
    pixels = target.get("H", 1) * target.get("W", 1) * pooled
    return operation.channels * source.get("C", 1) * math.prod(operation.kernel) * pixels


def _sizes(buffer: Buffer) -> dict[str, int]:
    return dict(zip(buffer.order, buffer.shape, strict=True))


def _bytes(buffer: Buffer) -> int:
    return buffer.size * np.dtype(buffer.dtype).itemsize


def _end(buffer: Buffer) -> int:
    """Where a buffer ends in its memory."""
    reach = sum(
        (size - 1) * stride for size, stride in zip(buffer.shape, buffer.strides_bytes, strict=True)
    )
    return buffer.offset + reach + np.dtype(buffer.dtype).itemsize

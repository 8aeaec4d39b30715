"""Comparing a DLC with what was asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from converter.artifact import CompiledInput
from converter.config.tensors import infer_layout
from converter.errors import ToolError, from_findings
from converter.feeding import TargetInput
from converter.findings import Finding
from converter.model import Tensor
from targets.rvc4.dlc.read import STATIC, Dlc, DlcNode, DlcTensor
from targets.rvc4.parameters import Parameters

# The operators whose second input are weights, in QNN's words.
_WEIGHTED: Final = (
    "Conv2d",
    "Conv3d",
    "DepthWiseConv2d",
    "TransposeConv2d",
    "FullyConnected",
    "MatMul",
)
_MOVES: Final = ("Concat", "Reshape", "Squeeze", "StridedSlice", "Transpose")
_LISTED: Final = 5
# QNN's name for an input that is left out.
_ABSENT: Final = "null_tensor"


def checked(
    dlc: Dlc,
    parameters: Parameters,
    overridden: Sequence[str],
    floating: Collection[str] = (),
) -> None:
    """Check that a DLC is what was asked for: tensors, element types, bit widths.

    Args:
        overridden: Tensors whose encodings were given, which may have other bit widths.
        floating: Nodes that are computed in floating point in every mode.

    Raises:
        ToolError: It has a finding for each difference.
    """
    findings = [*io_findings(dlc, parameters, overridden)]
    findings += bit_width_findings(dlc, parameters, overridden, floating)
    if findings:
        raise from_findings(ToolError, "The compiled DLC is not what was asked for", findings)


def io_findings(
    dlc: Dlc,
    parameters: Parameters,
    overridden: Sequence[str],
    also: Mapping[str, str] | None = None,
) -> list[Finding]:
    """The differences of the inputs and outputs: names, shapes, element types, codes of frames.

    Args:
        also: Other allowed element types, by the ones asked for; not for frames, whose type is in the
            archive's config.
    """
    findings = []
    signatures: Sequence[tuple[str, Sequence[Tensor], Sequence[DlcTensor]]] = (
        ("input", parameters.inputs, _in_order(parameters.inputs, dlc.inputs)),
        ("output", parameters.outputs, _in_order(parameters.outputs, dlc.outputs)),
    )
    for kind, wanted, found in signatures:
        if [item.name for item in wanted] != [item.name for item in found]:
            findings.append(
                _differs(kind, f"{kind}s {[i.name for i in wanted]} became {[i.name for i in found]}.")
            )
            continue
        for one, other in zip(wanted, found, strict=True):
            is_frame = isinstance(one, TargetInput) and one.dai_type is not None
            good = None if is_frame else (also or {}).get(one.dtype)
            checks_type = (is_frame or one.name not in overridden) and good != other.dtype
            findings += _compare(one, other, checks_type=checks_type)
    for item in dlc.inputs:
        if item.is_fixed_point and [(e.scale, e.offset) for e in item.encodings] != [(1.0, 0)]:
            findings.append(_differs(item.name, "its codes are not the pixel values."))
    return findings


def _in_order(wanted: Sequence[Tensor], found: Sequence[DlcTensor]) -> Sequence[DlcTensor]:
    """Tensors in the order asked for, matched by name: tools list them in any order."""
    places = {item.name: index for index, item in enumerate(wanted)}
    return sorted(found, key=lambda item: places.get(item.name, len(places)))


def _compare(wanted: Tensor, found: DlcTensor, *, checks_type: bool) -> list[Finding]:
    findings = []
    if wanted.shape and tuple(wanted.shape) != found.shape:
        findings.append(
            _differs(found.name, f"{list(wanted.shape)} asked for, {list(found.shape)} compiled.")
        )
    # Integers that are no codes may come out narrower: the chip has 32 bits for them.
    narrower = {"int64": "int32", "uint64": "uint32"}.get(wanted.dtype)
    if checks_type and found.dtype not in (wanted.dtype, narrower):
        findings.append(_differs(found.name, f"{wanted.dtype} asked for, {found.dtype} compiled."))
    return findings


def bit_width_findings(
    dlc: Dlc,
    parameters: Parameters,
    overridden: Sequence[str],
    floating: Collection[str] = (),
) -> list[Finding]:
    """Weights and activations that have not the mode's number format; `where` says which of the two."""
    precision = parameters.precision
    tensors = {tensor.name: tensor for tensor in dlc.tensors}
    kind = "float16" if precision.is_float else None
    weights = {kind} if kind else {f"int{precision.weights}", f"uint{precision.weights}"}
    activations = {kind} if kind else {f"uint{precision.activations}", f"int{precision.activations}"}
    odd: Counter[tuple[str, str]] = Counter()
    example: dict[tuple[str, str], str] = {}
    for node in dlc.nodes:
        if node.op in _WEIGHTED and len(node.inputs) > 1:
            item = tensors.get(node.inputs[1])
            allowed = weights | activations if overridden else weights
            if item and item.kind == STATIC and item.dtype not in allowed:
                odd["weights", item.dtype] += 1
                example.setdefault(("weights", item.dtype), node.name)
    io = {item.name for item in (*dlc.inputs, *dlc.outputs)}
    islands = _inside(dlc, floating) | {tensor for tensor, _ in _narrowed(dlc)}
    for item in dlc.tensors:
        real = item.is_fixed_point or item.dtype.startswith("float")
        if item.kind == STATIC or item.name in io or not real or item.name in overridden:
            continue
        if item.name == _ABSENT or item.name in islands:
            continue
        if item.dtype not in activations and not _is_converted_input(item, dlc):
            odd["activations", item.dtype] += 1
            example.setdefault(("activations", item.dtype), item.name)
    return [
        _differs(
            what,
            f"{count} are {dtype} where {parameters.mode} has "
            f"{'/'.join(sorted(weights if what == 'weights' else activations))}, "
            f"{example[what, dtype]!r} for one.",
        )
        for (what, dtype), count in odd.most_common(_LISTED)
    ]


def _inside(dlc: Dlc, names: Collection[str]) -> set[str]:
    """Tensors that nodes of those names make, or that no other node reads.

    QNN splits a node into several and names them by its name and a suffix.
    """
    inside = [node for node in dlc.nodes if any(node.name.startswith(name) for name in names)]
    elsewhere = {name for node in dlc.nodes if node not in inside for name in node.inputs}
    read = {name for node in inside for name in node.inputs}
    floats = {tensor.name for tensor in dlc.tensors if tensor.dtype == "float32"}
    found = ({name for node in inside for name in node.outputs} | (read - elsewhere)) & floats
    for node in dlc.nodes:
        # Nodes that only move their results, before they are quantized again.
        if node.op in _MOVES and node.inputs[0] in found:
            found |= set(node.outputs) & floats
    return found


def _narrowed(dlc: Dlc) -> list[tuple[str, str]]:
    """8-bit tensors that QNN makes of 16-bit ones for the second factor of a product, with its node."""
    users: dict[str, list[DlcNode]] = {}
    for node in dlc.nodes:
        for name in node.inputs:
            users.setdefault(name, []).append(node)
    return [
        (output, users[output][0].name)
        for node in dlc.nodes
        if node.op == "Convert"
        for output in node.outputs
        if users.get(output) and all(user.op == "MatMul" for user in users[output])
    ]


def narrowed(dlc: Dlc, parameters: Parameters) -> list[str]:
    """The warnings about products that are computed with fewer bits than the mode has."""
    found = _narrowed(dlc) if parameters.precision.activations == 16 else []
    if not found:
        return []
    nodes = ", ".join(sorted({repr(node) for _, node in found}))
    return [
        f"The HTP multiplies two activations as 16 by 8 bits: the second factor of {nodes} has 8 bits "
        f"in {parameters.mode} too."
    ]


def _is_converted_input(item: DlcTensor, dlc: Dlc) -> bool:
    """Whether a tensor is a frame in its original bytes, or only moved, before it is converted."""
    inputs = {tensor.name for tensor in dlc.inputs}
    for node in dlc.nodes:
        if node.op in ("Transpose", "Reshape", "Gather", "Cast") and node.inputs[0] in inputs:
            inputs |= set(node.outputs)
    return item.name in inputs


def _differs(where: str, message: str) -> Finding:
    return Finding(code="rvc4.read-back", where=where, message=message)


def read_back(parameters: Parameters, dlc: Dlc) -> tuple[tuple[CompiledInput, ...], tuple[Tensor, ...]]:
    """Inputs and outputs as the DLC has them, with the layouts that were declared."""
    inputs = tuple(
        CompiledInput(
            name=item.name,
            dtype=found.dtype,
            shape=found.shape,
            layout=item.layout,
            preprocessing=item.remaining,
            dai_type=item.dai_type,
        )
        for item, found in zip(parameters.inputs, _in_order(parameters.inputs, dlc.inputs), strict=True)
    )
    outputs = tuple(
        Tensor(
            name=item.name,
            dtype=found.dtype,
            shape=found.shape,
            layout=item.layout if len(item.layout) == len(found.shape) else infer_layout(found.shape),
        )
        for item, found in zip(
            parameters.outputs, _in_order(parameters.outputs, dlc.outputs), strict=True
        )
    )
    return inputs, outputs

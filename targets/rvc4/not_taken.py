"""What QNN will refuse, as far as the source's nodes tell before anything is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from converter.findings import Finding, Severity
from converter.graph.nested import nested
from converter.graph.unfixed import NO_LENGTH, OF_SHAPES, RANDOM, REASONS

if TYPE_CHECKING:
    import onnx

_NONE: Final = "QNN has no such operator"
# Operators that QNN has in no form, and that no rule writes out.
_REASONS: Final[Mapping[str, str]] = {
    **REASONS,
    "Range": NO_LENGTH,
    **dict.fromkeys(
        (
            *("AffineGrid", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor"),
            *("DFT", "DeformConv", "Det", "MaxRoiPool", "MaxUnpool", "STFT"),
        ),
        _NONE,
    ),
}
NEVER_TAKEN: Final = frozenset(_REASONS)
_INDICES: Final = "its second output, the indices, is read, and QNN has none"


def foreseen(path: Path, severity: Severity) -> tuple[Finding, ...]:
    """The nodes that QNN has nothing for; forms of an operator are hardly looked at.

    Args:
        path: The source's ONNX file.
        severity: Of the findings.
    """
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    needed = _needed(graph)
    inputs = {value.name for value in graph.input} - {tensor.name for tensor in graph.initializer}
    computed, found = set(inputs), []
    for node in graph.node:
        takes = [name for name in dict.fromkeys(node.input) if name in computed]
        is_random = _REASONS.get(node.op_type) == RANDOM
        if not (takes or is_random) or node.op_type in OF_SHAPES:
            continue
        computed.update(name for name in node.output if name)
        reason = _reason(node, needed) if node.domain in ("", "ai.onnx") else ""
        if reason and not needed.isdisjoint(node.output):
            takes = [] if inputs.issuperset(takes) or is_random else takes
            found.append(_finding(node, takes, reason, severity))
    return tuple(found)


def _reason(node: onnx.NodeProto, needed: set[str]) -> str:
    if node.op_type == "MaxPool" and len(node.output) > 1 and node.output[1] in needed:
        return _INDICES
    return _REASONS.get(node.op_type, "")


def _needed(graph: onnx.GraphProto) -> set[str]:
    """The tensors that outputs depend on; what a branch or a loop body reads is among them."""
    needed = {value.name for value in graph.output}
    for node in reversed(graph.node):
        if needed.isdisjoint(node.output):
            continue
        needed.update(name for name in node.input if name)
        for inner in nested(node):
            needed.update(name for one in inner.node for name in one.input if name)
    return needed


def _finding(node: onnx.NodeProto, takes: Sequence[str], reason: str, severity: Severity) -> Finding:
    names = ", ".join(map(repr, takes))
    remedy = f"Cut the model at {names} (--outputs), and compute the rest on the host."
    return Finding(
        code="rvc4.refused-node",
        severity=severity,
        where=f"node {(node.name or node.output[0])!r} ({node.op_type})",
        message=f"RVC4 cannot run it: {reason}.",
        remedy=remedy if takes else "Export the model without it; compute it on the host.",
    )

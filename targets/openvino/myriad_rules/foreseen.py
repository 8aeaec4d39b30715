"""What the Myriad compiler will refuse, as far as the source's nodes tell before anything is made."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from converter.findings import Finding, Severity
from targets.openvino.myriad_rules.supported import NO_RULE_HELPS, READ, Wire, cut_remedy, reason_of

# Operators of ONNX that are written out before any rule of an operator is looked up: control flow,
# sequences, and what is quantized.
_WRITTEN_OUT: Final = frozenset(
    {
        *("ConcatFromSequence", "If", "Loop", "Optional", "OptionalGetElement", "OptionalHasElement"),
        *("Scan", "SequenceAt", "SequenceConstruct", "SequenceEmpty", "SequenceErase"),
        *("SequenceInsert", "SequenceLength", "SequenceMap", "SplitToSequence"),
    }
)
# Of these a node's own result is known, whatever the numbers are that it takes.
_OF_SHAPES: Final = ("Shape", "Size")


def foreseen(path: Path, severity: Severity) -> tuple[Finding, ...]:
    """The nodes that no rule writes with what the compiler has; forms of an operator are not looked at.

    Args:
        path: The source's ONNX file.
        severity: Of the findings.
    """
    import onnx

    from converter.graph.rules.table import DECOMPOSITIONS, FIRST
    from targets.openvino.myriad_rules.lstm import RULES as LSTM

    taken = READ.union(_WRITTEN_OUT, DECOMPOSITIONS, LSTM, *FIRST) - NO_RULE_HELPS
    graph = onnx.load(path, load_external_data=False).graph
    computed = {value.name for value in graph.input} - {tensor.name for tensor in graph.initializer}
    wires, refused = [], []
    for node in graph.node:
        takes = tuple(name for name in node.input if name in computed)
        if not takes or node.op_type in _OF_SHAPES:
            continue
        computed.update(name for name in node.output if name)
        wires.append(
            Wire(node.name or node.output[0], node.op_type, takes, tuple(filter(None, node.output)))
        )
        if node.domain in ("", "ai.onnx") and node.op_type not in taken:
            refused.append(wires[-1])
    remedy = cut_remedy(wires, {wire.name for wire in refused})
    return tuple(
        Finding(
            code="rvc2.operator",
            severity=severity,
            where=f"node {wire.name!r} ({wire.operator})",
            message=f"RVC2 cannot run it: {reason_of(wire.operator)}.",
            remedy=remedy,
        )
        for wire in refused
    )

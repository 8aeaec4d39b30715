"""What a user is told of the nodes that QNN does not take, read from its log."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from converter.errors import ModelError, ToolError, from_findings
from converter.findings import Finding
from converter.verification.trace import source_name
from targets.rvc4.dlc.islands import MARK

# In the verbose log, below "Validation FAILED for N nodes in …": the node, and in the next line why.
_REASON: Final = re.compile(
    r"Operator type: (?P<op>\S+) Node name: (?P<name>.*?) Node index: \d+\s+REASON : (?P<reason>.*)"
)
# A node that ONNX Runtime put in, such as a transposition, and the tensor that it reads.
_READS: Final = re.compile(
    r"Onnx node name: \[(?P<name>.*?)\] onnx node type(?:(?!Onnx node name).)*?node_inputs:\s*"
    r"name=(?P<tensor>.*?) id=",
    re.DOTALL,
)
_QUANTIZERS: Final = ("QuantizeLinear", "DequantizeLinear")
# What the provider made of the nodes that it took, and looks at again.
_ITS_OWN: Final = "QNNExecutionProvider_"
# What QNN says in place of a reason.
_NO_REASON: Final = ("Failed to add node",)
# It names the operator and the node again.
_NO_SUCH: Final = re.compile(r"^Operators of type .* are not supported by QNN EP.*")
_REMEDIES: Final = (
    ("float", "rvc4.quantization_mode=INT8_STANDARD"),
    ("per-channel", "rvc4.use_per_channel_quantization=false"),
)


def _makers(network: str, text: str) -> dict[str, tuple[str, str]]:
    """The node (operator, name) that makes what a Quantize/Dequantize pair, or a node put in, reads."""
    import onnx

    graph = onnx.load(network, load_external_data=False).graph
    makers = {output: node for node in graph.node for output in node.output}
    # QNN calls a tensor of codes after the node that makes them.
    makers |= {node.name: node for node in graph.node if node.op_type in _QUANTIZERS}

    def maker_of(tensor: str) -> tuple[str, str] | None:
        maker = makers.get(tensor)
        while maker is not None and maker.op_type in _QUANTIZERS:
            maker = makers.get(maker.input[0])
        return None if maker is None else (maker.op_type, maker.name)

    read = {node.name: node.input[0] for node in graph.node if node.op_type in _QUANTIZERS}
    known = {node.name for node in graph.node}
    for match in _READS.finditer(text):
        if match["name"] not in known and MARK.sub("", match["name"]) not in known:
            read.setdefault(match["name"], match["tensor"])
    return {name: owner for name, tensor in read.items() if (owner := maker_of(tensor)) is not None}


def refusal(nodes: Sequence[tuple[str, str]], error: str, text: str, network: str) -> Exception:
    """What a user is told of a network that QNN does not take whole.

    Args:
        nodes: Operators and names of those that are not on QNN.
        error: What ONNX Runtime said.
        text: QNN's log, with reasons.
        network: The file, to find the node that a Quantize/Dequantize pair belongs to.
    """
    reasons = {
        match["name"].strip(): (match["op"], " ".join(match["reason"].split()))
        for match in _REASON.finditer(text)
        if not match["op"].startswith(_ITS_OWN)
    }
    made = _makers(network, text)
    # QNN refuses a quantized node together with the pair behind it, which has the reason.
    found: dict[tuple[str, str], str] = {}
    named = [(op, name, reasons.pop(name, ("", ""))[1]) for op, name in nodes]
    named += [(op, name, reason) for name, (op, reason) in reasons.items()]
    for op, name, reason in named:
        is_put_in = MARK.search(name) is not None and name in made
        owner = made.get(name) if op in _QUANTIZERS or is_put_in else (op, MARK.sub("", name))
        if owner is not None and (reason or op not in _QUANTIZERS):
            found[owner] = found.get(owner) or reason
    findings = [refused_node(op, name, reason) for (op, name), reason in found.items()]
    if not findings and nodes:
        findings = [refused_node(op, name, "") for op, name in nodes[:1]]
    if not findings:
        return ToolError(f"QNN failed on this network: {error or 'no word'}.", tool_text=text)
    refusal = from_findings(ModelError, "QNN does not take the whole model", findings)
    refusal.tool_text = text[-1_000_000:]
    return refusal


def refused_node(op: str, name: str, reason: str) -> Finding:
    """What a user is told of a node, by its name in the source."""
    reason = _NO_SUCH.sub("QNN has no such operator", reason)
    said = reason if len(reason) < 300 else reason[:299] + "…"
    if said.rstrip(".") in _NO_REASON:
        said = ""
    low = said.lower()
    remedy = next((f"Try {option}." for word, option in _REMEDIES if word in low), "")
    name = source_name(MARK.sub("", name))
    return Finding(
        code="rvc4.refused-node",
        where=f"node {name!r} ({op})" if op else "network",
        message=f"the HTP does not take it{': ' if said else ''}{said.rstrip('.')}.",
        remedy=remedy or "Cut the model in front of it, or export it with another operator.",
    )

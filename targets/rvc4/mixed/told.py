"""What a user is told of wide nodes and outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from converter.findings import few
from targets.rvc4.quantization.outputs import DEPTHAI_16_BITS


def nodes_told(nodes: Sequence[str], count: int) -> str:
    """How many of a network's nodes are wide, and which."""
    return f"{len(nodes)} of {count} nodes have 16-bit activations: {few(nodes)}."


def outputs_told(asked: Sequence[str], types: Mapping[str, str]) -> list[str]:
    """The warnings about outputs that leave in 16 bits because they were asked to be wide.

    Args:
        types: The element types of the network's outputs.
    """
    return [
        f"Output {name!r} has 16 bits and leaves as uint16, which DepthAI {DEPTHAI_16_BITS} and newer "
        "reads; for an older one, rvc4.output_type=float32."
        for name, dtype in types.items()
        if name in asked and dtype == "uint16"
    ]

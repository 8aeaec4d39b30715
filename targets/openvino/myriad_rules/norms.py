"""Layer normalization that a model writes out, as the rules write the operator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import onnx_ir as ir

from converter.graph.rewrite import Builder, Rule
from converter.graph.rules.layer_norm import written_out
from converter.graph.rules.normalization import normalized


def layer_norm(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """In a form that float16 holds, and that OpenVINO makes no MVN of.

    That stage of the compiler adds epsilon outside of the root (`instance_normalization`), and takes
    neither one, two nor five axes, nor a mean over channels with rows behind them.
    """
    found = written_out(node)
    if found is None:
        return None
    return [normalized(b, found.centred, found.axes, found.epsilon)]


RULES: Final[Mapping[str, Rule]] = {"Div": layer_norm, "Mul": layer_norm}

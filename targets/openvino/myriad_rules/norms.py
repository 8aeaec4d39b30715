"""Layer and root-mean-square normalization that a model writes out, as the rules have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import onnx_ir as ir

from converter.graph.rewrite import Builder, Rule
from converter.graph.rules import layer_norm
from converter.graph.rules.normalization import over_root_mean_square


def written_out(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """In a form that float16 holds, and that OpenVINO makes no MVN of.

    That stage of the compiler adds epsilon outside of the root (`instance_normalization`), and takes
    neither one, two nor five axes, nor a mean over channels with rows behind them.
    """
    found = layer_norm.root_mean_square(node)  # of differences from a mean, too
    if found is None or found.epsilon <= 0:
        return None
    return [over_root_mean_square(b, found.y, found.axes, found.epsilon)]


RULES: Final[Mapping[str, Rule]] = {"Div": written_out, "Mul": written_out}

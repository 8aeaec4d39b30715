"""Rewritten graphs beside their sources: what the tests of rules compare with ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from numpy.typing import NDArray
from onnx_ir.passes import Sequential, common

from converter.graph.rewrite import Rewrite, Rule
from converter.graph.rules import table
from converter.graph.simplify import infer_shapes

Arrays = Mapping[str, NDArray[Any]]


def rewritten(
    model: onnx.ModelProto, groups: Sequence[Mapping[str, Rule]] | None = None
) -> onnx.ModelProto:
    """A model after groups of rules, by default all that no target adds to; valid in its opset."""
    edited = infer_shapes(ir.from_proto(model))
    passes = Sequential(
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        *map(Rewrite, (*table.FIRST, table.DECOMPOSITIONS) if groups is None else groups),
        common.RemoveUnusedNodesPass(),
    )
    return ir.to_proto(passes(edited).model)


def run(model: onnx.ModelProto, feeds: Arrays) -> list[NDArray[Any]]:
    """The outputs on ONNX Runtime, which computes every node as it stands."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, {name: np.asarray(value) for name, value in feeds.items()}))


def operators(model: onnx.ModelProto) -> set[str]:
    """The operators of a graph."""
    return {node.op_type for node in model.graph.node}


def assert_equal(
    wanted: Sequence[NDArray[Any]], found: Sequence[NDArray[Any]], limit: float = 1e-5
) -> None:
    """Outputs agree: floats within a part of the largest, the rest exactly, NaN and infinities alike."""
    assert len(wanted) == len(found)
    for one, other in zip(wanted, found, strict=True):
        assert one.shape == other.shape
        assert one.dtype == other.dtype
        if one.dtype.kind != "f":
            np.testing.assert_array_equal(one, other)
            continue
        finite = one[np.isfinite(one)]
        size = float(np.abs(finite).max(initial=1e-6))
        np.testing.assert_allclose(other, one, rtol=0, atol=limit * size)


def assert_same(
    model: onnx.ModelProto, gone: str, feeds: Arrays, limit: float = 1e-5
) -> onnx.ModelProto:
    """After all rules an operator is gone, and the model computes what it did."""
    after = rewritten(model)
    assert gone not in operators(after)
    assert_equal(run(model, feeds), run(after, feeds), limit)
    return after

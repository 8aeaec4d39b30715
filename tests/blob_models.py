"""Models of one operator, or of a few, for the execution of blobs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.sources import make_model

Case = Callable[[], onnx.ModelProto]
IMAGE = (1, 6, 11, 13)


def ints(*values: int) -> Any:
    return np.array(values, np.int64)


class Constants:
    """Constants drawn from one seed, so that a case is the same in every run."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(3)

    def normal(self, *shape: int, scale: float = 1.0) -> Any:
        return self.rng.normal(0, scale, shape).astype(np.float32)


def one(
    kind: str,
    shapes: Sequence[Sequence[int]] = (IMAGE,),
    constants: Sequence[Any] = (),
    *,
    outputs: int = 1,
    used: Sequence[int] = (0,),
    opset: int = 13,
    cast: bool = False,
    after: str = "",
    dtypes: Sequence[int] = (),
    **attributes: Any,
) -> onnx.ModelProto:
    """A model of one node.

    Args:
        constants: Arrays behind the inputs; None for an input that is left out.
        used: Which of the node's outputs the model has.
        cast: Whether the outputs are cast to floats.
        after: A unary operator behind the node.
        dtypes: Of the inputs, where they are no floats.
    """
    names = [f"x{number}" for number in range(len(shapes))]
    given = list(names)
    weights = []
    for number, values in enumerate(constants):
        given.append("" if values is None else f"c{number}")
        if values is not None:
            weights.append(numpy_helper.from_array(np.asarray(values), f"c{number}"))
    made = [f"y{number}" if number in used else "" for number in range(outputs)]
    nodes = [helper.make_node(kind, given, made, name="node", **attributes)]
    results = []
    for name in (made[number] for number in used):
        if after:
            nodes.append(helper.make_node(after, [name], [f"{name}a"], name=f"after_{name}"))
            name = f"{name}a"
        if cast:
            nodes.append(
                helper.make_node(
                    "Cast", [name], [f"{name}f"], to=TensorProto.FLOAT, name=f"cast_{name}"
                )
            )
            name = f"{name}f"
        results.append(name)
    kinds = [*dtypes, *[TensorProto.FLOAT] * (len(shapes) - len(dtypes))]
    return whole(
        nodes, dict(zip(names, zip(shapes, kinds, strict=True), strict=True)), weights, results, opset
    )


def whole(
    nodes: Sequence[onnx.NodeProto],
    inputs: dict[str, tuple[Sequence[int], int]],
    weights: Sequence[onnx.TensorProto],
    outputs: Sequence[str],
    opset: int = 13,
) -> onnx.ModelProto:
    """A model whose outputs' shapes and types are inferred."""
    graph = helper.make_graph(
        list(nodes),
        "case",
        [helper.make_tensor_value_info(name, kind, shape) for name, (shape, kind) in inputs.items()],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        list(weights),
    )
    return make_model(graph, opset)

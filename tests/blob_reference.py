"""What a stage of a blob should compute: a node on ONNX Runtime, and how far a result may be off."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from tests.blobs import run_source

# Half a unit in the last place of float16 is 4.9e-4 of a value; sums in float32 add far less.
LIMIT = 6e-4


def drawn(seed: int, *shape: int, scale: float = 1.0) -> NDArray[np.float16]:
    return np.random.default_rng(seed).normal(0, scale, shape).astype(np.float16)


def reference(
    kind: str, *arrays: Any, opset: int = 13, outputs: int = 1, **attributes: Any
) -> list[NDArray[Any]]:
    """A node on ONNX Runtime; the first array is the input, the others are constants, None is left out."""
    given = ["" if array is None else f"a{n}" for n, array in enumerate(arrays)]
    wide = [None if a is None else np.asarray(a) for a in arrays]
    wide = [a.astype(np.float32) if a is not None and a.dtype == np.float16 else a for a in wide]
    names = [f"r{number}" for number in range(outputs)]
    graph = helper.make_graph(
        [helper.make_node(kind, given, names, **attributes)],
        "one",
        [
            helper.make_tensor_value_info(
                "a0", helper.np_dtype_to_tensor_dtype(wide[0].dtype), wide[0].shape
            )
        ],
        [onnx.ValueInfoProto(name=name) for name in names],
        [numpy_helper.from_array(a, f"a{n}") for n, a in enumerate(wide) if n and a is not None],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return list(run_source(onnx.shape_inference.infer_shapes(model), {"a0": wide[0]}).values())


def assert_same(found: NDArray[Any], wanted: NDArray[Any], limit: float = LIMIT) -> None:
    assert found.shape == wanted.shape
    assert np.isfinite(found).all()
    difference = np.abs(found.astype(np.float64) - wanted).max()
    assert difference <= limit * max(1, float(np.abs(wanted).max())), difference

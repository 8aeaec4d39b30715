"""Sparse constants, as initializers and as nodes, are written out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from converter.errors import ArchiveError, ConvertError, ModelError
from converter.graph.sparse import has_sparse, write_out
from converter.run import plan
from tests.blobs import run_source
from tests.sources import make_model
from tests.space import space


def model_of(dense: np.ndarray, *, node: bool, by_axis: bool, inside: bool = False) -> onnx.ModelProto:
    """x * w, with w sparse; `inside` in both branches of an If."""
    places = np.argwhere(dense) if by_axis else np.flatnonzero(dense)
    values = numpy_helper.from_array(dense[dense != 0], "w")
    sparse = helper.make_sparse_tensor(
        values, numpy_helper.from_array(places.astype(np.int64), "places"), dense.shape
    )
    nodes = [helper.make_node("Mul", ["x", "w"], ["y"], "mul")]
    if node:
        nodes.insert(0, helper.make_node("Constant", [], ["w"], "w", sparse_value=sparse))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, dense.shape) for name in "xy"]
    graph = helper.make_graph(nodes, "g", [] if inside else ends[:1], ends[1:])
    if not node:
        graph.sparse_initializer.append(sparse)
    if inside:
        branch = helper.make_node("If", ["c"], ["y"], then_branch=graph, else_branch=graph)
        yes = numpy_helper.from_array(np.array(True), "c")
        graph = helper.make_graph([branch], "g", ends[:1], ends[1:], [yes])
    return make_model(graph, 17)


@space(30)
@given(
    shape=st.lists(st.integers(1, 3), min_size=1, max_size=4),
    node=st.booleans(),
    by_axis=st.booleans(),
    inside=st.booleans(),
)
def test_they_are_the_same_numbers(shape: list[int], node: bool, by_axis: bool, inside: bool) -> None:
    rng = np.random.default_rng(1)
    dense = (rng.integers(0, 2, shape) * rng.normal(0, 1, shape)).astype(np.float32)
    model = model_of(dense, node=node, by_axis=by_axis, inside=inside)
    assert has_sparse(model.graph)
    write_out(model.graph)
    assert not has_sparse(model.graph)
    x = rng.normal(0, 1, shape).astype(np.float32)
    np.testing.assert_array_equal(run_source(model, {"x": x})["y"], x * dense)


def test_a_branch_that_is_nothing_else_has_one() -> None:
    dense = np.array([0, 2, 0], np.float32)
    sparse = model_of(dense, node=False, by_axis=False).graph.sparse_initializer[0]
    end = helper.make_tensor_value_info("w", TensorProto.FLOAT, [3])
    branch = helper.make_graph([], "b", [], [end])
    branch.sparse_initializer.append(sparse)
    node = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    graph = helper.make_graph([node], "g", [], [])
    assert has_sparse(graph)
    write_out(graph)
    (tensor,) = graph.node[0].attribute[0].g.initializer
    assert numpy_helper.to_array(tensor).tolist() == dense.tolist()
    assert not has_sparse(graph)


@pytest.mark.parametrize("node", [False, True])
def test_a_model_with_them_is_planned(node: bool, tmp_path: Path) -> None:
    dense = np.diag(np.arange(4, dtype=np.float32))
    onnx.save(model_of(dense, node=node, by_axis=False), tmp_path / "net.onnx")
    assert plan(tmp_path / "net.onnx", "rvc2").model.inputs[0].shape == (4, 4)


@pytest.mark.parametrize(
    ("dims", "kind", "said"),
    [
        ([1 << 20, 1 << 20], ModelError, "has more than 1,073,741,824 bytes"),
        ([1, 1], ArchiveError, "is damaged"),
        ([-1, 3], ArchiveError, "is damaged"),
    ],
)
def test_one_that_cannot_be_written_out_is_refused(
    dims: list[int], kind: type[ConvertError], said: str
) -> None:
    model = model_of(np.eye(2, dtype=np.float32), node=False, by_axis=False)
    model.graph.sparse_initializer[0].dims[:] = dims
    with pytest.raises(kind, match=f"sparse constant 'w'.*{said}"):
        write_out(model.graph)

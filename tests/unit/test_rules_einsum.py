"""Einsum and products of many axes written out, compared with ONNX Runtime on the source."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from hypothesis import given
from hypothesis import strategies as st

from converter.graph.rules.einsum import MATMUL_RULES
from converter.graph.simplify import infer_shapes
from tests.blob_models import one
from tests.rewriting import assert_equal, assert_same, rewritten, run
from tests.space import space

SIZES = dict(zip("abcdef", (2, 3, 4, 5, 2, 3), strict=True))


def drawn(shape: Any, seed: int) -> Any:
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


@st.composite
def equations(draw: st.DrawFn) -> tuple[str, list[list[int]]]:
    """An equation of one to three operands, with repeated labels and dots, and the shapes."""
    count = draw(st.integers(1, 3))
    labels = st.lists(st.sampled_from("abcde"), min_size=1, max_size=3)
    terms = ["".join(draw(labels)) for _ in range(count)]
    if count > 1:  # ONNX Runtime takes the diagonal of a single operand only
        terms = ["".join(dict.fromkeys(term)) for term in terms]
    used = sorted(set("".join(terms)))
    result = "".join(draw(st.permutations(draw(st.lists(st.sampled_from(used), unique=True)))))
    shapes = [[SIZES[label] for label in term] for term in terms]
    if draw(st.booleans()):
        dots = draw(st.sampled_from([[2], [1, 3]]))
        for index in range(count):
            lead = [draw(st.sampled_from([1, size])) for size in dots]
            terms[index], shapes[index] = "..." + terms[index], lead + shapes[index]
        result = "..." + result
    elif draw(st.booleans()):
        return ",".join(terms), shapes
    return f"{','.join(terms)}->{result}", shapes


@space(120)
@given(drawn_equation=equations(), opset=st.sampled_from([12, 13]))
def test_equations(drawn_equation: tuple[str, list[list[int]]], opset: int) -> None:
    equation, shapes = drawn_equation
    model = one("Einsum", shapes, equation=equation, opset=opset)
    feeds = {f"x{index}": drawn(shape, index) for index, shape in enumerate(shapes)}
    after = assert_same(model, "Einsum", feeds)
    assert all(ranks(after)[name] <= 4 for node in after.graph.node if node.op_type == "MatMul"
               for name in node.input)  # fmt: skip


def ranks(model: onnx.ModelProto) -> dict[str, int]:
    import onnx_ir as ir

    known = infer_shapes(ir.from_proto(model)).graph
    values = [*known.inputs, *known.initializers.values(), *[v for n in known for v in n.outputs]]
    return {str(value.name): len(value.shape) for value in values if value.shape is not None}


@space(60)
@given(
    lead=st.lists(st.tuples(st.sampled_from([1, 2, 3]), st.integers(0, 2)), min_size=3, max_size=4),
    missing=st.integers(0, 4),
    vector=st.sampled_from(["", "left", "right"]),
    constant=st.booleans(),
    swapped=st.booleans(),
)
def test_products_of_many_axes(
    lead: list[tuple[int, int]], missing: int, vector: str, constant: bool, swapped: bool
) -> None:
    """Of each leading axis both sides have all, or one side has one element."""
    leads = [[1 if one == side + 1 else size for size, one in lead] for side in range(2)]
    shapes = [[*leads[0], 4, 5], [*leads[1][missing:], 5, 3]]
    if vector == "right":
        shapes[1] = [5]
    if vector == "left" or swapped:
        shapes = [[*leads[1][missing:], 3, 5], [*leads[0], 5, 4]]
    if vector == "left":
        shapes[0] = [5]
    model = one("MatMul", shapes[:1], [drawn(shapes[1], 1)]) if constant else one("MatMul", shapes)
    feeds = {f"x{index}": drawn(shape, index) for index, shape in enumerate(shapes[: 2 - constant])}
    after = rewritten(model, [MATMUL_RULES])
    assert_equal(run(model, feeds), run(after, feeds))
    found = ranks(after)
    (product,) = (node for node in after.graph.node if node.op_type == "MatMul")
    assert all(found[name] <= 4 for name in product.input)

"""What a TFLite file says of itself: names of edges, operators that nobody reads, casts that stop."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from ai_edge_litert.interpreter import Interpreter
from hypothesis import given
from hypothesis import strategies as st

from converter.sources.facts import facts_of
from converter.sources.import_file import import_file
from converter.sources.tflite import edited
from converter.sources.tflite_edit import names_of
from converter.sources.tflite_operators import unreadable
from tests.blobs import run_source
from tests.space import space
from tests.tflite_models import FLOAT32, Lite, schema


@space(60)
@given(
    names=st.lists(st.sampled_from([None, b"", b"x", b"y", b"Identity"]), min_size=1, max_size=6),
    data=st.data(),
)
def test_every_edge_has_a_name_of_its_own(names: list[bytes | None], data: st.DataObject) -> None:
    places = st.lists(st.integers(0, len(names) - 1), unique=True)
    inputs, outputs = data.draw(places), data.draw(places)
    found = names_of(names, inputs, outputs)
    edges = {*inputs, *outputs}
    assert len({found[index] for index in edges}) == len(edges)
    assert all(found)
    alone = [index for index in edges if names[index] and Counter(names)[names[index]] == 1]
    assert all(found[index].encode() == names[index] for index in alone)


def two_outputs_of_one_name() -> Lite:
    net = Lite()
    x, a, b = net.tensor("x", [1, 4]), net.tensor("Identity", [1, 4]), net.tensor("Identity", [1, 4])
    net.op(schema.BuiltinOperator.RELU, [x], [a])
    net.op(schema.BuiltinOperator.TANH, [x], [b])
    net.graph.inputs, net.graph.outputs = [x], [a, b]
    return net


def test_outputs_of_one_name_are_told_apart_by_their_places(tmp_path: Path) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(two_outputs_of_one_name().data())
    facts = facts_of(path, "net.tflite")
    assert [item.name for item in facts.outputs] == ["Identity", "output_1"]
    path.write_bytes(edited(path.read_bytes(), "net.tflite", {}))
    made = Interpreter(str(path)).get_output_details()
    assert [item["name"] for item in made] == ["Identity", "output_1"]


def test_custom_operators_are_told_with_where_they_come_from() -> None:
    found = list(unreadable(Counter(), Counter({"FlexErf": 2, "Magic": 1})))
    assert [(where, problem) for _, where, problem in found] == [
        ("operator 'FlexErf' (2 times)", "is one of TensorFlow's (SELECT_TF_OPS)."),
        ("operator 'Magic'", "is a custom one, outside TFLite's own."),
    ]


@pytest.mark.parametrize(
    ("kind", "dtype"), [(3, np.uint8), (9, np.int8), (7, np.int16), (16, np.uint16), (2, np.int32)]
)
def test_a_cast_to_whole_numbers_stops_at_their_ends(
    kind: int, dtype: type[np.generic], tmp_path: Path
) -> None:
    values = np.array([[-70000.5, -300.7, -129.5, -3.7, -0.5, 3.7, 300.2, 70000.5]], np.float32)
    net, options = Lite(), schema.CastOptionsT()
    options.inDataType, options.outDataType = FLOAT32, kind
    x, y = net.tensor("x", values.shape), net.tensor("y", values.shape, kind=kind)
    net.op(schema.BuiltinOperator.CAST, [x], [y], options, schema.BuiltinOptions.CastOptions)
    net.graph.inputs, net.graph.outputs = [x], [y]
    source, target = tmp_path / "net.tflite", tmp_path / "net.onnx"
    source.write_bytes(net.data())
    lite = Interpreter(str(source))
    lite.allocate_tensors()
    lite.set_tensor(x, values)
    lite.invoke()
    import_file(str(source), str(target), ["x"], ["y"], {})
    found = run_source(onnx.load(target), {"x": values})["y"]
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, lite.get_tensor(y))

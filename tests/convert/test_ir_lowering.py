"""An IR in the words of OpenVINO 2022.3: every rule against ONNX Runtime, and what no rule can say.

That the real 2022.3 reads the result and computes the same is another test's: it has another Python.
"""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from converter.errors import ModelError
from tests.ir_models import feeds_of, lowered_models
from tests.sources import make_model, one_op_model

ov = pytest.importorskip("openvino")

from openvino import opset14, opset15, opset16  # noqa: E402

from targets.openvino.lower import lower  # noqa: E402
from targets.openvino.lower_rules import RULES  # noqa: E402

MODELS = lowered_models()
# 2026's own plugin differs from ONNX in these; what 2022.3 gets is what 2026 computes.
OWN_RESULT = {name for name in MODELS if "antialias" in name}


@pytest.fixture(scope="module")
def run() -> Callable[[Any, dict[str, np.ndarray]], list[np.ndarray]]:
    core = ov.Core()
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": 1,
    }

    def run(model: Any, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        compiled = core.compile_model(model, "CPU", settings)
        return list(compiled(feeds).values())

    return run


@functools.cache
def converted(name: str) -> Any:
    return ov.convert_model(io.BytesIO(MODELS[name].SerializeToString()))


def read(model: onnx.ModelProto, folder: Path) -> Any:
    onnx.save(model, folder / "model.onnx")
    return ov.convert_model(folder / "model.onnx")


def layers(model: Any, folder: Path) -> list[ElementTree.Element]:
    ov.save_model(model, folder / "model.xml", compress_to_fp16=False)
    return list(ElementTree.parse(folder / "model.xml").getroot().iter("layer"))


def assert_known(model: Any, folder: Path) -> None:
    """Every layer of the file is of opsets 1 to 10 and has a name that no other has."""
    found = layers(model, folder)
    young = [
        layer.attrib
        for layer in found
        if not re.fullmatch(r"opset([1-9]|10)", layer.get("version", ""))
    ]
    names = [layer.get("name") for layer in found]
    assert not young
    assert len(names) == len(set(names))


def assert_close(found: list[np.ndarray], wanted: list[np.ndarray]) -> None:
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * max(np.abs(other).max(), 1e-9))


@pytest.mark.parametrize("name", MODELS)
def test_a_lowered_operator_computes_what_onnx_does(name, run, tmp_path):
    source, feeds = MODELS[name], feeds_of(MODELS[name])
    model = converted(name).clone()
    if name in OWN_RESULT:
        wanted = run(model, feeds)
    else:
        session = onnxruntime.InferenceSession(
            source.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        wanted = session.run(None, feeds)
    lower(model)
    assert_known(model, tmp_path)
    assert_close(run(model, feeds), wanted)


def test_every_rule_has_a_model():
    """Of `tests.ir_models`, or of below where today no ONNX model leads to the operator."""
    needed = set().union(*(kinds(name) for name in MODELS))
    elsewhere = {("AvgPool", "opset14"), ("MaxPool", "opset14")}
    elsewhere |= {("SliceScatter", "opset15"), ("Squeeze", "opset15")}
    elsewhere |= {("BitwiseAnd", "opset13"), ("BitwiseOr", "opset13"), ("BitwiseXor", "opset13")}
    assert set(RULES) - needed == elsewhere
    assert all(kinds(name) & set(RULES) for name in MODELS)


def kinds(name: str) -> set[tuple[str, str]]:
    infos = [node.get_type_info() for node in converted(name).get_ordered_ops()]
    return {(info.name, info.version_id) for info in infos}


def parameter(*shape: int, kind: Any = np.float32) -> Any:
    return opset15.parameter(list(shape), kind, name="x")


def model_of(node: Any, *inputs: Any) -> Any:
    return ov.Model(list(node.outputs()), list(inputs))


def max_pool(rounding: str) -> Any:
    x = parameter(1, 2, 6, 7)
    return model_of(opset14.max_pool(x, [2, 2], [1, 1], [1, 1], [1, 1], [2, 3], rounding), x)


def avg_pool(rounding: str, exclude: bool) -> Any:
    x = parameter(1, 2, 6, 7)
    return model_of(opset14.avg_pool(x, [2, 2], [1, 1], [1, 1], [2, 3], exclude, rounding), x)


def slice_scatter() -> Any:
    x = parameter(3, 6)
    updates = np.arange(6, dtype=np.float32).reshape(3, 2)
    ends = [np.array([value], np.int64) for value in (-1, 1, -3, 1)]
    return model_of(opset15.slice_scatter(x, updates, *ends), x)


def squeeze(skip: bool) -> Any:
    x = parameter(1, 3, 1)
    return model_of(opset15.squeeze(x, np.array([0, 1] if skip else [0], np.int64), skip), x)


def causal_attention() -> Any:
    x = parameter(1, 2, 5, 4)
    return model_of(opset15.scaled_dot_product_attention(x, x, x, causal=True), x)


BUILT = {
    "max_pool_floor": lambda: max_pool("floor"),
    "max_pool_ceil": lambda: max_pool("ceil"),
    "max_pool_ceil_torch": lambda: max_pool("ceil_torch"),
    "avg_pool": lambda: avg_pool("floor", False),
    "avg_pool_ceil_torch": lambda: avg_pool("ceil_torch", False),
    "avg_pool_ceil_torch_exclude": lambda: avg_pool("ceil_torch", True),
    "slice_scatter": slice_scatter,
    "squeeze": lambda: squeeze(False),
    "squeeze_skip": lambda: squeeze(True),
    "causal_attention": causal_attention,
}


@pytest.mark.parametrize("name", BUILT)
def test_what_no_onnx_model_leads_to_computes_the_same_as_before(name, run, tmp_path):
    model = BUILT[name]()
    shape = list(model.inputs[0].shape)
    feeds = {
        0: np.random.default_rng(3).permutation(np.linspace(-2, 2, int(np.prod(shape)))).reshape(shape)
    }
    wanted = run(model, feeds)
    lower(model)
    assert_known(model, tmp_path)
    assert_close(run(model, feeds), wanted)


@pytest.mark.parametrize("op", ["and", "or", "xor", "not"])
def test_bitwise_operators_on_booleans_are_the_logical_ones(op, run, tmp_path):
    x, y = parameter(4, kind=bool), opset15.parameter([4], bool, name="y")
    node = getattr(opset15, f"bitwise_{op}")(*([x] if op == "not" else [x, y]))
    model = model_of(node, *([x] if op == "not" else [x, y]))
    feeds = {0: np.array([0, 0, 1, 1], bool), 1: np.array([0, 1, 0, 1], bool)}
    lower(model)
    assert_known(model, tmp_path)
    wanted = {"and": [0, 0, 0, 1], "or": [0, 1, 1, 1], "xor": [0, 1, 1, 0], "not": [1, 1, 0, 0]}[op]
    given = {key: value for key, value in feeds.items() if key < len(model.inputs)}
    assert run(model, given)[0].astype(int).tolist() == wanted


def test_a_replaced_operator_leaves_its_names(tmp_path):
    model = converted("top_k_1").clone()
    before = [set(output.get_names()) for output in model.outputs]
    friendly = {
        output.get_node().input_value(0).get_node().get_friendly_name() for output in model.outputs
    }
    lower(model)
    assert [set(output.get_names()) for output in model.outputs] == before
    after = {
        output.get_node().input_value(0).get_node().get_friendly_name() for output in model.outputs
    }
    assert after == friendly
    found = next(layer for layer in layers(model, tmp_path) if layer.get("type") == "TopK")
    assert [port.get("names") for port in found.findall("output/port")] == ["y0", "y1"]


def test_every_output_has_its_name_in_the_file(tmp_path):
    """An input that is an output, one tensor that is two outputs, and an `Identity` inside."""
    shape = [1, 3]
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], name="relu"),
        helper.make_node("Identity", ["a"], ["b"], name="same"),
        helper.make_node("Identity", ["x"], ["c"], name="input"),
        helper.make_node("Max", ["x"], ["d"], name="only"),
        helper.make_node("Identity", ["a"], ["inner"], name="inner"),
        helper.make_node("Sigmoid", ["inner"], ["e"], name="last"),
        helper.make_node("Tanh", ["x"], ["hidden"], name="hidden"),
        helper.make_node("Identity", ["hidden"], ["f"], name="named"),
    ]
    graph = helper.make_graph(
        nodes,
        "names",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "abcdef"],
    )
    model = read(make_model(graph), tmp_path)
    lower(model)
    assert_known(model, tmp_path)
    named = [
        (name, layer.get("name"))
        for layer in layers(model, tmp_path)
        for port in layer.findall("output/port")
        for name in port.get("names", "").split(",")
    ]
    # Each name but once, and of a layer that is called the same.
    assert sorted(pair for pair in named if pair[0] in "xabcdef") == [
        (name, name) for name in "abcdefx"
    ]


def test_an_identity_before_an_output_leaves_a_node_of_its_name(tmp_path):
    x = parameter(3)
    node = opset16.identity(opset15.relu(x))
    node.set_friendly_name("the output")
    model = model_of(node, x)
    lower(model)
    assert_known(model, tmp_path)
    assert model.outputs[0].get_node().input_value(0).get_node().get_friendly_name() == "the output"


def test_a_tensor_inside_keeps_its_name(tmp_path):
    nodes = [
        helper.make_node("Pad", ["x", "pads"], ["padded"], mode="edge"),
        helper.make_node("Relu", ["padded"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "inside",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [6])],
        [onnx.numpy_helper.from_array(np.array([1, 2], np.int64), "pads")],
    )
    model = read(make_model(graph, 18), tmp_path)
    lower(model)
    (found,) = [layer for layer in layers(model, tmp_path) if layer.get("type") == "Pad"]
    assert [port.get("names") for port in found.findall("output/port")] == ["padded"]


@pytest.mark.parametrize("name", ["gather_elements", "scatter_elements_none", "scatter_nd_none"])
def test_known_indices_count_from_the_start(name):
    """2022.3 reads and writes beside the tensor otherwise; today's plugin does not mind."""
    model = converted(name).clone()
    lower(model)
    (node,) = [
        node
        for node in model.get_ordered_ops()
        if node.get_type_name().startswith(("Gather", "Scatter"))
    ]
    assert (node.input_value(1).get_node().get_data() >= 0).all()


def test_pads_that_follow_from_shapes_are_known(tmp_path, run):
    x = parameter(4)
    half = opset15.divide(opset15.shape_of(x, "i64"), np.array([2], np.int64))
    model = model_of(opset15.pad(x, half, half, "symmetric"), x)
    lower(model)
    assert_known(model, tmp_path)
    assert run(model, {0: np.arange(4, dtype=np.float32)})[0].tolist() == [1, 0, 0, 1, 2, 3, 3, 2]


def test_two_results_of_one_tensor_are_parted(tmp_path, run):
    x = parameter(1, 3)
    x.output(0).set_names({"x"})
    relu = opset15.relu(x)
    results = [opset15.result(relu) for _ in range(2)]
    for result, name in zip(results, "ab", strict=True):
        result.output(0).set_names({name})
    model = ov.Model(results, [x])
    lower(model)
    names = [
        port.get("names") for layer in layers(model, tmp_path) for port in layer.findall("output/port")
    ]
    assert sorted(filter(None, names)) == ["a", "b", "x"]
    one, other = run(model, {"x": np.array([[-1, 0, 2]], np.float32)})
    assert one.tolist() == other.tolist() == [[0, 0, 2]]


def test_small_weights_stay_small(tmp_path):
    """Weights of 8 bits that are widened in the graph are not folded into wide ones on the way."""
    x = parameter(1, 8)
    weights = opset15.constant(np.arange(24, dtype=np.int8).reshape(8, 3))
    scaled = opset15.multiply(opset15.convert(weights, "f32"), np.array(0.1, np.float32))
    pads = np.array([0, 1], np.int64)
    model = model_of(opset15.pad(opset15.matmul(x, scaled, False, False), pads, pads, "edge"), x)
    lower(model)
    kinds = {
        layer.find("data").get("element_type")
        for layer in layers(model, tmp_path)
        if layer.get("type") == "Const"
    }
    assert "i8" in kinds


def test_a_graph_inside_an_operator_is_lowered_with_the_rest(tmp_path, run):
    def branch(name: str, value: float) -> onnx.GraphProto:
        pads = onnx.numpy_helper.from_array(np.array([1, 2], np.int64), f"{name}_pads")
        fill = onnx.numpy_helper.from_array(np.array(value, np.float32), f"{name}_fill")
        node = helper.make_node("Pad", ["x", f"{name}_pads", f"{name}_fill"], [name], mode="constant")
        output = helper.make_tensor_value_info(name, TensorProto.FLOAT, [6])
        return helper.make_graph([node], name, [], [output], [pads, fill])

    graph = helper.make_graph(
        [
            helper.make_node(
                "If", ["flag"], ["y"], then_branch=branch("yes", 1), else_branch=branch("no", 2)
            )
        ],
        "choice",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [3]),
            helper.make_tensor_value_info("flag", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [6])],
    )
    model = read(make_model(graph, 18), tmp_path)
    lower(model)
    assert_known(model, tmp_path)
    for flag, fill in ((True, 1), (False, 2)):
        found = run(model, {"x": np.array([7, 8, 9], np.float32), "flag": np.array(flag)})[0]
        assert found.tolist() == [fill, 7, 8, 9, fill, fill]


def bitwise_and() -> Any:
    x = parameter(4, kind=np.int32)
    node = opset15.bitwise_and(x, np.array([1], np.int32))
    node.set_friendly_name("bits")
    return model_of(node, x)


def pillow() -> Any:
    x = parameter(1, 2, 4, 4)
    node = opset15.interpolate(
        x, np.array([8, 8], np.int64), "bilinear_pillow", "sizes", axes=np.array([2, 3])
    )
    return model_of(node, x)


def computed_pads() -> Any:
    x, pads = parameter(4), opset15.parameter([1], np.int64, name="pads")
    return model_of(opset15.pad(x, pads, pads, "edge"), x, pads)


def dynamic_groups() -> Any:
    x = opset15.parameter([-1, 4, 3], np.float32)
    channels = np.ones(4, np.float32)
    return model_of(opset15.group_normalization(x, channels, channels, 2, 1e-5), x)


def mean_scatter() -> Any:
    x = parameter(4)
    where = np.array([1, 1], np.int64)
    values = np.ones(2, np.float32)
    return model_of(opset15.scatter_elements_update(x, where, values, 0, "mean"), x)


def scatter_without_initial() -> Any:
    x = parameter(4)
    where = np.array([1, 1], np.int64)
    values = np.ones(2, np.float32)
    return model_of(opset15.scatter_elements_update(x, where, values, 0, "sum", False), x)


def shifted() -> Any:
    x = parameter(4, kind=np.int32)
    return model_of(opset15.bitwise_left_shift(x, np.array([1], np.int32)), x)


def young_type() -> Any:
    x = parameter(4)
    return model_of(opset15.convert(x, ov.Type.f8e4m3), x)


REFUSED = {
    "BitwiseAnd (opset13) on integers": bitwise_and,
    "BitwiseLeftShift (opset15)": shifted,
    "Interpolate (opset11) with the mode bilinear_pillow": pillow,
    "Pad (opset12) whose input 1 is computed": computed_pads,
    "GroupNormalization (opset12) of a dynamic shape": dynamic_groups,
    "ScatterElementsUpdate (opset12) with the reduction mean": mean_scatter,
    "ScatterElementsUpdate (opset12) that ignores the initial values": scatter_without_initial,
    "element type f8e4m3": young_type,
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_said_is_told(what):
    with pytest.raises(
        ModelError, match=re.escape(f"{what}, which OpenVINO 2022.3 does not know.")
    ) as caught:
        lower(REFUSED[what]())
    (finding,) = caught.value.findings
    assert finding.where
    assert "ONNX model" in finding.remedy


def test_a_finding_names_the_operator():
    with pytest.raises(ModelError) as caught:
        lower(bitwise_and())
    assert str(caught.value).startswith("bits: is BitwiseAnd (opset13) on integers")


def test_all_problems_are_told_at_once_and_each_but_once():
    x = parameter(4, kind=np.int32)
    one = np.array([1], np.int32)
    node = opset15.bitwise_xor(opset15.bitwise_and(opset15.bitwise_and(x, one), one), one)
    with pytest.raises(ModelError) as caught:
        lower(model_of(node, x))
    assert [finding.code for finding in caught.value.findings] == ["ir.operator"] * 2
    assert "2 problems" in str(caught.value)


def test_an_onnx_model_that_is_beyond_it(tmp_path):
    model = one_op_model("BitwiseAnd", {"x": (4,), "y": (4,)}, opset=18)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.INT32
    with pytest.raises(ModelError, match="BitwiseAnd"):
        lower(read(model, tmp_path))

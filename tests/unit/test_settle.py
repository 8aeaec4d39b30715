"""Frozen inputs, other fixed shapes, names and float edges: before anything else reads the model."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from converter import convert, lint, open_archive, plan
from converter.errors import ConvertError, ModelError, UsageError
from converter.graph.frozen import reshape_inputs
from converter.options.resolve import Layer, Options, resolve
from converter.sources.facts import facts_of
from converter.sources.runtimes import open_runtime
from converter.sources.settle import settle
from converter.sources.settled_archive import settled_archive
from tests.quantized import Net
from tests.sources import config_for, conv_model, write_folder
from tests.space import space
from tests.tflite_models import Lite, lstm
from tests.unit.test_init import nnconvert

F = np.float32
TFLITE = Path(__file__).parents[1] / "data" / "tflite"


def options(**values: Any) -> Options:
    return resolve(
        [Layer(origin="test", values={f"inputs.{name}": value for name, value in values.items()})]
    )


def frozen(value: Any, name: str = "k") -> Options:
    return options(**{name: {"frozen_value": value}})


def sum_model(kind: int, shape: list[int | str]) -> onnx.ModelProto:
    """x + (float) k"""
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["k"], ["f"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["x", "f"], ["y"]),
        ],
        "net",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3]),
            helper.make_tensor_value_info("k", kind, shape),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 3])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def saved(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "net.onnx"
    onnx.save(model, path)
    return path


KINDS = {
    "float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "int64": TensorProto.INT64,
    "int32": TensorProto.INT32, "uint8": TensorProto.UINT8, "bool": TensorProto.BOOL,
}  # fmt: skip


@space(40)
@given(
    st.sampled_from(list(KINDS)), st.sampled_from([(), (1,), (3,), (2, 3), (1, 1)]), st.booleans(),
    st.sampled_from(["text", "list", "file"]), st.data(),
)  # fmt: skip
def test_an_input_becomes_the_constant_that_it_always_has(
    tmp_path_factory: pytest.TempPathFactory,
    kind: str,
    shape: tuple[int, ...],
    one: bool,
    how: str,
    data: Any,
) -> None:
    folder = tmp_path_factory.mktemp("settle")
    number = st.booleans() if kind == "bool" else st.integers(0, 100)
    array = np.asarray([data.draw(number) for _ in range(int(np.prod(shape)))]).reshape(shape)
    array = np.full(shape, array.reshape(-1)[0]) if one else array
    value: Any = array.reshape(-1)[0].item() if one else array.tolist()
    if how == "text":
        value = json.dumps(value)
    if how == "file":
        np.save(folder / "k.npy", array)
        value = str(folder / "k.npy")
    source = saved(sum_model(KINDS[kind], list(shape)), folder)
    made = settle(source, "net.onnx", frozen(value), folder / "new")
    assert made is not None
    assert made.frozen == ("k",)
    after = folder / "new" / "net.onnx"
    assert [tensor.name for tensor in facts_of(after, "net.onnx").inputs] == ["x"]
    x = np.arange(6, dtype=F).reshape(2, 3)
    feed = {"x": x, "k": array.astype(kind)}
    expected = open_runtime(str(source))(feed, ["y"])[0]
    assert np.array_equal(open_runtime(str(after))({"x": x}, ["y"])[0], expected)


@pytest.mark.parametrize(
    ("kind", "shape", "value", "said"),
    [
        ("int64", [], 1.5, r"does not fit into int64. 'k' is int64 \[\]"),
        ("uint8", [], 256, "does not fit into uint8"),
        ("float32", [3], [1, 2], r"has the shape \[2\]"),
        ("float32", ["N", 3], [[1, 2]], r"has the shape \[1, 2\]"),
        ("float32", [3], "nowhere.npy", "no NumPy file"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_what_would(
    kind: str, shape: list[int | str], value: Any, said: str, tmp_path: Path
) -> None:
    source = saved(sum_model(KINDS[kind], shape), tmp_path)
    with pytest.raises(UsageError, match=said):
        settle(source, "net.onnx", frozen(value), tmp_path / "new")


@pytest.mark.parametrize("value", ["nothing", "[1,", {"a": 1}, "[1, null]", "1e999"])
def test_what_is_no_array_is_refused_as_an_option(value: Any) -> None:
    with pytest.raises(UsageError, match=r"inputs\.k\.frozen_value"):
        frozen(value)


def test_names_and_the_last_input(tmp_path: Path) -> None:
    source = saved(sum_model(TensorProto.FLOAT, []), tmp_path)
    with pytest.raises(UsageError, match=r"no input 'kk'; it has 'x', 'k'\. Perhaps you meant 'k'"):
        settle(source, "net.onnx", frozen(1, "kk"), tmp_path / "new")
    both = options(k={"frozen_value": 1}, x={"frozen_value": 0})
    with pytest.raises(ModelError, match="every input is frozen"):
        settle(source, "net.onnx", both, tmp_path / "new")


def test_a_scalar_is_told_and_frozen_by_convert_lint_and_init(tmp_path: Path) -> None:
    source = saved(sum_model(TensorProto.INT64, []), tmp_path)
    with pytest.raises(UsageError, match=r"single int64 value.*inputs\.k\.frozen_value"):
        plan(source, "rvc2")
    (tmp_path / "truth").mkdir()
    truth = saved(sum_model(TensorProto.BOOL, []), tmp_path / "truth")
    with pytest.raises(UsageError, match="single boolean value"):
        plan(truth, "rvc2")
    made = plan(source, "rvc2", options={"inputs.k.frozen_value": 3})
    assert [item.name for item in made.model.inputs] == ["x"]
    other = plan(source, "rvc2", options={"inputs.k.frozen_value": 4})
    assert made.hash != other.hash


def test_an_archive_whose_input_is_frozen(tmp_path: Path) -> None:
    model = sum_model(TensorProto.INT64, [1])
    config = config_for(model)
    for item in (*config["model"]["inputs"], *config["model"]["outputs"]):
        item.pop("layout", None)
        item |= {"input_type": "raw"} if "input_type" in item else {}
    folder = write_folder(tmp_path / "net", model, config)
    before = folder.joinpath("model.onnx").read_bytes()
    with open_archive(folder) as archive, settled_archive(archive, frozen(2), owned=False) as made:
        assert [item["name"] for item in made.config["model"]["inputs"]] == ["x"]
        assert {member.name for member in made.members} == {"config.json", "model.onnx"}
        changed = made.root
    assert not changed.exists()
    assert folder.joinpath("model.onnx").read_bytes() == before
    planned = plan(folder, "rvc2", options={"inputs.1.frozen_value": 2})
    assert [item.name for item in planned.model.inputs] == ["x"]
    with open_archive(folder) as archive:
        again = plan(archive, "rvc2", options={"inputs.k.frozen_value": 2})
        assert again.hash == planned.hash


def test_weights_in_other_files_stay_beside_a_settled_model(tmp_path: Path) -> None:
    model = conv_model()
    onnx.save(
        model, tmp_path / "net.onnx", save_as_external_data=True, location="net.data", size_threshold=0
    )
    name = model.graph.input[0].name
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    new = (*shape[:2], shape[2] * 2, shape[3] * 2)
    made = settle(
        tmp_path / "net.onnx", "net.onnx", options(**{name: {"shape": new}}), tmp_path / "new"
    )
    assert made is not None
    runtime = open_runtime(str(tmp_path / "new" / "net.onnx"))
    kind = facts_of(tmp_path / "net.onnx", "net.onnx").inputs[0].dtype
    outputs = [value.name for value in model.graph.output]
    assert runtime({name: np.zeros(new, kind)}, outputs)


# -------------------------------------------------------------------- shapes


def fixed(*nodes: onnx.NodeProto, batch: int = 10) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(np.ones((4, 3, 3, 3), F), "w"),
            numpy_helper.from_array(np.asarray([batch, -1], np.int64), "flat"),
            numpy_helper.from_array(np.asarray([batch, 192], np.int64), "whole"),
            numpy_helper.from_array(np.ones((192, 5), F), "m"),
            numpy_helper.from_array(np.ones((batch, 3, 8, 8), F), "positions"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def node(kind: str, inputs: str, out: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), [out], name=f"my{kind}", **attributes)


@space(30)
@given(st.integers(1, 4), st.integers(3, 20), st.integers(3, 20))
def test_a_fixed_shape_is_changed_where_the_graph_allows_it(
    batch: int, height: int, width: int
) -> None:
    model = fixed(
        node("Conv", "x w", "c"), node("GlobalAveragePool", "c", "g"), node("Flatten", "g", "f"),
        node("Identity", "c", "y"),
    )  # fmt: skip
    reshape_inputs(model, {"x": (batch, 3, height, width)})
    sizes = [d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim]
    assert sizes == [batch, 4, height - 2, width - 2]
    onnx.checker.check_model(model)


@pytest.mark.parametrize(
    ("nodes", "shape", "said"),
    [
        ([node("Reshape", "x whole", "y")], (1, 3, 8, 8), r"node 'myReshape' \(Reshape\): makes \[10, 192\]"),
        ([node("Reshape", "x flat", "y")], (1, 3, 10, 8), r"y: this output has a batch of 10"),
        ([node("Reshape", "x flat", "y")], (1, 3, 7, 7), r"node 'myReshape' \(Reshape\)"),
        ([node("Flatten", "x", "f"), node("MatMul", "f m", "y")], (10, 3, 9, 9), r"node 'myMatMul' \(MatMul\)"),
        ([node("Add", "x positions", "y")], (10, 3, 9, 9), r"node 'myAdd' \(Add\)"),
    ],
)  # fmt: skip
def test_a_node_that_holds_on_to_the_old_shape_is_named(
    nodes: Any, shape: tuple[int, ...], said: str
) -> None:
    with pytest.raises(ModelError) as caught:
        reshape_inputs(fixed(*nodes), {"x": shape})
    told = " ".join([str(caught.value), *map(str, caught.value.findings)])
    assert re.search(said, told), told
    assert "dynamic axes" in told


def test_a_bare_model_of_another_shape_says_what_its_outputs_are(tmp_path: Path) -> None:
    source = saved(fixed(node("Conv", "x w", "y")), tmp_path)
    made = plan(source, "rvc2", options={"inputs.x.shape": [1, 3, 16, 16]})
    assert made.model.inputs[0].shape == (1, 3, 16, 16)
    assert made.model.outputs[0].shape == (1, 4, 14, 14)
    assert not any(finding.code == "input.batch" for finding in made.warnings)
    (told,) = [f for f in plan(source, "rvc2").warnings if f.code == "input.batch"]
    assert "10 camera frames" in told.message
    assert "inputs.x.shape 1,3,8,8" in told.remedy


# -------------------------------------------------------------- IR and TFLite


def test_an_input_of_an_ir_is_frozen(tmp_path: Path) -> None:
    ov = pytest.importorskip("openvino")
    model = sum_model(TensorProto.INT64, [3])
    onnx.save(model, tmp_path / "net.onnx")
    net = ov.convert_model(tmp_path / "net.onnx")
    ov.save_model(net, tmp_path / "net.xml")
    made = settle(tmp_path / "net.xml", "net.xml", frozen([1, 2, 3]), tmp_path / "new")
    assert made is not None
    x = np.arange(6, dtype=F).reshape(2, 3)
    (found,) = open_runtime(str(tmp_path / "new" / "net.xml"))({"x": x}, ["y"])
    assert np.array_equal(found, x + np.arange(1, 4))
    assert [t.name for t in facts_of(tmp_path / "new" / "net.xml", "net.xml").inputs] == ["x"]


def tflite(change: Any, tmp_path: Path, name: str = "mobile_int8_edges") -> Path:
    """A TFLite file after a change to its object."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    data = (TFLITE / f"{name}.tflite").read_bytes()
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    change(model.subgraphs[0], model)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path = tmp_path / "net.tflite"
    path.write_bytes(bytes(builder.Output()))
    return path


def _nameless(graph: Any, _model: Any) -> None:
    for tensor in graph.tensors:
        tensor.name = None


@pytest.mark.parametrize("name", ["mobile", "mobile_int8", "mobile_int8_edges", "mobile_uint8_edges"])
def test_names_and_real_edges_change_no_number(name: str, tmp_path: Path) -> None:
    from tests.data.tflite.make_tflite import computed, image

    source = tflite(_nameless, tmp_path, name)
    assert settle(source, "net.tflite", Options({}), tmp_path / "new") is not None
    facts = facts_of(tmp_path / "new" / "net.tflite", "net.tflite")
    assert [tensor.name for tensor in (*facts.inputs, *facts.outputs)] == ["input_0", "output_0"]
    assert {tensor.dtype for tensor in (*facts.inputs, *facts.outputs)} == {"float32"}
    assert not facts.quantized
    (found,) = open_runtime(str(tmp_path / "new" / "net.tflite"))({"input_0": image()}, ["output_0"])
    (stored,) = computed(TFLITE / f"{name}.tflite").values()
    if stored.dtype != np.float32:
        stored = (stored.astype(F) - np.iinfo(stored.dtype).min) / 256
    assert np.abs(found - stored).max() < 1e-6


def test_lint_and_open_archive_see_the_settled_model(tmp_path: Path) -> None:
    source = tflite(_nameless, tmp_path)
    with open_archive(source) as archive:
        assert archive.config["model"]["inputs"][0]["name"] == "input_0"
    assert not [finding for finding in lint(source) if finding.severity == "error"]


def test_a_scale_of_a_second_input_is_frozen(tmp_path: Path) -> None:
    def second(graph: Any, model: Any) -> None:
        """out = softmax + k"""
        from ai_edge_litert import schema_py_generated as schema

        out = graph.tensors[graph.outputs[0]]
        for name in (b"k", b"z"):
            tensor = schema.TensorT()
            tensor.name, tensor.type, tensor.buffer = name, 0, 0
            tensor.shape = list(out.shape)
            graph.tensors.append(tensor)
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = 0
        code.version = 1
        model.operatorCodes.append(code)
        adding = schema.OperatorT()
        adding.opcodeIndex = len(model.operatorCodes) - 1
        count = len(graph.tensors)
        adding.inputs, adding.outputs = [graph.outputs[0], count - 2], [count - 1]
        adding.builtinOptionsType, adding.builtinOptions = 11, schema.AddOptionsT()
        graph.operators.append(adding)
        graph.inputs = [*graph.inputs, count - 2]
        graph.outputs = [count - 1]
        model.signatureDefs = None

    from tests.data.tflite.make_tflite import computed, image

    source = tflite(second, tmp_path, "mobile")
    facts = facts_of(source, "net.tflite")
    assert settle(source, "net.tflite", frozen(2), tmp_path / "new") is not None
    feed = {facts.inputs[0].name: image()}
    (found,) = open_runtime(str(tmp_path / "new" / "net.tflite"))(feed, ["z"])
    (stored,) = computed(TFLITE / "mobile.tflite").values()
    assert np.allclose(found, stored + 2, atol=1e-5)


def test_an_unreadable_folder_leaves_nothing_behind(tmp_path: Path) -> None:
    source = saved(fixed(node("Reshape", "x whole", "y")), tmp_path)
    work = tmp_path / "work"
    work.mkdir()
    with pytest.raises(ConvertError):
        convert(source, "rvc2", options={"inputs.x.shape": [1, 3, 8, 8]}, output=tmp_path / "out.tar")
    with pytest.raises(ConvertError), open_archive(source, work=work):
        plan(source, "rvc2", options={"inputs.x.shape": [1, 3, 8, 8]})
    assert not list(work.iterdir())


def test_integers_at_the_edges_of_an_onnx_model_are_no_frames(tmp_path: Path) -> None:
    net = Net(13)
    net.op("Neg", net.op("DequantizeLinear", "x", np.asarray(0.1, F), np.asarray(3, np.uint8)), out="y")
    source = saved(net.model((1, 3, 8, 8), (1, 3, 8, 8), x="uint8"), tmp_path)
    assert plan(source, "rvc2").model.inputs[0].dtype == "uint8"


@space(20)
@given(st.sampled_from([(), (3,), (2, 3), (2, 1)]), st.integers(0, 99))
def test_a_boolean_input_takes_numbers(
    tmp_path_factory: pytest.TempPathFactory, shape: tuple[int, ...], seed: int
) -> None:
    folder = tmp_path_factory.mktemp("boolean")
    source = saved(sum_model(TensorProto.BOOL, list(shape)), folder)
    made = settle(source, "net.onnx", Options({}), folder / "new")
    assert made is not None
    assert made.booleans == ("k",)
    after = folder / "new" / "net.onnx"
    assert [tensor.dtype for tensor in facts_of(after, "net.onnx").inputs] == ["float32", "float32"]
    k = np.random.default_rng(seed).integers(0, 2, shape).astype(bool)
    x = np.arange(6, dtype=F).reshape(2, 3)
    (expected,) = open_runtime(str(source))({"x": x, "k": k}, ["y"])
    (found,) = open_runtime(str(after))({"x": x, "k": k.astype(F)}, ["y"])
    assert np.array_equal(found, expected)


def test_a_boolean_input_is_told_for_models_and_archives(tmp_path: Path) -> None:
    model = sum_model(TensorProto.BOOL, [2, 3])
    config = config_for(model)
    for item in (*config["model"]["inputs"], *config["model"]["outputs"]):
        item.pop("layout", None)
        item |= {"input_type": "raw"} if "input_type" in item else {}
    for source in (saved(model, tmp_path), write_folder(tmp_path / "net", model, config)):
        made = plan(source, "rvc2")
        assert made.model.input("k").dtype == "float32"
        (told,) = [finding for finding in made.warnings if finding.code == "init.boolean"]
        assert "'k' is boolean" in told.message


# -------------------------------------------------- what TFLite files are told as


@pytest.mark.parametrize("names", [True, False])
@pytest.mark.parametrize("time_major", [True, False])
def test_a_recurrent_layer_with_variables_is_told_as_what_it_is(
    names: bool, time_major: bool, tmp_path: Path
) -> None:
    (tmp_path / "net.tflite").write_bytes(lstm(time_major=time_major, names=names))
    with pytest.raises(
        ModelError, match=r"UNIDIRECTIONAL_SEQUENCE_LSTM: is a fused recurrent layer.*ONNX"
    ):
        plan(tmp_path / "net.tflite", "rvc2")


def test_custom_operators_and_variables_are_named_all_at_once(tmp_path: Path) -> None:
    net = Lite()
    x, y, z, v = (net.tensor(name, [1, 4]) for name in "xyzv")
    net.op(32, [x], [y], custom="MaxPoolingWithArgmax2D")
    net.op(32, [y], [z], custom="Landmarks2TransformMatrix")
    net.op(32, [z], [v], custom="Landmarks2TransformMatrix")
    net.op(129, [], [])
    net.graph.inputs, net.graph.outputs = [x], [v]
    (tmp_path / "net.tflite").write_bytes(net.data())
    with pytest.raises(ModelError) as caught:
        plan(tmp_path / "net.tflite", "rvc2")
    assert [finding.one_line.partition(":")[0] for finding in caught.value.findings] == [
        "operator 'Landmarks2TransformMatrix' (2 times)", "operator 'MaxPoolingWithArgmax2D'",
        "operator CALL_ONCE",
    ]  # fmt: skip
    assert [finding.code for finding in caught.value.findings][-1] == "model.state"


@pytest.mark.parametrize(("kind", "code"), [(129, "model.state"), (119, "model.foreign-operator")])
def test_graphs_beside_the_first_are_told_by_the_operator_that_calls_them(
    kind: int, code: str, tmp_path: Path
) -> None:
    net = Lite()
    x, y = net.tensor("x", [1, 4]), net.tensor("y", [1, 4])
    net.op(kind, [x] if kind == 119 else [], [y] if kind == 119 else [])
    net.op(0, [x, x], [y])
    net.graph.inputs, net.graph.outputs = [x], [y]
    net.model.subgraphs.append(net.graph)
    (tmp_path / "net.tflite").write_bytes(net.data())
    with pytest.raises(ModelError) as caught:
        plan(tmp_path / "net.tflite", "rvc2")
    assert {finding.code for finding in caught.value.findings} == {code}


def test_a_file_for_modelconverter_says_what_is_frozen(tmp_path: Path) -> None:
    from converter.modelconverter.export import text

    source = saved(sum_model(TensorProto.FLOAT, [3]), tmp_path)
    np.save(tmp_path / "k.npy", np.arange(3, dtype=F))
    for value in ([0, 1, 2], str(tmp_path / "k.npy")):
        made = plan(source, "rvc2", options={"inputs.k.frozen_value": value})
        (stage,) = yaml.safe_load(text(made, source))["stages"].values()
        assert stage["inputs"][1] == {"name": "k", "frozen_value": [0, 1, 2]}
        (tmp_path / "again.yaml").write_text(text(made, source))
        again = plan(tmp_path / "again.yaml", "rvc2")
        assert [item.name for item in again.model.inputs] == ["x"]


def test_init_writes_an_archive_without_the_frozen_input(tmp_path: Path) -> None:
    source = saved(sum_model(TensorProto.INT64, []), tmp_path)
    out = tmp_path / "net.tar"
    told = nnconvert("init", source, "-o", out)
    assert told.returncode == 2
    assert "Set --frozen k=" in told.stderr
    assert nnconvert("init", source, "--frozen", "k=3", "-o", out).returncode == 0
    with open_archive(out) as archive:
        assert [item["name"] for item in archive.config["model"]["inputs"]] == ["x"]
        runtime = open_runtime(str(archive.path("net.onnx")))
        (found,) = runtime({"x": np.zeros((2, 3), F)}, ["y"])
    assert np.array_equal(found, np.full((2, 3), 3, F))

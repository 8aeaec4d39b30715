"""A cut by hand: chosen tensors become the outputs, on every kind of source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper

from converter import plan
from converter.errors import UsageError
from converter.open_source import open_source
from converter.options.resolve import Layer, Options, resolve

SHAPE = (1, 3, 8, 8)


def net(**saved: Any) -> onnx.ModelProto:
    """Two branches behind a convolution, and an input that only the second needs."""
    kernel = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["images", "kernel"], ["inner"], name="first", pads=[1] * 4),
        helper.make_node("Relu", ["inner"], ["a"], name="relu"),
        helper.make_node("Add", ["inner", "offset"], ["b"], name="add"),
        helper.make_node("Sigmoid", ["b"], ["scores"], name="last"),
    ]
    inputs = [("images", SHAPE), ("offset", (1, 4, 8, 8))]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("a", "scores")],
        [numpy_helper.from_array(kernel, "kernel")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return onnx.shape_inference.infer_shapes(made)


def options(**values: Any) -> Options:
    return resolve([Layer(origin="command line", values=values)])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    onnx.save(net(), tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


def run(path: Path) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(str(path))
    feeds = {
        item.name: np.random.default_rng(1).random(item.shape).astype(np.float32)
        for item in session.get_inputs()
    }
    names = [item.name for item in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


@pytest.mark.parametrize(
    ("values", "outputs", "inputs"),
    [
        ({"outputs": "inner"}, {"inner": "inner"}, ["images"]),
        ({"outputs": "b,a"}, {"b": "b", "a": "a"}, ["images", "offset"]),
        ({"outputs": "scores"}, {"scores": "scores"}, ["images", "offset"]),
        ({"outputs": "add"}, {"add": "b"}, ["images", "offset"]),  # a node's name
        ({"outputs.0.name": "inner"}, {"inner": "inner"}, ["images"]),
        ({"outputs.a.name": "map"}, {"map": "a", "scores": "scores"}, ["images", "offset"]),
        ({"outputs.inner.name": "map"}, {"map": "inner"}, ["images"]),
        ({"outputs": "inner,a", "outputs.a.name": "inner2"}, {"inner": "inner", "inner2": "a"}, None),
        # The names of other tensors may be taken.
        ({"outputs": "inner,a", "outputs.inner.name": "b"}, {"b": "inner", "a": "a"}, ["images"]),
        ({"outputs": ["a"], "outputs.a.name": "inner"}, {"inner": "a"}, ["images"]),
    ],
)
def test_outputs_are_chosen_and_renamed(
    values: dict[str, Any], outputs: dict[str, str], inputs: list[str] | None, model: Path
) -> None:
    whole = onnx.load(model)
    del whole.graph.output[:]
    for name in set(outputs.values()):
        whole.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    everything = model.with_name("all.onnx")
    onnx.save(whole, everything)
    expected = run(everything)
    with open_source(model, options(**values))[0] as archive:
        config = archive.config["model"]
        assert [entry["name"] for entry in config["outputs"]] == list(outputs)
        assert [entry["shape"] for entry in config["outputs"]] == [[1, 4, 8, 8]] * len(outputs)
        assert inputs is None or [entry["name"] for entry in config["inputs"]] == inputs
        found = run(archive.path("net.onnx"))
    for name, tensor in outputs.items():
        assert np.array_equal(found[name], expected[tensor])


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"outputs": "iner"}, "Perhaps you meant 'inner'"),
        ({"outputs": "x,y"}, "no tensor 'y'"),
        ({"outputs": "a", "outputs.scores.name": "z"}, "not among the chosen outputs"),
        ({"outputs.a.name": "scores"}, "two outputs would be called 'scores'"),
    ],
)
def test_a_choice_that_cannot_be_is_told(values: dict[str, Any], told: str, model: Path) -> None:
    with pytest.raises(UsageError) as caught:
        open_source(model, options(**values))
    assert told in f"{caught.value.message} {[str(f) for f in caught.value.findings]}"


def test_external_weights_stay_beside_the_cut_model(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    onnx.save(net(), path, save_as_external_data=True, location="net.data", size_threshold=0)
    with open_source(path, options(outputs="inner"))[0] as archive:
        assert list(run(archive.path("net.onnx"))) == ["inner"]
    assert sorted(item.name for item in tmp_path.iterdir()) == ["net.data", "net.onnx"]


def test_an_archive_is_cut_and_its_heads_follow(tmp_path: Path) -> None:
    onnx.save(net(), tmp_path / "net.onnx")
    with open_source(tmp_path / "net.onnx", options())[0] as archive:
        config = json.loads(json.dumps(archive.config))
    metadata = {"classes": ["x"], "n_classes": 1, "is_softmax": True}
    config["model"]["heads"] = [
        {"parser": "SegmentationParser", "outputs": ["a"], "metadata": metadata},
        {"parser": "ClassificationParser", "outputs": ["scores"], "metadata": metadata},
    ]
    (tmp_path / "config.json").write_text(json.dumps(config))
    values = options(**{"outputs": "a,inner", "outputs.a.name": "map"})
    archive, chosen = open_source(tmp_path, values)
    with archive:
        heads = archive.config["model"]["heads"]
        assert [entry["name"] for entry in archive.config["model"]["outputs"]] == ["map", "inner"]
        assert [head["outputs"] for head in heads] == [["map"]]
    assert any(note.code == "head.cut" and "'scores'" in note.message for note in chosen.notes)


def test_a_file_of_modelconverter_chooses_outputs(model: Path) -> None:
    file = model.with_name("a.yaml")
    file.write_text(yaml.safe_dump({"input_model": "net.onnx", "outputs": [{"name": "inner"}]}))
    assert [item.name for item in plan(file, "rvc2").model.outputs] == ["inner"]
    made = plan(file, "rvc2", options={"outputs.0.name": "a"})
    assert [item.name for item in made.model.outputs] == ["a"]


def test_the_cut_is_part_of_the_plan(model: Path) -> None:
    plans = [plan(model, "rvc2", options=values) for values in ({}, {"outputs": "a"}, {"outputs": "b"})]
    assert len({made.hash for made in plans}) == 3
    assert plans[1].model.to_json()["cut"] == {"outputs": {"a": "a"}}
    assert len({json.dumps(dict(made.model.files)) for made in plans}) == 1


def test_an_ir_is_cut(tmp_path: Path) -> None:
    import openvino as ov

    onnx.save(net(), tmp_path / "net.onnx")
    ov.save_model(ov.convert_model(tmp_path / "net.onnx"), tmp_path / "net.xml", compress_to_fp16=False)
    values = options(**{"outputs": "inner", "outputs.inner.name": "first"})
    expected = onnx.load(tmp_path / "net.onnx")
    del expected.graph.output[:]
    expected.graph.output.append(helper.make_tensor_value_info("inner", TensorProto.FLOAT, None))
    del expected.graph.input[1]
    del expected.graph.node[2:]
    onnx.save(expected, tmp_path / "inner.onnx")
    with open_source(tmp_path / "net.xml", values)[0] as archive:
        config = archive.config["model"]
        assert [entry["name"] for entry in config["outputs"]] == ["first"]
        assert [entry["name"] for entry in config["inputs"]] == ["images"]
        cut = ov.Core().compile_model(
            archive.path("net.xml"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
        )
        frame = np.random.default_rng(1).random(SHAPE).astype(np.float32)
        found = cut({0: frame})[0]
    assert np.allclose(found, run(tmp_path / "inner.onnx")["inner"], atol=1e-5)
    with pytest.raises(UsageError, match="no tensor 'outer'"):
        open_source(tmp_path / "net.xml", options(outputs="outer"))


def test_a_tflite_file_is_cut(tmp_path: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    model = (Path(__file__).parents[1] / "data" / "tflite" / "mobile.tflite").read_bytes()
    (tmp_path / "net.tflite").write_bytes(model)
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    whole = Interpreter(
        model_content=model,
        experimental_op_resolver_type=plain,
        experimental_preserve_all_tensors=True,
    )
    details = whole.get_input_details()[0]
    frame = np.random.default_rng(1).random(details["shape"]).astype(details["dtype"])
    whole.allocate_tensors()
    whole.set_tensor(details["index"], frame)
    whole.invoke()
    inner = whole._get_ops_details()[1]["outputs"][0]
    name = next(item["name"] for item in whole.get_tensor_details() if item["index"] == inner)
    values = options(**{"outputs": [name], f"outputs.{name}.name": "inner"})
    with open_source(tmp_path / "net.tflite", values)[0] as archive:
        assert [entry["name"] for entry in archive.config["model"]["outputs"]] == ["inner"]
        path = str(archive.path("net.tflite"))
        cut = Interpreter(path, experimental_op_resolver_type=plain)
        cut.allocate_tensors()
        cut.set_tensor(cut.get_input_details()[0]["index"], frame)
        cut.invoke()
        (detail,) = cut.get_output_details()
        assert detail["name"] == "inner"
        assert np.allclose(cut.get_tensor(detail["index"]), whole.get_tensor(inner), atol=1e-5)
    with pytest.raises(UsageError, match="no tensor 'outer'"):
        open_source(tmp_path / "net.tflite", options(outputs="outer"))

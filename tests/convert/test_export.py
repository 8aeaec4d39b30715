"""OpenVINO models as ONNX: ONNX Runtime computes of the exported graph what OpenVINO does of its own."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import openvino as ov
import pytest

from converter.errors import ArchiveError, ModelError
from converter.sources.export import export
from converter.sources.import_file import import_file
from converter.sources.ops.registry import RULES
from tests import ov_models
from tests.data.tflite.make_tflite import FOLDER, MODELS, computed, feed_of
from tests.ir_models import feeds_of, one_op_models
from tests.nets import NETS
from tests.ov_models import constant, ints, model_of, one, op, parameter, scalar, weights
from tests.sources import conv_model

LIMIT = 1e-4
FROM_ONNX = {**one_op_models(), **{name: net() for name, net in NETS.items()}, "conv": conv_model()}
OWN = ov_models.models()
# Where OpenVINO's CPU is at odds with its own specification, the operators' reference speaks.
BY_REFERENCE = {
    "divide_ints": "the CPU rounds to zero, m_pythondiv or not",
    "interpolate_4_antialias_1": "the CPU takes no notice of antialias",
    "quantize_binary": "the CPU divides by the distance of equal limits",
}
# Where it is at odds with ONNX, of which the model was made, ONNX Runtime does.
BY_SOURCE = {
    "average_pool_ceil_padded_1": "the CPU counts padding that is there from rounding up alone",
    "average_pool_dilated_1": "the same",
}
QUANTIZED = "The source is quantized"


def names(model: ov.Model) -> tuple[list[str], list[str]]:
    return [f"in{i}" for i in range(len(model.inputs))], [f"out{i}" for i in range(len(model.outputs))]


def exported(model: ov.Model) -> onnx.ModelProto:
    made, _ = export(model, *names(model))
    proto = ir.to_proto(made)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def run(
    model: bytes | str, feeds: Mapping[str, np.ndarray], outputs: Sequence[str]
) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return session.run(list(outputs), dict(feeds))


@functools.cache
def core() -> ov.Core:
    found = ov.Core()
    found.set_property("CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1})
    return found


def on_cpu(model: ov.Model | Path, feeds: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [np.array(value) for value in core().compile_model(model, "CPU")(list(feeds)).values()]


def by_reference(model: ov.Model, feeds: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Operator by operator, by what OpenVINO itself calls their reference."""
    found: dict[Any, ov.Tensor] = {}
    for port, feed in zip(model.inputs, feeds, strict=True):
        found[port.get_node().output(0)] = ov.Tensor(feed)
    for node in model.get_ordered_ops():
        if node.get_type_name() in ("Parameter", "Result"):
            continue
        outputs = [ov.Tensor(item.get_element_type(), item.get_shape()) for item in node.outputs()]
        assert node.evaluate(outputs, [found[item] for item in node.input_values()])
        found.update(zip(node.outputs(), outputs, strict=True))
    return [np.array(found[port.get_node().input_value(0)].data) for port in model.outputs]


def assert_close(got: Sequence[np.ndarray], wanted: Sequence[np.ndarray], limit: float = LIMIT) -> None:
    assert len(got) == len(wanted)
    for a, b in zip(got, wanted, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype or b.dtype == np.float16
        a, b = a.astype(float), b.astype(float)
        assert np.array_equal(np.isfinite(a), np.isfinite(b))
        known = np.isfinite(b)
        if known.any():
            assert np.abs(a - b)[known].max() <= limit * max(np.ptp(b[known]), 1e-6)


def feeds_for(model: ov.Model) -> list[np.ndarray]:
    """As `feeds_of`; a size that is not fixed is two."""
    feeds = []
    for seed, port in enumerate(model.inputs):
        shape = [int(size.get_length()) if size.is_static else 2 for size in port.get_partial_shape()]
        numbers = np.linspace(-2, 2, int(np.prod(shape)), dtype=np.float32)
        numbers = np.random.default_rng(seed).permutation(numbers).reshape(shape)
        feeds.append(numbers.astype(port.get_element_type().to_dtype()))
    return feeds


def read_onnx(model: onnx.ModelProto) -> ov.Model:
    return core().read_model(model.SerializeToString(), b"")


@pytest.mark.parametrize("name", FROM_ONNX)
def test_what_openvino_makes_of_onnx(name):
    source = FROM_ONNX[name]
    model = read_onnx(source)
    feeds = feeds_of(source)
    ins, outs = names(model)
    got = run(exported(model).SerializeToString(), dict(zip(ins, feeds.values(), strict=True)), outs)
    if name in BY_SOURCE:
        wanted = run(source.SerializeToString(), feeds, [item.name for item in source.graph.output])
    else:
        wanted = on_cpu(model, list(feeds.values()))
    assert_close(got, wanted)


@pytest.mark.parametrize("name", OWN)
def test_openvinos_own_operators(name):
    model = OWN[name]()
    feeds = feeds_for(model)
    ins, outs = names(model)
    proto = exported(model)
    given = {
        key: feed.astype(np.float32) if feed.dtype == np.float16 else feed
        for key, feed in zip(ins, feeds, strict=True)
    }
    got = run(proto.SerializeToString(), given, outs)
    wanted = by_reference(model, feeds) if name in BY_REFERENCE else on_cpu(model, feeds)
    # Float16 has eleven bits.
    assert_close(got, wanted, 1e-3 if name == "halves" else LIMIT)


@pytest.mark.parametrize("name", BY_REFERENCE)
def test_the_cpu_is_at_odds_with_the_reference(name):
    model = OWN[name]()
    feeds = feeds_for(model)
    with pytest.raises(AssertionError):
        assert_close(on_cpu(model, feeds), by_reference(model, feeds))


def test_each_rule_is_met_by_a_model():
    seen: set[str] = set()
    for model in (*(made() for made in OWN.values()), *map(read_onnx, FROM_ONNX.values())):
        seen |= {node.get_type_name() for node in model.get_ops()}
    assert set(RULES) - seen == set()


def test_models_that_need_a_newer_opset_get_it_and_others_do_not():
    def opset(name: str) -> int:
        return exported(read_onnx(FROM_ONNX[name])).opset_import[0].version

    assert opset("conv") == opset("scatter_elements_add") == 17
    assert opset("scatter_elements_max") == 18


# --------------------------------------------------------------------- graph


def test_weights_are_neither_copied_nor_twice():
    model = OWN["compressed"]()
    made, _ = export(model, *names(model))
    large = [value for value in made.graph.initializers.values() if value.const_value.size > 1000]
    assert len(large) == 2
    assert all(isinstance(value.const_value, ir.LazyTensor) for value in large)
    assert {node.op_type for node in made.graph} == {"MatMul"}
    assert {value.dtype for value in made.graph.initializers.values()} == {ir.DataType.FLOAT}


def test_shared_weights_are_written_once():
    x, y = parameter(4, 64), parameter(4, 64)
    kernel = constant(weights(64, 64))
    products = [op(1, "MatMul", item, kernel, transpose_a=False, transpose_b=False) for item in (x, y)]
    made, _ = export(model_of(*products, inputs=[x, y]), ["x", "y"], ["a", "b"])
    assert len(made.graph.initializers) == 1


def test_dynamic_sizes_stay_and_have_names():
    made, _ = export(OWN["dynamic"](), ["images"], ["a", "b"])
    assert [str(size) for size in made.graph.inputs[0].shape] == ["images_0", "3", "8"]
    for rows in (1, 3):
        feed = np.ones([rows, 3, 8], np.float32)
        got = run(ir.to_proto(made).SerializeToString(), {"images": feed}, ["a", "b"])
        assert_close(got, on_cpu(OWN["dynamic"](), [feed]))


def test_outputs_that_are_inputs_constants_or_each_other():
    x = parameter(2, 3)
    y = op(1, "Relu", x)
    model = model_of(x, y, y, constant(weights(2)), inputs=[x])
    made, _ = export(model, ["x"], ["a", "b", "c", "d"])
    feed = np.array([[1, -1, 2], [-2, 3, 0]], np.float32)
    got = run(ir.to_proto(made).SerializeToString(), {"x": feed}, ["a", "b", "c", "d"])
    assert_close(got, [feed, feed.clip(0), feed.clip(0), weights(2)])


def test_a_layer_named_as_an_input_or_output_gives_way():
    x = parameter(2, 3)
    first, second = op(1, "Relu", x), None
    first.set_friendly_name("y")
    second = op(1, "Negative", first)
    second.set_friendly_name("x")
    made, _ = export(model_of(second, inputs=[x]), ["x"], ["y"])
    proto = ir.to_proto(made)
    onnx.checker.check_model(proto, full_check=True)
    got = run(proto.SerializeToString(), {"x": np.ones([2, 3], np.float32)}, ["y"])
    assert_close(got, [-np.ones([2, 3], np.float32)])


def test_the_model_is_left_as_it_is():
    model = OWN["quantize_scaled"]()
    before = [node.get_friendly_name() for node in model.get_ordered_ops()]
    export(model, *names(model))
    assert [node.get_friendly_name() for node in model.get_ordered_ops()] == before


def test_a_quantized_source_is_told_once_and_loses_its_steps():
    model = OWN["quantized_weights"]()
    made, warnings = export(model, *names(model))
    assert [node.op_type for node in made.graph] == ["Conv"]
    (warning,) = warnings
    assert warning.startswith(f"{QUANTIZED} (1 tensors)")
    made, _ = export(OWN["quantize_fine"](), ["x"], ["y"])
    assert [node.op_type for node in made.graph] == ["Clip"]
    assert export(OWN["roll"](), ["x"], ["y"])[1] == []


# ------------------------------------------------------------------ refusals


def of_control_flow() -> ov.Model:
    """A loop, as OpenVINO's reader makes it of ONNX's."""
    from onnx import TensorProto, helper

    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["on"]),
            helper.make_node("Mul", ["state", "state"], ["next"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, [2]),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, [2]),
        ],
    )
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["n"], ["count"], to=TensorProto.INT64),
            helper.make_node("Loop", ["count", "", "x"], ["y"], body=body),
        ],
        "loop",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [2]),
            helper.make_tensor_value_info("n", TensorProto.FLOAT, []),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])],
    )
    return read_onnx(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    )


def of_detection() -> ov.Model:
    """An SSD's last layer, twice, beside an operator on complex numbers."""
    boxes, scores = parameter(1, 8), parameter(1, 4)
    priors = weights(1, 2, 8)
    more = {
        "background_label_id": 0, "top_k": -1, "variance_encoded_in_target": False, "keep_top_k": [2],
        "code_type": "caffe.PriorBoxParameter.CORNER", "share_location": True, "nms_threshold": 0.5,
        "confidence_threshold": 0.1, "clip_after_nms": False, "clip_before_nms": False,
        "decrease_label_id": False, "normalized": True, "input_height": 1, "input_width": 1,
        "objectness_score": 0.0, "num_classes": 2,
    }  # fmt: skip
    found = [op(1, "DetectionOutput", boxes, scores, priors, **more) for _ in range(2)]
    waves = op(7, "DFT", op(1, "Reshape", boxes, ints(4, 2), special_zero=False), ints(0))
    return model_of(*found, waves, inputs=[boxes, scores])


def test_every_unknown_operator_is_told_at_once():
    with pytest.raises(ModelError) as caught:
        export(of_detection(), ["a", "b"], ["c", "d", "e"])
    found = caught.value.findings
    assert [finding.code for finding in found] == ["source.operator"] * 2
    assert "is DFT (opset7)" in found[0].message
    assert "is DetectionOutput (opset1)" in found[1].message
    assert "It occurs 2 times" in found[1].message
    assert all(finding.where and finding.remedy for finding in found)


def test_control_flow_is_called_so():
    with pytest.raises(ModelError, match=r"is Loop \(opset5\) \(control flow\)"):
        export(of_control_flow(), ["x", "n"], ["y"])


def test_what_is_constant_needs_no_rule():
    """Priors of an SSD depend on shapes alone."""
    x = parameter(1, 3, 4, 6)
    sizes = op(1, "StridedSlice", op(1, "ShapeOf", x), ints(2), ints(4), ints(1), begin_mask=[0],
               end_mask=[0], new_axis_mask=[], shrink_axis_mask=[], ellipsis_mask=[])  # fmt: skip
    more = {
        "min_size": [2.0], "max_size": [], "aspect_ratio": [2.0], "flip": True, "clip": False,
        "variance": [0.1], "step": 0.0, "offset": 0.5, "scale_all_sizes": True, "fixed_ratio": [],
        "fixed_size": [], "density": [],
    }  # fmt: skip
    priors = op(1, "PriorBox", sizes, ints(32, 48), **more)
    model = model_of(priors, op(1, "Relu", x), inputs=[x])
    feeds = feeds_for(model)
    got = run(exported(model).SerializeToString(), {"in0": feeds[0]}, ["out0", "out1"])
    assert_close(got, on_cpu(model, feeds))


REFUSED = {
    "over no axes": one(
        1, "NormalizeL2", (4, 4), more=[np.zeros([0], np.int64)], eps=0.1, eps_mode="add"
    ),
    "of the element type f8e4m3": one(1, "Convert", (4,), destination_type="f8e4m3"),
    "with the reduction mean": one(
        12,
        "ScatterElementsUpdate",
        (4,),
        more=[ints(1, 1), weights(2), scalar(0)],
        reduction="mean",
        use_init_val=True,
    ),
    "with peepholes": one(
        1,
        "LSTMCell",
        (1, 2),
        (1, 3),
        (1, 3),
        more=[weights(12, 2), weights(12, 3), weights(12), weights(9)],
        hidden_size=3,
        activations=["sigmoid", "tanh", "tanh"],
        activations_alpha=[],
        activations_beta=[],
        clip=0.0,
        weights_format="fico",
        input_forget=False,
    ),
    "by the method bilinear": one(
        2,
        "ROIPooling",
        (1, 2, 4, 4),
        more=[np.array([[0, 0, 0, 1, 1]], np.float32)],
        output_size=[2, 2],
        pooled_h=2,
        pooled_w=2,
        spatial_scale=1.0,
        method="bilinear",
    ),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_cannot_be_said_is_told(why):
    model = REFUSED[why]()
    with pytest.raises(ModelError, match=why) as caught:
        export(model, *names(model))
    assert caught.value.findings[0].code == "source.operator"


# -------------------------------------------------------------------- TFLite


def imported(
    path: Path, target: Path, ins: list[str], outs: list[str], **shapes: list[int]
) -> list[str]:
    warnings: list[str] = import_file(str(path), str(target), ins, outs, shapes)["warnings"]
    return warnings


FRAME = "serving_default_images:0"
SCALE = 0.9971666 / 255  # what the converter chose for the frames of `image`


@pytest.mark.parametrize("name", MODELS)
def test_tflite(name, tmp_path):
    stored = dict(np.load(FOLDER / f"{name}.npz"))
    target = tmp_path / "model.onnx"
    shapes = {FRAME: [1, 32, 48, 3]}
    warnings = imported(FOLDER / f"{name}.tflite", target, [FRAME], list(stored), **shapes)
    feed = feed_of(MODELS[name], SCALE, -128 if MODELS[name] == "int8" else 0)
    found = run(str(target), {FRAME: feed}, list(stored))
    if "int8" not in name:
        assert_close(found, list(stored.values()), 1e-5)
        assert warnings == []
        return
    assert QUANTIZED in warnings[0]
    # Without the steps of its activations it is within a few of them; one is 1/256 of the scores.
    step = 1 if "edges" in name else 1 / 256
    for got, wanted in zip(found, stored.values(), strict=True):
        assert got.dtype == wanted.dtype
        assert np.abs(got.astype(float) - wanted).max() <= 2 * step
        assert np.ptp(wanted.astype(float)) >= 50 * step


@pytest.mark.parametrize("name", MODELS)
def test_litert_computes_what_was_stored(name):
    stored = dict(np.load(FOLDER / f"{name}.npz"))
    live = computed(FOLDER / f"{name}.tflite")
    for key, values in stored.items():
        assert np.abs(live[key].astype(float) - values).max() <= (1 if "edges" in name else 1 / 200)


# ------------------------------------------------------------------ the child


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """An IR of two inputs and three outputs, two of them one layer's."""
    x, y = parameter(2, 8), parameter(2, 8)
    x.set_friendly_name("left")
    y.set_friendly_name("right")
    y.output(0).set_names({"right_tensor"})
    product = op(
        1, "MatMul", op(1, "Subtract", x, y), weights(8, 200), transpose_a=False, transpose_b=False
    )
    product.set_friendly_name("product")
    parts = op(1, "Split", x, scalar(1), num_splits=2)
    parts.set_friendly_name("parts")
    model = model_of(product, *parts.outputs(), inputs=[x, y])
    ov.save_model(model, tmp_path / "net.xml")
    return tmp_path / "net.xml"


@pytest.mark.parametrize("separator", [".", ":"])
def test_names_are_matched_in_any_order(saved, separator, tmp_path):
    outs = [f"parts{separator}1", "product", f"parts{separator}0"]
    target = tmp_path / "net.onnx"
    assert imported(saved, target, ["right_tensor", "left"], outs) == []
    onnx.checker.check_model(str(target))
    assert (tmp_path / "net.onnx.data").stat().st_size >= 8 * 200 * 4
    feeds = {"left": np.ones([2, 8], np.float32), "right_tensor": np.zeros([2, 8], np.float32)}
    feeds["left"][:, 4:] = 2
    right, product, left = run(str(target), feeds, outs)
    assert (left == 1).all()
    assert (right == 2).all()
    assert_close([product], on_cpu(saved, [feeds["left"], feeds["right_tensor"]])[:1])


def test_old_files_with_float16(tmp_path):
    """Version 10, which names no opset but the layer's: written as Model Optimizer did."""
    ov.save_model(OWN["halves"](), tmp_path / "net.xml")
    text = (tmp_path / "net.xml").read_text().replace('version="11"', 'version="10"', 1)
    (tmp_path / "net.xml").write_text(text)
    model = core().read_model(tmp_path / "net.xml")
    ins = [port.get_node().get_friendly_name() for port in model.inputs]
    outs = [port.get_node().input_value(0).get_node().get_friendly_name() for port in model.outputs]
    target = tmp_path / "net.onnx"
    imported(tmp_path / "net.xml", target, ins, outs)
    feed = feeds_for(OWN["halves"]())[0].astype(np.float32)
    (got,) = run(str(target), {ins[0]: feed}, outs)
    (wanted,) = on_cpu(model, [feed.astype(model.inputs[0].get_element_type().to_dtype())])
    assert_close([got], [wanted.astype(np.float32)], 1e-3)


def test_shapes_are_set(tmp_path):
    ov.save_model(OWN["dynamic"](), tmp_path / "net.xml")
    model = core().read_model(tmp_path / "net.xml")
    (name,) = [port.get_node().get_friendly_name() for port in model.inputs]
    outs = [port.get_node().input_value(0).get_node().get_friendly_name() for port in model.outputs]
    imported(tmp_path / "net.xml", tmp_path / "net.onnx", [name], outs, **{name: [3, 3, 8]})
    (given,) = onnx.load(tmp_path / "net.onnx").graph.input
    assert [dim.dim_value for dim in given.type.tensor_type.shape.dim] == [3, 3, 8]
    with pytest.raises(ModelError, match="does not take the shapes"):
        imported(tmp_path / "net.xml", tmp_path / "other.onnx", [name], outs, **{name: [3, 3, 9]})


@pytest.mark.parametrize(
    ("ins", "outs", "said"),
    [
        (
            ["left", "wrong"],
            ["product", "parts.0", "parts.1"],
            "no input 'wrong'; it has 'left', 'right",
        ),
        (["left"], ["product", "parts.0", "parts.1"], "2 inputs, not 1"),
        (["left", "right"], ["product", "parts", "parts.1"], "no output 'parts'"),
        (["left", "right"], ["product"], "3 outputs, not 1"),
    ],
)
def test_names_that_are_not_the_models(saved, ins, outs, said, tmp_path):
    with pytest.raises(ArchiveError, match=said):
        imported(saved, tmp_path / "net.onnx", ins, outs)
    assert not (tmp_path / "net.onnx").exists()


def test_broken_files(saved, tmp_path):
    whole = saved.read_text()
    cases = {
        "cut.xml": whole[: len(whole) // 2],
        "empty.xml": "",
        "other.xml": "<html></html>",
        "alone.xml": whole,
        "text.tflite": "no flatbuffer",
        "empty.tflite": "",
    }
    for name, text in cases.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(ArchiveError) as caught:
            imported(tmp_path / name, tmp_path / "net.onnx", ["left", "right"], ["product"])
        assert "\n" not in str(caught.value)
        if name == "alone.xml":
            assert "'alone.bin'" in caught.value.remedy
    saved.with_suffix(".bin").write_bytes(saved.with_suffix(".bin").read_bytes()[:100])
    with pytest.raises(ArchiveError, match="damaged"):
        imported(saved, tmp_path / "net.onnx", ["left", "right"], ["product", "parts.0", "parts.1"])
    good = (FOLDER / "mobile.tflite").read_bytes()
    (tmp_path / "cut.tflite").write_bytes(good[: len(good) // 2])
    with pytest.raises(ArchiveError):
        imported(tmp_path / "cut.tflite", tmp_path / "net.onnx", [FRAME], ["y"])


def test_an_unknown_operator_in_a_file(saved, tmp_path):
    text = saved.read_text().replace('type="Split"', 'type="Splat"')
    saved.write_text(text)
    with pytest.raises(ModelError, match="Splat"):
        imported(saved, tmp_path / "net.onnx", ["left", "right"], ["product", "parts.0", "parts.1"])

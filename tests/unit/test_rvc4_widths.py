"""16-bit tensors in an 8-bit network: what is wide, what the quantizer makes of it, what is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from targets.rvc4.quantization.outputs import LostPart, lost_parts, notes, wide_nodes
from targets.rvc4.quantization.quantize import quantize_file
from targets.rvc4.quantization.widths import Links, Widths, producers, spread
from tests.sources import make_model
from tests.space import space

F = np.float32
_REST: tuple[Any, ...] = (None, [], [], "auto", {})
_EIGHT: tuple[Any, ...] = (8, 8, True, None, *_REST)
SHAPE = (1, 4, 6, 6)


def model_of(
    nodes: list[onnx.NodeProto], outputs: dict[str, Any], constants: dict[str, Any]
) -> onnx.ModelProto:
    """A model with one input `x` of floats."""
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return make_model(graph)


def node(op: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    """A node that is named after its output."""
    return helper.make_node(op, inputs.split(), output.split(), name=f"n_{output}", **attributes)


def detector() -> onnx.ModelProto:
    """Boxes and scores of two branches in one output, behind Concat, Reshape and Transpose."""
    rng = np.random.default_rng(0)
    nodes = [
        node("Conv", "x wb", "b0"),
        node("Sigmoid", "b0", "b1"),
        node("Mul", "b1 px", "boxes"),
        node("Conv", "x ws", "s0"),
        node("Sigmoid", "s0", "scores"),
        node("Concat", "boxes scores", "cat", axis=1),
        node("Reshape", "cat shape", "flat"),
        node("Transpose", "flat", "out", perm=[0, 2, 1]),
    ]
    constants = {
        "wb": rng.normal(0, 1, (4, 4, 1, 1)).astype(F),
        "ws": rng.normal(0, 1, (3, 4, 1, 1)).astype(F),
        "px": np.array(640, F),
        "shape": np.array([1, 7, 36], np.int64),
    }
    return model_of(nodes, {"out": (1, 36, 7)}, constants)


RANGES = {
    "x": (-2.0, 2.0), "b0": (-4.0, 4.0), "b1": (0.0, 1.0), "boxes": (0.0, 640.0), "s0": (-4.0, 4.0),
    "scores": (0.0, 0.9), "cat": (0.0, 640.0), "flat": (0.0, 640.0), "out": (0.0, 640.0),
}  # fmt: skip


def test_an_end_of_unlike_ranges_is_wide_from_its_producers_on() -> None:
    links = Links.of(detector().graph)
    (part,) = lost_parts(links, ["out"], RANGES)
    assert (part.output, part.part, part.fits_16_bits) == ("out", "scores", True)
    assert part.step(8) == pytest.approx(640 / 255)
    assert wide_nodes(links, ["out"], ["out"]) == {
        "n_boxes", "n_scores", "n_cat", "n_flat", "n_out",
    }  # fmt: skip
    (said,) = notes([part], ["out"], "auto")
    assert "'scores' (reaches 0.9 where an 8-bit step is 2.51)" in said
    assert "DepthAI 3.9" in said
    assert "float32" in said


@pytest.mark.parametrize(
    ("reach", "lost", "fits"),
    [(640.0, False, True), (81.0, False, True), (79.0, True, True), (0.03, True, False)],
)
def test_a_part_is_lost_below_32_steps_and_16_bits_help_above_4(
    reach: float, lost: bool, fits: bool
) -> None:
    links = Links.of(detector().graph)
    found = lost_parts(links, ["out"], {**RANGES, "scores": (0.0, reach)})
    assert [part.part for part in found] == (["scores"] if lost else [])
    assert all(part.fits_16_bits is fits for part in found)


def test_a_silent_part_and_an_output_without_a_concat_are_left_alone() -> None:
    links = Links.of(detector().graph)
    assert lost_parts(links, ["out"], {**RANGES, "scores": (0.0, 0.0)}) == []
    assert lost_parts(links, ["scores"], RANGES) == []


def test_an_output_that_goes_into_another_one_keeps_its_8_bits() -> None:
    links = Links.of(detector().graph)
    assert producers(links, "out", {"scores"}) == {"n_boxes", "n_cat", "n_flat", "n_out"}


def test_what_16_bits_lose_too_is_told() -> None:
    part = LostPart(output="out", part="scores", reach=0.01, width=640)
    (said,) = notes([part], [], "auto")
    assert "separate outputs" in said
    (said,) = notes([LostPart(output="out", part="scores", reach=1, width=640)], [], "uint8")
    assert "rvc4.output_type=auto" in said


def test_a_tensor_is_wide_where_it_is_made_and_read_through_moves_and_fused_activations() -> None:
    nodes = [
        node("Conv", "x w", "a"),
        node("Relu", "a", "b"),
        node("Transpose", "b", "c", perm=[0, 1, 3, 2]),
        node("Sigmoid", "c", "d"),
        node("Add", "b d", "e"),
        node("Neg", "e", "f"),
    ]
    model = model_of(nodes, {"f": SHAPE}, {"w": np.zeros((4, 4, 1, 1), F)})
    links = Links.of(model.graph)
    assert spread(links, ["c"]) == {"n_a", "n_b", "n_c", "n_d", "n_e"}
    assert spread(links, ["x"]) == {"n_a"}
    assert spread(links, ["f"]) == {"n_f"}


# ------------------------------------------------------------- any graph


@st.composite
def graphs(draw: st.DrawFn) -> onnx.ModelProto:
    """Chains and diamonds of operators of every kind, all of one shape; some share their constants."""
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    names, nodes, constants = ["x"], [], {}
    constants |= {"k": rng.normal(0, 1, (1, 4, 1, 1)).astype(F), "zero": np.array(0, F)}
    constants |= {"edges": np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64)}
    for index in range(draw(st.integers(2, 8))):
        kinds = ["Conv", "Relu", "Sigmoid", "Add", "Mul", "Const", "Shared", "Flip", "Cat", "Pad"]
        op = draw(st.sampled_from(kinds))
        source, other = draw(st.sampled_from(names)), draw(st.sampled_from(names))
        made = f"t{index}"
        if op == "Conv":
            constants[f"w{index}"] = rng.normal(0, 0.5, (4, 4, 1, 1)).astype(F)
            nodes.append(node("Conv", f"{source} w{index}", made))
        elif op == "Const":
            constants[f"k{index}"] = rng.normal(0, 1, (1, 4, 1, 1)).astype(F)
            nodes.append(node("Add", f"{source} k{index}", made))
        elif op == "Shared":
            nodes.append(node("Add", f"{source} k", made))
        elif op == "Pad":
            constants[f"p{index}"] = rng.normal(0, 0.3, (4, 4, 3, 3)).astype(F)
            nodes.append(node("Pad", f"{source} edges zero", f"{made}c"))
            nodes.append(node("Conv", f"{made}c p{index}", made))
        elif op == "Flip":
            nodes.append(node("Transpose", source, made, perm=[0, 1, 3, 2]))
        elif op == "Cat":
            constants[f"s{index}"] = rng.normal(0, 0.5, (4, 8, 1, 1)).astype(F)
            nodes.append(node("Concat", f"{source} {other}", f"{made}c", axis=1))
            nodes.append(node("Conv", f"{made}c s{index}", made))
        else:
            nodes.append(node(op, f"{source} {other}" if op in ("Add", "Mul") else source, made))
        names.append(made)
    read = {name for item in nodes for name in item.input}
    ends = [name for name in names[1:] if name not in read]
    return model_of(nodes, dict.fromkeys(ends, SHAPE), constants)


def measured(model: onnx.ModelProto, frames: list[Any]) -> dict[str, tuple[float, float]]:
    """The range of every tensor over the frames."""
    from onnx.reference import ReferenceEvaluator

    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    names = [name for item in model.graph.node for name in item.output]
    del probe.graph.output[:]
    probe.graph.output.extend(helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in names)
    seen = [ReferenceEvaluator(probe).run(None, {"x": frame}) for frame in frames]
    ranges = {
        name: (float(min(run[i].min() for run in seen)), float(max(run[i].max() for run in seen)))
        for i, name in enumerate(names)
    }
    return ranges | {"x": (float(min(map(np.min, frames))), float(max(map(np.max, frames))))}


@space(25)
@given(model=graphs(), data=st.data())
def test_every_node_of_any_graph_has_one_width(
    tmp_path_factory: pytest.TempPathFactory, model: onnx.ModelProto, data: st.DataObject
) -> None:
    """Encodings of 16 bits make tensors wide; the network computes what the float model does."""
    import onnxruntime as ort

    folder = tmp_path_factory.mktemp("net")
    path, target = folder / "float.onnx", folder / "network.onnx"
    onnx.save(onnx.shape_inference.infer_shapes(model), path)
    rng = np.random.default_rng(1)
    frames = [rng.normal(0, 1, SHAPE).astype(F) for _ in range(3)]
    ranges = measured(model, frames)
    names = [name for name in ranges if not name.endswith("c")]
    asked = data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True))
    whole = data.draw(st.sampled_from([None, {k: (2 * a, 2 * b) for k, (a, b) in ranges.items()}]))
    scales = {name: max(ranges[name][1], 1e-3) - min(ranges[name][0], 0) for name in asked}
    encodings = {
        "sha256": "",
        "weights": {},
        "activations": {
            name: {
                "bitwidth": 16,
                "scales": [scale / 65535],
                "offsets": [round(min(ranges[name][0], 0) / scale * 65535)],
            }
            for name, scale in scales.items()
        },
    }
    made = quantize_file(
        *(str(path), str(target), {"min-max": ranges}, 8, 8, True, encodings),
        *_REST,
        whole=whole,
    )
    assert made["warnings"] == []
    network = onnx.load(target)
    _require_one_width(network)
    links = Links.of(model.graph)
    assert set(made["wide"]["nodes"]) >= spread(links, asked)
    options = ort.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = ort.InferenceSession(str(target), options, providers=["CPUExecutionProvider"])
    expected = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for name, found, real in zip(
        [value.name for value in network.graph.output],
        session.run(None, {"x": frames[0]}),
        expected.run(None, {"x": frames[0]}),
        strict=True,
    ):
        codes = made["outputs"][name]
        assert made["types"][name] == str(found.dtype)
        decoded = (found.astype(np.float64) - codes["zero_point"]) * codes["scale"]
        assert np.abs(decoded - real).mean() <= 0.12 * max(np.abs(real).max(), 1e-3)


def _require_one_width(network: onnx.ModelProto) -> None:
    """Each node between Dequantize and Quantize has activations, in and out, of one width."""
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in network.graph.initializer}
    made = {name: item for item in network.graph.node for name in item.output}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for item in network.graph.node:
        for name in item.input:
            readers.setdefault(name, []).append(item)
    for item in network.graph.node:
        if item.op_type in ("QuantizeLinear", "DequantizeLinear"):
            continue
        weights = {1, 2} if item.op_type == "Conv" else set()
        widths = set()
        for place, name in enumerate(item.input):
            if place in weights or (name in arrays and arrays[name].dtype != F):
                continue
            assert made[name].op_type == "DequantizeLinear", (item.name, name)
            widths.add(arrays[made[name].input[2]].dtype.itemsize)
        for name in item.output:
            for reader in readers.get(name, []):
                if reader.op_type == "QuantizeLinear":
                    widths.add(arrays[reader.input[2]].dtype.itemsize)
        assert len(widths) == 1, (item.name, widths)


def test_a_constant_that_nodes_of_both_widths_read_has_both(tmp_path: Path) -> None:
    """QNN takes no Pad whose value has another width than its data."""
    nodes = [
        node("Pad", "x edges zero", "a"),
        node("Conv", "a w", "b"),
        node("Pad", "b edges zero", "c"),
        node("Conv", "c w", "d"),
        node("Conv", "d v", "out"),
    ]
    rng = np.random.default_rng(0)
    constants = {
        "edges": np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64),
        "zero": np.array(0, F),
        "w": rng.normal(0, 1, (4, 4, 3, 3)).astype(F),
        "v": rng.normal(0, 1, (4, 4, 1, 1)).astype(F),
    }
    model = model_of(nodes, {"out": SHAPE}, constants)
    onnx.save(onnx.shape_inference.infer_shapes(model), tmp_path / "float.onnx")
    ranges = measured(model, [rng.normal(0, 1, SHAPE).astype(F)])
    whole = {name: (2 * low, 2 * high) for name, (low, high) in ranges.items()}
    made = quantize_file(
        str(tmp_path / "float.onnx"),
        str(tmp_path / "network.onnx"),
        {"min-max": ranges},
        *_EIGHT,
        wide=["b"],
        whole=whole,
    )
    assert made["wide"]["nodes"] == ["n_b", "n_c", "n_d"]
    network = onnx.load(tmp_path / "network.onnx")
    _require_one_width(network)
    # What a wide node makes has room; where it gets 8 bits for a narrow one it has none.
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in network.graph.initializer}
    reach = {
        item.input[0]: float(arrays[item.input[1]]) * (2 ** (8 * arrays[item.input[2]].itemsize) - 1)
        for item in network.graph.node
        if item.op_type == "QuantizeLinear" and item.input[0].startswith("d")
    }
    width = ranges["d"][1] - ranges["d"][0]
    assert sorted(reach.values()) == pytest.approx([width, 2 * width], rel=1e-3)


@pytest.mark.parametrize(
    ("output_type", "types", "wide"),
    [("auto", "uint16", 5), ("uint8", "uint8", 0), ("uint16", "uint16", 5), ("float32", "float32", 5)],
)
def test_the_outputs_leave_as_the_option_says(
    tmp_path: Path, output_type: str, types: str, wide: int
) -> None:
    onnx.save(detector(), tmp_path / "float.onnx")
    target = str(tmp_path / "network.onnx")
    made = quantize_file(
        str(tmp_path / "float.onnx"), target, {"min-max": RANGES}, 8, 8, True, None, None, [], [],
        output_type, {},
    )  # fmt: skip
    assert made["types"] == {"out": types}
    assert len(made["wide"]["nodes"]) == wide
    assert made["wide"]["unlike_parts"]["out"][0]["part"] == "scores"
    assert ("out" in made["outputs"]) is (output_type != "float32")
    assert len(made["warnings"]) == 1


@pytest.mark.parametrize("weights", [8, 16])
def test_outputs_of_16_bits_leave_in_8_where_that_is_chosen(tmp_path: Path, weights: int) -> None:
    onnx.save(detector(), tmp_path / "float.onnx")
    ranges = {**RANGES, "scores": (-100.0, 640.0), "out": (-100.0, 640.0)}
    made = quantize_file(
        str(tmp_path / "float.onnx"), str(tmp_path / "n.onnx"), {"min-max": ranges}, weights, 16,
        False, None, None, [], [], "uint8", {},
    )  # fmt: skip
    assert made["types"] == {"out": "uint8"}
    assert made["outputs"]["out"]["scale"] == pytest.approx(740 / 255)
    assert made["outputs"]["out"]["zero_point"] == round(100 * 255 / 740)


def test_an_output_that_only_a_wide_node_reads_leaves_in_8_bits(tmp_path: Path) -> None:
    model = detector()
    model.graph.output.append(helper.make_tensor_value_info("scores", TensorProto.FLOAT, (1, 3, 6, 6)))
    onnx.save(model, tmp_path / "float.onnx")
    made = quantize_file(
        str(tmp_path / "float.onnx"), str(tmp_path / "n.onnx"), {"min-max": RANGES}, 8, 8, True, None,
        None, [], [], "auto", {},
    )  # fmt: skip
    assert made["types"] == {"out": "uint16", "scores": "uint8"}
    assert made["outputs"]["scores"]["scale"] == pytest.approx(0.9 / 255)
    _require_one_width(onnx.load(tmp_path / "n.onnx"))


def test_widths_of_nothing_say_nothing() -> None:
    links = Links.of(detector().graph)
    assert Widths(links=links, nodes=frozenset()).overrides(list(RANGES), [], None) == {}


@pytest.mark.parametrize(("op", "limits"), [("Relu", ""), ("Clip", "zero six")])
@pytest.mark.parametrize("activations", [8, 16])
def test_an_output_in_front_of_a_relu_keeps_its_own_range(
    tmp_path: Path, op: str, limits: str, activations: int
) -> None:
    constants = {"w": np.ones((4, 4, 1, 1), F), "zero": np.array(0, F), "six": np.array(6, F)}
    nodes = [node("Conv", "x w", "c"), node(op, f"c {limits}", "r")]
    onnx.save(model_of(nodes, dict.fromkeys("cr", SHAPE), constants), tmp_path / "float.onnx")
    ranges = {"x": (-1.0, 1.0), "c": (-5.1, 5.1), "r": (0.0, 5.1)}
    made = quantize_file(
        str(tmp_path / "float.onnx"), str(tmp_path / "n.onnx"), {"min-max": ranges}, 8, activations,
        True, None, None, [], [], "auto", {},
    )  # fmt: skip
    steps = 2**activations - 1
    scales = {name: codes["scale"] for name, codes in made["outputs"].items()}
    assert scales == pytest.approx({"c": 10.2 / steps, "r": 5.1 / steps})

"""Nodes of an integer network that compute in float16."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto

from targets.rvc4.quantization.islands import computing
from targets.rvc4.quantization.quantize import quantize_file
from tests.space import space
from tests.unit.test_mixed_precision import FRAMES, gated
from tests.unit.test_rvc4_widths import SHAPE, F, graphs, measured

REST: tuple[Any, ...] = (8, 8, True, None, None, [], [], "auto", {})


def made(folder: Path, model: onnx.ModelProto, frames: list[Any], **own: Any) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    onnx.save(onnx.shape_inference.infer_shapes(model), folder / "float.onnx")
    ranges = own.pop("ranges", None) or measured(model, frames)
    target = str(folder / "network.onnx")
    return quantize_file(str(folder / "float.onnx"), target, {"min-max": ranges}, *REST, **own)


def run(path: Path, frame: Any) -> list[Any]:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, {session.get_inputs()[0].name: frame}))


@pytest.mark.parametrize(
    ("tensors", "nodes"),
    [(["b"], ["n_b", "n_r"]), (["r"], ["n_b", "n_r"]), (["g", "out"], ["n_g", "n_out"]), (["x"], [])],
)
def test_what_makes_a_tensor_computes_it_and_a_relu_goes_with_what_is_in_front(
    tensors: list[str], nodes: list[str]
) -> None:
    assert computing(gated().graph, tensors) == nodes


def test_an_island_has_weights_and_activations_of_float16_and_nothing_else_has(tmp_path: Path) -> None:
    floats = ["n_b", "n_r", "n_c"]
    found = made(tmp_path / "a", gated(), FRAMES, floats=floats)
    assert found["floats"] == floats
    model = onnx.load(tmp_path / "a" / "network.onnx")
    kinds = {t.name: t.data_type for t in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        if node.name in ("n_b", "n_c"):
            assert kinds[node.input[1]] == TensorProto.FLOAT16
        elif node.op_type == "Conv":
            assert makers[node.input[1]].op_type == "DequantizeLinear"
    casts = sorted(node.attribute[0].i for node in model.graph.node if node.op_type == "Cast")
    assert casts == [TensorProto.FLOAT, TensorProto.FLOAT16]
    # Its weights lose nothing: what is left is the loss in front of it.
    without = made(tmp_path / "b", gated(), FRAMES)
    exact = run(tmp_path / "a" / "float.onnx", FRAMES[0])[0]

    def lost(folder: str, report: dict[str, Any]) -> float:
        codes = run(tmp_path / folder / "network.onnx", FRAMES[0])[0].astype(np.float64)
        out = report["outputs"]["out"]
        return float(np.abs((codes - out["zero_point"]) * out["scale"] - exact).mean())

    assert lost("a", found) < lost("b", without)
    again = made(tmp_path / "c", gated(), FRAMES, floats=found["floats"], ranges=found["ranges"])
    assert again["ranges"] == found["ranges"]
    networks = [(tmp_path / name / "network.onnx").read_bytes() for name in "ac"]
    assert networks[0] == networks[1]


def test_an_output_that_is_asked_for_leaves_as_float32_under_its_name(tmp_path: Path) -> None:
    found = made(tmp_path, gated(), FRAMES, floats=["n_c", "n_out"])
    assert (found["types"], found["outputs"]) == ({"out": "float32"}, {})
    exact = run(tmp_path / "float.onnx", FRAMES[0])[0]
    assert np.abs(run(tmp_path / "network.onnx", FRAMES[0])[0] - exact).mean() < 0.1 * exact.std()


@space(25)
@given(model=graphs(), data=st.data())
def test_any_nodes_of_any_graph_can_be_islands_beside_wide_ones(
    tmp_path_factory: pytest.TempPathFactory, model: onnx.ModelProto, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("net")
    rng = np.random.default_rng(1)
    frames = [rng.normal(0, 1, SHAPE).astype(F) for _ in range(3)]
    tensors = [name for node in model.graph.node for name in node.output]
    some = st.lists(st.sampled_from(tensors), max_size=3, unique=True)
    floats, wide = computing(model.graph, data.draw(some)), data.draw(some)
    found = made(folder, model, frames, floats=floats, wide=wide)
    network = onnx.load(folder / "network.onnx")
    exact, results = (run(folder / f"{name}.onnx", frames[0]) for name in ("float", "network"))
    for value, one, real in zip(network.graph.output, results, exact, strict=True):
        codes = found["outputs"].get(value.name, {"zero_point": 0, "scale": 1.0})
        decoded = (one.astype(np.float64) - codes["zero_point"]) * codes["scale"]
        assert found["types"][value.name] == str(one.dtype)
        assert np.abs(decoded - real).mean() <= 0.12 * max(np.abs(real).max(), 1e-3)

"""Source archives for the tests: small nets with colourful preprocessing, and their configs."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

DIGITS = Path(__file__).parent / "data" / "digits"
DIGITS_ARCHIVE = DIGITS / "digits.tar.xz"
MEAN = [110.0, 70.0, 30.0]
SCALE = [20.0, 45.0, 90.0]


COPIES = ("w", "y", "z", "a", "b", "c", "d", "e", "f", "g", "h", "i")


def conv_model(
    *,
    layout: str = "NCHW",
    channels: int = 3,
    height: int = 12,
    width: int = 16,
    opset: int = 13,
    dtype: int = TensorProto.FLOAT,
    name: str = "images",
    padded: bool = True,
) -> onnx.ModelProto:
    """Two convolutions over an image in either layout; outputs a map and a vector."""
    rng = np.random.default_rng(7)
    pads = [1, 1, 1, 1] if padded else [0, 0, 0, 0]
    sizes = {"N": 1, "C": channels, "H": height, "W": width}
    shape = [sizes[axis] for axis in layout]
    nodes, x = [], name
    if dtype != TensorProto.FLOAT:
        nodes.append(helper.make_node("Cast", [x], ["cast"], to=TensorProto.FLOAT, name="cast"))
        x = "cast"
    if layout != "NCHW":
        perm = [layout.index(axis) for axis in "NCHW"]
        nodes.append(helper.make_node("Transpose", [x], ["planar"], perm=perm, name="to_planar"))
        x = "planar"
    weights = {
        "w1": rng.normal(0, 0.3, (5, channels, 3, 3)),
        "b1": rng.normal(0, 0.1, 5),
        "w2": rng.normal(0, 0.3, (4, 5, 1, 1)),
        "b2": rng.normal(0, 0.1, 4),
        "wf": rng.normal(0, 0.3, (6, 4)),
        "bf": rng.normal(0, 0.3, 6),
    }
    nodes += [
        helper.make_node("Conv", [x, "w1", "b1"], ["c1"], pads=pads, name="first"),
        helper.make_node("Relu", ["c1"], ["r1"], name="relu"),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["map"], name="second"),
        helper.make_node("GlobalAveragePool", ["map"], ["pooled"], name="pool"),
        helper.make_node("Flatten", ["pooled"], ["flat"], name="flatten"),
        helper.make_node("Gemm", ["flat", "wf", "bf"], ["scores"], transB=1, name="scores"),
    ]
    cut = 0 if padded else 2
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(name, dtype, shape)],
        [
            helper.make_tensor_value_info("map", TensorProto.FLOAT, [1, 4, height - cut, width - cut]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 6]),
        ],
        [numpy_helper.from_array(value.astype(np.float32), key) for key, value in weights.items()],
    )
    return make_model(graph, opset)


def make_model(graph: onnx.GraphProto, opset: int = 13) -> onnx.ModelProto:
    """A model of one graph, its shapes inferred."""
    opsets = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8 if opset < 19 else 11)
    return onnx.shape_inference.infer_shapes(model)


def one_op_model(
    op: str,
    inputs: dict[str, tuple[int, ...]],
    *,
    constants: dict[str, np.ndarray] | None = None,
    order: list[str] | None = None,
    opset: int = 13,
    outputs: int = 1,
    shape: tuple[int, ...] | None = None,
    **attributes: Any,
) -> onnx.ModelProto:
    """A graph of one node; `order` names its inputs, an empty name leaves one out.

    `shape` is the outputs', for operators of which ONNX does not infer it.
    """
    constants = constants or {}
    names = order if order is not None else [*inputs, *constants]
    outs = [f"y{index}" for index in range(outputs)]
    node = helper.make_node(op, names, outs, name=f"the_{op}", **attributes)
    graph = helper.make_graph(
        [node],
        "one_op",
        [helper.make_tensor_value_info(key, TensorProto.FLOAT, size) for key, size in inputs.items()],
        [helper.make_tensor_value_info(out, TensorProto.FLOAT, shape) for out in outs],
        [numpy_helper.from_array(value, key) for key, value in constants.items()],
    )
    return make_model(graph, opset)


def rate_model() -> onnx.ModelProto:
    """A frame x and a sample rate, a single number: x * rate."""
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "rate"], ["y"])],
        "net",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8]),
            helper.make_tensor_value_info("rate", TensorProto.FLOAT, []),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8])],
    )
    return make_model(graph)


def copies_model() -> onnx.ModelProto:
    """Outputs that copy an input, an output, or the same tensor, in every way there is.

    ```
    x (1, 3, 8, 8) ─ w        x ─ Relu ─ y ─ z        x ─ Neg ─ (n) ─ a, b, c, d, e
    n ─ Greater ─ f ─ g  of booleans            n ─ Mul ─ h  with the dropout's mask
    x ─ BatchNormalization ─ i  by nothing
    ```
    """
    nodes = [
        helper.make_node("Identity", ["x"], ["w"], name="through"),
        helper.make_node("Relu", ["x"], ["y"], name="relu"),
        helper.make_node("Identity", ["y"], ["z"], name="copy"),
        helper.make_node("Neg", ["x"], ["n"], name="negative"),
        helper.make_node("Identity", ["n"], ["a"], name="first"),
        helper.make_node("Sum", ["n"], ["b"], name="sum of one"),
        helper.make_node("Max", ["b"], ["c"], name="largest of one"),
        helper.make_node("Dropout", ["n"], ["d", "mask"], name="dropout"),
        helper.make_node("Cast", ["n"], ["e"], name="cast", to=TensorProto.FLOAT),
        helper.make_node("Greater", ["n", "x"], ["f"], name="greater"),
        helper.make_node("Identity", ["f"], ["g"], name="truth"),
        helper.make_node("Cast", ["mask"], ["kept"], name="number", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["n", "kept"], ["h"], name="masked"),
        helper.make_node("BatchNormalization", ["x", *"opqo"], ["i"], name="normalized", epsilon=0.0),
    ]
    parameters = {"o": np.ones(3, np.float32)} | dict.fromkeys("pq", np.zeros(3, np.float32))
    shape = [1, 3, 8, 8]
    graph = helper.make_graph(
        nodes,
        "copies",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor_value_info(
                name, TensorProto.BOOL if name in "fg" else TensorProto.FLOAT, shape
            )
            for name in COPIES
        ],
        [numpy_helper.from_array(values, name) for name, values in parameters.items()],
    )
    return make_model(graph)


def config_for(
    model: onnx.ModelProto,
    *,
    path: str = "model.onnx",
    layout: str = "NCHW",
    preprocessing: dict[str, Any] | None = None,
    image: bool = True,
    heads: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """A config that describes a model truthfully; every input is alike."""
    from converter.graph.facts import DTYPES

    def tensor(value: onnx.ValueInfoProto) -> dict[str, Any]:
        kind = value.type.tensor_type
        shape = [dim.dim_value for dim in kind.shape.dim]
        return {"name": value.name, "dtype": DTYPES[kind.elem_type], "shape": shape}

    inputs = []
    for value in model.graph.input:
        entry = tensor(value) | {
            "input_type": "image" if image else "raw",
            "preprocessing": copy.deepcopy(preprocessing) or {},
        }
        if image or len(entry["shape"]) == len(layout):
            entry["layout"] = layout
        inputs.append(entry)
    outputs = [tensor(value) for value in model.graph.output]
    for entry in outputs:
        if not entry["shape"]:
            del entry["shape"]
    return {
        "config_version": "1.0",
        "model": {
            "metadata": {"name": "net", "path": path, "precision": "float32"},
            "inputs": inputs,
            "outputs": outputs,
            "heads": heads or [],
        },
    }


def write_folder(
    folder: Path, model: onnx.ModelProto, config: dict[str, Any] | None = None, **describe: Any
) -> Path:
    """An unpacked source archive."""
    config = config or config_for(model, **describe)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    path = folder / config["model"]["metadata"]["path"]
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return folder


RGB = {"mean": MEAN, "scale": SCALE, "dai_type": "RGB888p"}

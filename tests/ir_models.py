"""Models of one operator each, for what becomes of them in an IR; every random number has a fixed seed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.sources import make_model, one_op_model

IMAGE = (1, 4, 6, 8)
ROWS = (2, 3, 8)


def one_op_models() -> dict[str, onnx.ModelProto]:
    """A model per name; the inputs are float and the values of `feeds_of` suit each."""
    return lowered_models() | dict(_other_models())


def lowered_models() -> dict[str, onnx.ModelProto]:
    """Those of them that today's OpenVINO reads as an operator for which there is a rule."""
    return dict(_lowered_models())


def feeds_of(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Inputs between −2 and 2 without two equal values, so that no order is a matter of taste."""
    feeds = {}
    for seed, value in enumerate(model.graph.input):
        kind = value.type.tensor_type
        shape = [dim.dim_value for dim in kind.shape.dim]
        numbers = np.linspace(-2, 2, int(np.prod(shape)), dtype=np.float32)
        numbers = np.random.default_rng(seed).permutation(numbers).reshape(shape)
        feeds[value.name] = numbers > 0 if kind.elem_type == TensorProto.BOOL else numbers
    return feeds


def _weights(*shape: int, seed: int = 5, scale: float = 0.4) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, scale, shape).astype(np.float32)


def _ints(*values: Any) -> np.ndarray:
    return np.array(values, np.int64)


def _floats(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def _op(op: str, *shapes: tuple[int, ...], opset: int = 18, **more: Any) -> onnx.ModelProto:
    return one_op_model(
        op, {f"x{index}": shape for index, shape in enumerate(shapes)}, opset=opset, **more
    )


def _indices(output: int, op: str, *shapes: tuple[int, ...], **more: Any) -> onnx.ModelProto:
    """One whose output of this number is of integers."""
    model = _op(op, *shapes, **more)
    model.graph.output[output].type.tensor_type.elem_type = TensorProto.INT64
    return onnx.shape_inference.infer_shapes(model)


def _resize(mode: str, opset: int = 18, **more: Any) -> onnx.ModelProto:
    """`scales` or `sizes` among the rest; either is of the last two axes."""
    given = {key: more.pop(key) for key in ("scales", "sizes") if key in more}
    key, last = next(iter(given.items()))
    full = _floats(1, 1, *last) if key == "scales" else _ints(*IMAGE[:2], *last)
    order = ["x0", "", "scales"] if key == "scales" else ["x0", "", "", "sizes"]
    return _op("Resize", IMAGE, constants={key: full}, order=order, mode=mode, opset=opset, **more)


def _resizes() -> Iterator[tuple[str, onnx.ModelProto]]:
    for mode in ("nearest", "linear", "cubic"):
        yield f"resize_{mode}_scales_up", _resize(mode, scales=(2, 3))
        yield f"resize_{mode}_scales_down", _resize(mode, scales=(0.5, 0.75))
        yield f"resize_{mode}_sizes", _resize(mode, sizes=(9, 5))
        for coordinates in ("align_corners", "asymmetric", "pytorch_half_pixel"):
            name = f"resize_{mode}_{coordinates}"
            yield name, _resize(mode, sizes=(12, 16), coordinate_transformation_mode=coordinates)
    for nearest in ("floor", "ceil", "round_prefer_ceil", "round_prefer_floor"):
        more = {"nearest_mode": nearest, "coordinate_transformation_mode": "asymmetric"}
        yield f"resize_{nearest}", _resize("nearest", scales=(2, 2), **more)
    yield "resize_cubic_coefficient", _resize("cubic", scales=(2, 2), cubic_coeff_a=-0.5)
    for mode in ("linear", "cubic"):
        # The old and the new operator agree with each other here, but not with ONNX below a scale of 1.
        yield f"resize_{mode}_antialias", _resize(mode, sizes=(12, 16), antialias=1)
    axes = {"constants": {"scales": _floats(2, 2)}, "order": ["x0", "", "scales"], "axes": [2, 3]}
    yield "resize_axes", _op("Resize", IMAGE, mode="nearest", **axes)
    yield (
        "upsample",
        _op("Upsample", IMAGE, constants={"s": _floats(1, 1, 2, 2)}, mode="nearest", opset=9),
    )


def _pads() -> Iterator[tuple[str, onnx.ModelProto]]:
    def pad(mode: str, *pads: int) -> onnx.ModelProto:
        constants: dict[str, Any] = {"pads": _ints(*pads)}
        if mode == "constant":
            constants["value"] = np.array(0.3, np.float32)
        return _op("Pad", IMAGE, constants=constants, mode=mode)

    for mode in ("constant", "edge", "reflect"):
        yield f"pad_{mode}", pad(mode, 0, 0, 1, 2, 0, 0, 3, 1)
        yield f"pad_{mode}_negative", pad(mode, 0, 0, -1, 2, 0, -1, 1, -2)
    yield "pad_crop", pad("constant", 0, -1, -1, 0, 0, 0, -2, -3)


def _scatters() -> Iterator[tuple[str, onnx.ModelProto]]:
    indices = _ints([0, 5, -1], [2, 2, -6])
    many = _ints([0, 1], [1, -1], [0, 1])
    for reduction in ("none", "add", "mul", "max", "min"):
        repeated = reduction != "none"
        places = indices if repeated else _ints([0, 5, -2], [2, 1, -6])
        constants = {"i": places, "u": _weights(*places.shape)}
        name = f"scatter_elements_{reduction}"
        yield name, _op("ScatterElements", (3, 6), constants=constants, axis=1, reduction=reduction)
        places = many if repeated else many[:2]
        constants = {"i": places, "u": _weights(len(places), 4)}
        yield (
            f"scatter_nd_{reduction}",
            _op("ScatterND", (2, 3, 4), constants=constants, reduction=reduction),
        )
    constants = {"i": _ints([0, 1, 2, 3]), "u": _weights(1, 4)}
    yield "scatter_elements_first_axis", _op("ScatterElements", (4, 6), constants=constants, axis=0)


def _attentions() -> Iterator[tuple[str, onnx.ModelProto]]:
    query, key, value = (1, 2, 5, 8), (1, 2, 7, 8), (1, 2, 7, 4)
    seen = np.tri(5, 7, 1, dtype=bool)

    def attention(**more: Any) -> onnx.ModelProto:
        return _op("Attention", query, key, value, opset=23, **more)

    yield "attention", attention()
    yield "attention_scale", attention(scale=0.2)
    yield "attention_causal", attention(is_causal=1)
    yield "attention_mask", attention(constants={"m": _weights(5, 7)})
    yield "attention_bool_mask", attention(constants={"m": seen})


def _average_pools() -> Iterator[tuple[str, onnx.ModelProto]]:
    size: dict[str, Any] = {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1, "opset": 19}
    for counts in (0, 1):
        more = {**size, "count_include_pad": counts}
        yield f"average_pool_ceil_{counts}", _op("AveragePool", (1, 4, 7, 8), **more)
        more |= {"pads": [1, 1, 1, 1]}
        yield f"average_pool_ceil_padded_{counts}", _op("AveragePool", (1, 4, 8, 9), **more)
        more |= {"dilations": [2, 2]}
        yield f"average_pool_dilated_{counts}", _op("AveragePool", (1, 4, 9, 10), **more)


def _other_pools() -> Iterator[tuple[str, onnx.ModelProto]]:
    size: dict[str, Any] = {"kernel_shape": [3, 3], "strides": [2, 2]}
    image = (1, 4, 7, 8)
    yield "max_pool", _op("MaxPool", image, pads=[1, 1, 1, 1], **size)
    yield "max_pool_ceil", _op("MaxPool", image, ceil_mode=1, **size)
    yield "max_pool_dilated", _op("MaxPool", image, dilations=[2, 2], **size)
    for counts in (0, 1):
        more = {**size, "count_include_pad": counts}
        yield f"average_pool_{counts}", _op("AveragePool", image, pads=[1, 0, 1, 1], **more)
    yield "average_pool_same", _op("AveragePool", image, auto_pad="SAME_UPPER", **size)
    yield "global_average_pool", _op("GlobalAveragePool", image)
    yield "global_max_pool", _op("GlobalMaxPool", image)


def _recurrent(op: str, gates: int, states: int) -> onnx.ModelProto:
    hidden, constants = 5, {}
    constants["w"] = _weights(1, gates * hidden, 8)
    constants["r"] = _weights(1, gates * hidden, hidden, seed=6)
    constants["b"] = _weights(1, 2 * gates * hidden, seed=7)
    more = {"linear_before_reset": 1} if op == "GRU" else {}
    return _op(op, (3, 1, 8), constants=constants, hidden_size=hidden, outputs=states, **more)


def _lowered_models() -> Iterator[tuple[str, onnx.ModelProto]]:
    yield from _resizes()
    yield from _pads()
    yield from _scatters()
    yield from _attentions()
    yield from _average_pools()
    shapes = {"group_normalization": IMAGE, "group_normalization_3d": (2, 4, 5)}
    for name, shape in shapes.items():
        constants = {"s": _weights(4), "b": _weights(4, seed=6)}
        more = {"num_groups": 2, "epsilon": 0.1, "opset": 21, "shape": shape}
        yield name, _op("GroupNormalization", shape, constants=constants, **more)
    for largest in (0, 1):
        more = {"constants": {"k": _ints(3)}, "outputs": 2, "largest": largest}
        yield f"top_k_{largest}", _indices(1, "TopK", ROWS, **more)
    for op in ("ArgMax", "ArgMin"):
        yield op.lower(), _indices(0, op, ROWS, axis=1, keepdims=0)
    constants = {"i": _ints([0, -1], [5, -6], [3, 4])}
    yield "gather_elements", _op("GatherElements", (3, 6), constants=constants, axis=1)
    yield "one_hot", _one_hot()
    yield "identity", _op("Identity", ROWS)
    yield "bitwise_not", _bits("Not")


def _other_models() -> Iterator[tuple[str, onnx.ModelProto]]:
    yield from _other_pools()
    yield "attention_pattern", _attention_pattern()

    yield (
        "conv",
        _op("Conv", IMAGE, constants={"w": _weights(5, 4, 3, 3), "b": _weights(5)}, pads=[1] * 4),
    )
    yield "conv_depthwise", _op("Conv", IMAGE, constants={"w": _weights(4, 1, 3, 3)}, group=4)
    transposed = {"constants": {"w": _weights(4, 3, 2, 2)}, "strides": [2, 2]}
    yield "conv_transpose", _op("ConvTranspose", IMAGE, **transposed)
    yield "matmul", _op("MatMul", ROWS, constants={"w": _weights(8, 4)})
    yield "gemm", _op("Gemm", (3, 8), constants={"w": _weights(4, 8), "b": _weights(4)}, transB=1)
    yield "einsum", _op("Einsum", ROWS, (2, 8, 5), equation="bij,bjk->bik")
    yield "lstm", _recurrent("LSTM", 4, 3)
    yield "gru", _recurrent("GRU", 3, 2)

    channels = {"s": _weights(4), "b": _weights(4, seed=6)}
    moments = channels | {"m": _weights(4, seed=7), "v": np.abs(_weights(4, seed=8)) + 0.5}
    yield "batch_normalization", _op("BatchNormalization", IMAGE, constants=moments)
    yield "instance_normalization", _op("InstanceNormalization", IMAGE, constants=channels)
    layer = {"s": _weights(8), "b": _weights(8, seed=6)}
    yield "layer_normalization", _op("LayerNormalization", ROWS, constants=layer, axis=-1)
    yield "lp_normalization", _op("LpNormalization", ROWS, axis=-1)
    yield "lrn", _op("LRN", IMAGE, size=3)

    yield "gather", _op("Gather", ROWS, constants={"i": _ints(0, -1, 5)}, axis=2)
    yield "gather_nd", _op("GatherND", ROWS, constants={"i": _ints([0, 1], [1, 2])})
    yield "where", _where()
    for op in ("And", "Or", "Xor"):
        yield f"logical_{op.lower()}", _bits(op)

    yield "split", _op("Split", IMAGE, constants={"s": _ints(3, 5)}, axis=3, outputs=2)
    cut = {"from": _ints(1, -1), "to": _ints(5, -7), "axes": _ints(2, 3), "steps": _ints(2, -2)}
    yield "slice", _op("Slice", IMAGE, constants=cut)
    yield "concat", _op("Concat", IMAGE, IMAGE, axis=1)
    yield "transpose", _op("Transpose", IMAGE, perm=[0, 2, 3, 1])
    yield "reshape", _op("Reshape", IMAGE, constants={"s": _ints(1, -1, 8)})
    yield "squeeze", _op("Squeeze", IMAGE, constants={"a": _ints(0)})
    yield "unsqueeze", _op("Unsqueeze", ROWS, constants={"a": _ints(1)})
    yield "flatten", _op("Flatten", IMAGE)
    yield "expand", _op("Expand", (1, 3, 1), constants={"s": _ints(2, 3, 4)})
    yield "tile", _op("Tile", ROWS, constants={"r": _ints(1, 2, 1)})
    yield "depth_to_space", _op("DepthToSpace", IMAGE, blocksize=2)
    yield "depth_to_space_crd", _op("DepthToSpace", IMAGE, blocksize=2, mode="CRD")
    yield "space_to_depth", _op("SpaceToDepth", IMAGE, blocksize=2)
    yield "trilu", _op("Trilu", ROWS, upper=0)
    yield "cum_sum", _op("CumSum", ROWS, constants={"a": np.array(2, np.int64)}, reverse=1)

    for op in (
        "Abs",
        "Ceil",
        "Cos",
        "Elu",
        "Erf",
        "Exp",
        "Floor",
        "HardSigmoid",
        "HardSwish",
        "LeakyRelu",
    ):
        yield op.lower(), _op(op, ROWS)
    for op in (
        "Mish",
        "Neg",
        "Relu",
        "Round",
        "Selu",
        "Sigmoid",
        "Sign",
        "Sin",
        "Softplus",
        "Softsign",
        "Tanh",
    ):
        yield op.lower(), _op(op, ROWS)
    for op in ("Softmax", "LogSoftmax"):
        yield op.lower(), _op(op, ROWS, axis=-1)
    for approximate in ("none", "tanh"):
        yield f"gelu_{approximate}", _op("Gelu", ROWS, opset=20, approximate=approximate)
    limits = {"low": np.array(-1, np.float32), "high": np.array(1, np.float32)}
    yield "clip", _op("Clip", ROWS, constants=limits)
    yield "prelu", _op("PRelu", IMAGE, constants={"s": _weights(4, 1, 1)})
    for op in ("Add", "Sub", "Mul", "Max", "Min"):
        yield op.lower(), _op(op, ROWS, (3, 1))
    yield "div", _op("Div", ROWS, constants={"d": _weights(8) + 3})
    yield "pow", _op("Pow", ROWS, constants={"p": np.array(2, np.float32)})
    yield "mod", _op("Mod", ROWS, constants={"d": _floats(0.7)}, fmod=1)
    for op in (
        "ReduceMax",
        "ReduceMean",
        "ReduceMin",
        "ReduceProd",
        "ReduceSum",
        "ReduceL1",
        "ReduceL2",
    ):
        yield op.lower(), _op(op, ROWS, constants={"a": _ints(1)}, keepdims=0)
    yield "reducelogsumexp", _op("ReduceLogSumExp", ROWS, constants={"a": _ints(2)})
    yield "grid_sample", _op("GridSample", IMAGE, (1, 5, 6, 2), opset=16, mode="bilinear")
    boxes = {"b": _floats(0, 0, 5, 4, 1, 1, 7, 5).reshape(2, 4), "n": _ints(0, 0)}
    yield (
        "roi_align",
        _op(
            "RoiAlign",
            IMAGE,
            constants=boxes,
            output_height=3,
            output_width=3,
            sampling_ratio=2,
            opset=16,
        ),
    )


def _attention_pattern() -> onnx.ModelProto:
    """As exporters wrote it before there was an operator."""
    names = {"q": (1, 2, 5, 8), "k": (1, 2, 7, 8), "v": (1, 2, 7, 4)}
    nodes = [
        helper.make_node("Transpose", ["k"], ["kt"], perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", ["q", "kt"], ["raw"]),
        helper.make_node("Mul", ["raw", "scale"], ["scaled"]),
        helper.make_node("Softmax", ["scaled"], ["weights"], axis=-1),
        helper.make_node("MatMul", ["weights", "v"], ["y0"]),
    ]
    graph = helper.make_graph(
        nodes,
        "pattern",
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in names.items()
        ],
        [helper.make_tensor_value_info("y0", TensorProto.FLOAT, (1, 2, 5, 4))],
        [onnx.numpy_helper.from_array(np.array(0.35, np.float32), "scale")],
    )
    return make_model(graph, 18)


def _one_hot() -> onnx.ModelProto:
    """Of the place of the greatest minus the number of places: negative indices, and what to make of them."""
    nodes = [
        helper.make_node("ArgMax", ["x0"], ["place"], axis=-1, keepdims=0),
        helper.make_node("Sub", ["place", "four"], ["index"]),
        helper.make_node("OneHot", ["index", "depth", "values"], ["y0"], axis=-1),
    ]
    constants = {"four": _ints(4), "depth": _ints(8), "values": _floats(0.25, 2)}
    return _several(nodes, {"x0": ROWS}, constants)


def _where() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Greater", ["x0", "x1"], ["above"]),
        helper.make_node("Where", ["above", "x0", "other"], ["y0"]),
    ]
    return _several(nodes, {"x0": ROWS, "x1": ROWS}, {"other": _floats(9)})


def _bits(op: str) -> onnx.ModelProto:
    """On integers `Not`, of the whole numbers nearest to the inputs; on booleans the rest."""
    names = {"x0": ROWS} if op == "Not" else {"x0": ROWS, "x1": ROWS}
    if op == "Not":
        nodes = [
            helper.make_node("Cast", ["x0"], ["n"], to=TensorProto.INT32),
            helper.make_node("BitwiseNot", ["n"], ["b"]),
        ]
    else:
        nodes = [helper.make_node("Greater", [name, "zero"], [f"{name}_above"]) for name in names]
        nodes.append(helper.make_node(op, [f"{name}_above" for name in names], ["b"]))
    nodes.append(helper.make_node("Cast", ["b"], ["y0"], to=TensorProto.FLOAT))
    return _several(nodes, names, {} if op == "Not" else {"zero": _floats(0)})


def _several(
    nodes: list[onnx.NodeProto], inputs: dict[str, tuple[int, ...]], constants: dict[str, np.ndarray]
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "few_ops",
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in inputs.items()
        ],
        [helper.make_tensor_value_info("y0", TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return make_model(graph, 18)

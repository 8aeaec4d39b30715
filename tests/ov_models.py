"""Models of few operators made with OpenVINO's own factories: old opsets, and what does not come from ONNX."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset1
from openvino.utils.node_factory import NodeFactory

IMAGE = (1, 4, 6, 8)
ROWS = (2, 3, 8)
Made = Callable[[], ov.Model]


def op(version: int, kind: str, *inputs: Any, **attributes: Any) -> ov.Node:
    """A node of an opset's operator; arrays become constants, a list of attributes their names."""
    given = [constant(item) if isinstance(item, np.ndarray) else item for item in inputs]
    return _factory(version).create(kind, given, attributes)


@functools.cache
def _factory(version: int) -> NodeFactory:
    return NodeFactory(f"opset{version}")


def parameter(*shape: int, kind: Any = np.float32) -> ov.Node:
    return opset1.parameter(list(shape), kind)


def constant(values: np.ndarray) -> ov.Node:
    return opset1.constant(values) if values.size else ov.op.Constant(ov.Tensor(values))


def ints(*values: Any) -> np.ndarray:
    return np.array(values, np.int64)


def scalar(value: float, kind: Any = np.int64) -> np.ndarray:
    return np.array(value, kind)


def floats(*values: Any) -> np.ndarray:
    return np.array(values, np.float32)


def weights(*shape: int, seed: int = 5, scale: float = 0.4) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, scale, shape).astype(np.float32)


def model_of(*outputs: Any, inputs: list[Any], name: str = "few_ops") -> ov.Model:
    ends = [opset1.result(item) for item in outputs]
    return ov.Model(ends, inputs, name)


def one(
    version: int, kind: str, *shapes: Any, more: Any = (), outputs: int = 1, **attributes: Any
) -> Made:
    """A model of one operator on inputs of these shapes and then these constants."""

    def made() -> ov.Model:
        inputs = [parameter(*shape) for shape in shapes]
        node = op(version, kind, *inputs, *more, **attributes)
        return model_of(*node.outputs()[:outputs], inputs=inputs)

    return made


def compared(kind: str) -> Made:
    """A comparison, as numbers."""

    def made() -> ov.Model:
        a, b = parameter(*ROWS), parameter(3, 1)
        return model_of(op(1, "Convert", op(1, kind, a, b), destination_type="f32"), inputs=[a, b])

    return made


def whole(build: Callable[[Any], Any], shape: Any = ROWS, kind: str = "i32", factor: float = 4) -> Made:
    """A model that works on the whole numbers below the inputs."""

    def made() -> ov.Model:
        x = parameter(*shape)
        number = op(
            1, "Convert", op(1, "Multiply", x, scalar(factor, np.float32)), destination_type=kind
        )
        return model_of(build(number), inputs=[x])

    return made


def logical(build: Callable[[Any], Any]) -> Made:
    """A model that works on whether the inputs are positive."""

    def made() -> ov.Model:
        x = parameter(*ROWS)
        node = build(op(1, "Greater", x, scalar(0.0, np.float32)))
        return model_of(op(1, "Convert", node, destination_type="f32"), inputs=[x])

    return made


def models() -> dict[str, Made]:
    """A model per name."""
    parts = (_elementwise, _shapes, _images, _pools, _indices, _recurrent, _resizes, _detectors)
    return {name: made for part in parts for name, made in part()}


def _elementwise() -> Iterator[tuple[str, Made]]:
    for kind in ("Asin", "Acos", "Atanh"):
        yield kind.lower(), bounded(kind)
    for kind in ("Asinh", "Atan", "Cosh", "Sinh", "Tan"):
        yield kind.lower(), one(4 if kind == "Asinh" else 1, kind, ROWS)
    yield "acosh", bounded("Acosh", 2.0)
    yield "log", bounded("Log", 2.0)
    yield "sqrt", bounded("Sqrt", 2.0)
    yield "negative", one(1, "Negative", ROWS)
    yield "hsigmoid", one(5, "HSigmoid", ROWS)
    yield "softplus", one(4, "SoftPlus", ROWS)
    yield "swish_beta", one(4, "Swish", ROWS, more=[scalar(0.7, np.float32)])
    yield "gelu_2", one(2, "Gelu", ROWS)
    yield (
        "round_away",
        whole(
            lambda x: op(
                5,
                "Round",
                op(1, "Divide", op(1, "Convert", x, destination_type="f32"), floats(2)),
                mode="half_away_from_zero",
            )
        ),
    )
    yield "divide", one(1, "Divide", ROWS, more=[weights(8) + 3])
    yield "floor_mod", one(1, "FloorMod", ROWS, more=[floats(0.7)])
    yield "floor_mod_ints", whole(lambda x: op(1, "FloorMod", x, np.array([3], np.int32)))
    yield "divide_ints", whole(lambda x: op(1, "Divide", x, np.array([3], np.int32)))
    yield (
        "divide_ints_c",
        whole(lambda x: op(1, "Divide", x, np.array([3], np.int32), m_pythondiv=False)),
    )
    yield "mod_ints", whole(lambda x: op(1, "Mod", x, np.array([3], np.int32)))
    yield "clamp_ints", whole(lambda x: op(1, "Clamp", x, min=-2.5, max=3.5))
    yield "squared_difference", one(1, "SquaredDifference", ROWS, (3, 1))
    for kind in ("Equal", "NotEqual", "GreaterEqual", "Less", "LessEqual"):
        yield kind.lower(), compared(kind)
    yield "logical_not", logical(lambda x: op(1, "LogicalNot", x))
    yield "xor", logical(lambda x: op(1, "Xor", x, np.array([True])))
    for kind in ("And", "Or", "Xor"):
        yield (
            f"bitwise_{kind.lower()}",
            logical(lambda x, k=kind: op(13, f"Bitwise{k}", x, np.array([True]))),
        )
        yield (
            f"bitwise_{kind.lower()}_ints",
            whole(lambda x, k=kind: op(13, f"Bitwise{k}", x, np.array([5], np.int32))),
        )
    for kind in ("And", "Or"):
        name = f"ReduceLogical{kind}"
        yield name.lower(), logical(lambda x, k=name: op(1, k, x, ints(1), keep_dims=False))
    yield "reduce_nothing", one(1, "ReduceSum", ROWS, more=[np.zeros([0], np.int64)], keep_dims=True)
    yield "reduce_18", one(1, "ReduceMean", ROWS, more=[ints(-1)], keep_dims=True)
    yield "is_finite", special(lambda x: op(10, "IsFinite", x))
    yield "is_nan", special(lambda x: op(10, "IsNaN", x))
    yield "is_inf", special(lambda x: op(10, "IsInf", x, detect_negative=False, detect_positive=True))
    yield "convert_like", one(1, "ConvertLike", ROWS, more=[np.array([1], np.int32)])
    yield (
        "convert_promote",
        whole(lambda x: op(14, "ConvertPromoteTypes", x, weights(1), promote_unsafe=True).output(0)),
    )
    yield "softmax_1", one(1, "Softmax", ROWS, axis=1)
    yield "prelu_channels", one(1, "PRelu", IMAGE, more=[weights(4)])
    yield "cum_sum", one(3, "CumSum", ROWS, more=[scalar(1)], exclusive=True, reverse=False)
    yield "halves", halves
    yield "compressed", compressed


def bounded(kind: str, offset: float = 0.0) -> Made:
    """Of inputs between −0.9 and 0.9 plus the offset."""

    def made() -> ov.Model:
        x = parameter(*ROWS)
        inside = op(1, "Add", op(1, "Multiply", x, floats(0.45)), floats(offset))
        return model_of(op(4 if kind.endswith("h") else 1, kind, inside), inputs=[x])

    return made


def special(build: Callable[[Any], Any]) -> Made:
    """Of numbers some of which are infinite and some none at all."""

    def made() -> ov.Model:
        x = parameter(*ROWS)
        positive = op(1, "Relu", x)
        value = op(1, "Divide", positive, op(1, "Add", positive, floats(0)))
        value = op(1, "Add", value, op(1, "Log", op(1, "Relu", op(1, "Add", x, floats(1)))))
        return model_of(op(1, "Convert", build(value), destination_type="f32"), inputs=[x])

    return made


def halves() -> ov.Model:
    """Of float16 throughout, as Model Optimizer wrote it."""
    x = parameter(*IMAGE, kind=np.float16)
    kernel = weights(5, 4, 3, 3).astype(np.float16)
    y = op(1, "Convolution", x, kernel, **_window(2))
    return model_of(op(1, "Add", y, weights(1, 5, 1, 1).astype(np.float16)), inputs=[x])


def compressed() -> ov.Model:
    """Of float32 with weights of float16, some of them large, and of int8."""
    x = parameter(2, 256)
    half = op(1, "Convert", weights(256, 128, scale=0.05).astype(np.float16), destination_type="f32")
    y = op(1, "MatMul", x, half, transpose_a=False, transpose_b=False)
    levels = np.arange(-64, 64).astype(np.int8).reshape(1, 128).repeat(8, 0)
    steps = op(1, "Convert", levels, destination_type="f32")
    steps = op(1, "Multiply", op(1, "Subtract", steps, weights(8, 1)), weights(8, 1, seed=6) * 0.01)
    return model_of(op(1, "MatMul", y, steps, transpose_a=False, transpose_b=True), inputs=[x])


def _shapes() -> Iterator[tuple[str, Made]]:
    def strided(
        shape: Any = IMAGE, begin: Any = (), end: Any = (), steps: Any = (), **masks: Any
    ) -> Made:
        names = ("begin_mask", "end_mask", "new_axis_mask", "shrink_axis_mask", "ellipsis_mask")
        given = {name: masks.get(name.removesuffix("_mask"), []) for name in names}
        more = [ints(*begin), ints(*end), ints(*(steps or [1] * len(begin)))]
        return one(1, "StridedSlice", shape, more=more, **given)

    yield "strided", strided(begin=[0, 1, 1, 2], end=[1, 4, 5, 7], steps=[1, 2, 1, 3])
    yield (
        "strided_masks",
        strided(begin=[9, 1, 9, -3], end=[9, 9, 4, -1], begin_mask=[1, 0, 1, 0], end_mask=[1, 1, 0, 0]),
    )
    yield (
        "strided_back",
        strided(
            begin=[0, 3, 9, -1],
            end=[1, 0, 9, 1],
            steps=[1, -1, -2, -3],
            begin_mask=[1, 0, 1, 0],
            end_mask=[1, 0, 1, 0],
        ),
    )
    yield (
        "strided_new_shrink",
        strided(
            begin=[0, 0, 2, -1],
            end=[0, 1, 3, 0],
            new_axis_mask=[1, 0, 0, 0],
            shrink_axis_mask=[0, 0, 1, 1],
        ),
    )
    yield (
        "strided_ellipsis",
        strided(
            begin=[0, 0, 0, 1], end=[1, 0, 0, 3], ellipsis_mask=[0, 1, 0, 0], new_axis_mask=[0, 0, 1, 0]
        ),
    )
    yield "strided_few", strided(begin=[0, 1], end=[1, 3], shrink_axis_mask=[1, 0])
    yield "strided_computed", strided_computed
    yield "slice_no_axes", one(8, "Slice", ROWS, more=[ints(1, 0, 7), ints(2, 3, 1), ints(1, 2, -2)])
    yield "space_to_depth", one(1, "SpaceToDepth", IMAGE, mode="depth_first", block_size=2)
    yield "shuffle_channels", one(3, "ShuffleChannels", IMAGE, axis=1, group=2)
    yield "shuffle_last", one(3, "ShuffleChannels", IMAGE, axis=-1, group=4)
    yield "roll", one(7, "Roll", IMAGE, more=[ints(2, -3), ints(1, -1)])
    yield "reverse", one(1, "Reverse", ROWS, more=[ints(0, 2)], mode="index")
    yield "reverse_mask", one(1, "Reverse", ROWS, more=[np.array([False, True, False])], mode="mask")
    yield (
        "reverse_sequence",
        one(1, "ReverseSequence", ROWS, more=[np.array([2, 3], np.int32)], batch_axis=0, seq_axis=1),
    )
    block = [ints(1, 1, 2, 3), ints(0, 0, 1, 0), ints(0, 0, 1, 1)]
    yield "space_to_batch", one(2, "SpaceToBatch", IMAGE, more=block)
    yield "batch_to_space", one(2, "BatchToSpace", (6, 2, 4, 3), more=block)
    yield "split_equal", one(1, "Split", IMAGE, more=[scalar(1)], outputs=2, num_splits=2)
    yield "split_rest", one(1, "VariadicSplit", IMAGE, more=[scalar(-1), ints(2, -1, 1)], outputs=3)
    yield "split_unread", one(1, "VariadicSplit", IMAGE, more=[scalar(1), ints(1, 3)], outputs=1)
    for mode in ("symmetric", "reflect", "edge"):
        yield (
            f"pad_{mode}_1",
            one(1, "Pad", IMAGE, more=[ints(0, 0, 1, 2), ints(0, 1, 2, 0)], pad_mode=mode),
        )
    yield (
        "pad_symmetric_cut",
        one(12, "Pad", IMAGE, more=[ints(0, 0, -1, 2), ints(0, 1, 2, -3)], pad_mode="symmetric"),
    )
    yield "tile_more", one(1, "Tile", (3, 4), more=[ints(2, 1, 2)])
    yield "tile_fewer", one(1, "Tile", ROWS, more=[ints(2)])
    yield "broadcast_1", one(1, "Broadcast", (3, 1), more=[ints(2, 3, 4)], mode="numpy")
    yield (
        "broadcast_explicit",
        one(1, "Broadcast", (3, 4), more=[ints(3, 2, 4), ints(0, 2)], mode="explicit"),
    )
    yield (
        "broadcast_bidirectional",
        one(3, "Broadcast", (2, 3, 4), more=[ints(3, 1)], mode="bidirectional"),
    )
    yield "reshape_zero", one(1, "Reshape", (0, 3), more=[ints(3, 0)], special_zero=False)
    yield "reshape_copy", one(1, "Reshape", IMAGE, more=[ints(0, -1)], special_zero=True)
    yield "squeeze_all", one(1, "Squeeze", (1, 3, 1, 4))
    yield "squeeze_skips", one(15, "Squeeze", (1, 3, 1, 4), more=[ints(0, 1)], allow_axis_skip=True)
    yield "transpose_turned", one(1, "Transpose", ROWS, more=[np.zeros([0], np.int64)])
    yield "unsqueeze_last", one(1, "Unsqueeze", ROWS, more=[ints(-1, 0)])
    yield "dynamic", dynamic
    yield "range", range_of


def strided_computed() -> ov.Model:
    """To an end that is in the input: half its first number."""
    x = parameter(*ROWS)
    first = op(1, "ReduceMax", x, ints(0, 1, 2), keep_dims=False)  # 2 by `feeds_of`
    end = op(1, "Convert", op(1, "Reshape", first, ints(1), special_zero=False), destination_type="i64")
    end = op(1, "Concat", end, end, axis=0)
    masks = {"begin_mask": [0, 1], "end_mask": [0, 1], "new_axis_mask": [], "shrink_axis_mask": []}
    node = op(1, "StridedSlice", x, ints(0, 0), end, ints(1, -1), **masks, ellipsis_mask=[])
    return model_of(node, inputs=[x])


def dynamic() -> ov.Model:
    """With as many rows as there are, and shapes computed of them."""
    x = opset1.parameter(ov.PartialShape([-1, 3, 8]), np.float32)
    shape = op(3, "ShapeOf", x, output_type="i32")
    rows = op(8, "Gather", shape, np.array([0], np.int32), scalar(0), batch_dims=0)
    flat = op(
        1, "Reshape", x, op(1, "Concat", rows, np.array([24], np.int32), axis=0), special_zero=False
    )
    y = op(1, "MatMul", flat, weights(24, 6), transpose_a=False, transpose_b=False)
    grown = op(3, "Broadcast", op(1, "Unsqueeze", y, ints(1)), ints(1, 5, 6), mode="bidirectional")
    halves_ = op(1, "Split", x, scalar(0), num_splits=1)
    return model_of(grown, op(1, "Relu", halves_), inputs=[x])


def range_of() -> ov.Model:
    x = parameter(*ROWS)
    top = op(1, "ReduceMax", x, ints(0, 1, 2), keep_dims=False)
    node = op(
        4,
        "Range",
        scalar(-3, np.int32),
        op(1, "Convert", top, destination_type="i32"),
        scalar(2, np.int32),
        output_type="f32",
    )
    return model_of(
        node,
        op(
            1,
            "Convert",
            op(1, "Range", scalar(0, np.float32), top, scalar(0.5, np.float32)),
            destination_type="i32",
        ),
        inputs=[x],
    )


def _window(axes: int, stride: int = 1, pad: int = 0, auto: str = "explicit") -> dict[str, Any]:
    return {
        "strides": [stride] * axes,
        "dilations": [1] * axes,
        "pads_begin": [pad] * axes,
        "pads_end": [pad] * axes,
        "auto_pad": auto,
    }


def _images() -> Iterator[tuple[str, Made]]:
    kernel = weights(5, 4, 3, 3)
    for auto in ("same_upper", "same_lower", "valid"):
        yield f"conv_{auto}", one(1, "Convolution", IMAGE, more=[kernel], **_window(2, 2, auto=auto))
    yield "conv_1d", one(1, "Convolution", (1, 4, 9), more=[weights(5, 4, 3)], **_window(1, 2, 1))
    yield "conv_computed", one(1, "Convolution", IMAGE, (5, 4, 3, 3), **_window(2))
    yield (
        "group_conv",
        one(1, "GroupConvolution", IMAGE, more=[weights(2, 3, 2, 3, 3)], **_window(2, 1, 1)),
    )
    yield "group_conv_computed", one(1, "GroupConvolution", IMAGE, (2, 3, 2, 3, 3), **_window(2, 1, 1))
    back = weights(4, 5, 3, 3)
    yield (
        "deconv",
        one(
            1, "ConvolutionBackpropData", IMAGE, more=[back], **_window(2, 2, 1), output_padding=[1, 0]
        ),
    )
    for auto in ("same_upper", "same_lower", "valid"):
        more = _window(2, 2, auto=auto)
        yield (
            f"deconv_{auto}",
            one(1, "ConvolutionBackpropData", IMAGE, more=[back], **more, output_padding=[0, 0]),
        )
        yield (
            f"deconv_shape_{auto}",
            one(
                1,
                "ConvolutionBackpropData",
                IMAGE,
                more=[back, ints(13, 18) if auto == "valid" else ints(12, 15)],
                **more,
                output_padding=[0, 0],
            ),
        )
    grouped = weights(2, 2, 3, 3, 3)
    yield (
        "group_deconv",
        one(
            1,
            "GroupConvolutionBackpropData",
            IMAGE,
            more=[grouped],
            **_window(2, 2, 1),
            output_padding=[0, 1],
        ),
    )
    yield (
        "group_deconv_computed",
        one(
            1,
            "GroupConvolutionBackpropData",
            IMAGE,
            (2, 2, 3, 3, 3),
            **_window(2, 2, 1),
            output_padding=[0, 0],
        ),
    )
    for a, b in ((False, True), (True, False), (True, True)):
        shapes = [(2, 8, 3) if a else (2, 3, 8), (5, 8) if b else (8, 5)]
        yield f"matmul_{a:d}{b:d}", one(1, "MatMul", *shapes, transpose_a=a, transpose_b=b)
    yield "matmul_vector", one(1, "MatMul", ROWS, (8,), transpose_a=False, transpose_b=True)
    moments = [weights(4), weights(4, seed=6), weights(4, seed=7), np.abs(weights(4, seed=8)) + 0.5]
    yield "batch_norm_5", one(5, "BatchNormInference", IMAGE, more=moments, epsilon=0.01)
    yield "batch_norm_1", batch_norm_1(moments)
    yield "mvn_2", one(2, "MVN", IMAGE, across_channels=False, normalize_variance=True, eps=0.01)
    yield "mvn_2_across", one(2, "MVN", IMAGE, across_channels=True, normalize_variance=True, eps=0.01)
    yield "mvn_2_mean", one(2, "MVN", IMAGE, across_channels=False, normalize_variance=False, eps=0.01)
    for mode in ("inside_sqrt", "outside_sqrt"):
        more = {"normalize_variance": True, "eps": 0.1, "eps_mode": mode}
        yield f"mvn_6_{mode}", one(6, "MVN", IMAGE, more=[ints(2, 3)], **more)
        yield f"mvn_6_channels_{mode}", one(6, "MVN", IMAGE, more=[ints(1)], **more)
    for mode in ("add", "max"):
        yield (
            f"normalize_l2_{mode}",
            one(1, "NormalizeL2", IMAGE, more=[ints(1)], eps=2.0, eps_mode=mode),
        )
    # oneDNN, and so OpenVINO's CPU, computes with a bias of one whatever it is.
    window = {"alpha": 0.7, "beta": 0.6, "bias": 1.0, "size": 3}
    yield "lrn_channels", one(1, "LRN", IMAGE, more=[ints(1)], **window)
    yield "lrn_within", one(1, "LRN", IMAGE, more=[ints(2, 3)], **window)
    yield (
        "attention_scaled",
        one(
            13,
            "ScaledDotProductAttention",
            (1, 2, 5, 8),
            (1, 2, 7, 8),
            (1, 2, 7, 4),
            more=[weights(5, 7), scalar(0.3, np.float32)],
            causal=False,
        ),
    )
    limits = [floats(-1.5), floats(1.25), floats(-1.5), floats(1.25)]
    yield "quantize_fine", one(1, "FakeQuantize", IMAGE, more=limits, levels=1 << 22)
    limits = [floats(-1.5), floats(1.25), floats(-15), floats(12.5)]
    yield "quantize_scaled", one(1, "FakeQuantize", IMAGE, more=limits, levels=1 << 22)
    wide = np.array([0.5, 1, 1.5, 1.75], np.float32).reshape(1, 4, 1, 1)
    yield (
        "quantize_channels",
        one(1, "FakeQuantize", IMAGE, more=[-wide, wide, -wide, wide], levels=1 << 22),
    )
    yield (
        "quantize_binary",
        one(1, "FakeQuantize", IMAGE, more=[floats(0.1), floats(0.1), floats(-1), floats(1)], levels=2),
    )
    yield "quantized_weights", quantized_weights


def batch_norm_1(moments: list[np.ndarray]) -> Made:
    def made() -> ov.Model:
        x = parameter(*IMAGE)
        gamma, beta, *rest = moments
        return model_of(op(1, "BatchNormInference", gamma, beta, x, *rest, epsilon=0.01), inputs=[x])

    return made


def quantized_weights() -> ov.Model:
    """As NNCF writes them: integers between two FakeQuantize limits, each channel its own."""
    x = parameter(*IMAGE)
    levels = np.random.default_rng(3).integers(-127, 128, (5, 4, 3, 3)).astype(np.int8)
    wide = np.abs(weights(5, 1, 1, 1)) + 0.1
    steps = op(1, "Convert", levels, destination_type="f32")
    kernel = op(1, "FakeQuantize", steps, floats(-127), floats(127), -wide, wide, levels=255)
    return model_of(op(1, "Convolution", x, kernel, **_window(2)), inputs=[x])


def _pools() -> Iterator[tuple[str, Made]]:
    size = {"kernel": [3, 3], "strides": [2, 2], "pads_begin": [1, 0], "pads_end": [0, 1]}
    shape = (1, 4, 7, 8)
    for rounding in ("floor", "ceil"):
        more = {**size, "rounding_type": rounding, "auto_pad": "explicit"}
        yield f"max_pool_1_{rounding}", one(1, "MaxPool", shape, **more)
        yield f"avg_pool_1_{rounding}", one(1, "AvgPool", shape, **{**more, "exclude-pad": True})
    for auto in ("same_upper", "same_lower", "valid"):
        more = {**size, "rounding_type": "floor", "auto_pad": auto}
        yield f"max_pool_1_{auto}", one(1, "MaxPool", shape, **more)
        yield f"avg_pool_1_{auto}", one(1, "AvgPool", shape, **{**more, "exclude-pad": True})
    more = {**size, "dilations": [1, 1], "index_element_type": "i32", "axis": 0, "auto_pad": "explicit"}
    yield "max_pool_8_indices", one(8, "MaxPool", shape, outputs=2, **more, rounding_type="floor")
    yield "max_pool_14", one(14, "MaxPool", shape, **more, rounding_type="ceil_torch")
    yield "adaptive_avg", one(8, "AdaptiveAvgPool", (1, 4, 7, 9), more=[ints(3, 5)])
    yield "adaptive_avg_equal", one(8, "AdaptiveAvgPool", IMAGE, more=[ints(3, 4)])
    yield "adaptive_avg_one", one(8, "AdaptiveAvgPool", IMAGE, more=[ints(1, 1)])
    yield "adaptive_max", one(8, "AdaptiveMaxPool", IMAGE, more=[ints(3, 2)], index_element_type="i32")


def _indices() -> Iterator[tuple[str, Made]]:
    where = np.array([[1, 0, 2], [0, 2, 1]], np.int32)
    yield "gather_1", one(1, "Gather", ROWS, more=[np.array([2, 0], np.int32), scalar(1)])
    yield "gather_7_batch", one(7, "Gather", (2, 3, 4), more=[where, scalar(1)], batch_dims=1)
    yield "gather_7_batch_later", one(7, "Gather", (2, 5, 3, 4), more=[where, scalar(2)], batch_dims=1)
    yield (
        "gather_8_batch_negative",
        one(8, "Gather", (2, 3, 4), more=[where[..., None] - 3, scalar(-1)], batch_dims=-2),
    )
    yield (
        "gather_nd_5",
        one(
            5, "GatherND", (2, 2, 4), more=[np.array([[[1], [3]], [[0], [2]]], np.int32)], batch_dims=2
        ),
    )
    yield (
        "gather_nd_8",
        one(
            8, "GatherND", (2, 2, 4), more=[np.array([[[1], [3]], [[0], [2]]], np.int32)], batch_dims=2
        ),
    )
    yield (
        "scatter_update",
        one(3, "ScatterUpdate", ROWS, more=[ints(2, 0), weights(2, 2, 8), scalar(1)]),
    )
    yield (
        "scatter_update_front",
        one(
            3,
            "ScatterUpdate",
            (4, 3),
            more=[np.array([[2], [0]], np.int32), weights(2, 1, 3), scalar(0)],
        ),
    )
    yield (
        "scatter_elements_3",
        one(
            3,
            "ScatterElementsUpdate",
            (3, 6),
            more=[ints([0, 5, 4], [2, 1, 0]), weights(2, 3), scalar(-1)],
        ),
    )
    yield (
        "scatter_nd_3",
        one(
            4, "ScatterNDUpdate", (2, 3, 4), more=[np.array([[0, 1], [1, 2]], np.int32), weights(2, 4)]
        ),
    )
    yield (
        "slice_scatter",
        one(15, "SliceScatter", (4, 6), more=[weights(2, 6), ints(3), ints(-5), ints(-2), ints(0)]),
    )
    for version in (1, 3):
        more = {"axis": -1, "mode": "max", "sort": "value", "index_element_type": "i32"}
        yield f"top_k_{version}_", one(version, "TopK", ROWS, more=[scalar(3)], outputs=2, **more)
    more["sort"] = "index"
    yield "top_k_by_place", one(3, "TopK", ROWS, more=[scalar(3)], outputs=2, **more)
    values = [scalar(4), scalar(2.5, np.float32), scalar(-0.5, np.float32)]
    yield "one_hot_1", whole(lambda x: op(1, "OneHot", x, *values, axis=1))
    numbers = [scalar(4), scalar(7, np.int32), scalar(-1, np.int32)]
    yield "one_hot_ints", whole(lambda x: op(1, "OneHot", x, *numbers, axis=-1))
    yield "non_zero", non_zero
    for right in (True, False):
        borders = floats(-1, 0.5, 1.25)
        yield (
            f"bucketize_{right:d}",
            one(3, "Bucketize", ROWS, more=[borders], output_type="i32", with_right_bound=right),
        )


def non_zero() -> ov.Model:
    x = parameter(*ROWS)
    return model_of(op(3, "NonZero", op(1, "Relu", x), output_type="i32"), inputs=[x])


_CLIP = {"activations_alpha": [], "activations_beta": []}


def _recurrent() -> Iterator[tuple[str, Made]]:
    hidden, width, time = 5, 8, 3
    names = {
        "LSTM": (4, 2, ["sigmoid", "tanh", "tanh"]),
        "GRU": (3, 1, ["sigmoid", "tanh"]),
        "RNN": (1, 1, ["tanh"]),
    }
    for kind, (gates, states, activations) in names.items():
        for direction, reset in (("forward", False), ("reverse", True), ("bidirectional", True)):
            count = 2 if direction == "bidirectional" else 1
            biases = 4 if kind == "GRU" and reset else gates
            given = (
                [np.array([time] * 2, np.int64)]
                if direction != "reverse"
                else [np.array([2, 3], np.int64)]
            )
            given += [
                weights(count, gates * hidden, width),
                weights(count, gates * hidden, hidden, seed=6),
                weights(count, biases * hidden, seed=7),
            ]
            more = {
                "hidden_size": hidden,
                "direction": direction,
                "activations": activations,
                **_CLIP,
                "clip": 0.0,
            }
            more |= {"linear_before_reset": reset} if kind == "GRU" else {}
            shapes = [(2, time, width), *[(2, count, hidden)] * states]
            yield (
                f"{kind}_{direction}".lower(),
                one(5, f"{kind}Sequence", *shapes, more=given, outputs=1 + states, **more),
            )
        more = {"hidden_size": hidden, "activations": activations, **_CLIP, "clip": 0.0}
        more |= {"linear_before_reset": False} if kind == "GRU" else {}
        given = [
            weights(gates * hidden, width),
            weights(gates * hidden, hidden, seed=6),
            weights(gates * hidden, seed=7),
        ]
        version = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind]
        shapes = [(2, width), *[(2, hidden)] * states]
        yield (
            f"{kind}_cell".lower(),
            one(version, f"{kind}Cell", *shapes, more=given, outputs=states, **more),
        )
    more = {"hidden_size": hidden, "activations": names["LSTM"][2], **_CLIP, "clip": 0.0}
    yield (
        "lstm_cell_1",
        one(
            1,
            "LSTMCell",
            *shapes,
            (2, hidden),
            more=[weights(20, width), weights(20, hidden), weights(20)],
            outputs=2,
            **more,
            weights_format="fico",
            input_forget=False,
        ),
    )


_V4 = {
    "pads_begin": [0],
    "pads_end": [0],
    "antialias": False,
    "cube_coeff": -0.75,
    "nearest_mode": "floor",
}


def resized(version: int, *cases: tuple[list[np.ndarray], dict[str, Any]], shape: Any = IMAGE) -> Made:
    """One input in many sizes."""

    def made() -> ov.Model:
        x = parameter(*shape)
        return model_of(
            *(op(version, "Interpolate", x, *given, **more) for given, more in cases), inputs=[x]
        )

    return made


def _resizes() -> Iterator[tuple[str, Made]]:
    sizes = ((12, 16), (9, 5), (3, 4))
    first = {"axes": [2, 3], "antialias": False, "pads_begin": [0], "pads_end": [0]}
    for mode in ("nearest", "linear", "cubic"):
        cases = [
            ([ints(*size)], {**first, "mode": mode, "align_corners": aligned})
            for size in sizes
            for aligned in (False, True)
        ]
        yield f"interpolate_1_{mode}", resized(1, *cases)
    nearest = ("simple", "floor", "ceil", "round_prefer_floor", "round_prefer_ceil")
    for coordinate in (
        "half_pixel",
        "pytorch_half_pixel",
        "asymmetric",
        "align_corners",
        "tf_half_pixel_for_nn",
    ):
        more = {**_V4, "shape_calculation_mode": "sizes", "coordinate_transformation_mode": coordinate}
        modes = ("linear",) if coordinate.startswith("tf") else ("linear", "linear_onnx", "cubic")
        kinds = [{**more, "mode": mode} for mode in modes]
        kinds += [{**more, "mode": "nearest", "nearest_mode": mode} for mode in nearest]
        cases = [
            ([ints(*size), floats(size[0] / 6, size[1] / 8), ints(2, 3)], kind)
            for size in sizes
            for kind in kinds
        ]
        yield f"interpolate_4_{coordinate}", resized(4, *cases)
    more = {**_V4, "shape_calculation_mode": "scales", "coordinate_transformation_mode": "half_pixel"}
    half = [ints(3, 4), floats(0.5, 0.5), ints(2, 3)]
    for antialias in (True, False):
        name = f"interpolate_4_antialias_{antialias:d}"
        yield name, resized(4, (half, {**more, "mode": "linear", "antialias": antialias}))
    linear = {**more, "mode": "linear_onnx"}
    double = [ints(14, 20), floats(2, 2), ints(2, 3)]
    padded = {**linear, "pads_begin": [0, 0, 1, 0], "pads_end": [0, 0, 0, 2]}
    yield "interpolate_4_padded", resized(4, (double, padded))
    last = [ints(12, 12), floats(2, 1.5), ints(1, 2)]
    yield "interpolate_4_last", resized(4, (last, linear), shape=(1, 6, 8, 4))
    pillow = {**more, "shape_calculation_mode": "sizes", "cube_coeff": -0.5}
    cases = [
        ([ints(*size), ints(2, 3)], {**pillow, "mode": mode})
        for mode in ("bilinear_pillow", "bicubic_pillow")
        for size in ((9, 12), (3, 5))
    ]
    yield "interpolate_11_pillow", resized(11, *cases)


def _detectors() -> Iterator[tuple[str, Made]]:
    yolo = {"anchors": [1.0] * 12, "coords": 4, "classes": 3, "num": 6, "axis": 1, "end_axis": 3}
    yield "region_yolo_3", one(1, "RegionYolo", (1, 24, 4, 6), **yolo, do_softmax=False, mask=[0, 1, 2])
    yield "region_yolo_2", one(1, "RegionYolo", (2, 48, 4, 6), **yolo, do_softmax=True, mask=[0, 1, 2])
    yield "reorg_yolo", one(2, "ReorgYolo", (1, 8, 6, 8), stride=[2])
    boxes = floats([0, 0, 0, 5, 4], [0, 1, 1, 7, 5])
    yield (
        "roi_pooling",
        one(
            2,
            "ROIPooling",
            IMAGE,
            more=[boxes],
            output_size=[2, 3],
            pooled_h=2,
            pooled_w=3,
            spatial_scale=1.0,
            method="max",
        ),
    )
    more = {"pooled_h": 3, "pooled_w": 2, "sampling_ratio": 2, "spatial_scale": 0.5, "mode": "avg"}
    given = [boxes[:, 1:], np.array([0, 0], np.int64)]
    yield "roi_align_3", one(3, "ROIAlign", IMAGE, more=given, **more)
    yield "roi_align_9", one(9, "ROIAlign", IMAGE, more=given, **more, aligned_mode="asymmetric")
    for version in (1, 3, 4, 5, 9):
        yield f"nms_{version}", suppression(version)


def suppression(version: int) -> Made:
    """Of three boxes that overlap and one apart, in two classes."""

    def made() -> ov.Model:
        x = parameter(1, 2, 4)
        boxes = floats([[0, 0, 2, 2], [0, 0.1, 2, 2.1], [0, 1, 2, 3], [5, 5, 6, 6]])
        given = [boxes, x, scalar(3), scalar(0.5, np.float32), scalar(-1.5, np.float32)]
        more = {"box_encoding": "corner", "sort_result_descending": version in (1, 4, 9)}
        more |= {"output_type": "i32"} if version > 1 else {}
        if version >= 5:
            given.append(scalar(0.0, np.float32))
        return model_of(*op(version, "NonMaxSuppression", *given, **more).outputs(), inputs=[x])

    return made

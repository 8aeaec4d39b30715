"""Makes the small TFLite models beside it, and what LiteRT computes with them on one image.

Wants `tensorflow-cpu` 2.21 and `ai-edge-litert` 2.3, which the project does not depend on:
`python -m tests.data.tflite.make_tflite` from the repository's root. Weights are random, from one seed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent
SIZE = (32, 48)
# The models, and the type of their inputs and outputs.
MODELS = {
    "mobile": "float32",
    "mobile_float16": "float32",
    "mobile_int8": "float32",
    "mobile_int8_edges": "int8",
    "mobile_uint8_edges": "uint8",
    "segment": "float32",
    "detect": "float32",
}


def image(seed: int = 0) -> np.ndarray:
    """A frame (1, height, width, 3) in 0…1 whose channels differ: reddish, some green, little blue."""
    rng = np.random.default_rng(seed)
    shade = np.linspace(0, 1, SIZE[1])[None, :, None]
    noise = rng.random((*SIZE, 3))
    frame = (0.5 * shade + 0.5 * noise) * np.array([1.0, 0.6, 0.3])
    return frame[None].astype(np.float32)


def feed_of(kind: str, scale: float = 1 / 255, zero: int = 0) -> np.ndarray:
    """The frame as a model takes it; integers by the scale and zero point of its input."""
    if kind == "float32":
        return image()
    limits = np.iinfo(kind)
    steps = np.rint(image() / scale) + zero
    return steps.clip(limits.min, limits.max).astype(kind)


def _mobile() -> Any:
    """Inverted residuals, squeeze and excitation, a classifier."""
    from tensorflow import keras

    layers = keras.layers

    def residual(x: Any, width: int, stride: int, activation: Any) -> Any:
        y = layers.Conv2D(3 * x.shape[-1], 1, use_bias=False)(x)
        y = activation()(layers.BatchNormalization()(y))
        y = layers.DepthwiseConv2D(3, strides=stride, padding="same", use_bias=False)(y)
        y = activation()(layers.BatchNormalization()(y))
        gate = layers.GlobalAveragePooling2D(keepdims=True)(y)
        gate = layers.Conv2D(y.shape[-1], 1, activation="sigmoid")(gate)
        y = layers.Multiply()([y, gate])
        y = layers.BatchNormalization()(layers.Conv2D(width, 1, use_bias=False)(y))
        return layers.Add()([x, y]) if stride == 1 and x.shape[-1] == width else y

    frame = layers.Input((*SIZE, 3), batch_size=1, name="images")
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu6")(frame)
    x = residual(x, 8, 1, lambda: layers.ReLU(6.0))
    x = residual(x, 12, 2, lambda: layers.Activation("hard_swish"))
    x = layers.AveragePooling2D(2, padding="same")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(frame, layers.Softmax()(layers.Dense(6)(x)))


def _segment() -> Any:
    """Dilated convolutions, both ways to grow, PReLU; a mask of two classes."""
    from tensorflow import keras

    layers = keras.layers
    frame = layers.Input((*SIZE, 3), batch_size=1, name="images")
    a = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(frame)
    b = layers.MaxPool2D(2, padding="same")(a)
    b = layers.PReLU(shared_axes=[1, 2], alpha_initializer="random_normal")(
        layers.Conv2D(8, 3, padding="same")(b)
    )
    c = layers.Conv2D(8, 3, dilation_rate=2, padding="same", activation="elu")(b)
    c = layers.Concatenate()([b, c])
    c = layers.UpSampling2D(2, interpolation="bilinear")(c)
    c = layers.Conv2D(8, 1)(layers.Concatenate()([a, c]))
    c = layers.LeakyReLU(0.1)(c)
    c = layers.Conv2DTranspose(6, 3, strides=2, padding="same")(c)
    c = layers.Cropping2D(((1, 1), (0, 0)))(layers.ZeroPadding2D(1)(c))
    small = layers.UpSampling2D(4, interpolation="nearest")(layers.Conv2D(2, 1)(b))
    mask = layers.Conv2D(2, 1)(c[:, :, 1:-1, :])
    return keras.Model(frame, layers.Softmax(name="mask")(layers.Add()([mask, small])))


def _detect() -> Any:
    """Two scales of boxes and scores, as an SSD has them before its own last operator."""
    from tensorflow import keras

    layers = keras.layers
    frame = layers.Input((*SIZE, 3), batch_size=1, name="images")
    x = layers.SeparableConv2D(8, 3, strides=4, padding="same", activation="relu6")(frame)
    boxes, scores = [], []
    for _ in range(2):
        x = layers.Conv2D(12, 3, strides=2, padding="same", activation="swish")(x)
        boxes.append(layers.Reshape((-1, 4))(layers.Conv2D(8, 1)(x)))
        scores.append(layers.Reshape((-1, 3))(layers.Conv2D(6, 1)(x)))
    boxes = layers.Concatenate(axis=1, name="boxes")(boxes)
    scores = layers.Activation("sigmoid", name="scores")(layers.Concatenate(axis=1)(scores))
    return keras.Model(frame, [boxes, scores])


def _frames() -> Iterator[list[np.ndarray]]:
    for seed in range(8):
        yield [image(seed)]


def _written(name: str, model: Any) -> bytes:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if name.endswith("float16"):
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    elif "int8" in name:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = _frames
        if name.endswith("edges"):
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            kind = tf.as_dtype(MODELS[name])
            converter.inference_input_type = converter.inference_output_type = kind
    return bytes(converter.convert())


def computed(path: Path) -> dict[str, np.ndarray]:
    """What LiteRT computes with a model of ours, by the names of its outputs.

    Without XNNPACK, which does not take the int8 model's products of maps and gates.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    runner = Interpreter(str(path), experimental_op_resolver_type=plain)
    runner.allocate_tensors()
    (given,) = runner.get_input_details()
    scale, zero = given["quantization"]
    runner.set_tensor(given["index"], feed_of(given["dtype"].__name__, scale or 1, zero))
    runner.invoke()
    found = {}
    for output in runner.get_output_details():
        found[output["name"]] = runner.get_tensor(output["index"])
    return found


def main() -> None:
    """Write all files."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    from tensorflow import keras

    keras.utils.set_random_seed(3)
    models = {"mobile": _mobile(), "segment": _segment(), "detect": _detect()}
    for model in models.values():
        for weight in model.weights:  # statistics of batches are not what they begin with
            if "moving" in weight.path:
                weight.assign(np.random.default_rng(5).uniform(0.3, 0.6, weight.shape))
    for name in MODELS:
        path = FOLDER / f"{name}.tflite"
        path.write_bytes(_written(name, models[name.split("_")[0]]))
        np.savez_compressed(FOLDER / f"{name}.npz", **computed(path))
        print(name, path.stat().st_size)


if __name__ == "__main__":
    main()

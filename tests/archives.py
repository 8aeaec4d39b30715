"""The good archives that the examples of `configs/codes.yaml` change, and the changing.

The blobs are doubles: a header and tables, as the readers read them, with no network behind.
"""

from __future__ import annotations

import copy
import io
import json
import re
import struct
import tarfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from converter.checks.codes import Example
from targets.rvc3.vpux import make_superblob
from tests.sources import RGB, config_for, conv_model

Members = dict[str, bytes]
HEAD = {
    "name": "scores",
    "parser": "ClassificationParser",
    "metadata": {
        "classes": ["a", "b", "c", "d", "e", "f"],
        "n_classes": 6,
        "is_softmax": False,
    },
    "outputs": ["scores"],
}
FLOAT_DLC = Path(__file__).parent / "data" / "digits-float.dlc"
VPUX_BLOB = struct.pack("<I", 16) + b"BLOB" + bytes(8) + struct.pack("<i", 4) + b"DOUBLE"


def blob_double(version: tuple[int, int] = (6, 0), *, shaves: int = 8) -> bytes:
    """A Myriad blob of no network, with the tensors that `config` of an RVC2 archive describes."""
    constants = b""
    tables = []
    for name, dtype, width, shape, order in (
        (b"images", 1, 1, (1, 3, 12, 16), 0x4321),
        (b"map", 0, 2, (1, 4, 12, 16), 0x4321),
        (b"scores", 0, 2, (1, 6), 0x43),
    ):
        dims, strides, step = [], [], width
        for size in reversed(shape):
            dims.append(size)
            strides.append(step)
            step *= size
        at = len(constants)
        constants += struct.pack(f"<{len(dims)}I", *dims) + struct.pack(f"<{len(dims)}I", *strides)
        index = 0 if name in (b"images", b"map") else 1
        tables.append(
            struct.pack("<IiI", index, 0, 16)
            + name.ljust(16, b"\0")
            + struct.pack("<7I", dtype, order, len(dims), 3, at, 3, at + 4 * len(dims))
        )
    inputs, outputs = tables[0], tables[1] + tables[2]
    inputs_at = 52 + 80
    outputs_at = inputs_at + len(inputs)
    constants_at = outputs_at + len(outputs)
    size = constants_at + len(constants)
    fields = [9709, size, *version, 1, 2, 3, 0, 0, 1]
    fields += [0, shaves, shaves, 0, 0, 0, inputs_at, outputs_at, constants_at, constants_at]
    header = b"\x7felf" + bytes(48) + struct.pack("<20I", *fields)
    return header + inputs + outputs + constants


def superblob_double() -> bytes:
    """A superblob of that blob; its patches are named so and hold nothing."""
    blob, patch = blob_double(), b"BSDIFF40"
    sizes = [0 if shaves == 8 else len(patch) for shaves in range(1, 17)]
    return struct.pack(">17q", len(blob), *sizes) + blob + patch * 15


def _source(model: onnx.ModelProto, **describe: Any) -> Members:
    config = config_for(model, **describe)
    config["model"]["heads"] = [copy.deepcopy(HEAD)]
    return {"config.json": json.dumps(config).encode(), "model.onnx": model.SerializeToString()}


def _float() -> Members:
    return _source(conv_model(), preprocessing=RGB)


def _uint8() -> Members:
    return _source(conv_model(dtype=TensorProto.UINT8), preprocessing={"dai_type": "RGB888p"})


def _int32() -> Members:
    return _source(conv_model(dtype=TensorProto.INT32), preprocessing={"dai_type": "RGB888p"})


def _external() -> Members:
    members = _float()
    model = onnx.load_from_string(members["model.onnx"])
    data = b""
    for tensor in model.graph.initializer:
        raw = tensor.raw_data
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (
            ("location", "model.onnx.data"),
            ("offset", len(data)),
            ("length", len(raw)),
        ):
            entry = tensor.external_data.add()
            entry.key, entry.value = key, str(value)
        tensor.ClearField("raw_data")
        data += raw
    return {**members, "model.onnx": model.SerializeToString(), "model.onnx.data": data}


def _changed_model(change: Callable[[onnx.GraphProto], Any], opset: int = 13) -> Members:
    members = _float()
    model = onnx.load_from_string(members["model.onnx"])
    model.opset_import[0].version = opset
    change(model.graph)
    return {**members, "model.onnx": model.SerializeToString()}


def _twice(graph: onnx.GraphProto) -> None:
    graph.input.append(copy.deepcopy(graph.input[0]))
    graph.output.append(copy.deepcopy(graph.output[0]))


def _unused(graph: onnx.GraphProto) -> None:
    graph.input.append(helper.make_tensor_value_info("unused", TensorProto.FLOAT, [1]))


def _foreign(graph: onnx.GraphProto) -> None:
    graph.node[0].domain = "org.example"


def _ambiguous(graph: onnx.GraphProto) -> None:
    source, axes = graph.node[1].input[0], {"axes": [-2, -1]}
    graph.initializer.append(numpy_helper.from_array(np.array([12, 16]), "sizes"))
    attributes = {"keep_aspect_ratio_policy": "not_larger", **axes}
    resize = helper.make_node(
        "Resize", [source, "", "", "sizes"], ["same"], name="resize", **attributes
    )
    graph.node[1].input[0] = "same"
    graph.node.insert(1, resize)


def _live_scale(graph: onnx.GraphProto) -> None:
    frame = graph.input[0].name
    graph.node.insert(0, helper.make_node("ReduceMax", [frame], ["live"], keepdims=0))
    graph.node.insert(1, helper.make_node("QuantizeLinear", [frame, "live"], ["codes"], name="q"))
    graph.node.insert(2, helper.make_node("DequantizeLinear", ["codes", "live"], ["back"], name="dq"))
    graph.node[3].input[0] = "back"


def _state() -> Members:
    from tests.tflite_models import lstm

    tensors = [
        {"name": name, "dtype": "float32", "shape": [1, 5, width], "layout": "NCD"}
        for name, width in (("x", 3), ("y", 4))
    ]
    tensors[0] |= {"input_type": "raw", "preprocessing": {}}
    model = {"metadata": {"name": "net", "path": "net.tflite"}, "heads": []}
    model |= {"inputs": tensors[:1], "outputs": tensors[1:]}
    config = {"config_version": "1.0", "model": model}
    return {"config.json": json.dumps(config).encode(), "net.tflite": lstm()}


def _batch() -> Members:
    members = _changed_model(_dynamic)
    config = json.loads(members["config.json"])
    config["model"]["inputs"][0]["shape"][0] = 4
    for output in config["model"]["outputs"]:
        del output["shape"]
    return {**members, "config.json": json.dumps(config).encode()}


def _dynamic(graph: onnx.GraphProto) -> None:
    for value in (graph.input[0], *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"


def _target(target: str, path: str, compiled: bytes) -> Members:
    config = config_for(conv_model())
    model = config["model"]
    model["metadata"] |= {"path": path, "precision": "float16"}
    model["inputs"][0] |= {"dtype": "uint8", "preprocessing": _embedded("BGR888p")}
    for item, layout in zip(model["outputs"], ("NCHW", "NC"), strict=True):
        item |= {"dtype": "float16", "layout": layout}
    model["heads"] = [copy.deepcopy(HEAD)]
    record = json.dumps({"target": target}).encode()
    return {"config.json": json.dumps(config).encode(), "buildinfo.json": record, path: compiled}


def _embedded(dai_type: str) -> dict[str, Any]:
    return {"mean": [0.0] * 3, "scale": [1.0] * 3, "dai_type": dai_type}


def _rvc4() -> Members:
    members = _target("rvc4", "model.dlc", FLOAT_DLC.read_bytes())
    config = json.loads(members["config.json"])
    model = config["model"]
    model["inputs"][0] |= {"name": "image", "dtype": "float32", "shape": [1, 3, 32, 32]}
    model["outputs"] = [{"name": "scores", "dtype": "float32", "shape": [1, 10], "layout": "NC"}]
    digits = [str(digit) for digit in range(10)]
    model["heads"][0]["metadata"] |= {"classes": digits, "n_classes": 10}
    return {**members, "config.json": json.dumps(config).encode()}


BUILDERS: dict[str, Callable[[], Members]] = {
    "onnx": _float,
    "onnx-uint8": _uint8,
    "onnx-int32": _int32,
    "onnx-external": _external,
    "onnx-batch": _batch,
    "onnx-foreign": lambda: _changed_model(_foreign),
    "onnx-ambiguous": lambda: _changed_model(_ambiguous, opset=18),
    "onnx-live-scale": lambda: _changed_model(_live_scale),
    "onnx-twice": lambda: _changed_model(_twice),
    "onnx-unused": lambda: _changed_model(_unused),
    "tflite-state": _state,
    "onnx-through": lambda: _changed_model(lambda graph: graph.output.append(graph.input[0])),
    "rvc2": lambda: _target("rvc2", "model.blob", blob_double()),
    "rvc2-old": lambda: _target("rvc2", "model.blob", blob_double((4, 0))),
    "rvc2-superblob": lambda: _target("rvc2", "model.superblob", superblob_double()),
    "rvc3": lambda: _target("rvc3", "model.blob", VPUX_BLOB),
    "rvc3-superblob": lambda: _target("rvc3", "model.superblob", make_superblob(VPUX_BLOB)),
    "rvc4": _rvc4,
}


@cache
def base(name: str) -> Members:
    """The members of a good archive, config.json first."""
    return BUILDERS[name]()


def build(example: Example, folder: Path) -> Path:
    """The archive of an example, as a file in the folder."""
    changes = dict(example.changes)
    members = dict(base(example.of))
    path = folder / changes.pop("named", "net.tar")
    if whole := changes.pop("overwrite_archive", None):
        path.write_bytes(whole.encode())
        return path
    config = json.loads(members["config.json"])
    for place, value in changes.pop("set", {}).items():
        _set(config, place, json.loads(json.dumps(value)))
    for place in changes.pop("remove", ()):
        _remove(config, place)
    members["config.json"] = json.dumps(config).encode()
    for name, text in {**changes.pop("overwrite", {}), **changes.pop("add", {})}.items():
        members[name] = text.encode()
    for name in changes.pop("drop", ()):
        del members[name]
    renamed = changes.pop("rename", {})
    names = list(members)
    for name in changes.pop("last", ()):
        names.append(names.pop(names.index(name)))
    names += changes.pop("twice", ())
    links = changes.pop("link", {})
    assert not changes, f"{changes} is not known"
    mode = {".xz": "w:xz", ".gz": "w:gz", ".bz2": "w:bz2"}.get(path.suffix, "w")
    with tarfile.open(path, mode) as tar:
        for name in names:
            info = tarfile.TarInfo(renamed.get(name, name))
            info.size = len(members[name])
            tar.addfile(info, io.BytesIO(members[name]))
        for name, goal in links.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, goal
            tar.addfile(info)
    return path


def _steps(place: str) -> list[str | int]:
    return [int(step) if step.isdigit() else step for step in re.findall(r"[^.\[\]]+", place)]


def _set(config: Any, place: str, value: Any) -> None:
    *way, last = _steps(place)
    for step in way:
        config = config[step]
    if isinstance(config, list) and last == len(config):
        config.append(value)
    else:
        config[last] = value


def _remove(config: Any, place: str) -> None:
    *way, last = _steps(place)
    for step in way:
        config = config[step]
    del config[last]

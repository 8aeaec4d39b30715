"""Blobs for tests: models compiled by the real compiler, many in one process of its own.

The process is `python -m tests.blobs LIBRARIES LIBUSB`: a line of JSON in for a blob, a line of JSON out.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import onnx
from numpy.typing import NDArray

from targets.rvc2.myriad.toolchain import Toolchain

# Every stage on the SHAVE cores, none on the convolution unit.
NO_HARDWARE = {"MYRIAD_ENABLE_HW_ACCELERATION": "NO"}
_SETTINGS = {
    "MYRIAD_ENABLE_MX_BOOT": "NO",
    "MYRIAD_NUMBER_OF_SHAVES": "8",
    "MYRIAD_NUMBER_OF_CMX_SLICES": "8",
    "MYRIAD_THROUGHPUT_STREAMS": "1",
    "MYRIAD_DETECT_NETWORK_BATCH": "NO",
}
_PRECISIONS = {"float32": "FP16", "int32": "I32", "int64": "I32", "uint8": "U8"}


class NotCompiled(Exception):
    """The compiler, or what prepares a model for it, does not take it."""


class Compiler:
    """The compiler in a process; a context manager."""

    def __init__(self, toolchain: Toolchain, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        self._arguments = [str(toolchain.libraries), str(toolchain.libusb or "")]

    def __enter__(self) -> Self:
        self._child = subprocess.Popen(
            [sys.executable, "-m", "tests.blobs", *self._arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._child.stdin
        assert self._child.stdout
        self._child.stdin.close()
        self._child.wait(10)
        self._child.stdout.close()

    def compile(
        self,
        model: onnx.ModelProto,
        *,
        settings: Mapping[str, str] | None = None,
        layouts: Mapping[str, str] | None = None,
        outputs: Mapping[str, str] | None = None,
        prepared: bool = False,
    ) -> bytes:
        """Prepare a model as a conversion does, and compile it; float16 in and out.

        Args:
            settings: Of the MYRIAD plugin, beyond the usual ones.
            layouts: The compiler's layouts of inputs.
            outputs: Precisions of outputs that are not FP16.
            prepared: Whether the model goes to the compiler as it is.
        """
        self._count += 1
        source = self._folder / f"{self._count}.onnx"
        ready = source if prepared else self._folder / f"{self._count}-prepared.onnx"
        onnx.save(model, source)
        types = {} if prepared else _prepare(model, source, ready)
        blob = self._folder / f"{self._count}.blob"
        request = {
            "model": str(ready),
            "inputs": {
                name: [_PRECISIONS[types.get(name, str(dtype))], (layouts or {}).get(name, "")]
                for name, (_, dtype) in inputs_of(model).items()
            },
            "outputs": dict(outputs or {}),
            "settings": _SETTINGS | dict(settings or {}),
            "blob": str(blob),
        }
        assert self._child.stdin
        assert self._child.stdout
        self._child.stdin.write(json.dumps(request) + "\n")
        self._child.stdin.flush()
        while line := self._child.stdout.readline():
            if line.startswith("{"):
                answer = json.loads(line)
                break
        else:
            raise NotCompiled("the compiler's process died")
        if "error" in answer:
            raise NotCompiled(answer["error"])
        data = blob.read_bytes()
        blob.unlink()
        return data


def inputs_of(model: onnx.ModelProto) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Shapes and dtypes of a model's inputs."""
    constants = {item.name for item in model.graph.initializer}
    return {
        item.name: (
            tuple(dim.dim_value for dim in item.type.tensor_type.shape.dim),
            onnx.helper.tensor_dtype_to_np_dtype(item.type.tensor_type.elem_type),
        )
        for item in model.graph.input
        if item.name not in constants
    }


def feeds_for(model: onnx.ModelProto, seed: int = 0) -> dict[str, NDArray[Any]]:
    """Values that float16 has, and small whole numbers."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.normal(0, 1, shape).astype(np.float16).astype(dtype)
        if dtype.kind == "f"
        else rng.integers(0, 3, shape).astype(dtype)
        for name, (shape, dtype) in inputs_of(model).items()
    }


def _prepare(model: onnx.ModelProto, source: Path, ready: Path) -> dict[str, str]:
    from converter.errors import ConvertError
    from targets.openvino.prepare import prepare_file

    inputs = [
        {
            "name": name,
            "shape": shape,
            "layout": "ABCDEFGH"[: len(shape)],
            "model_layout": "ABCDEFGH"[: len(shape)],
            "preprocessing": None,
        }
        for name, (shape, _) in inputs_of(model).items()
    ]
    try:
        answer = prepare_file(str(source), str(ready), True, inputs, True)
    except ConvertError as error:
        raise NotCompiled(str(error)) from error
    return dict(answer["input_types"])


def run_source(model: onnx.ModelProto, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The outputs of a model on ONNX Runtime, in float32."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [item.name for item in session.get_outputs()]
    return dict(zip(names, session.run(None, dict(feeds)), strict=True))


def relative_error(wanted: NDArray[Any], found: NDArray[Any]) -> float:
    """The root mean square of the difference over that of the wanted; infinite if one is not finite."""
    a, b = np.asarray(wanted, np.float64).ravel(), np.asarray(found, np.float64).ravel()
    if a.size != b.size or not (np.isfinite(a) == np.isfinite(b)).all():
        return float("inf")
    a, b = a[np.isfinite(a)], b[np.isfinite(a)]
    size = float(np.sqrt(np.mean(a * a))) if a.size else 0.0
    return float(np.sqrt(np.mean((a - b) ** 2))) / max(size, 1e-6) if a.size else 0.0


def _serve(libraries: str, libusb: str) -> None:
    import ctypes

    from targets.rvc2.myriad.exception_text import record_throws
    from targets.rvc2.myriad.openvino_c import Core, StatusError

    if libusb:
        ctypes.CDLL(libusb, mode=ctypes.RTLD_GLOBAL)
    names = ("libopenvino.so", "libopenvino_onnx_frontend.so", "libopenvino_c.so")
    for name in ("libtbbmalloc.so.2", "libtbb.so.2", *names):
        ctypes.CDLL(str(Path(libraries) / name), mode=ctypes.RTLD_GLOBAL)
    thrown = record_throws([Path(libraries) / "libopenvino_intel_myriad_plugin.so"])
    core = Core(Path(libraries))
    for line in sys.stdin:
        request = json.loads(line)
        thrown.clear()
        try:
            network = core.read(Path(request["model"]))
            for name, (precision, layout) in request["inputs"].items():
                network.set_precision("input", name, precision)
                if layout:
                    network.set_layout("input", name, layout)
            for name in network.names("output"):
                network.set_precision("output", name, request["outputs"].get(name, "FP16"))
            executable = network.load("MYRIAD", request["settings"])
            executable.export(Path(request["blob"]))
            executable.free()
            answer = {"done": request["blob"]}
        except StatusError as error:
            answer = {"error": f"{error}: {' '.join(item.text for item in thrown)[:300]}"}
        print("\n" + json.dumps(answer), flush=True)


if __name__ == "__main__":
    _serve(sys.argv[1], sys.argv[2])

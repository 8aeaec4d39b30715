"""How much memory a large model takes: made here, with weights in many files, converted for RVC4.

`nox -s big_model` writes tests/benchmarks/results/big-model.md. What is counted is the whole process
tree, each page once (PSS), ten times a second.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from onnx.external_data_helper import set_external_data

from targets.rvc4 import toolchain

RESULTS = Path(__file__).parent / "results" / "big-model.md"
WIDTH = 2048


def write_big(folder: Path, megabytes: int) -> Path:
    """An archive of a network with that many megabytes of float32 weights, in one file for each layer.

    A small image goes through a convolution and a row of residual layers, (1, WIDTH) each.
    """
    folder.mkdir(parents=True)
    (folder / "weights").mkdir()
    rng = np.random.default_rng(1)
    nodes, weights = [], []

    def weight(name: str, shape: tuple[int, ...], scale: float) -> str:
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape)
        location = f"weights/{name}.bin"
        (folder / location).write_bytes((rng.standard_normal(shape, np.float32) * scale).tobytes())
        tensor.raw_data = b"?"  # so that the location is taken; the bytes are in the file
        set_external_data(tensor, location)
        tensor.ClearField("raw_data")
        weights.append(tensor)
        return name

    first = weight("stem", (WIDTH, 3, 8, 8), 0.05)
    nodes.append(helper.make_node("Conv", ["images", first], ["c"], strides=[8, 8], name="stem_conv"))
    nodes.append(helper.make_node("GlobalAveragePool", ["c"], ["p"], name="pool"))
    nodes.append(helper.make_node("Flatten", ["p"], ["x0"], name="flatten"))
    layers = max(1, round(megabytes * 1e6 / (WIDTH * WIDTH * 4)))
    for index in range(layers):
        name = weight(f"layer{index}", (WIDTH, WIDTH), 0.1 / WIDTH**0.5)
        nodes.append(helper.make_node("MatMul", [f"x{index}", name], [f"m{index}"], name=f"mul{index}"))
        nodes.append(helper.make_node("Relu", [f"m{index}"], [f"r{index}"], name=f"relu{index}"))
        nodes.append(
            helper.make_node("Add", [f"x{index}", f"r{index}"], [f"x{index + 1}"], name=f"add{index}")
        )
    nodes.append(helper.make_node("Identity", [f"x{layers}"], ["scores"], name="out"))
    graph = helper.make_graph(
        nodes,
        "big",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 16, 16])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, WIDTH])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "big.onnx")
    config: dict[str, Any] = {
        "config_version": "1.0",
        "model": {
            "metadata": {"name": "big", "path": "big.onnx", "precision": "float32"},
            "inputs": [
                {
                    "name": "images", "dtype": "float32", "input_type": "image", "layout": "NCHW",
                    "shape": [1, 3, 16, 16],
                    "preprocessing": {
                        "dai_type": "RGB888p", "mean": [110, 70, 30], "scale": [20, 45, 90]
                    },
                }
            ],
            "outputs": [{"name": "scores", "dtype": "float32", "shape": [1, WIDTH]}],
            "heads": [],
        },
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def peak_of(argv: list[str], cwd: Path) -> tuple[int, float, int]:
    """Run a command to its end: exit code, wall seconds, peak bytes of its whole process tree."""
    started, peak = time.monotonic(), 0
    child = subprocess.Popen(argv, cwd=cwd)
    while child.poll() is None:
        found = sum(map(_pss_bytes, _tree(child.pid)))
        if found > peak * 1.05 + 1e8:
            print(f"  {time.monotonic() - started:.0f} s: {found / 1e9:.2f} GB", flush=True)
        peak = max(peak, found)
        time.sleep(0.1)
    return child.returncode, time.monotonic() - started, peak


def _tree(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def _pss_bytes(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=int, default=2200)
    parser.add_argument("--no-table", action="store_true")
    chosen = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        folder = write_big(Path(name) / "big", chosen.megabytes)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        for mode in ("FP16_STANDARD", "INT8_STANDARD"):
            out = Path(name) / f"{mode}.tar"
            argv = [
                sys.executable, "-c", "from converter.cli import main; main()", "convert", "--target", "rvc4", str(folder),
                "--toolchain", "native", f"rvc4.quantization_mode={mode}", "calibration.random=true",
                "calibration.max_images=4", "verify.emulator=false", "-o", str(out),
            ]  # fmt: skip
            if mode == "FP16_STANDARD":
                argv = [word for word in argv if not word.startswith("calibration")]
            code, seconds, peak = peak_of(argv, Path(name))
            written = out.stat().st_size if out.exists() else 0
            rows.append(f"| {mode} | {code} | {peak / 1e9:.2f} | {seconds:.0f} | {written / 1e9:.2f} |")
            print(rows[-1], flush=True)
            out.unlink(missing_ok=True)
    text = (
        "# A large model for RVC4\n\n"
        f"{size / 1e9:.2f} GB of ONNX with its weights in a file for each layer, two cores; verified on\n"
        f"ONNX Runtime ({datetime.date.today()}, onnxruntime-qnn {toolchain.VERSION}, "
        f"onnx-ir {version('onnx-ir')}).\nGoal: at most 8 GB of memory.\n\n"
        "| mode | exit code | peak memory, GB | seconds | archive, GB |\n|---|---|---|---|---|\n"
        + "\n".join(rows) + "\n"
    )  # fmt: skip
    if not chosen.no_table:
        RESULTS.write_text(text)
    print(text)


if __name__ == "__main__":
    main()

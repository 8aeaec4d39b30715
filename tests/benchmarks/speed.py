"""Speed and memory, each beside today's tool in the same run; a table and JSON in `results/`.

    nox -s benchmarks                 # or: python -m tests.benchmarks.speed
    python -m tests.benchmarks.speed --modelconverter /path/to/modelconverter

Nothing here is a test: machines differ, so figures are printed and never asserted. Each command runs as a
process of its own; the time is wall time, the peak that of the largest process in it.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.sources import config_for, write_folder

RESULTS = Path(__file__).parent / "results"
CONVERT = [sys.executable, "-c", "from converter.cli import convert_main; convert_main()"]
RUNS = 5


def resnet18(size: int = 224, classes: int = 1000) -> onnx.ModelProto:
    """ResNet18's graph with random weights: 11.7 million parameters, 47 MB."""
    rng = np.random.default_rng(0)
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []

    def op(kind: str, *inputs: str, **attributes: Any) -> str:
        out = f"{kind}_{len(nodes)}"
        nodes.append(helper.make_node(kind, inputs, [out], name=out, **attributes))
        return out

    def weight(values: np.ndarray) -> str:
        weights.append(numpy_helper.from_array(values.astype(np.float32), f"w{len(weights)}"))
        return weights[-1].name

    def conv(x: str, fan: int, out: int, kernel: int, stride: int) -> str:
        values = rng.normal(0, (2 / (fan * kernel**2)) ** 0.5, (out, fan, kernel, kernel))
        bias = weight(rng.normal(0, 0.01, out))
        return op("Conv", x, weight(values), bias, strides=[stride] * 2, pads=[kernel // 2] * 4)

    x = op("Relu", conv("images", 3, 64, 7, 2))
    x = op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    fan = 64
    for out, stride in ((64, 1), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1)):
        y = conv(op("Relu", conv(x, fan, out, 3, stride)), out, out, 3, 1)
        shortcut = x if (fan, stride) == (out, 1) else conv(x, fan, out, 1, stride)
        half = op("Mul", op("Add", y, shortcut), weight(np.array(0.5)))
        x, fan = op("Relu", half), out
    flat = op("Flatten", op("GlobalAveragePool", x))
    scores = rng.normal(0, 0.04, (classes, 512))
    op("Gemm", flat, weight(scores), weight(np.zeros(classes)), transB=1)
    nodes[-1].output[0] = "logits"
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, size, size])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, classes])
    graph = helper.make_graph(nodes, "resnet18", [image], [logits], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def source_folder(folder: Path) -> Path:
    model = resnet18()
    imagenet = {
        "mean": [123.675, 116.28, 103.53],
        "scale": [58.395, 57.12, 57.375],
        "dai_type": "RGB888p",
    }
    return write_folder(folder / "resnet18", model, config_for(model, preprocessing=imagenet))


def measured(argv: Sequence[str | Path], runs: int = RUNS) -> dict[str, float]:
    """Median wall seconds of whole processes, and the largest peak among them and their children."""
    seconds, peak = [], 0.0
    for _ in range(runs):
        script = (
            "import resource, subprocess, sys, time; started = time.monotonic(); "
            "code = subprocess.call(sys.argv[1:], stdout=2); "
            "print(time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); "
            "sys.exit(code)"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, *map(str, argv)], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise SystemExit(done.stderr)
        wall, kilobytes = done.stdout.split()[-2:]
        seconds.append(float(wall))
        peak = max(peak, int(kilobytes) / 1024)
    return {"wall_s": round(statistics.median(seconds), 2), "peak_mb": round(peak)}


def cpu_of(work: Callable[[], Any]) -> tuple[float, Any]:
    before = resource.getrusage(resource.RUSAGE_SELF)
    result = work()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, result


def conversions(folder: Path, source: Path) -> list[dict[str, Any]]:
    rows = []
    packed = folder / "packed.tar.xz"
    from converter.archive import tar

    with packed.open("wb") as file:
        names = ["config.json", "model.onnx"]
        tar.write(file, [(name, source / name) for name in names])
    for title, what, options, goal in (
        ("blob archive, from a folder", source, (), "≤ 4 s, ≤ 400 MB"),
        ("blob archive, from .tar.xz", packed, (), "(reading xz included)"),
        ("superblob archive, from a folder", source, ("rvc2.superblob=true",), "≤ 9 s, ≤ 400 MB"),
    ):
        out = folder / "out.tar.xz"
        argv = [*CONVERT, "--target", "rvc2", what, "-o", out, "--force", *options]
        figures = measured(argv)
        rows.append(
            {"what": f"ResNet18 → {title}", **figures, "goal": goal, "bytes": out.stat().st_size}
        )
    return rows


def compiled_blobs(source: Path, folder: Path) -> dict[int, bytes]:
    """All sixteen blobs of the source, through the public way: one superblob taken apart."""
    import converter
    from converter.open_source import open_archive
    from targets.rvc2.blob.superblob import read_superblob

    options = {"rvc2.superblob": True, "verify.enabled": False}
    done = converter.convert(source, "rvc2", output=folder / "all.tar", options=options)
    with open_archive(done.output) as archive:
        superblob = read_superblob(archive.path("model.superblob").read_bytes())
    return {shaves: superblob.blob(shaves) for shaves in range(1, 17)}


def patches(source: Path, folder: Path) -> list[dict[str, Any]]:
    import bsdiff4

    from targets.rvc2.blob.patches import Base

    blobs = compiled_blobs(source, folder)
    files = {shaves: folder / f"{shaves}.blob" for shaves in blobs}
    for shaves, blob in blobs.items():
        files[shaves].write_bytes(blob)
    others = [shaves for shaves in blobs if shaves != 8]

    def ours() -> int:
        base = Base(blobs[8])
        return sum(len(base.patch_to(blobs[shaves])) for shaves in others)

    def theirs() -> int:
        total = 0
        for shaves in others:
            patch = folder / "patch"
            bsdiff4.file_diff(files[8], files[shaves], patch)
            total += patch.stat().st_size
        return total

    cpu, size = cpu_of(ours)
    their_cpu, their_size = cpu_of(theirs)
    return [
        {
            "what": "15 patches of a superblob",
            "cpu_s": round(cpu, 2),
            "bytes": size,
            "goal": "≥ 50× less CPU",
        },
        {
            "what": "the same with bsdiff4.file_diff",
            "cpu_s": round(their_cpu, 1),
            "bytes": their_size,
            "ratio": round(their_cpu / cpu, 1),
        },
    ]


def packing(source: Path, folder: Path) -> list[dict[str, Any]]:
    from luxonis_ml.nn_archive.archive_generator import ArchiveGenerator

    from converter.archive import tar

    rows: list[dict[str, Any]] = []
    config = json.loads((source / "config.json").read_text())
    for title, file in (("23 MB blob", folder / "8.blob"), ("47 MB ONNX", source / "model.onnx")):
        config["model"]["metadata"]["path"] = file.name
        times: dict[str, list[float]] = {"ours": [], "theirs": []}
        for _ in range(3):
            started = time.monotonic()
            with (folder / "ours.tar.xz").open("wb") as out:
                tar.write(out, [("config.json", json.dumps(config).encode()), (file.name, file)])
            times["ours"].append(time.monotonic() - started)
            started = time.monotonic()
            ArchiveGenerator("theirs", folder, config, [file]).make_archive()
            times["theirs"].append(time.monotonic() - started)
        size, their_size = ((folder / f"{who}.tar.xz").stat().st_size for who in ("ours", "theirs"))
        ratios = [b / a for a, b in zip(times["ours"], times["theirs"], strict=True)]
        rows += [
            {
                "what": f"packing a {title}",
                "wall_s": round(statistics.median(times["ours"]), 2),
                "bytes": size,
                "goal": "≥ 8× faster, not larger; 16-bit ≥ 4 % smaller",
            },
            {
                "what": "the same with ArchiveGenerator",
                "wall_s": round(statistics.median(times["theirs"]), 2),
                "bytes": their_size,
                "ratio": round(statistics.median(ratios), 1),
                "size_ratio": round(size / their_size, 4),
            },
        ]
    return rows


def start_up(modelconverter: str | None) -> list[dict[str, Any]]:
    ours = measured([*CONVERT, "--help"], 9)
    rows: list[dict[str, Any]] = [{"what": "convert --help", **ours, "goal": "≥ 20× faster"}]
    if modelconverter:
        theirs = measured([modelconverter, "--help"], 3)
        ratio = round(theirs["wall_s"] / ours["wall_s"], 1)
        rows.append({"what": "modelconverter --help", **theirs, "ratio": ratio})
    return rows


def write_results(rows: list[dict[str, Any]]) -> None:
    versions = {
        name: importlib.metadata.version(name)
        for name in (
            "nnarchive-converter",
            "onnx",
            "onnx-ir",
            "onnxslim",
            "onnxruntime",
            "luxonis-ml",
            "bsdiff4",
        )
    }
    header = {
        "date": date.today().isoformat(),
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        "versions": versions,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "benchmarks.json").write_text(json.dumps({**header, "rows": rows}, indent=2) + "\n")
    columns = ("what", "wall_s", "cpu_s", "peak_mb", "bytes", "ratio", "size_ratio", "goal")
    lines = [
        "# Benchmarks",
        "",
        f"Generated by `nox -s benchmarks` on {header['date']}: Python {header['python']}, {header['machine']}; "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + ".",
        "Medians of whole processes, verification included; the peak is that of the largest process.",
        "A ratio is today's tool over ours, size_ratio our bytes over theirs, measured in one run.",
        "",
        "| " + " | ".join(columns) + " |",
        "|" + "---|" * len(columns),
    ]
    for row in rows:
        cells = [f"{row[c]:,}" if c == "bytes" and c in row else str(row.get(c, "")) for c in columns]
        lines.append("| " + " | ".join(cells) + " |")
    text = "\n".join(lines) + "\n"
    (RESULTS / "benchmarks.md").write_text(text)
    print(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--modelconverter", help="the modelconverter command to compare start-up with")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        source = source_folder(folder)
        rows = conversions(folder, source)
        rows += patches(source, folder)
        rows += packing(source, folder)
        rows += start_up(arguments.modelconverter)
    write_results(rows)


if __name__ == "__main__":
    main()

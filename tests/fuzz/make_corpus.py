"""What the fuzzing starts from: real files, small ones, made by the converter itself.

`python -m tests.fuzz.make_corpus FOLDER` converts a net of two convolutions for RVC2 and RVC4 (natively,
some twenty seconds) and writes a folder of files for each target of `fuzz_readers`.
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import converter
from converter.archive import tar
from converter.open_source import open_archive
from targets.rvc3.vpux import make_superblob
from tests.sources import DIGITS_ARCHIVE, RGB, config_for, conv_model, write_folder

DATA = Path(__file__).parents[1] / "data"
RANDOM = {"calibration.random": True, "calibration.max_images": 2}
HEADS: list[dict[str, Any]] = [
    {
        "name": "detector",
        "parser": "YOLO",
        "outputs": ["map"],
        "metadata": {
            "classes": ["a", "b"],
            "n_classes": 2,
            "anchors": [[[10, 20], [30, 40]]],
            "iou_threshold": 0.5,
            "conf_threshold": 0.5,
            "max_det": 10,
            "subtype": "yolov6",
        },
    },
    {
        "parser": "ClassificationParser",
        "outputs": ["scores"],
        "metadata": {"classes": ["a", "b", "c", "d", "e", "f"], "n_classes": 6, "is_softmax": False},
    },
]
CONVERSIONS: list[tuple[str, str, dict[str, Any]]] = [
    ("rvc2", "blob", {"verify.enabled": False}),
    ("rvc2", "blob", {"verify.enabled": False, "rvc2.number_of_shaves": 4}),
    ("rvc2", "superblob", {"verify.enabled": False, "rvc2.superblob": True}),
    ("rvc4", "dlc", {"verify.enabled": False, "rvc4.quantization_mode": "FP16_STANDARD"}),
    ("rvc4", "dlc", {"verify.enabled": False, **RANDOM}),
]


def make(folder: Path) -> None:
    """Write `archive`, `blob`, `superblob` and `dlc` into a folder."""
    for kind in ("archive", "blob", "superblob", "dlc"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        source = write_folder(Path(work) / "net", conv_model(), preprocessing=RGB, heads=HEADS)
        packed: list[tuple[str, tar.Compression]] = [
            ("tar", ""),
            ("xz", "xz"),
            ("gz", "gz"),
            ("bz2", "bz2"),
        ]
        for name, compression in packed:
            _pack(source, folder / "archive" / f"source.{name}", compression)
        for index, (target, kind, options) in enumerate(CONVERSIONS):
            out = Path(work) / f"{index}.tar"
            converter.convert(source, target, output=out, options=options, toolchain="native")
            (folder / "archive" / f"{target}-{index}.tar").write_bytes(out.read_bytes())
            with open_archive(out) as archive:
                path = archive.path(archive.config["model"]["metadata"]["path"])
                (folder / kind / f"{target}-{index}.{kind}").write_bytes(path.read_bytes())
    _pack_bare(folder / "archive" / "nothing-but-a-config.tar")
    (folder / "dlc" / "digits-float.dlc").write_bytes((DATA / "digits-float.dlc").read_bytes())
    (folder / "archive" / "digits.tar.xz").write_bytes(DIGITS_ARCHIVE.read_bytes())
    # No VPUX blob is at hand: 16 bytes that pass for one, so that the reader's branches are seen.
    vpux = bytes([8, 0, 0, 0]) + b"BLOB" + bytes(24)
    (folder / "blob" / "vpux.blob").write_bytes(vpux)
    (folder / "superblob" / "vpux.superblob").write_bytes(make_superblob(vpux))


def _pack(source: Path, target: Path, compression: tar.Compression) -> None:
    names = ("config.json", "model.onnx")
    packed = io.BytesIO()
    tar.write(packed, [(name, source / name) for name in names], compression)
    target.write_bytes(packed.getvalue())


def _pack_bare(target: Path) -> None:
    """A config with nothing behind it: what is changed in it is looked at the sooner."""
    config = json.dumps(config_for(conv_model(), preprocessing=RGB, heads=HEADS)).encode()
    packed = io.BytesIO()
    tar.write(packed, [("config.json", config)], "")
    target.write_bytes(packed.getvalue())


if __name__ == "__main__":
    make(Path(sys.argv[1]))

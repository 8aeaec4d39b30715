"""Small exports of Ultralytics' families with random weights, for `yolo_parsers`: `yolo_exports FOLDER`.

Runs in an environment of its own with torch and ultralytics, whose licence (AGPL-3.0) keeps both the
package and what it exports out of this repository.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

SIZE = (160, 128)
PLAIN: dict[str, Any] = {"simplify": False, "opset": 12}
# What `convert` gets, by name: the architecture's file and the export's arguments.
EXPORTS: dict[str, tuple[str, dict[str, Any]]] = {
    "v3u": ("yolov3-tiny.yaml", PLAIN),
    "v5u": ("yolov5.yaml", PLAIN),
    "v6u": ("yolov6.yaml", PLAIN),
    "v8": ("yolov8.yaml", PLAIN),
    "v8-simplified": ("yolov8.yaml", {"simplify": True}),
    "v8-dynamic": ("yolov8.yaml", {**PLAIN, "dynamic": True}),
    "v8-half": ("yolov8.yaml", {"half": True}),
    "v8-p2": ("yolov8-p2.yaml", PLAIN),
    "v8-nms": ("yolov8.yaml", {"nms": True}),
    "v8-seg": ("yolov8-seg.yaml", PLAIN),
    "v8-seg-nms": ("yolov8-seg.yaml", {"nms": True}),
    "v8-pose": ("yolov8-pose.yaml", PLAIN),
    "v8-pose-nms": ("yolov8-pose.yaml", {"nms": True}),
    "v8-obb": ("yolov8-obb.yaml", PLAIN),
    "v8-obb-nms": ("yolov8-obb.yaml", {"nms": True}),
    "v9": ("yolov9t.yaml", PLAIN),
    "v10": ("yolov10n.yaml", PLAIN),
    "v10-end2end": ("yolov10n.yaml", {**PLAIN, "end2end": True}),
    "11": ("yolo11.yaml", PLAIN),
    "11-seg": ("yolo11-seg.yaml", PLAIN),
    "11-pose": ("yolo11-pose.yaml", PLAIN),
    "12": ("yolo12.yaml", PLAIN),
    "12-nms": ("yolo12.yaml", {"nms": True}),
    "26": ("yolo26.yaml", PLAIN),
    "26-nms": ("yolo26.yaml", {"nms": True}),
    "26-end2end": ("yolo26.yaml", {**PLAIN, "end2end": True}),
    "26-seg": ("yolo26-seg.yaml", PLAIN),
    "26-pose": ("yolo26-pose.yaml", PLAIN),
}


def export(name: str, folder: Path) -> None:
    import torch
    from ultralytics import YOLO
    from ultralytics.utils import ROOT, YAML

    base, arguments = EXPORTS[name]
    described = YAML.load(next((ROOT / "cfg" / "models").rglob(base))) | {"nc": 3}
    if "scales" in described:
        # The attention of YOLO12 wants channels by 32.
        described["scales"] = {"n": [0.5, 0.25, 1024] if name.startswith("12") else [0.33, 0.125, 1024]}
    path = folder / f"{name}.yaml"
    YAML.save(path, described)
    torch.manual_seed(0)
    model = YOLO(str(path))
    for module in model.model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
    head = model.model.model[-1]
    for key, values in head.named_parameters():
        if key.endswith(".bias"):
            # Without bins, a distance of a box is the number itself: it must be positive.
            is_distance = getattr(head, "reg_max", 16) == 1 and "cv2" in key and len(values) == 4
            values.data.normal_(2.5 if is_distance else 0.0, 0.2 if is_distance else 1.0)
        if key.endswith("2.weight") and getattr(head, "reg_max", 16) > 1:
            values.data.mul_(3)
    written = model.export(format="onnx", imgsz=list(SIZE), **arguments)
    shutil.move(written, folder / f"{name}.onnx")
    path.unlink()


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    os.environ |= {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "YOLO_CONFIG_DIR": str(folder)}
    for name in sys.argv[2:] or EXPORTS:
        export(name, folder)


if __name__ == "__main__":
    main()

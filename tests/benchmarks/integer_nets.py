"""Nets that integers hurt, trained for `nox -s accuracy_rvc4`; wants torch and scikit-learn.

Each takes about a minute of one core; a folder keeps them, so that a second run trains none.

depthwise   three inverted residuals without an expansion limit (MobileNetV2, arXiv:1801.04381): the
            channels of a depthwise convolution have unlike weights once its batch norm is folded
vit         four blocks of attention on 4 x 4 patches (arXiv:2010.11929), exported with LayerNorm and
            Gelu as torch writes them
shapes      a detector on painted shapes (`tests.benchmarks.shapes`)
"""

from __future__ import annotations

import copy
import io
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from converter.archive import tar
from tests.benchmarks import shapes
from tests.sources import DIGITS

EPOCHS: Final = {"depthwise": 12, "vit": 60}
CALIBRATION_IMAGES: Final = 60


def frames() -> tuple[np.ndarray, np.ndarray]:
    """The frames of the digits example that are not held out, and their labels."""
    from sklearn.datasets import load_digits

    digits = _digits()
    data = load_digits()
    rng = np.random.default_rng(0)
    order = rng.permutation(len(data.images))
    images = digits.paint(data.images[order] / 16, rng)
    labels = data.target[order].astype(np.int64)
    return images[digits.HELD_OUT :], labels[digits.HELD_OUT :]


def archive(name: str, folder: Path) -> Path:
    """A net's source archive with calibration frames in it; trained only where the folder lacks it.

    Args:
        name: One of NETS, or "shapes".
    """
    path = folder / f"{name}.tar.xz"
    if path.exists():
        return path
    import torch

    torch.set_num_threads(1)  # more threads wait for each other at these sizes, above all on busy cores
    if name == "shapes":
        images, _ = shapes.frames(shapes.CALIBRATION_IMAGES, 12)
        net, size, mean, scale = shapes.trained(), shapes.SIZE, [0.0] * 3, [255.0] * 3
    else:
        images, labels = frames()
        digits = _digits()
        net, size, mean, scale = _trained(name, images, labels), 32, digits.MEAN, digits.SCALE
    outputs = ["scores", "sides"] if name == "shapes" else ["scores"]
    config = _config(name, size, mean, scale, outputs)
    entries = [
        ("config.json", json.dumps(config).encode()),
        (f"{name}.onnx", _export(net, size, outputs)),
    ]
    for index, image in enumerate(images[:CALIBRATION_IMAGES]):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "png")
        entries.append((f"calibration/{index:03}.png", file.getvalue()))
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    with unfinished.open("wb") as stream:
        tar.write(stream, entries)
    return unfinished.rename(path)


def _config(
    name: str, size: int, mean: Sequence[float], scale: Sequence[float], outputs: Sequence[str]
) -> dict[str, Any]:
    config = copy.deepcopy(_digits().config())
    model = config["model"]
    model["metadata"] |= {"name": name, "path": f"{name}.onnx"}
    model["inputs"][0] |= {"shape": [1, 3, size, size]}
    model["inputs"][0]["preprocessing"] |= {"mean": list(mean), "scale": list(scale)}
    if len(outputs) > 1:
        model["outputs"] = [{"name": output, "dtype": "float32"} for output in outputs]
        model["heads"] = []
    return config


def _digits() -> Any:
    sys.path.insert(0, str(DIGITS))
    import make_digits

    return make_digits


def _depthwise() -> Any:
    from torch import nn

    def block(into: int, out: int, stride: int) -> list[nn.Module]:
        wide = 6 * into
        return [
            *(nn.Conv2d(into, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU6()),
            nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False),
            *(nn.BatchNorm2d(wide), nn.ReLU6()),
            *(nn.Conv2d(wide, out, 1, bias=False), nn.BatchNorm2d(out)),
        ]

    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU6()),
        *(*block(8, 12, 1), *block(12, 16, 2), *block(16, 24, 2)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 10)),
    )


def _vit() -> Any:
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, width: int, heads: int) -> None:
            super().__init__()
            self.heads = heads
            self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.mlp = nn.Sequential(
                nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            n, tokens, width = x.shape
            rows = self.qkv(self.first(x)).reshape(n, tokens, 3, self.heads, width // self.heads)
            q, k, v = rows.permute(2, 0, 3, 1, 4)
            scores = (q @ k.transpose(-2, -1)) * (width // self.heads) ** -0.5
            seen = (scores.softmax(-1) @ v).transpose(1, 2).reshape(n, tokens, width)
            x = x + self.out(seen)
            return x + self.mlp(self.second(x))

    class Vit(nn.Module):
        def __init__(self, width: int = 48) -> None:
            super().__init__()
            self.patches = nn.Conv2d(3, width, 4, 4)
            self.places = nn.Parameter(0.02 * torch.randn(1, 64, width))
            self.blocks = nn.Sequential(*(Block(width, 4) for _ in range(4)))
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.patches(x).flatten(2).transpose(1, 2) + self.places
            return self.head(self.norm(self.blocks(x)).mean(1))

    return Vit()


NETS: Final[dict[str, Callable[[], Any]]] = {"depthwise": _depthwise, "vit": _vit}


def _trained(name: str, images: np.ndarray, labels: np.ndarray) -> Any:
    import torch
    from torch import nn

    torch.manual_seed(3)
    net = NETS[name]()
    x, y = torch.from_numpy(_digits().normalize(images)), torch.from_numpy(labels)
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3, weight_decay=1e-4)
    steps = EPOCHS[name] * (len(y) // 64 + 1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for _ in range(EPOCHS[name]):
        for batch in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x[batch]), y[batch]).backward()
            optimizer.step()
            schedule.step()
    return net.eval()


def _export(net: Any, size: int, outputs: Sequence[str]) -> bytes:
    import torch

    file = io.BytesIO()
    torch.onnx.export(
        net, torch.zeros(1, 3, size, size), file, input_names=["image"], output_names=list(outputs),
        opset_version=17, dynamo=False,
    )  # fmt: skip
    return file.getvalue()

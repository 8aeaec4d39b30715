"""How the files beside this script were made: a small CNN on scikit-learn's digits, in colour.

    pip install "torch==2.13.0" scikit-learn nnarchive-converter
    python make_digits.py

The handwritten digits (UCI, 8×8, 16 levels) are painted warm on a cool ground, so that a network which
sees red and blue swapped sees the negative of what it learnt. Mean and scale differ from channel to
channel, and the network has learnt with them.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

HERE = Path(__file__).parent
SIZE = 32
MEAN = [112.0, 84.0, 96.0]  # R, G, B, in levels of 0 to 255
SCALE = [64.0, 36.0, 52.0]
CALIBRATION_IMAGES = 60
HELD_OUT = 719


def paint(digits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """8×8 digits in [0, 1] as RGB images, uint8 (N, 32, 32, 3)."""
    ink = np.kron(digits, np.ones((SIZE // 8, SIZE // 8)))[..., None]
    count = len(digits)
    warm = rng.uniform([190, 90, 10], [255, 150, 70], (count, 3))[:, None, None]
    cool = rng.uniform([5, 40, 130], [60, 110, 220], (count, 3))[:, None, None]
    return np.clip(ink * warm + (1 - ink) * cool, 0, 255).round().astype(np.uint8)


def normalize(images: np.ndarray) -> np.ndarray:
    """What the network takes: (N, 3, 32, 32), RGB."""
    return ((images - np.array(MEAN)) / np.array(SCALE)).transpose(0, 3, 1, 2).astype(np.float32)


def train(images: np.ndarray, labels: np.ndarray) -> object:
    """A network of three convolutions, trained for a minute."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Conv2d(3, 12, 3, 2, 1), nn.BatchNorm2d(12), nn.ReLU()),
        *(nn.Conv2d(12, 24, 3, 2, 1), nn.BatchNorm2d(24), nn.Hardswish()),
        *(nn.Conv2d(24, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(32 * 16, 10)),
    )
    x, y = torch.from_numpy(normalize(images)), torch.from_numpy(labels)
    optimizer = torch.optim.Adam(net.parameters(), 3e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, total_steps=40 * (len(x) // 64 + 1))
    for _ in range(40):
        order = torch.randperm(len(x))
        for batch in order.split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x[batch]), y[batch]).backward()
            optimizer.step()
            schedule.step()
    return net.eval()


def export(net: object, path: Path) -> None:
    """Write the network as ONNX."""
    import torch

    torch.onnx.export(
        net, torch.zeros(1, 3, SIZE, SIZE), path, input_names=["image"], output_names=["scores"],
        opset_version=14, dynamo=False,
    )  # fmt: skip


def config() -> dict:
    """The archive's config."""
    return {
        "config_version": "1.0",
        "model": {
            "metadata": {"name": "digits", "path": "digits.onnx", "precision": "float32"},
            "inputs": [
                {
                    "name": "image",
                    "dtype": "float32",
                    "input_type": "image",
                    "shape": [1, 3, SIZE, SIZE],
                    "layout": "NCHW",
                    "preprocessing": {"mean": MEAN, "scale": SCALE, "dai_type": "RGB888p"},
                }
            ],
            "outputs": [{"name": "scores", "dtype": "float32", "shape": [1, 10], "layout": "NC"}],
            "heads": [
                {
                    "name": "digit",
                    "parser": "ClassificationParser",
                    "metadata": {
                        "classes": [
                            "zero",
                            "one",
                            "two",
                            "three",
                            "four",
                            "five",
                            "six",
                            "seven",
                            "eight",
                            "nine",
                        ],
                        "n_classes": 10,
                        "is_softmax": False,
                    },
                    "outputs": ["scores"],
                }
            ],
        },
    }


def main() -> None:
    """Make every file anew."""
    from converter.archive import tar

    data = load_digits()
    rng = np.random.default_rng(0)
    order = rng.permutation(len(data.images))
    images = paint(data.images[order] / 16, rng)
    labels = data.target[order].astype(np.int64)
    held, rest = slice(0, HELD_OUT), slice(HELD_OUT, None)
    onnx_file = HERE / "digits.onnx"
    export(train(images[rest], labels[rest]), onnx_file)
    with (HERE / "digits.tar.xz").open("wb") as file:
        entries = [("config.json", json.dumps(config(), indent=2).encode()), ("digits.onnx", onnx_file)]
        tar.write(file, entries)
    onnx_file.unlink()
    np.savez_compressed(
        HERE / "held_out.npz", images=images[held], labels=labels[held].astype(np.uint8)
    )
    folder = HERE / "calibration"
    folder.mkdir(exist_ok=True)
    for index in range(CALIBRATION_IMAGES):
        image = Image.fromarray(images[rest][index])
        image.save(folder / f"{index:03}.png", optimize=True)


if __name__ == "__main__":
    main()

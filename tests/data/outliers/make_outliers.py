"""How the archive beside this script was made: a net on the digits whose activations have heavy tails.

    pip install "torch==2.13.0" scikit-learn nnarchive-converter
    python make_outliers.py

The frames are those of the digits example, painted by the same code, with the same labels and the same
part held out: what to measure this net on is `../digits/held_out.npz`, and not kept twice.

What differs is the net. It looks at every pixel's colour through three squared ReLUs, one after another
(Primer, arXiv:2109.08668; no normalization among them), before ordinary convolutions look at the digit.
Squaring thrice makes the eighth power of what the first convolution says, so that a few values in
millions are hundreds of times larger than the rest. 8 bits stretched over all of these leave the rest
few levels; a range that cuts the largest off keeps it apart. Nothing was done to the weights but to train
them.

Glints are the second source: in one training frame of a hundred, drawn anew every epoch, a speck reflects
the light and saturates a pixel or two, and of the 60 calibration frames, three show one. The frames held
out show none. The calibration frames are the first 60 trained on, as in the digits example; they travel in
the archive, as `calibration/*.png`.
"""

from __future__ import annotations

import io
import json
import math
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

HERE = Path(__file__).parent
DIGITS = HERE.parent / "digits"
sys.path.insert(0, str(DIGITS))

import make_digits as digits  # noqa: E402

GLINTS = 3  # of the calibration frames
GLINT_SHARE = 0.01  # of the training frames
GLINT_RADIUS = 0.45  # in pixels: about what one pixel sees
EPOCHS = 16
GAIN = 0.8


def glint(images: np.ndarray, which: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The images, in some of them a white speck far brighter than the camera can tell."""
    rows, columns = np.mgrid[: digits.SIZE, : digits.SIZE]
    images = images.copy()
    for index in which:
        row, column = rng.uniform(2, digits.SIZE - 2, 2)
        light = np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * GLINT_RADIUS**2))
        lit = images[index] + 3 * 255 * light[..., None]
        images[index] = np.clip(lit, 0, 255).round()
    return images


def network() -> object:
    """Three squared ReLUs on pixels, then the three convolutions that see the digit."""
    from torch import nn

    class SquaredReLU(nn.Module):
        def forward(self, x: object) -> object:
            x = nn.functional.relu(x)
            return x * x

    def squared(inputs: int, outputs: int, kernel: int) -> list[nn.Module]:
        """With a gain of 0.9, the second moment would go through unchanged: E[relu(z)⁴] = 3σ⁴/2."""
        conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
        nn.init.normal_(conv.weight, 0, GAIN / math.sqrt(inputs * kernel * kernel))
        nn.init.zeros_(conv.bias)
        return [conv, SquaredReLU()]

    def halving(inputs: int, outputs: int) -> list[nn.Module]:
        conv = nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False)
        return [conv, nn.BatchNorm2d(outputs), nn.ReLU()]

    return nn.Sequential(
        *(*squared(3, 16, 3), *squared(16, 32, 1), *squared(32, 128, 1), nn.Conv2d(128, 8, 1)),
        *(*halving(8, 24), *halving(24, 32), *halving(32, 48)),
        *(nn.Flatten(), nn.Linear(48 * 16, 10)),
    )


def train(images: np.ndarray, labels: np.ndarray) -> object:
    """The network, trained for a few minutes."""
    import torch
    from torch import nn

    torch.set_num_threads(2)
    torch.set_flush_denormal(True)  # squares of small numbers are slow without
    torch.manual_seed(1)
    rng = np.random.default_rng(1)
    net, y = network(), torch.from_numpy(labels)
    optimizer = torch.optim.AdamW(net.parameters(), 4e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 4e-3, total_steps=EPOCHS * (len(y) // 64 + 1)
    )
    for _ in range(EPOCHS):
        lit = np.flatnonzero(rng.random(len(images)) < GLINT_SHARE)
        x = torch.from_numpy(digits.normalize(glint(images, lit, rng)))
        for batch in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x[batch]), y[batch]).backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    return net.eval()


def export(net: object) -> bytes:
    """The network as ONNX; the exporter folds the batch norms into their convolutions."""
    import torch

    file = io.BytesIO()
    torch.onnx.export(
        net, torch.zeros(1, 3, digits.SIZE, digits.SIZE), file, input_names=["image"],
        output_names=["scores"], opset_version=17, dynamo=False,
    )  # fmt: skip
    return file.getvalue()


def config() -> dict:
    """The archive's config: the digits', for another net."""
    described = digits.config()
    described["model"]["metadata"] |= {"name": "outliers", "path": "outliers.onnx"}
    return described


def png(image: np.ndarray) -> bytes:
    """An image as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "png", optimize=True)
    return file.getvalue()


def main() -> None:
    """Make the archive anew."""
    from converter.archive import tar

    data = load_digits()
    rng = np.random.default_rng(0)
    order = rng.permutation(len(data.images))
    images = digits.paint(data.images[order] / 16, rng)
    labels = data.target[order].astype(np.int64)
    with np.load(DIGITS / "held_out.npz") as held:
        if not np.array_equal(held["images"], images[: digits.HELD_OUT]):
            raise SystemExit("these are not the frames of the digits example")
    images, labels = images[digits.HELD_OUT :], labels[digits.HELD_OUT :]

    rng = np.random.default_rng(2)
    lit = rng.choice(digits.CALIBRATION_IMAGES, GLINTS, replace=False)
    calibration = glint(images[: digits.CALIBRATION_IMAGES], lit, rng)
    entries = [
        ("config.json", json.dumps(config(), indent=2).encode()),
        ("outliers.onnx", export(train(images, labels))),
        *((f"calibration/{index:03}.png", png(image)) for index, image in enumerate(calibration)),
    ]
    with (HERE / "outliers.tar.xz").open("wb") as file:
        tar.write(file, entries)


if __name__ == "__main__":
    main()

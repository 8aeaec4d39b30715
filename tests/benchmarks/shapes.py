"""A detector of painted shapes, trained for `nox -s accuracy_rvc4`; its frames and how its boxes are read.

One anchor-free head of stride 8 (as in FCOS, arXiv:1904.01355): class scores by a sigmoid, and the
distances from a cell's center to the four sides, in pixels.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

SIZE: Final = 96
STRIDE: Final = 8
CLASSES: Final = ("disc", "square", "triangle")
STEPS: Final = 350
BATCH: Final = 16
HELD_OUT: Final = 120
CALIBRATION_IMAGES: Final = 60


def frames(count: int, seed: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Painted frames, uint8 (N, 96, 96, 3), RGB; for each its shapes (K, 5): x1, y1, x2, y2, class."""
    from PIL import Image, ImageDraw

    rng = np.random.default_rng(seed)
    images, truths = [], []
    for _ in range(count):
        ground = rng.uniform(20, 235, (6, 6, 3)).astype(np.uint8)
        image = Image.fromarray(ground).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
        draw, boxes = ImageDraw.Draw(image), []
        for _ in range(rng.integers(1, 4)):
            side = int(rng.integers(14, 40))
            x, y = (int(v) for v in rng.integers(0, SIZE - side, 2))
            box, kind = (x, y, x + side, y + side), int(rng.integers(len(CLASSES)))
            if any(overlap(np.array(box, float), np.array(other[:4], float)) > 0 for other in boxes):
                continue
            color = tuple(int(v) for v in rng.integers(0, 256, 3))
            if kind == 0:
                draw.ellipse(box, fill=color)
            elif kind == 1:
                draw.rectangle(box, fill=color)
            else:
                draw.polygon([(x + side // 2, y), (x, y + side), (x + side, y + side)], fill=color)
            boxes.append((*box, kind))
        noisy = np.asarray(image, np.float64) + rng.normal(0, 6, (SIZE, SIZE, 3))
        images.append(np.clip(noisy, 0, 255).round().astype(np.uint8))
        truths.append(np.array(boxes, np.float64).reshape(-1, 5))
    return np.stack(images), truths


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes (x1, y1, x2, y2)."""
    sides = np.minimum(a[2:4], b[2:4]) - np.maximum(a[:2], b[:2])
    shared = float(np.prod(np.maximum(sides, 0)))
    return shared / (float(np.prod(a[2:4] - a[:2]) + np.prod(b[2:4] - b[:2])) - shared + 1e-9)


def boxes_of(scores: np.ndarray, sides: np.ndarray, limit: float = 0.5) -> np.ndarray:
    """Scores [1, classes, H, W] and sides [1, 4, H, W] as boxes (K, 5) like the truth's."""
    kinds, best = scores[0].argmax(0), scores[0].max(0)
    found: list[tuple[float, np.ndarray]] = []
    for row, column in zip(*np.nonzero(best > limit), strict=True):
        x, y = (column + 0.5) * STRIDE, (row + 0.5) * STRIDE
        left, top, right, bottom = sides[0, :, row, column]
        box = np.array([x - left, y - top, x + right, y + bottom, kinds[row, column]])
        found.append((float(best[row, column]), box))
    return suppressed(found)


def suppressed(found: list[tuple[float, np.ndarray]], limit: float = 0.4) -> np.ndarray:
    """The best of the boxes that overlap by more than the limit, (K, 5)."""
    kept: list[np.ndarray] = []
    for _, box in sorted(found, key=lambda item: -item[0]):
        if all(overlap(box, other) < limit for other in kept):
            kept.append(box)
    return np.array(kept).reshape(-1, 5)


def targets(truths: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """What the head should say: scores (N, classes, H, W), sides (N, 4, H, W); of cells inside a shape."""
    cells = SIZE // STRIDE
    scores = np.zeros((len(truths), len(CLASSES), cells, cells), np.float32)
    sides = np.zeros((len(truths), 4, cells, cells), np.float32)
    for index, boxes in enumerate(truths):
        for x1, y1, x2, y2, kind in boxes:
            for row in range(cells):
                for column in range(cells):
                    x, y = (column + 0.5) * STRIDE, (row + 0.5) * STRIDE
                    center = abs(2 * x - x1 - x2) < 0.5 * (x2 - x1) + STRIDE / 2
                    if center and abs(2 * y - y1 - y2) < 0.5 * (y2 - y1) + STRIDE / 2:
                        scores[index, int(kind), row, column] = 1
                        sides[index, :, row, column] = x - x1, y - y1, x2 - x, y2 - y
    return scores, sides


def trained() -> Any:
    """The detector after training on frames that are painted anew; wants torch."""
    import torch
    from torch import nn

    torch.manual_seed(5)

    def block(into: int, out: int, stride: int) -> list[nn.Module]:
        return [nn.Conv2d(into, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.SiLU()]

    class Detector(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layers = (*block(3, 16, 2), *block(16, 32, 2), *block(32, 48, 2), *block(48, 48, 1))
            self.body = nn.Sequential(*layers, *block(48, 48, 1))
            self.scores, self.sides = nn.Conv2d(48, len(CLASSES), 1), nn.Conv2d(48, 4, 1)
            nn.init.constant_(self.scores.bias, -3.0)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            x = self.body(x)
            return self.scores(x).sigmoid(), STRIDE * nn.functional.softplus(self.sides(x))

    images, truths = frames(1500, 11)
    x = torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float32) / 255)
    scores, sides = (torch.from_numpy(array) for array in targets(truths))
    net = Detector()
    optimizer = torch.optim.AdamW(net.parameters(), 4e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=STEPS)
    for _ in range(STEPS):
        batch = torch.randint(len(x), (BATCH,))
        said, reach = net(x[batch])
        wanted = scores[batch]
        inside = wanted.amax(1, keepdim=True)
        error = nn.functional.binary_cross_entropy(said, wanted, reduction="none")
        focal = (error * (said - wanted).abs() ** 2).sum()
        away = ((reach - sides[batch]).abs() * inside).sum() / STRIDE
        optimizer.zero_grad()
        ((4 * focal + away) / inside.sum()).backward()
        optimizer.step()
        schedule.step()
    return net.eval()

"""Small nets of the families that people convert: random weights, every operator kind in place.

`NETS` maps a family's name to a function that builds its module and an example input. The weights
come from a fixed seed, the statistics of batch normalization too, so that none of it folds away.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Net = tuple[nn.Module, Tensor]
_IMAGE: Final = (1, 3, 64, 64)


def conv(
    inputs: int,
    outputs: int,
    kernel: int = 3,
    *,
    stride: int = 1,
    groups: int = 1,
    dilation: int = 1,
    activation: nn.Module | None = None,
) -> nn.Sequential:
    """Convolution that keeps the size, batch normalization, activation."""
    padding = dilation * (kernel // 2)
    layers: list[nn.Module] = [
        nn.Conv2d(
            inputs, outputs, kernel, stride, padding, dilation=dilation, groups=groups, bias=False
        ),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, *([activation] if activation else []))


class Residual(nn.Module):
    """x + f(x)."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


def classifier(channels: int, classes: int = 10) -> nn.Sequential:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


# ------------------------------------------------------------ classification


class BasicBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(inputs, outputs, stride=stride, activation=nn.ReLU()), conv(outputs, outputs)
        )
        self.shortcut = conv(inputs, outputs, 1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.shortcut(x))


def resnet() -> Net:
    stem = nn.Sequential(conv(3, 16, 7, stride=2, activation=nn.ReLU()), nn.MaxPool2d(3, 2, 1))
    blocks = [BasicBlock(16, 16, 1), BasicBlock(16, 32, 2), BasicBlock(32, 64, 2)]
    return nn.Sequential(stem, *blocks, classifier(64)), torch.rand(_IMAGE)


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int, inner: nn.Module, gate: nn.Module) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, channels // 4, 1),
            inner,
            nn.Conv2d(channels // 4, channels, 1),
            gate,
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


def inverted(
    inputs: int,
    outputs: int,
    stride: int,
    activation: type[nn.Module],
    excite: SqueezeExcite | None = None,
    kernel: int = 3,
) -> nn.Module:
    """The inverted residual of the MobileNets, expanded four times."""
    wide = 4 * inputs
    body = nn.Sequential(
        conv(inputs, wide, 1, activation=activation()),
        conv(wide, wide, kernel, stride=stride, groups=wide, activation=activation()),
        *([excite] if excite else []),
        conv(wide, outputs, 1),
    )
    return Residual(body) if inputs == outputs and stride == 1 else body


def mobilenet_v2() -> Net:
    stem = conv(3, 8, stride=2, activation=nn.ReLU6())
    blocks = [inverted(8, 16, 2, nn.ReLU6), inverted(16, 16, 1, nn.ReLU6)]
    return nn.Sequential(stem, *blocks, classifier(16)), torch.rand(_IMAGE)


def mobilenet_v3() -> Net:
    def excite(channels: int) -> SqueezeExcite:
        return SqueezeExcite(channels, nn.ReLU(), nn.Hardsigmoid())

    return nn.Sequential(
        conv(3, 8, stride=2, activation=nn.Hardswish()),
        inverted(8, 16, 2, nn.ReLU, excite(32)),
        inverted(16, 16, 1, nn.Hardswish, excite(64), kernel=5),
        nn.AdaptiveAvgPool2d(1),
        nn.Conv2d(16, 64, 1),
        nn.Hardswish(),
        nn.Flatten(),
        nn.Linear(64, 10),
    ), torch.rand(_IMAGE)


def efficientnet() -> Net:
    def excite(channels: int) -> SqueezeExcite:
        return SqueezeExcite(channels, nn.SiLU(), nn.Sigmoid())

    return nn.Sequential(
        conv(3, 8, stride=2, activation=nn.SiLU()),
        inverted(8, 16, 2, nn.SiLU, excite(32)),
        inverted(16, 16, 1, nn.SiLU, excite(64), kernel=5),
        classifier(16),
    ), torch.rand(_IMAGE)


class DenseLayer(nn.Module):
    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(inputs), nn.ReLU(), nn.Conv2d(inputs, growth, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.body(x)], 1)


def densenet() -> Net:
    def block(inputs: int) -> list[nn.Module]:
        return [DenseLayer(inputs + 8 * index, 8) for index in range(3)]

    transition = [nn.BatchNorm2d(40), nn.ReLU(), nn.Conv2d(40, 20, 1), nn.AvgPool2d(2)]
    stem = conv(3, 16, stride=2, activation=nn.ReLU())
    return nn.Sequential(stem, *block(16), *transition, *block(20), classifier(44)), torch.rand(_IMAGE)


class ShuffleUnit(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.body = nn.Sequential(
            conv(half, half, 1, activation=nn.ReLU()),
            conv(half, half, groups=half),
            conv(half, half, 1, activation=nn.ReLU()),
        )

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, 1)
        n, c, h, w = x.shape
        x = torch.cat([left, self.body(right)], 1).reshape(n, 2, c // 2, h, w)
        return x.transpose(1, 2).reshape(n, c, h, w)


def shufflenet() -> Net:
    stem = conv(3, 16, stride=4, activation=nn.ReLU())
    units = [ShuffleUnit(16), ShuffleUnit(16), classifier(16)]
    return nn.Sequential(stem, *units), torch.rand(_IMAGE)


# ------------------------------------------------------------- transformers


class Attention(nn.Module):
    """Multi-head attention written out, or through PyTorch's fused function."""

    def __init__(self, width: int, heads: int, *, fused: bool) -> None:
        super().__init__()
        self.heads, self.fused = heads, fused
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, length, width = x.shape
        split = self.qkv(x).reshape(n, length, 3, self.heads, width // self.heads)
        q, k, v = split.permute(2, 0, 3, 1, 4).unbind(0)
        if self.fused:
            y = F.scaled_dot_product_attention(q, k, v)
        else:
            scores = q @ k.transpose(-2, -1) * (width // self.heads) ** -0.5
            y = scores.softmax(-1) @ v
        return self.out(y.transpose(1, 2).reshape(n, length, width))


def transformer_block(width: int, *, fused: bool) -> nn.Sequential:
    mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
    return nn.Sequential(
        Residual(nn.Sequential(nn.LayerNorm(width), Attention(width, 4, fused=fused))),
        Residual(nn.Sequential(nn.LayerNorm(width), mlp)),
    )


class VisionTransformer(nn.Module):
    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, width, 16, 16)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.position = nn.Parameter(torch.randn(1, 17, width))
        self.blocks = nn.Sequential(*(transformer_block(width, fused=False) for _ in range(2)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.position
        return self.head(self.norm(self.blocks(x))[:, 0])


def vit() -> Net:
    return VisionTransformer(), torch.rand(_IMAGE)


class WindowBlock(nn.Module):
    """Swin's attention in windows, shifted by half a window: roll, partition, and back."""

    def __init__(self, width: int, window: int, shift: int) -> None:
        super().__init__()
        self.window, self.shift = window, shift
        self.block = transformer_block(width, fused=True)

    def forward(self, x: Tensor) -> Tensor:
        n, h, w, c = x.shape
        size = self.window
        if self.shift:
            x = torch.roll(x, (-self.shift, -self.shift), (1, 2))
        x = x.reshape(n, h // size, size, w // size, size, c).permute(0, 1, 3, 2, 4, 5)
        x = self.block(x.reshape(-1, size * size, c))
        x = x.reshape(n, h // size, w // size, size, size, c).permute(0, 1, 3, 2, 4, 5)
        x = x.reshape(n, h, w, c)
        return torch.roll(x, (self.shift, self.shift), (1, 2)) if self.shift else x


class Swin(nn.Module):
    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, width, 4, 4)
        self.first = nn.Sequential(WindowBlock(width, 4, 0), WindowBlock(width, 4, 2))
        self.merge = nn.Sequential(nn.LayerNorm(4 * width), nn.Linear(4 * width, 2 * width))
        self.second = WindowBlock(2 * width, 4, 0)
        self.head = nn.Linear(2 * width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(self.patch(x).permute(0, 2, 3, 1))
        parts = [x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)]
        x = self.second(self.merge(torch.cat(parts, -1)))
        return self.head(x.mean((1, 2)))


def swin() -> Net:
    return Swin(), torch.rand(_IMAGE)


class MixerBlock(nn.Module):
    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.tokens = nn.Sequential(nn.Linear(length, 32), nn.GELU(), nn.Linear(32, length))
        self.channels = nn.Sequential(nn.Linear(width, 64), nn.GELU(), nn.Linear(64, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.tokens(self.norm_1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channels(self.norm_2(x))


class Mixer(nn.Module):
    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, width, 16, 16)
        self.blocks = nn.Sequential(MixerBlock(16, width), MixerBlock(16, width))
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.patch(x).flatten(2).transpose(1, 2)).mean(1))


def mlp_mixer() -> Net:
    return Mixer(), torch.rand(_IMAGE)


class ConvNextBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU("tanh"), nn.Linear(4 * width, width)
        )
        self.scale = nn.Parameter(torch.rand(width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.depthwise(x).permute(0, 2, 3, 1)
        return x + (self.scale * self.mlp(self.norm(y))).permute(0, 3, 1, 2)


def convnext() -> Net:
    stem = nn.Conv2d(3, 16, 4, 4)
    down = nn.Sequential(nn.GroupNorm(1, 16), nn.Conv2d(16, 32, 2, 2))
    blocks = [ConvNextBlock(16), down, ConvNextBlock(32)]
    return nn.Sequential(stem, *blocks, classifier(32)), torch.rand(_IMAGE)


# ---------------------------------------------- detection, segmentation, keypoints


class Bottleneck(nn.Module):
    """YOLO's C2f: split, convolve one half on and on, concatenate all of it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.before = conv(channels, channels, 1, activation=nn.SiLU())
        self.inner = Residual(conv(half, half, activation=nn.SiLU()))
        self.after = conv(3 * half, channels, 1, activation=nn.SiLU())

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.before(x).split(x.shape[1] // 2, 1))
        return self.after(torch.cat([*parts, self.inner(parts[-1])], 1))


class YoloBody(nn.Module):
    """Backbone, SPPF and a neck that joins two scales."""

    def __init__(self) -> None:
        super().__init__()
        self.p3 = nn.Sequential(
            conv(3, 8, stride=4, activation=nn.SiLU()),
            conv(8, 16, stride=2, activation=nn.SiLU()),
            Bottleneck(16),
        )
        self.p4 = nn.Sequential(conv(16, 32, stride=2, activation=nn.SiLU()), Bottleneck(32))
        self.pool = nn.MaxPool2d(5, 1, 2)
        self.sppf = conv(96, 32, 1, activation=nn.SiLU())
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.join = conv(48, 16, activation=nn.SiLU())

    def forward(self, x: Tensor) -> list[Tensor]:
        p3 = self.p3(x)
        p4 = self.p4(p3)
        once = self.pool(p4)
        p4 = self.sppf(torch.cat([p4, once, self.pool(once)], 1))
        return [self.join(torch.cat([self.up(p4), p3], 1)), p4]


def cell_grid(height: int, width: int) -> Tensor:
    """Coordinates of a feature map's cells, (1, 1, H, W, 2)."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack((x, y), -1).reshape(1, 1, height, width, 2).float()


class YoloV5(nn.Module):
    """Decoded as YOLOv5 does: anchors, sigmoid, split into place, size and scores."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.body, self.per_anchor = YoloBody(), classes + 5
        self.heads = nn.ModuleList(nn.Conv2d(c, 3 * self.per_anchor, 1) for c in (16, 32))
        self.register_buffer("anchors", torch.rand(2, 1, 3, 1, 1, 2) * 32 + 8)

    def forward(self, x: Tensor) -> Tensor:
        boxes = []
        for level, (features, head) in enumerate(zip(self.body(x), self.heads, strict=True)):
            n, _, h, w = features.shape
            y = head(features).view(n, 3, self.per_anchor, h, w).permute(0, 1, 3, 4, 2)
            place, size, scores = y.sigmoid().split((2, 2, self.per_anchor - 4), 4)
            place = (place * 2 - 0.5 + cell_grid(h, w)) * (x.shape[2] / h)
            size = (size * 2) ** 2 * self.anchors[level]
            boxes.append(torch.cat((place, size, scores), 4).view(n, -1, self.per_anchor))
        return torch.cat(boxes, 1)


def yolo_v5() -> Net:
    return YoloV5(), torch.rand(_IMAGE)


class YoloV8(nn.Module):
    """Decoded as YOLOv8 does: distances as an expectation over bins, then boxes."""

    def __init__(self, classes: int = 4, bins: int = 8) -> None:
        super().__init__()
        self.body, self.bins, self.classes = YoloBody(), bins, classes
        self.heads = nn.ModuleList(nn.Conv2d(c, 4 * bins + classes, 1) for c in (16, 32))
        self.expect = nn.Conv2d(bins, 1, 1, bias=False)
        self.expect.weight.data[:] = torch.arange(bins).view(1, bins, 1, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        maps = [head(y) for head, y in zip(self.heads, self.body(x), strict=True)]
        centres = [cell_grid(*y.shape[2:]).view(-1, 2).T + 0.5 for y in maps]
        strides = [torch.full((1, y[0, 0].numel()), x.shape[2] / y.shape[2]) for y in maps]
        y = torch.cat([y.flatten(2) for y in maps], 2)
        distances, scores = y.split((4 * self.bins, self.classes), 1)
        n, _, length = distances.shape
        distances = distances.view(n, 4, self.bins, length).transpose(1, 2).softmax(1)
        top_left, bottom_right = self.expect(distances).view(n, 4, length).chunk(2, 1)
        centre = torch.cat(centres, 1).unsqueeze(0)
        low, high = centre - top_left, centre + bottom_right
        boxes = torch.cat(((low + high) / 2, high - low), 1) * torch.cat(strides, 1)
        return boxes, scores.sigmoid()


def yolo_v8() -> Net:
    return YoloV8(), torch.rand(_IMAGE)


class UNet(nn.Module):
    """One step up by a transposed convolution, one by bilinear interpolation."""

    def __init__(self) -> None:
        super().__init__()
        self.down_1 = conv(3, 8, activation=nn.ReLU())
        self.down_2 = conv(8, 16, activation=nn.ReLU())
        self.middle = conv(16, 32, activation=nn.LeakyReLU(0.1))
        self.up_2 = nn.ConvTranspose2d(32, 16, 2, 2)
        self.join_2 = conv(32, 16, activation=nn.PReLU(16))
        self.up_1 = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        self.join_1 = conv(24, 8, activation=nn.ELU())
        self.out = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.down_1(x)
        b = self.down_2(F.max_pool2d(a, 2))
        c = self.middle(F.max_pool2d(b, 2))
        b = self.join_2(torch.cat([self.up_2(c), b], 1))
        return self.out(self.join_1(torch.cat([self.up_1(b), a], 1)))


def unet() -> Net:
    return UNet(), torch.rand(_IMAGE)


class Aspp(nn.Module):
    """DeepLab: dilated convolutions side by side, a pooled branch, resized with aligned corners."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            conv(3, 16, stride=2, activation=nn.ReLU()),
            conv(16, 16, stride=2, activation=nn.ReLU()),
        )
        rates = (1, 2, 4)
        self.branches = nn.ModuleList(conv(16, 8, dilation=r, activation=nn.ReLU()) for r in rates)
        self.pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(16, 8, 1), nn.ReLU())
        self.out = nn.Conv2d(32, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        pooled = F.interpolate(self.pooled(y), size=y.shape[2:], mode="bilinear", align_corners=False)
        y = self.out(torch.cat([*(branch(y) for branch in self.branches), pooled], 1))
        y = F.interpolate(y, size=x.shape[2:], mode="bilinear", align_corners=True)
        return y.softmax(1)


def deeplab() -> Net:
    return Aspp(), torch.rand(_IMAGE)


class SuperPoint(nn.Module):
    """Keypoint scores out of 65 bins an 8×8 cell, and descriptors of unit length."""

    def __init__(self) -> None:
        super().__init__()
        steps = [(1, 8), (8, 16), (16, 32)]
        self.encoder = nn.Sequential(
            *(nn.Sequential(conv(a, b, activation=nn.ReLU()), nn.MaxPool2d(2)) for a, b in steps)
        )
        self.scores, self.descriptors = nn.Conv2d(32, 65, 1), nn.Conv2d(32, 32, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.encoder(x)
        scores = self.scores(y).softmax(1)[:, :-1]
        n, _, h, w = scores.shape
        scores = scores.permute(0, 2, 3, 1).reshape(n, h, w, 8, 8)
        scores = scores.permute(0, 1, 3, 2, 4).reshape(n, h * 8, w * 8)
        return scores, F.normalize(self.descriptors(y), dim=1)


def superpoint() -> Net:
    return SuperPoint(), torch.rand(1, 1, 64, 64)


# --------------------------------------------------------------- recurrent


class Recurrent(nn.Module):
    """Two layers in both directions; classes from the sequence, and the last state."""

    def __init__(self, layer: type[nn.RNNBase]) -> None:
        super().__init__()
        self.layer = layer(12, 16, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y, state = self.layer(x)
        return self.head(y), state[0] if isinstance(state, tuple) else state


def lstm() -> Net:
    return Recurrent(nn.LSTM), torch.rand(1, 10, 12)


def gru() -> Net:
    return Recurrent(nn.GRU), torch.rand(1, 10, 12)


NETS: Final[dict[str, Callable[[], Net]]] = {
    function.__name__: function
    for function in (
        resnet, mobilenet_v2, mobilenet_v3, efficientnet, densenet, shufflenet,
        vit, swin, mlp_mixer, convnext, yolo_v5, yolo_v8, unet, deeplab, superpoint, lstm, gru,
    )
}  # fmt: skip


def build(name: str) -> Net:
    """A net in evaluation mode, its normalization statistics random."""
    torch.manual_seed(0)
    module, example = NETS[name]()
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_mean, -0.2, 0.2)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.uniform_(layer.bias, -0.2, 0.2)
    return module.eval(), example


def export(name: str, opset: int, path: Path, *, dynamo: bool) -> None:
    """Write a net as ONNX, with PyTorch's older exporter or its newer one."""
    module, example = build(name)
    names = {"input_names": ["input"]}
    if dynamo:
        torch.onnx.export(
            module, (example,), path, opset_version=opset, dynamo=True, verbose=False,
            external_data=False, **names,
        )  # fmt: skip
    else:
        torch.onnx.export(module, (example,), path, opset_version=opset, dynamo=False, **names)

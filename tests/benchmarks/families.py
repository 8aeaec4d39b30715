"""Families of torchvision and timm: `nox -s families` exports and converts one small net of each.

Every family is built with random weights at 64 to 96 pixels, exported once (PyTorch's older exporter
or its newer one, the opsets taken in turn), and converted for RVC2 and for RVC4 in FP16 with
verification on. Nothing is trained, so a figure says that the compiled network computes what the
source does, not that it recognizes anything.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from converter.calibration.pictures import picture
from tests.benchmarks.trial import Trial, attempt, short, stored, summary, table, warm

_RESULTS: Final = Path(__file__).parent / "results"
_PACKAGES: Final = (
    "torch", "torchvision", "timm", "onnxscript", "onnx", "onnxslim", "onnxruntime", "numpy",
)  # fmt: skip
_MODE: Final = "FP16_STANDARD"
# (opset, the newer exporter?): the families take them in turn.
_EXPORTS: Final = (
    (11, False), (18, True), (14, False), (17, False), (20, False), (13, False), (16, False),
    (19, False), (12, False), (18, False), (15, False),
)  # fmt: skip
_PICTURES: Final = 32  # that batch normalization's statistics are of
_ATTENTION_OPSET: Final = 14  # the older exporter has scaled_dot_product_attention from here
_OPTIONS: Final[Mapping[str, Any]] = {
    "inputs.input.mean_values": [128.0] * 3,
    "inputs.input.scale_values": [128.0] * 3,
    "verify.frames": 1,
}


@dataclass(frozen=True)
class Family:
    """One net: where it comes from, what makes it small, and its input's size in pixels.

    Attributes:
        name: What the library calls the net, or one of timm's classes.
        settings: What the constructor is given.
        attends: Whether it has scaled dot-product attention, which older opsets cannot hold.
    """

    library: str
    name: str
    size: int = 64
    settings: Mapping[str, Any] = field(default_factory=dict)
    attends: bool = False


def _timm(name: str, size: int = 64, *, attends: bool = False, **settings: Any) -> Family:
    return Family("timm", name, size, settings, attends)


def _vision(name: str, size: int = 64, *, attends: bool = False, **settings: Any) -> Family:
    return Family("torchvision", name, size, settings, attends)


_ONES: Final = (1, 1, 1, 1)
FAMILIES: Final = (
    _vision("resnet18"),
    _vision("mobilenet_v2"),
    _timm("vit_tiny_patch16_224", img_size=64, depth=2, attends=True),
    _vision("mobilenet_v3_small"),
    _vision("shufflenet_v2_x0_5"),
    _timm("ghostnet_050"),
    _timm("repvgg_a0"),
    _timm("mobileone_s0"),
    _vision("squeezenet1_1"),
    _vision("mnasnet0_5"),
    _timm("MlpMixer", img_size=64, num_blocks=2, embed_dim=64),
    _timm("convnext_atto", depths=_ONES),
    _timm("swin_tiny_patch4_window7_224", img_size=64, window_size=4, embed_dim=24,
          depths=(2, 2), num_heads=(2, 4), attends=True),
    _timm("mobilevit_xxs", attends=True),
    _timm("efficientnet_lite0"),
    _timm("tf_efficientnetv2_b0"),
    _vision("regnet_y_400mf"),
    _vision("googlenet", aux_logits=False, init_weights=False),
    _timm("edgenext_xx_small", attends=True),
    _timm("poolformer_s12", layers=_ONES),
    _timm("levit_128s", img_size=64),
    _timm("pvt_v2_b0", attends=True),
    _timm("xcit_nano_12_p16_224", img_size=64, depth=2),
    _timm("fastvit_t8", attends=True),
    _timm("seresnet18"),
    _timm("rexnet_100"),
    _timm("dla46_c"),
    _timm("ese_vovnet19b_dw"),
    _timm("hardcorenas_a"),
    _timm("mixnet_s"),
    _timm("mobilenetv4_conv_small"),
    _timm("lcnet_050"),
    _timm("starnet_s1"),
    _timm("hgnetv2_b0"),
    _timm("efficientvit_b0"),
    _timm("efficientvit_m0", img_size=64, window_size=(7, 7, 7)),
    _timm("repvit_m0_9"),
    _timm("inception_next_atto"),
    _timm("botnet26t_256", img_size=64),
    _timm("lambda_resnet26t", img_size=64),
    _timm("nf_regnet_b0"),
    _timm("ResNetV2", layers=_ONES, channels=(128, 128, 256, 256)),
    _timm("VOLO", img_size=64, layers=(1, 1, 1, 1), embed_dims=(48, 96, 96, 96),
          num_heads=(2, 4, 4, 4), attends=True),
    _timm("twins_pcpvt_small", depths=_ONES, attends=True),
    _timm("coat_lite_tiny", img_size=64),
    _timm("cait_xxs24_224", img_size=64, depth=2, attends=True),
    _timm("convit_tiny", img_size=64, depth=4),
    _timm("tnt_s_legacy_patch16_224", img_size=64, depth=2, attends=True),
    _timm("eva02_tiny_patch14_224", 56, img_size=56, depth=2, attends=True),
    _timm("swinv2_cr_tiny_224", img_size=64, window_size=2, embed_dim=24, depths=(2, 2), num_heads=(2, 4)),
    _timm("FocalNet", embed_dim=24, depths=_ONES),
    _timm("davit_tiny", depths=_ONES, embed_dims=(24, 48, 96, 192),
          num_heads=(2, 2, 4, 4), attends=True),
    _timm("sequencer2d_s", img_size=64, layers=_ONES),
    _timm("gmlp_ti16_224", img_size=64),
    _timm("ConvMixer", dim=64, depth=2),
    _timm("mambaout_femto", depths=_ONES),
    _timm("gcvit_xxtiny", img_size=64, window_ratio=(16, 32, 16, 32), attends=True),
    _timm("hiera_tiny_224", img_size=64, stages=_ONES, attends=True),
    _timm("visformer_tiny", img_size=64, attends=True),
    _timm("pit_ti_224", img_size=64, attends=True),
    _timm("maxvit_pico_rw_256", 64, img_size=64, attends=True),
    _timm("dpn48b"),
    _vision("lraspp_mobilenet_v3_large", weights_backbone=None),
    _vision("deeplabv3_mobilenet_v3_large", weights_backbone=None),
    _timm("res2net50_14w_8s"),
    _timm("selecsls42"),
    _timm("cspdarknet53"),
    _timm("nest_tiny", img_size=64, attends=True),
    _timm("xception41"),
    _timm("mvitv2_tiny", img_size=64, attends=True),
    _timm("resnest14d"),
    _vision("densenet121"),
    _timm("tiny_vit_5m_224", attends=True),
    _timm("hrnet_w18_small"),
    _vision("inception_v3", 96, aux_logits=False, init_weights=False),
    _vision("alexnet"),
)  # fmt: skip


# ----------------------------------------------------------------- exporting


def _declare_operators() -> None:
    """Let torchvision be imported beside a torch without CUDA, whose operators it would bring."""
    for name in ("nms", "qnms"):
        with contextlib.suppress(RuntimeError):
            schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            torch.library.define(f"torchvision::{name}", schema)


class _First(nn.Module):
    """Of a net that returns a dictionary (torchvision's segmentation), the entry `out`."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)["out"]  # type: ignore[no-any-return]


def _pictures(size: int) -> Tensor:
    """Drawn pictures as the nets are fed, -1 to 1, other ones than those of verification."""
    rng = np.random.default_rng(0)
    drawn = np.stack([picture(index, size, size, rng) for index in range(_PICTURES)])
    return torch.from_numpy(drawn).permute(0, 3, 1, 2).float() / 128 - 1


@torch.no_grad()
def build(family: Family) -> nn.Module:
    """The net in evaluation mode, its weights random from one seed."""
    torch.manual_seed(0)
    settings = {"num_classes": 10, **family.settings}
    if family.library == "timm":
        timm = importlib.import_module("timm")
        if hasattr(timm.models, family.name) and family.name[0].isupper():
            net = getattr(timm.models, family.name)(**settings)
        else:
            net = timm.create_model(family.name, pretrained=False, **settings)
    else:
        models = importlib.import_module("torchvision.models")
        net = models.get_model(family.name, weights=None, **settings)
    for weight in net.parameters():
        if weight.dim() > 1 and not weight.any():  # a head that starts at zero says nothing
            nn.init.normal_(weight, std=0.02)
    net.eval()
    norms = [layer for layer in net.modules() if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d)]
    for layer in norms:
        if layer.affine:
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.uniform_(layer.bias, -0.2, 0.2)
        # As in a trained net, the statistics are those of pictures: with others deep nets make values
        # that no float16 holds.
        layer.train()
        layer.reset_running_stats()
        layer.momentum = None  # the mean over the batches
    net(_pictures(family.size))
    net.eval()
    return _First(net) if "lab" in family.name or "raspp" in family.name else net


def export(family: Family, opset: int, path: Path, *, newer: bool) -> None:
    """Write the family's net as one ONNX file."""
    example = torch.rand(1, 3, family.size, family.size)
    how: dict[str, Any] = {"input_names": ["input"], "opset_version": opset, "dynamo": newer}
    if newer:
        how |= {"verbose": False, "external_data": False}
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        torch.no_grad(),
    ):
        warnings.simplefilter("ignore")
        torch.onnx.export(build(family), (example,), path, **how)


def exports(families: Sequence[Family]) -> Iterator[tuple[Family, int, bool]]:
    """Each family with its opset and exporter."""
    for index, family in enumerate(families):
        opset, newer = _EXPORTS[index % len(_EXPORTS)]
        yield family, max(opset, _ATTENTION_OPSET) if family.attends else opset, newer


# ---------------------------------------------------------------- converting


def sweep(chosen: Sequence[tuple[Family, int, bool]], folder: Path) -> Iterator[Trial]:
    """Every family, exported into a folder and converted for both targets."""
    onnx = importlib.import_module("onnx")
    for family, opset, newer in chosen:
        shared: dict[str, Any] = {
            "model": family.name,
            "origin": f"{family.library}, {'dynamo' if newer else 'legacy'} {opset}",
        }
        path = folder / f"{family.name}.onnx"
        try:
            if not path.exists():
                export(family, opset, path, newer=newer)
            nodes = len(onnx.load(path).graph.node)
        except Exception as error:
            reason = short(f"{type(error).__name__}: {error}")
            yield Trial(**shared, reason=reason, date=f"{datetime.now(UTC):%Y-%m-%d}")
            continue
        for target, mode in (("rvc2", ""), ("rvc4", _MODE)):
            yield Trial(**shared, nodes=nodes, **attempt(path, target, mode, _OPTIONS))


# -------------------------------------------------------------------- report


def report(rows: Sequence[Trial], used: Mapping[str, str]) -> str:
    """The table as Markdown, and how many of the exported nets convert for each target."""
    dates = ", ".join(sorted({row.date for row in rows}))
    libraries = ", ".join(f"{name} {number}" for name, number in used.items())
    tried = len({row.model for row in rows})
    missing = "" if tried >= len(FAMILIES) else f" So far {tried} of the {len(FAMILIES)} families."
    converted, absent = [row for row in rows if row.target], [row for row in rows if not row.target]
    parts = [
        "# Families of torchvision and timm",
        f"Written by `tests/benchmarks/families.py` on {dates}: {libraries}.",
        "Random weights, the statistics of batch normalization those of "
        f"{_PICTURES} drawn pictures, 64 to 96 pixels, many with fewer layers than their name says "
        "(`tests/benchmarks/families.py`). Exit 0: verified on one frame, RVC2 as the blob executed on "
        "this machine, RVC4 on ONNX Runtime and the HTP emulator; nothing on a camera." + missing,
        summary(converted),
        table(converted),
    ]
    if absent:
        named = "\n".join(f"- {row.model}, {row.origin}: {row.reason}" for row in absent)
        parts += ["## Not built or exported: PyTorch's or the library's own limit", named]
    return "\n\n".join(parts) + "\n"


def write(folder: Path, rows: Sequence[Trial]) -> None:
    """The table, and its rows for a later `--update`."""
    used = {name: version(name) for name in _PACKAGES}
    (folder / "families.md").write_text(report(rows, used))
    text = json.dumps({"versions": used, "rows": [asdict(row) for row in rows]}, indent=1)
    (folder / "families.json").write_text(text + "\n")


def main() -> int:
    """Run the sweep, writing the table as it goes; 1 if a net that was exported did not convert."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default=[""], nargs="+", help="parts of the names, in their order")
    parser.add_argument("--keep", type=Path, help="a folder where the exports stay for the next run")
    parser.add_argument("--update", action="store_true", help="keep the other rows of the last results")
    parser.add_argument("--results", type=Path, default=_RESULTS, help="where to write")
    given = parser.parse_args()
    torch.set_num_threads(1)
    _declare_operators()
    every = list(exports(FAMILIES))
    found = [item for part in given.only for item in every if part in item[0].name]
    chosen = list({item[0].name: item for item in found}.values())
    rows = stored(given.results / "families.json") if given.update else {}
    given.results.mkdir(parents=True, exist_ok=True)
    failed = False
    with warm() as scratch:
        folder = given.keep or scratch
        folder.mkdir(parents=True, exist_ok=True)
        for row in sweep(chosen, folder):
            rows.pop((row.model, ""), None)
            rows[row.model, row.target] = row
            failed |= bool(row.exit_code)
            print(*row.cells, f"{row.seconds} s", flush=True)
            write(given.results, list(rows.values()))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

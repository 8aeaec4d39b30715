"""One network in one variant: converted, run on the HTP emulator, and judged."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx

from converter import convert
from converter.archive.opened import Archive
from converter.errors import ConvertError
from converter.events import ignore
from converter.open_source import open_archive
from converter.processes.run import Processes
from converter.verification import reference
from targets.rvc4 import qnn, toolchain
from targets.rvc4.dlc.read import read_dlc_file
from targets.rvc4.quantization.io_codes import decoded
from tests.benchmarks.accuracy.cases import MAX_DROP, Case
from tests.benchmarks.trial import short

ROOT: Final = Path(__file__).parents[3]
FLOAT: Final = "float, ONNX Runtime"
_AS_THEY_ARE: Final = {"rvc4.bias_correction": False}
_SEARCHED: Final = {"rvc4.max_drop": None}
VARIANTS: Final[dict[str, tuple[str, Mapping[str, Any]]]] = {
    FLOAT: ("", {}),
    "INT8_STANDARD": ("INT8_STANDARD", {}),
    "INT8_STANDARD, max_drop": ("INT8_STANDARD", _SEARCHED),
    "INT8_INT16_MIXED": ("INT8_INT16_MIXED", {}),
    "INT8_ACCURACY_FOCUSED": ("INT8_ACCURACY_FOCUSED", {}),
    "INT8_INT16_MIXED, biases as they are": ("INT8_INT16_MIXED", _AS_THEY_ARE),
    "INT8_STANDARD, biases as they are": ("INT8_STANDARD", _AS_THEY_ARE),
    "INT8_ACCURACY_FOCUSED, max_drop": ("INT8_ACCURACY_FOCUSED", _SEARCHED),
    "FP16_STANDARD": ("FP16_STANDARD", {}),
    "INT16_STANDARD": ("INT16_STANDARD", {}),
    "INT8_INT16_MIXED_ACCURACY_FOCUSED": ("INT8_INT16_MIXED_ACCURACY_FOCUSED", {}),
}
"""The mode and the options of each, the ones that tell most first."""

_TIMEOUT_S: Final = 3600


@dataclass(frozen=True, kw_only=True)
class Row:
    """What was measured.

    Attributes:
        figure: In percent; None where the conversion failed.
        rel_rmse: Of the worst output over all frames, against the float network; None for that itself.
        wide: Nodes with 16-bit activations in an 8-bit mode, and all nodes.
        limit: Of `rvc4.max_drop`.
        bias: Whether corrected biases were kept; empty where none were tried.
        ranges: How ranges were chosen.
        failed: What a user is told.
        seconds: Of the conversion; of a shared machine.
        revision: Of the converter, as `git describe` says it; empty in rows of before it was kept.
    """

    net: str
    variant: str
    figure: float | None = None
    told: str = ""
    rel_rmse: float | None = None
    wide: Sequence[int] = ()
    limit: float | None = None
    bias: str = ""
    ranges: str = ""
    failed: str = ""
    seconds: float = 0.0
    date: str = ""
    versions: str = ""
    revision: str = ""


@dataclass(frozen=True, kw_only=True)
class _Source:
    """A network on its own runtime: its file, its input and what that takes, its outputs."""

    path: Path
    input: str
    outputs: Sequence[str]
    bgr: bool
    planar: bool
    mean: Sequence[float]
    scale: Sequence[float]


def exact_outputs(case: Case, work: Path) -> list[dict[str, np.ndarray]]:
    """The source's outputs for every held-out frame, on its own runtime."""
    with contextlib.ExitStack() as stack:
        source = (
            _bare(case) if case.model else _archived(stack.enter_context(open_archive(case.source)))
        )
        frames = case.images[..., ::-1] if source.bgr else case.images
        frames = (frames.astype(np.float32) - np.array(source.mean)) / np.array(source.scale)
        if source.planar:
            frames = frames.transpose(0, 3, 1, 2)
        return reference.run(
            source.path,
            [{source.input: frame[None].astype(np.float32)} for frame in frames],
            source.outputs,
            processes=Processes(),
            work=work,
            timeout_s=_TIMEOUT_S,
        )


def _archived(archive: Archive) -> _Source:
    model = archive.config["model"]
    (item,) = model["inputs"]
    pre = item["preprocessing"]
    return _Source(
        path=archive.path(model["metadata"]["path"]),
        input=item["name"],
        outputs=[output["name"] for output in model["outputs"]],
        bgr=str(pre["dai_type"]).startswith("BGR"),
        planar=item["layout"] == "NCHW",
        mean=pre["mean"],
        scale=pre["scale"],
    )


def _bare(case: Case) -> _Source:
    model = case.model
    assert model is not None
    if case.source.suffix == ".tflite":
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(str(case.source))
        (name,) = (item["name"] for item in interpreter.get_input_details())
        outputs = [item["name"] for item in interpreter.get_output_details()]
    else:
        name = model.input
        graph = onnx.load(case.source, load_external_data=False).graph
        outputs = [output.name for output in graph.output]
    return _Source(
        path=case.source,
        input=name,
        outputs=outputs,
        bgr=model.color == "BGR",
        planar=case.source.suffix == ".onnx",
        mean=model.mean,
        scale=model.scale,
    )


def measured(case: Case, variant: str, exact: Sequence[Mapping[str, np.ndarray]]) -> Row:
    """Convert a network, run what was compiled on the emulator, and judge its outputs."""
    row: dict[str, Any] = {"net": case.name, "variant": variant, "told": case.told} | _versions()
    if variant == FLOAT:
        return Row(**row, figure=round(case.figure(exact, exact), 2))
    mode, given = VARIANTS[variant]
    options = {**case.options, **given, "rvc4.quantization_mode": mode, "verify.enabled": False}
    if "rvc4.max_drop" in options:
        row["limit"] = options["rvc4.max_drop"] = MAX_DROP
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        try:
            convert(
                case.source,
                "rvc4",
                output=folder / "out.tar",
                options=options,
                keep_work=folder / "work",
            )
            row["seconds"] = round(time.monotonic() - started, 1)
            outputs = _emulated(case, folder / "work", folder / "out.tar")
        except ConvertError as error:
            return Row(**row, failed=short(f"exit {error.exit_code}: {error}"))
        record = _record(folder / "out.tar")
        nodes = len(onnx.load(folder / "work" / "float.onnx", load_external_data=False).graph.node)
    report = record["compiled"].get("calibration") or {}
    wide = (report.get("wide") or {}).get("nodes") or ()
    correction = report.get("bias_correction") or {}
    return Row(
        **row,
        figure=round(case.figure(outputs, exact), 2),
        rel_rmse=round(_worst(outputs, exact), 4),
        wide=(len(wide), nodes) if "limit" in row else (),
        bias="" if not correction else "kept" if correction.get("kept") else "not kept",
        ranges=report.get("method", ""),
    )


def _emulated(case: Case, work: Path, archive: Path) -> list[dict[str, np.ndarray]]:
    """What was compiled, fed what the archive says a camera has to deliver."""
    # A search leaves the networks that it tried; QNN's folder is beside the one that was compiled.
    (compiled,) = work.rglob("network-dlc")
    network = compiled.with_name("network.onnx")
    with open_archive(archive) as opened:
        (item,) = opened.config["model"]["inputs"]
    bgr = item["preprocessing"]["dai_type"].startswith("BGR")
    images = case.images[..., ::-1] if bgr else case.images
    dlc = read_dlc_file(work / "model.dlc")
    (taken,) = dlc.inputs
    codes = {
        output.name: {"scale": output.encodings[0].scale, "zero_point": -output.encodings[0].offset}
        for output in dlc.outputs
        if output.encodings
    }
    names = [output.name for output in dlc.outputs]
    tensors = network.with_name("held-out")
    tensors.mkdir()
    results = qnn.emulate(
        network,
        [{taken.name: image[None]} for image in images],
        names,
        toolchain.ensure(ignore),
        "sm8550",
        None,
        processes=Processes(),
        work=tensors,
        timeout_s=_TIMEOUT_S,
    )
    return [
        {name: np.asarray(decoded(result[name], codes.get(name)), np.float64) for name in names}
        for result in results
    ]


def _record(archive: Path) -> dict[str, Any]:
    with open_archive(archive) as opened:
        record: dict[str, Any] = json.loads(opened.path("buildinfo.json").read_text())
    return record


def _worst(outputs: Sequence[Mapping[str, Any]], exact: Sequence[Mapping[str, Any]]) -> float:
    """The relative RMSE of the worst output."""

    def error(name: str) -> float:
        a, b = (np.stack([one[name] for one in run]) for run in (outputs, exact))
        return float(np.sqrt(np.mean((a - b) ** 2) / np.mean(b.astype(np.float64) ** 2)))

    return max(error(name) for name in exact[0])


def _versions() -> dict[str, str]:
    told = f"{toolchain.TOOL}, onnxruntime {version('onnxruntime')}"
    date = f"{datetime.now(UTC):%Y-%m-%d}"
    return {"date": date, "versions": told, "revision": _revision()}


def _revision() -> str:
    """The converter's revision, or its version outside a checkout of git."""
    command = ["git", "describe", "--always", "--dirty", "--match", "v*"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or version("nnarchive-converter")

"""Builds of a zoo that nobody converted: cells as a build writes them, for the gate, the site, publishing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from converter.archive.write import write_archive
from converter.zoo import content
from converter.zoo.index import Build, Cell, Expected, Index, Status

BUILD = Build(
    id="20261129T010203Z-0a1b2c3d",
    started_at="2026-11-29T01:02:03Z",
    ended_at="2026-11-29T01:12:03Z",
    seconds=600.0,
    converter="0.1.0",
    manifest="zoo.yaml",
    manifest_sha256="0" * 64,
)
VERIFICATION: dict[str, Any] = {
    "status": "passed",
    "checked_on": "the quantized network",
    "reference": "the source model on ONNX Runtime (CPU)",
    "frames": "2 of the calibration data",
    "outputs": {
        "scores": {
            "cosine": 0.9999,
            "rel_rmse": 0.004,
            "parts": [
                {"where": "[:, :4]", "name": "boxes", "state": "fine", "error": 0.003},
                {"where": "[:, 4:]", "name": "scores", "state": "fine", "error": 0.01},
            ],
        },
        "best": {"agreement": 1.0, "wrong": 0.0},
    },
    "headlines": [
        {"output": "scores", "measure": "top-1 agreement", "value": 1.0, "said": "2 of 2 frames"}
    ],
    "accuracy": {"frames": 60, "source": {"top1": 0.95}, "compiled": {"top1": 0.94}},
}
TENSORS: dict[str, Any] = {
    "inputs": [{"name": "image", "dtype": "uint8", "shape": [1, 32, 32, 3], "layout": "NHWC"}],
    "outputs": [
        {"name": "scores", "dtype": "uint8", "shape": [1, 10], "layout": "NC"},
        {"name": "best", "dtype": "int32", "shape": [1], "layout": "N"},
    ],
}
ERROR = {"kind": "ModelError", "exit_code": 4, "message": "The operator NonZero cannot be converted."}


def cell(
    model: str = "digits", target: str = "rvc4", mode: str = "INT8_STANDARD", **other: Any
) -> Cell:
    """A cell that succeeded."""
    return replace(
        Cell(
            model=model,
            target=target,
            mode=mode,
            status=Status.SUCCEEDED,
            sha256="ab" * 32,
            seconds=20.0,
            verification=VERIFICATION,
            toolchain="native",
            size_bytes=1_000_000,
            source={"name": f"{model}.tar.xz", "sha256": "cd" * 32},
            timings_s={"prepare": 3.5, "calibrate": 0.8, "compile": 0.5, "verify": 1.7, "total": 20.0},
            tensors=TENSORS,
            tools={"qairt": "2.51.0"},
        ),
        **other,
    )


def failed(model: str = "digits", target: str = "rvc2", mode: str = "default", **other: Any) -> Cell:
    """A cell that failed; with `expected` as expected."""
    status = Status.EXPECTED_FAILURE if "expected" in other else Status.FAILED
    given = {"status": status, "sha256": None, "size_bytes": None, "verification": {}, "tensors": {}}
    return cell(model, target, mode, **{**given, "error": ERROR, **other})


def expected(until: str = "2027-01-01", reason: str = "NonZero: vendor's ticket") -> Expected:
    return Expected(reason=reason, until=until)


def index(*cells: Cell, **about: Any) -> Index:
    return Index(build=replace(BUILD, **about), cells=cells)


def put(folder: Path, one: Cell, *, report: str = "", log: str = "") -> Cell:
    """The cell with an archive in a published folder, as a build puts it there."""
    packed = folder.parent / f"{folder.name}-packed.tar.xz"
    told = {"config_version": "1.0", "model": {"of": one.id}}
    digest, size = write_archive(
        packed, [("config.json", json.dumps(told).encode()), ("model.dlc", b"\0" * 100)], force=True
    )
    archive = content.add(folder, packed, ".tar.xz")
    packed.unlink()
    return replace(
        one,
        archive=archive,
        sha256=digest,
        size_bytes=size,
        report=content.add(folder, report.encode(), ".html") if report else None,
        log=content.add(folder, log.encode(), ".log") if log else None,
    )


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}

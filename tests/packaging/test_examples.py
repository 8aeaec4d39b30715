"""Every file in configs/examples is loaded and planned, on a model that is made as the file says."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper

from converter.modelconverter.document import is_document
from converter.options.declared import configs
from converter.options.files import from_file
from converter.options.resolve import resolve
from converter.run import plan
from tests.sources import conv_model, make_model, write_folder

EXAMPLES = sorted((configs() / "examples").glob("*.yaml"))
TARGETS = ("rvc2", "rvc4")


def stage_of(document: dict[str, Any]) -> dict[str, Any]:
    return next(iter(document["stages"].values())) if "stages" in document else document


def make_files(document: dict[str, Any], folder: Path) -> None:
    """The model and the calibration data that a file names, beside it."""
    stage = stage_of(document)
    inputs = stage.get("inputs") or [{"name": "images", "shape": stage["shape"]}]
    outputs = [entry["name"] for entry in stage.get("outputs", [{"name": "out"}])]
    sums = [f"sum{index}" for index in range(len(inputs))]
    nodes = [
        helper.make_node("ReduceSum", [entry["name"]], [total], keepdims=1)
        for entry, total in zip(inputs, sums, strict=True)
    ]
    nodes += [helper.make_node("Sum", sums, [name]) for name in outputs]
    rank = max(len(entry["shape"]) for entry in inputs)
    graph = helper.make_graph(
        nodes,
        "example",
        [helper.make_tensor_value_info(e["name"], TensorProto.FLOAT, e["shape"]) for e in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1] * rank) for name in outputs],
    )
    path = folder / stage["input_model"]
    path.parent.mkdir(parents=True)
    onnx.save(make_model(graph), path)
    shared = stage.get("calibration")
    for entry in inputs:
        block = entry.get("calibration") or shared
        if isinstance(block, dict) and "path" in block:
            (folder / block["path"]).mkdir(exist_ok=True)
            np.save(folder / block["path"] / "0.npy", np.zeros(entry["shape"], np.float32))


@pytest.mark.parametrize("example", EXAMPLES, ids=[path.stem for path in EXAMPLES])
def test_an_example_is_planned(example: Path, tmp_path: Path) -> None:
    document = yaml.safe_load(example.read_text())
    if not is_document(document):
        archive = write_folder(tmp_path / "net", conv_model(height=224, width=224))
        resolved = resolve([from_file(example)])
        made = plan(archive, "rvc2", options=resolved)
        assert made.parameters.to_json()["number_of_shaves"] == document["rvc2"]["number_of_shaves"]
        return
    copy = Path(shutil.copy(example, tmp_path))
    make_files(document, tmp_path)
    for target in TARGETS:
        made = plan(copy, target)
        # Nothing in an example is for show: what decides nothing would be told.
        assert not [w for w in made.warnings if w.code == "modelconverter.ignored"]
    section = document.get("rvc4") or stage_of(document).get("rvc4") or {}
    mode = section.get("quantization_mode", "INT8_STANDARD")
    assert made.parameters.to_json()["quantization_mode"] == mode


def test_there_are_examples_of_both_kinds() -> None:
    kinds = {is_document(yaml.safe_load(path.read_text())) for path in EXAMPLES}
    assert kinds == {True, False}

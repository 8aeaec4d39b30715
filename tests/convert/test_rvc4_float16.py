"""What the HTP misreads in float16 is rewritten, and shows without the rewrites; on its emulator."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import converter
from converter.errors import VerificationError
from converter.processes.run import Processes
from targets.rvc4.htp_rules import table
from targets.rvc4.prepare import prepare_file
from tests.convert.test_rvc4_convert import wheel
from tests.sources import RGB, make_model, write_folder

__all__ = ["wheel"]
F = np.float32


def misread() -> onnx.ModelProto:
    """A kernel of 9 x 9 with strides, pads behind a part, and a sigmoid and a tangent of convolutions."""
    rng = np.random.default_rng(0)
    constants = {
        "w": rng.normal(0, 0.3, (48, 3, 3, 3)).astype(F),
        "nine": rng.normal(0, 0.1, (48, 1, 9, 9)).astype(F),
        "point": rng.normal(0, 0.4, (32, 48, 1, 1)).astype(F),
        "other": rng.normal(0, 0.4, (32, 48, 1, 1)).astype(F),
        "parts": np.array([16, 16, 16]),
        "pads": np.array([0] * 7 + [1]),
        "one": np.array(1, F),
        "seen": np.array([1, 8, 48, 32]),
    }
    nodes = [
        helper.make_node("Conv", ["images", "w"], ["c"], name="c", pads=[1] * 4),
        helper.make_node(
            "Conv", ["c", "nine"], ["conv"], name="nine", pads=[4] * 4, strides=[2, 2], group=48
        ),
        helper.make_node("Conv", ["c", "point"], ["s"], name="s"),
        helper.make_node("Sigmoid", ["s"], ["gate"], name="gate"),
        helper.make_node("Relu", ["gate"], ["sigmoid"], name="sigmoid"),
        helper.make_node("Conv", ["c", "other"], ["t"], name="t"),
        helper.make_node("Tanh", ["t"], ["tangent"], name="tangent"),
        helper.make_node("Conv", ["images", "w"], ["d"], name="d", pads=[1] * 4),
        helper.make_node("Reshape", ["d", "seen"], ["v"], name="v"),
        helper.make_node("Transpose", ["v"], ["turned"], name="turned", perm=[0, 1, 3, 2]),
        helper.make_node("Split", ["turned", "parts"], ["a", "b", "k"], name="split", axis=3),
        helper.make_node("Relu", ["a"], ["first"], name="first"),
        helper.make_node("Relu", ["b"], ["second"], name="second"),
        helper.make_node("Pad", ["k", "pads", "one"], ["padded"], name="padded"),
    ]
    outputs = ("conv", "sigmoid", "tangent", "first", "second", "padded")
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 16, 16])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [
            numpy_helper.from_array(array, name)
            for name, array in constants.items()
            if any(name in node.input for node in nodes)
        ],
    )
    return make_model(graph, 17)


def errors(record: Mapping[str, Any]) -> dict[str, float]:
    return {name: row["rel_rmse"] for name, row in record["outputs"].items()}


def test_what_float16_misreads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_folder(tmp_path / "a", misread(), preprocessing=RGB)
    options = {"rvc4.quantization_mode": "FP16_STANDARD", "verify.frames": 1}
    done = converter.convert(folder, "rvc4", output=tmp_path / "o.tar", options=options)
    assert max(errors(done.verification).values()) < 0.002

    monkeypatch.setattr(table, "groups", lambda *_, **__: ())
    real = Processes.call

    def call(self: Processes, function: str, arguments: Any, **rest: Any) -> Any:
        if function == "targets.rvc4.prepare:prepare_file":
            return prepare_file(**arguments)  # here, where the rules are gone
        return real(self, function, arguments, **rest)

    monkeypatch.setattr(Processes, "call", call)
    with pytest.raises(VerificationError) as caught:
        converter.convert(folder, "rvc4", output=tmp_path / "p.tar", options=options)
    found = errors(json.loads(caught.value.tool_text))
    assert found["conv"] > 0.5
    assert found["padded"] > 0.1
    assert min(found["sigmoid"], found["tangent"]) > 0.002

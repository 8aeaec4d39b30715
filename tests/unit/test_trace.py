"""Where an error begins: the first node whose result is lost, and why; on two networks that differ."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from converter.processes.run import Processes
from converter.verification.trace import Traced, begins, behind, leaves_half, node_name, trace
from tests.sources import make_model

RNG = np.random.default_rng(5)
NAMES = ("first", "second", "third", "fourth")


def chain(weights: list[np.ndarray]) -> onnx.ModelProto:
    """Four 1×1 convolutions of eight channels, one after the other."""
    values = ["x", *NAMES[:-1], "y"]
    nodes = [
        helper.make_node("Conv", [values[i], f"w{i}"], [values[i + 1]], name=f"net/{NAMES[i]}")
        for i in range(4)
    ]
    tensors = [numpy_helper.from_array(w.astype(np.float32), f"w{i}") for i, w in enumerate(weights)]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, (1, 8, 5, 5)) for n in "xy"]
    return make_model(helper.make_graph(nodes, "chain", ends[:1], ends[1:], tensors), 13)


def weights() -> list[np.ndarray]:
    return [RNG.normal(0, 0.4, (8, 8, 1, 1)) for _ in range(4)]


def traced(tmp_path: Path, one: onnx.ModelProto, other: onnx.ModelProto) -> list[Traced]:
    onnx.save(one, tmp_path / "one.onnx")
    onnx.save(other, tmp_path / "other.onnx")
    feeds: list[dict[str, Any]] = [
        {"x": RNG.normal(size=(1, 8, 5, 5)).astype(np.float32)} for _ in range(2)
    ]
    work = tmp_path / "work"
    work.mkdir()
    return trace(
        tmp_path / "one.onnx",
        tmp_path / "other.onnx",
        feeds,
        feeds,
        processes=Processes(),
        work=work,
        timeout_s=60,
    )


@pytest.mark.parametrize("wrong", range(4))
def test_the_first_node_that_is_off_is_found(tmp_path: Path, wrong: int) -> None:
    right = weights()
    off = [w if i != wrong else w + RNG.normal(0, 0.2, w.shape) for i, w in enumerate(right)]
    rows = traced(tmp_path, chain(right), chain(off))
    assert [row.error == 0 for row in rows] == [i < wrong for i in range(4)]
    final = rows[-1].error
    assert final
    found = begins(rows, final)
    assert found is not None
    assert found.name == f"'net/{NAMES[wrong]}' (Conv)"


def test_a_lost_channel_shows_although_a_large_one_hides_it(tmp_path: Path) -> None:
    right = weights()
    right[1][3] *= 1000
    lost = [w.copy() for w in right]
    lost[1][:3] = lost[1][4:] = 0
    rows = traced(tmp_path, chain(right), chain(lost))
    assert rows[1].error is not None
    assert rows[1].error > 0.9
    assert rows[1].channel == 3
    assert "its range is that of few channels" in rows[1].range_note


@pytest.mark.parametrize(("factor", "said"), [(1e7, "float16 ends at"), (1e-7, "hardly a digit")])
def test_what_float16_cannot_hold_is_named(tmp_path: Path, factor: float, said: str) -> None:
    beyond = weights()
    beyond[2] *= factor
    rows = traced(tmp_path, chain(beyond), chain(beyond))
    found = leaves_half(rows)
    assert found is not None
    assert found.tensor == "third"
    assert said in found.half_note


def row(tensor: str, error: float, *inputs: str, largest: float = 1.0) -> Traced:
    return Traced(
        tensor=tensor,
        node=tensor,
        operator="Conv",
        inputs=inputs,
        raw=error,
        error=error,
        largest=largest,
        usual=1.0,
    )


def test_a_tensor_that_is_rounded_as_the_next_node_gets_it_is_named_and_not_the_node() -> None:
    rows = [row("sum", 4e-5, "x", largest=2e6), row("root", 1.0, "sum", largest=1632.0)]
    assert leaves_half(rows) is rows[0]


def test_a_result_that_is_not_finite_comes_of_what_is_too_large() -> None:
    rows = [
        row("small", 0.006, "x", largest=2e-11),
        row("large", float("nan"), "x", largest=float("inf")),
    ]
    assert leaves_half(rows) is rows[0]
    assert leaves_half(rows, finite=False) is rows[1]


def test_an_error_of_another_branch_is_not_blamed() -> None:
    rows = [
        row("stem", 0.0),
        row("mask", 1e-5, largest=1e9),
        row("other", 0.9, "stem", largest=1e6),
        row("neck", 0.4, "stem", "mask", largest=1e-6),
        row("left", 0.9, "other"),
        row("right", 0.4, "neck"),
    ]
    found = begins(behind(rows, ["right"]), 0.4)
    assert found is not None
    assert found.tensor == "neck"
    held = leaves_half(behind(rows, ["right"]))
    assert held is not None
    assert held.tensor == "neck"
    assert behind(rows, ["unknown"]) == rows


def test_an_output_of_codes_is_where_the_error_begins_if_nothing_before_it_is_off() -> None:
    codes = dataclasses.replace(row("out", 0.0, "one"), error=None)
    found = begins([row("one", 0.01), codes], 0.5)
    assert found == dataclasses.replace(codes, error=0.5)


def test_where_errors_add_up_the_tensor_that_adds_most_is_named() -> None:
    rows = [row("one", 0.1), row("two", 0.3, "one"), row("out", 0.35, "two")]
    assert begins(rows, 0.9) is rows[1]
    assert begins([row("one", 0.0)], 0.9) is None


def test_a_node_has_its_own_name_without_what_a_rewrite_put_behind_it() -> None:
    assert node_name("/model/up/Resize/MatMul.12", "MatMul") == "'/model/up/Resize' (MatMul)"
    assert node_name("conv.1", "Conv") == "'conv.1' (Conv)"

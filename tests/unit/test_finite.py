"""Weights that are no numbers are named; infinities that are meant stay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from converter.errors import ModelError
from converter.graph.source import read_source
from tests.quantized import Net

F = np.float32


def read(net: Net, out: tuple[int, ...], folder: Path) -> None:
    onnx.save(net.model((1, 4), out), folder / "net.onnx")
    read_source(str(folder / "net.onnx"), {"x": (1, 4)}, simplified=True)


@pytest.mark.parametrize(
    ("value", "word"), [(np.nan, "NaN"), (np.inf, "infinite"), (-np.inf, "infinite")]
)
@pytest.mark.parametrize("kind", ["MatMul", "Gemm"])
def test_a_weight_that_is_no_number_is_named_with_its_node(
    value: float, word: str, kind: str, tmp_path: Path
) -> None:
    weights = np.ones((4, 3), F)
    weights[1, 2] = value
    net = Net()
    net.op(kind, "x", weights, out="y")
    with pytest.raises(
        ModelError, match=rf"weight 'c0': holds 1 values that are {word}; node '{kind}_y'"
    ):
        read(net, (1, 3), tmp_path)


def test_all_of_them_are_named(tmp_path: Path) -> None:
    net = Net()
    net.op(
        "MatMul", net.op("MatMul", "x", np.full((4, 4), np.nan, F)), np.full((4, 4), np.inf, F), out="y"
    )
    with pytest.raises(ModelError) as caught:
        read(net, (1, 4), tmp_path)
    assert len(caught.value.findings) == 2


@pytest.mark.parametrize("kind", ["Add", "Max", "Min"])
def test_an_infinity_that_is_meant_stays(kind: str, tmp_path: Path) -> None:
    net = Net()
    mask = np.asarray([[0, -np.inf, np.inf, 0]], F)
    net.op(kind, "x", mask, out="y")
    read(net, (1, 4), tmp_path)

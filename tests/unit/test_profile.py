"""What a compiled file asks of a camera is counted from its tensors."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converter.cli.profile import lines, show
from converter.errors import UsageError
from converter.inspect import profile
from targets.rvc2.blob.graph import Buffer, Location, Stage
from targets.rvc2.blob.hardware_words import HARDWARE, HardwareOperation, Unit
from targets.rvc2.blob.profile import _nodes
from targets.rvc4.dlc.profile import profile_of
from targets.rvc4.dlc.read import Dlc, DlcNode, DlcTensor
from tests.sources import DIGITS_ARCHIVE

sizes = st.integers(1, 6)


def dlc(
    nodes: list[tuple[str, str, str, str]], tensors: dict[str, tuple[int, str, tuple[int, ...]]]
) -> Dlc:
    """A graph of nodes `(name, operator, inputs, outputs)` and tensors `kind, type, shape`."""
    return Dlc(
        format_version=(4, 1),
        graph_name="net",
        tensors=tuple(
            DlcTensor(name=name, kind=kind, dtype=dtype, is_fixed_point="int" in dtype, shape=shape)
            for name, (kind, dtype, shape) in tensors.items()
        ),
        nodes=tuple(
            DlcNode(name=name, op=op, inputs=tuple(ins.split()), outputs=tuple(outs.split()))
            for name, op, ins, outs in nodes
        ),
        metadata={},
        size_bytes=0,
    )


def macs(op: str, x: Any, w: Any, y: Any) -> int | None:
    kinds = {"x": (0, "uint8", tuple(x)), "w": (4, "int8", tuple(w)), "y": (1, "uint8", tuple(y))}
    return profile_of(dlc([("n", op, "x w", "y")], kinds)).nodes[0].macs


@given(h=sizes, w=sizes, k=sizes, group=sizes, into=sizes, out=sizes)
def test_macs_are_one_for_each_weight_at_each_place(
    h: int, w: int, k: int, group: int, into: int, out: int
) -> None:
    """Counted by going through what a convolution sums, for each pixel and channel of its output."""
    x, y = [1, h, w, into * group], [1, h, w, out * group]
    counted = sum(k * k * into for _ in range(h * w * out * group))
    assert macs("Conv2d", x, [k, k, into, out * group], y) == counted
    assert macs("DepthWiseConv2d", [1, h, w, group], [k, k, 1, group], [1, h, w, group]) == (
        h * w * group * k * k
    )
    spread = sum(k * k * out for _ in range(h * w * into * group))
    wide = [1, h * k, w * k, out * group]
    assert macs("TransposeConv2d", x, [k, k, into * group, out], wide) == spread
    assert macs("FullyConnected", [h, into], [out, into], [h, out]) == h * into * out
    for factor in ([2, h, into], [2, into, h]):
        assert macs("MatMul", factor, [2, into, out], [2, h, out]) == 2 * h * into * out
    assert macs("Eltwise_Binary", x, x, x) == 0


def test_sizes_are_of_the_width_in_the_file_and_live_as_long_as_they_are_read() -> None:
    """Two branches of one input: both of them and the sum are there at the end."""
    made = profile_of(
        dlc(
            [
                ("first", "Convert", "x", "a"),
                ("second", "Conv2d", "x w", "b"),
                ("third", "Eltwise_Binary", "a b", "y"),
            ],
            {
                "x": (0, "uint8", (1, 10)),
                "w": (4, "int4", (1, 1, 1, 9)),
                "a": (3, "uint16", (1, 10)),
                "b": (3, "uint16", (1, 10)),
                "y": (1, "float32", (1, 10)),
            },
        )
    )
    assert made.weight_bytes == 5
    assert [node.unit for node in made.nodes] == ["conversion", "uint16/uint8", "float island"]
    assert [(node.read_bytes, node.written_bytes) for node in made.nodes] == [
        (10, 20),
        (10, 20),
        (40, 40),
    ]
    # x is gone at the third: 20 + 20 + 40; at the second there are 10 + 20 + 20.
    assert (made.peak_bytes, made.peak_at) == (80, "third")
    totals = made.totals()
    assert (totals["conversions"], totals["conversion_bytes"]) == (1, 30)
    assert totals["floating_point_islands"] == 1
    assert totals["macs"] == 10 * 1
    assert json.dumps(made.to_json(), allow_nan=False)


def test_a_loop_of_gates_has_macs_that_the_file_does_not_tell() -> None:
    made = profile_of(
        dlc([("n", "Lstm", "x", "y")], {"x": (0, "float16", (4,)), "y": (1, "float16", (4,))})
    )
    assert made.nodes[0].macs is None
    assert made.totals()["operators_with_unknown_macs"] == 1


def buffer(order: str, shape: tuple[int, ...], location: Location, offset: int = 0) -> Buffer:
    strides = [2 * math.prod(shape[place + 1 :]) for place in range(len(shape))]
    return Buffer(
        dtype="float16", order=order, shape=shape, strides_bytes=tuple(strides), location=location,
        io_index=-1, offset=offset,
    )  # fmt: skip


@pytest.mark.parametrize(("unit", "pooled"), [(Unit.CONVOLUTION, 1), (Unit.CONVOLUTION_POOL, 2)])
def test_the_convolution_unit_is_counted_as_it_is_told(unit: Unit, pooled: int) -> None:
    operation = HardwareOperation(
        unit=unit, average=False, padded=False, pad_sides=0, source=0, target=2, weights=1, bias=-1,
        scale=-1, first_channel=0, channels=5, kernel=(3, 2), stride=1, pool_kernel=(pooled, pooled),
        rectifier=None, upper=None,
    )  # fmt: skip
    stage = Stage(
        index=4,
        type=HARDWARE,
        operations=(operation,),
        buffers=(
            buffer("NCHW", (1, 8, 10, 10), Location.CMX),
            buffer("NCHW", (1, 8, 6, 8), Location.CONSTANT),
            buffer("NCHW", (1, 5, 4, 4), Location.BSS),
        ),
    )
    (node,) = _nodes(stage)
    assert node.unit == "hardware"
    assert node.macs == 5 * 8 * 3 * 2 * 4 * 4 * pooled**2
    assert (node.weight_bytes, node.read_bytes, node.written_bytes) == (768, 1600, 160)


def test_a_source_has_no_profile() -> None:
    with pytest.raises(UsageError, match="what it asks of a camera"):
        profile(DIGITS_ARCHIVE)


def test_files_are_shown_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    file = Path(__file__).parents[1] / "data" / "digits-float.dlc"
    assert show([file], as_json=True) == 0
    one = json.loads(capsys.readouterr().out)
    assert one["totals"]["macs"] > 100_000
    assert one["totals"]["operators"] == len(one["nodes"])
    text = "\n".join(lines([("a.dlc", profile(file)), ("b.dlc", profile(file))]))
    assert f"{one['totals']['macs']:,}  {one['totals']['macs']:,}" in text
    assert "none of this is a time" in text
    assert show([Path(file)], as_json=False) == 0
    assert "MACs/byte" in capsys.readouterr().out

"""AIMET's encodings files of every version: each entry is used, or named with the reason."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from converter.errors import UsageError
from targets.rvc4.quantization.aimet import read_encodings
from targets.rvc4.quantization.clipped import clipped_inside
from targets.rvc4.quantization.encodings import Encodings, TensorEncoding, unused_warning
from targets.rvc4.quantization.given import Given, of_source, quantizer_rows, select
from tests.sources import conv_model


def read(path: Path, content: Any) -> Encodings:
    path.write_text(json.dumps(content))
    return read_encodings(path)


@st.composite
def encodings(draw: st.DrawFn) -> TensorEncoding:
    """An encoding of an activation, or of weights with a scale for each channel."""
    bits = draw(st.integers(2, 16))
    channels = draw(st.integers(1, 4))
    scales = draw(st.lists(st.floats(1e-6, 10), min_size=channels, max_size=channels))
    offset = draw(st.integers(1 - 2**bits, 0)) if channels == 1 else -(2 ** (bits - 1))
    return TensorEncoding(bitwidth=bits, scales=tuple(scales), offsets=(offset,) * channels)


def _old(one: TensorEncoding) -> list[dict[str, Any]]:
    return [
        {"bitwidth": one.bitwidth, "dtype": "int", "is_symmetric": "False", "scale": s, "offset": o}
        for s, o in zip(one.scales, one.offsets, strict=True)
    ]


def _bounds(one: TensorEncoding) -> list[dict[str, Any]]:
    """A range without a scale; it has 0 in it, as AIMET's have."""
    return [
        {"bitwidth": one.bitwidth, "min": s * o, "max": s * (o + 2**one.bitwidth - 1)}
        for s, o in zip(one.scales, one.offsets, strict=True)
    ]


def _listed(one: TensorEncoding) -> dict[str, Any]:
    return {"name": "x", "bw": one.bitwidth, "dtype": "INT", "is_sym": False,
            "scale": list(one.scales), "offset": list(one.offsets)}  # fmt: skip


def _onnx(one: TensorEncoding, signed: bool) -> dict[str, Any]:
    lowest = -(2 ** (one.bitwidth - 1)) if signed else 0
    zeros = [lowest - offset for offset in one.offsets]
    many = len(zeros) > 1
    entry = {"name": "x", "output_dtype": f"{'' if signed else 'u'}int{one.bitwidth}",
             "y_scale": list(one.scales) if many else one.scales[0],
             "y_zero_point": zeros if many else zeros[0]}  # fmt: skip
    return entry | ({"axis": 0} if many else {})


@settings(deadline=None)
@given(one=encodings(), signed=st.booleans())
def test_the_three_versions_say_the_same(
    tmp_path_factory: pytest.TempPathFactory, one: TensorEncoding, signed: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "e.json"
    files = [
        {"version": "0.6.1", "activation_encodings": {"x": _old(one)}, "param_encodings": {}},
        {"version": "0.6.1", "activation_encodings": {"x": _bounds(one)}},
        {"version": "1.0.0", "activation_encodings": [_listed(one)], "param_encodings": []},
        {"version": "2.0.0", "encodings": [_onnx(one, signed)]},
    ]
    for content in files:
        made = read(path, content)
        assert not made.unused
        (found,) = {**made.activations, **made.weights}.values()
        assert (found.bitwidth, found.offsets) == (one.bitwidth, one.offsets)
        np.testing.assert_allclose(found.scales, one.scales, rtol=1e-6)
        assert Encodings.from_call(json.loads(json.dumps(made.to_call()))) == made


@settings(deadline=None)
@given(one=encodings(), weights=st.booleans())
def test_every_code_of_fewer_bits_is_a_code_of_8_or_16(one: TensorEncoding, weights: bool) -> None:
    rows = quantizer_rows(one, 0 if weights else None)
    codes = np.arange(2**one.bitwidth)
    for row, scale, offset in zip(rows, one.scales, one.offsets, strict=True):
        if weights and one.is_symmetric:
            offset = -(2 ** (one.bitwidth - 1))
        info = np.iinfo(row["zero_point"].dtype)
        assert info.bits == (8 if one.bitwidth <= 8 else 16)
        reals = scale * (codes + offset)
        wide = reals / float(row["scale"]) + int(row["zero_point"])
        np.testing.assert_allclose(wide, np.round(wide), atol=0.02)
        assert info.min <= np.round(wide).min()
        assert np.round(wide).max() <= info.max


UNUSED: dict[str, tuple[Any, str]] = {
    "bias": ([{"bitwidth": 32, "dtype": "int", "scale": 1e-5, "offset": -(2**31)}], "a bias's"),
    "float": ([{"bitwidth": 16, "dtype": "float"}], "floating point"),
    "wide": ([{"bitwidth": 24, "scale": 1, "offset": 0}], "24 bits"),
    "empty": ([], "empty"),
    "nothing": ({}, "no 'bitwidth'"),
    "mixed": (
        [{"bitwidth": 8, "scale": 1, "offset": 0}, {"bitwidth": 16, "scale": 1, "offset": 0}],
        "several bit widths",
    ),
    "scale": ([{"bitwidth": 8, "scale": 0, "offset": 0}], "no positive number"),
    "flat": ([{"bitwidth": 8, "min": 0, "max": 0}], "from 0 to 0"),
    "offset": ([{"bitwidth": 8, "scale": 1, "offset": 5}], "outside of the codes"),
    "text": ("all of it", "string indices|has no attribute|no 'bitwidth'"),
}
UNUSED_2: dict[str, tuple[Any, str]] = {
    "half": ({"output_dtype": "float16"}, "floating point"),
    "block": ({"output_dtype": "int4", "y_scale": [0.1, 0.2], "block_size": 32}, "block"),
    "lpbq": (
        {"output_dtype": "int4", "per_block_int_scale": [1], "per_channel_float_scale": [0.1]},
        "block",
    ),
    "bias2": ({"output_dtype": "int32", "y_scale": [0.1], "y_zero_point": [0]}, "a bias's"),
    "odd": ({"output_dtype": "complex64"}, "of the type complex64"),
    "gone": ({"output_dtype": "uint8"}, "no 'y_scale'"),
}


@pytest.mark.parametrize("version", ["0.6.1", "2.0.0"])
def test_one_entry_that_cannot_be_used_never_costs_the_others(tmp_path: Path, version: str) -> None:
    good = {"bitwidth": 8, "scale": 0.5, "offset": -3}
    if version == "0.6.1":
        wrong = UNUSED
        named = {name: entry for name, (entry, _) in UNUSED.items()}
        content: Any = {"activation_encodings": {**named, "good": [good]}, "param_encodings": {}}
    else:
        wrong = UNUSED_2
        rows = [{"name": name, **entry} for name, (entry, _) in UNUSED_2.items()]
        rows.append({"name": "good", "output_dtype": "uint8", "y_scale": 0.5, "y_zero_point": 3})
        content = {"version": version, "encodings": rows}
    found = read(tmp_path / "e.json", content)
    assert found.activations == {"good": TensorEncoding(bitwidth=8, scales=(0.5,), offsets=(-3,))}
    assert set(found.unused) == set(wrong)
    for name, (_, reason) in wrong.items():
        assert re.search(reason, found.unused[name]), (name, found.unused[name])
    line = unused_warning(found.unused, len(wrong) + 1)
    assert line.startswith(f"{len(wrong)} of {len(wrong) + 1} encodings are not used")
    assert all(repr(name) in line for name in wrong)


@pytest.mark.parametrize("content", [{}, [], 5, {"version": "3", "tensors": []}, {"encodings": 5}])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: Any) -> None:
    with pytest.raises(UsageError, match="not an AIMET encodings file"):
        read(tmp_path / "e.json", content)


def test_entries_are_matched_with_the_graph(tmp_path: Path) -> None:
    """Frames, biases, foreign names, and channels where QNN has none: each has its reason."""
    row = {"bitwidth": 8, "scale": 0.1, "offset": -128}
    content = {
        "activation_encodings": {"images": [row], "r1": [row], "map": [row] * 3, "other": [row]},
        "param_encodings": {"w1": [row] * 5, "w2": [row] * 3},
    }
    found = select(conv_model().graph, read(tmp_path / "e.json", content), ["images"], [])
    assert set(found.encodings) == {"r1", "w1"}
    assert found.axes == {"w1": 0}
    assert {name: reason.split()[0] for name, reason in found.unused.items()} == {
        "images": "a",
        "map": "QNN",
        "other": "no",
        "w2": "3",
    }


def _clipping(op: str, limits: list[float]) -> onnx.GraphProto:
    """A convolution c, and r that cuts it off."""
    names = [f"limit{index}" for index in range(len(limits))]
    return helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["c"], name="conv"),
            helper.make_node(op, ["c", *names], ["r"], name="clip"),
            helper.make_node("Neg", ["r"], ["y"], name="neg"),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 4, 4])],
        [
            numpy_helper.from_array(np.array(value, np.float32), name)
            for name, value in (*zip(names, limits, strict=True), ("w", np.ones((1, 1, 1, 1))))
        ],
    )


@pytest.mark.parametrize(
    ("op", "limits", "scale", "offset", "stays"),
    [
        ("Relu", [], 0.1, 0, False),
        ("Relu", [], 0.1, -1, True),
        ("Relu", [], 0.1, -128, True),
        ("Clip", [0.0, 25.5], 0.1, 0, False),
        ("Clip", [0.0, 6.0], 0.1, 0, True),
        ("Clip", [-12.8, 12.7], 0.1, -128, False),
        ("Clip", [-1.0], 0.1, 0, False),
    ],
)
def test_what_codes_do_not_cut_off_is_cut_off_by_its_node(
    op: str, limits: list[float], scale: float, offset: int, stays: bool
) -> None:
    one = TensorEncoding(bitwidth=8, scales=(scale,), offsets=(offset,))
    given = Given(encodings={"r": one}, axes={}, unused={})
    made, found = clipped_inside(_clipping(op, limits), given)
    assert found == ["r"] * stays
    assert made.encodings == ({"c": one, "r": one} if stays else {"r": one})
    own = TensorEncoding(bitwidth=8, scales=(1.0,), offsets=(0,))
    both = Given(encodings={"r": one, "c": own}, axes={}, unused={})
    assert clipped_inside(_clipping(op, limits), both)[0].encodings["c"] == own


@pytest.mark.parametrize(("reach", "kept"), [(3000.0, True), (200.0, False)])
def test_a_range_of_16_bits_that_8_bits_cannot_tell_is_measured(reach: float, kept: bool) -> None:
    grids = {"r": {"bitwidth": 16, "scales": [0.05], "offsets": [-32768], "axis": None}}
    ranges = {"r": (0.0, reach)}
    for bits in (8, 16):
        made = of_source(_clipping("Relu", []), grids, bits, [], [], ranges)
        assert ("r" in made.encodings) is (kept or bits == 16)

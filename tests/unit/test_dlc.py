"""Reading DLC files: one that QAIRT wrote, and whatever else may come along.

`data/digits-float.dlc` was written by onnxruntime-qnn 2.7.0 (QAIRT 2.51) from the digits network.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converter import plan
from converter.checks.lint import lint
from converter.errors import ArchiveError, ToolError
from converter.formats import format_of
from converter.inspect import inspect
from targets.rvc4.dlc.check import bit_width_findings, checked, io_findings
from targets.rvc4.dlc.islands import MARK, islands_warning
from targets.rvc4.dlc.read import Dlc, DlcTensor, read_dlc, read_records
from targets.rvc4.parameters import Parameters
from tests.sources import DIGITS, DIGITS_ARCHIVE
from tests.space import space

FILE = Path(__file__).parents[1] / "data" / "digits-float.dlc"
DATA = FILE.read_bytes()


def test_a_dlc_says_what_it_takes_and_gives() -> None:
    dlc = read_dlc(DATA)
    assert [(item.name, item.dtype, item.shape) for item in dlc.inputs] == [
        ("image", "float32", (1, 3, 32, 32))
    ]
    assert [(item.name, item.dtype, item.shape) for item in dlc.outputs] == [
        ("scores", "float32", (1, 10))
    ]
    assert dlc.format_version == (4, 1)
    assert dlc.operators["Conv2d"] == 3
    weights, activations = dlc.bit_widths()
    assert set(weights) == set(activations) == {"float32"}
    assert "2.51" in json.dumps(dict(dlc.metadata))


def test_inspect_knows_a_dlc_by_its_bytes(tmp_path: Path) -> None:
    copy = tmp_path / "any.name"
    shutil.copy(FILE, copy)
    found = format_of(copy)
    assert found is not None
    assert found.suffix == ".dlc"
    facts = inspect(copy)
    assert (facts["kind"], facts["target"]) == ("dlc", "rvc4")
    assert "weights float32" in found.summary(facts)


def test_lint_compares_an_rvc4_archives_config_with_its_dlc(tmp_path: Path) -> None:
    shutil.copy(FILE, tmp_path / "m.dlc")
    pre = {"dai_type": "BGR888i", "mean": [0, 0, 0], "scale": [1, 1, 1]}
    item = {"name": "image", "dtype": "uint8", "input_type": "image", "shape": [1, 32, 32, 3]}
    model = {
        "metadata": {"name": "m", "path": "m.dlc"},
        "inputs": [{**item, "layout": "NHWC", "preprocessing": pre}],
        "outputs": [{"name": "scores", "dtype": "float32", "shape": [1, 10]}],
        "heads": [],
    }
    (tmp_path / "config.json").write_text(json.dumps({"config_version": "1.0", "model": model}))
    assert {finding.code for finding in lint(tmp_path)} - {"head.none"} == {
        "compiled.dtype",
        "compiled.shape",
    }


def asked(mode: str) -> Parameters:
    """What a DLC of the digits is asked to be in a mode."""
    options = {"rvc4.quantization_mode": mode, "calibration.path": str(DIGITS / "calibration")}
    parameters = plan(DIGITS_ARCHIVE, "rvc4", options=options, toolchain="native").parameters
    assert isinstance(parameters, Parameters)
    return parameters


def retyped(dlc: Dlc, dtype: str, *, but: str = "", with_dtype: str = "") -> Dlc:
    """The DLC with other element types: of every tensor, and of one by its name."""

    def changed(item: DlcTensor) -> DlcTensor:
        other = with_dtype if item.name == but else dtype
        return dataclasses.replace(item, dtype=other, is_fixed_point="int" in other)

    tensors = tuple(changed(item) for item in dlc.tensors)
    return dataclasses.replace(dlc, tensors=tensors)


@pytest.mark.parametrize(
    ("mode", "weights", "activations"),
    [
        ("INT8_STANDARD", "int8/uint8", "int8/uint8"),
        ("INT8_INT16_MIXED", "int8/uint8", "int16/uint16"),
        ("INT16_STANDARD", "int16/uint16", "int16/uint16"),
        ("FP16_STANDARD", "float16", "float16"),
    ],
)
def test_a_dlc_that_was_not_quantized_is_not_taken_for_one_of_any_mode(
    mode: str, weights: str, activations: str
) -> None:
    """The digits' DLC of float32: what it is asked to be comes from the plan, what it is from the file."""
    dlc, parameters = read_dlc(DATA), asked(mode)
    found = {item.where: item.message for item in bit_width_findings(dlc, parameters, [])}
    assert set(found) == {"weights", "activations"}
    assert f"4 are float32 where {mode} has {weights}" in found["weights"]
    assert f"are float32 where {mode} has {activations}" in found["activations"]
    with pytest.raises(ToolError, match="not what was asked for"):
        checked(dlc, parameters, [])


def test_one_weight_and_one_activation_of_another_width_are_named() -> None:
    dlc, parameters = read_dlc(DATA), asked("INT16_STANDARD")
    conv = next(node for node in dlc.nodes if node.op == "Conv2d")
    assert bit_width_findings(retyped(dlc, "int16"), parameters, []) == []
    narrow = retyped(dlc, "int16", but=conv.inputs[1], with_dtype="int8")
    said = [(item.where, item.message) for item in bit_width_findings(narrow, parameters, [])]
    assert said == [
        ("weights", f"1 are int8 where INT16_STANDARD has int16/uint16, {conv.name!r} for one.")
    ]
    narrow = retyped(dlc, "int16", but=conv.outputs[0], with_dtype="uint8")
    said = [(item.where, item.message) for item in bit_width_findings(narrow, parameters, [])]
    assert said == [
        (
            "activations",
            f"1 are uint8 where INT16_STANDARD has int16/uint16, {conv.outputs[0]!r} for one.",
        )
    ]


def test_nodes_that_were_asked_to_be_float16_are_that_and_only_those() -> None:
    dlc, parameters = read_dlc(DATA), asked("INT8_STANDARD")
    conv = next(node for node in dlc.nodes if node.op == "Conv2d")
    name = MARK.sub("", conv.name)
    integers = retyped(dlc, "uint8")
    half = retyped(dlc, "uint8", but=conv.outputs[0], with_dtype="float16")
    for made, floats, words in (
        (integers, [name], f"{name}: float16 asked for, integers compiled."),
        (
            half,
            [],
            f"weights: 1 are float16 where INT8_STANDARD has int8/uint8, {conv.name!r} for one.",
        ),
    ):
        with pytest.raises(ToolError) as caught:
            checked(made, parameters, [], (), floats)
        assert words in [f"{item.where}: {item.message}" for item in caught.value.findings]
    assert bit_width_findings(half, parameters, [], (), [name], islands=True) == []
    operators = {name: "Conv"}
    assert repr(name) in islands_warning(half, parameters, operators)[0]
    assert repr(name) not in islands_warning(half, parameters, operators, [name])[0]


def test_the_names_shapes_types_and_codes_of_inputs_and_outputs_are_compared() -> None:
    dlc, parameters = read_dlc(DATA), asked("INT8_STANDARD")
    said = [str(finding) for finding in io_findings(dlc, parameters, [])]
    assert any("[1, 32, 32, 3] asked for, [1, 3, 32, 32] compiled" in text for text in said)
    assert any("image: uint8 asked for, float32 compiled" in text for text in said)
    assert any("scores: uint8 asked for, float32 compiled" in text for text in said)
    other = tuple(dataclasses.replace(item, name=f"{item.name}_0") for item in dlc.tensors)
    said = [str(item) for item in io_findings(dataclasses.replace(dlc, tensors=other), parameters, [])]
    assert any("outputs ['scores'] became ['scores_0']" in text for text in said)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_dlc_cut_short_is_a_clean_error(share: float) -> None:
    with pytest.raises(ArchiveError, match="not a readable DLC"):
        read_dlc(DATA[: int(len(DATA) * share)])


@space(300)
@given(
    st.sampled_from(sorted(read_records(memoryview(DATA)))),
    st.integers(0, 10**6),
    st.binary(min_size=1, max_size=8),
)
def test_any_damage_is_read_or_a_clean_error(record: str, at: int, noise: bytes) -> None:
    data = bytearray(DATA)
    view = read_records(memoryview(DATA))[record]
    start = DATA.find(bytes(view[:64])) + at % len(view)
    data[start : start + len(noise)] = noise
    try:
        read_dlc(bytes(data)).to_json()
    except ArchiveError:
        return


@space(200)
@given(st.integers(0, 2000), st.binary(min_size=1, max_size=16))
def test_a_damaged_directory_is_read_or_a_clean_error(back: int, noise: bytes) -> None:
    data = bytearray(DATA)
    start = max(0, len(data) - back)
    data[start : start + len(noise)] = noise
    try:
        read_dlc(bytes(data))
    except ArchiveError:
        return

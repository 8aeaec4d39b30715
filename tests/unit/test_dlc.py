"""Reading DLC files: one that QAIRT wrote, and whatever else may come along.

`data/digits-float.dlc` was written by onnxruntime-qnn 2.7.0 (QAIRT 2.51) from the digits network.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converter.checks.lint import lint
from converter.errors import ArchiveError
from converter.formats import format_of
from converter.inspect import inspect
from targets.rvc4.dlc.read import read_dlc, read_records

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
    assert {finding.code for finding in lint(tmp_path)} == {"compiled.dtype", "compiled.shape"}


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_dlc_cut_short_is_a_clean_error(share: float) -> None:
    with pytest.raises(ArchiveError, match="not a readable DLC"):
        read_dlc(DATA[: int(len(DATA) * share)])


@settings(max_examples=300, deadline=None)
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


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2000), st.binary(min_size=1, max_size=16))
def test_a_damaged_directory_is_read_or_a_clean_error(back: int, noise: bytes) -> None:
    data = bytearray(DATA)
    start = max(0, len(data) - back)
    data[start : start + len(noise)] = noise
    try:
        read_dlc(bytes(data))
    except ArchiveError:
        return

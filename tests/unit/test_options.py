"""Options are declared once, layered, checked all at once, and know where they came from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converter.errors import UsageError
from converter.options.declared import array, configs, parse, specs
from converter.options.files import from_file, preset_layer
from converter.options.resolve import Layer, Options, Setting, from_arguments, resolve


def resolved_of(**layers: dict[str, object]) -> Options:
    return resolve([Layer(origin=name, values=values) for name, values in layers.items()])


def test_a_stronger_layer_wins_and_the_origin_is_known() -> None:
    resolved = resolved_of(
        preset={"rvc2": {"superblob": True, "number_of_shaves": 4}},
        file={"rvc2.number_of_shaves": 6},
        command={},
    )
    assert resolved.setting("rvc2.number_of_shaves") == Setting(value=6, origin="file")
    assert resolved.setting("rvc2.superblob").origin == "preset"
    assert resolved.setting("preprocess") == Setting(value="embedded", origin="default")


def test_every_problem_is_named_at_once_with_the_nearest_key() -> None:
    with pytest.raises(UsageError) as caught:
        resolved_of(
            cli={
                "rvc2.number_of_shave": "4",
                "number_of_shaves": "4",
                "rvc2.superblob": "maybe",
                "rvc2.number_of_cmx_slices": "17",
                "inputs.images.layuot": "NCHW",
            }
        )
    said = [str(finding) for finding in caught.value.findings]
    assert len(said) == 5
    assert "rvc2.number_of_shaves" in said[0]
    assert "rvc2.number_of_shaves" in said[1]
    assert "true or false" in said[2]
    assert "from 1 to 16" in said[3]
    assert "inputs.NAME.layout" in said[4]


def test_reading_an_undeclared_key_is_a_fault_of_ours() -> None:
    with pytest.raises(KeyError):
        resolved_of().get("rvc2.nothing")


def test_tensor_names_may_hold_dots_slashes_and_colons() -> None:
    name = "model/input.1:0"
    resolved = resolved_of(cli={f"inputs.{name}.layout": "NHWC"})
    assert resolved.text(f"inputs.{name}.layout") == "NHWC"
    assert resolved.names("inputs") == {name: [f"inputs.{name}.layout"]}


def test_modelconverters_list_of_inputs_is_understood() -> None:
    resolved = resolved_of(
        file={"inputs": [{"name": "a.b", "shape": [1, 3, 8, 8], "mean_values": 127.5}]}
    )
    assert resolved.ints("inputs.a.b.shape") == (1, 3, 8, 8)
    assert resolved.floats("inputs.a.b.mean_values") == (127.5,)


def test_pairs_and_equals_signs_mean_the_same() -> None:
    pairs = from_arguments(["rvc2.superblob", "true", "rvc2.number_of_shaves=5"])
    assert pairs.values == {"rvc2.superblob": "true", "rvc2.number_of_shaves": "5"}
    with pytest.raises(UsageError, match="value is missing"):
        from_arguments(["rvc2.superblob"])


@given(st.integers(1, 16), st.booleans())
def test_a_value_means_the_same_from_every_source(shaves: int, superblob: bool) -> None:
    values = {"rvc2.number_of_shaves": shaves, "rvc2.superblob": superblob}
    words = [f"{key}={str(value).lower()}" for key, value in values.items()]
    nested = {"rvc2": {"number_of_shaves": shaves, "superblob": superblob}}
    assert (
        {key: resolved_of(api=values).get(key) for key in values}
        == {key: resolved_of(api=nested).get(key) for key in values}
        == {key: resolve([from_arguments(words)]).get(key) for key in values}
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [("a: [", "neither YAML"), ("- 1", "holds no options"), ("rvc2: {x: 1}", "no such")],
)
def test_a_broken_file_is_told_so(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "options.yaml"
    file.write_text(content)
    with pytest.raises(UsageError, match=said):
        resolve([from_file(file)])


def test_presets_and_examples_resolve() -> None:
    for path in (configs() / "presets").glob("*.yaml"):
        resolve([preset_layer(path.stem)])
    for path in (configs() / "examples").glob("*.yaml"):
        resolve([from_file(path)])
    with pytest.raises(UsageError, match="superblob"):
        preset_layer("nothing")


def test_every_declared_option_has_a_help_and_a_default_of_its_own_type() -> None:
    for spec in specs():
        assert spec.help.endswith("."), spec.key
        if spec.default is not None:
            assert parse(spec, spec.default) == spec.default, spec.key


@pytest.mark.parametrize(
    ("text", "value"),
    [(".5", 0.5), ("1.", 1.0), ("True", True), ("false", False), ("[1, 2]", [1, 2]), ("1e-3", 0.001)],
)
def test_a_frozen_value_is_read_as_people_write_it(text: str, value: Any) -> None:
    assert json.loads(array(text)) == value


@pytest.mark.parametrize("text", ["x", "", "[.5]", "NaN", "inf", "[1, null]", "{}"])
def test_what_is_no_number_is_no_frozen_value(text: str) -> None:
    with pytest.raises(ValueError, match="no array of numbers"):
        array(text)


def test_none_is_a_value_where_it_is_a_choice() -> None:
    key = "inputs.x.encoding.from"
    assert resolved_of(test={key: "NONE"}).get(key) == "NONE"
    assert resolved_of(test={"inputs.x.layout": "none"}).get("inputs.x.layout") is None


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (
            "a.yaml",
            "inputs: {x: {mean_values: [1], mean_values: [2]}}",
            "'mean_values' is in one mapping twice",
        ),
        (
            "a.json",
            '{"preprocess": "archive", "preprocess": "embedded"}',
            "'preprocess' is in one mapping twice",
        ),
        ("b.yaml", "a: &a\n  rvc4: *a\n", "neither YAML nor JSON"),
        ("c.yaml", "&a [*a]", "neither YAML nor JSON"),
    ],
)
def test_a_file_that_says_a_thing_twice_or_holds_itself_is_refused(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=said):
        from_file(tmp_path / name)


def test_a_merge_key_is_no_key_twice(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("x: &x {number_of_shaves: 4}\nrvc2: {<<: *x, superblob: true}\n")
    assert from_file(tmp_path / "a.yaml").values["rvc2"] == {
        "number_of_shaves": 4,
        "superblob": True,
    }

"""The manifest of a zoo: what is wrong with it, its matrix, and selectors."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from converter.cache.contents import digest_of
from converter.cli import app as cli
from converter.errors import ArchiveError, ConvertError, UsageError
from converter.zoo.events import Noted
from converter.zoo.manifest import read, schema
from converter.zoo.matrix import Wanted, expand, matches
from converter.zoo.places import Places
from converter.zoo.plan import make_plan
from tests.sources import DIGITS_ARCHIVE
from tests.zoo import built, manifest


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def expanded(path: Path) -> list[Wanted]:
    return expand(read(path), Places(folder=path.parent, fetched=path.parent / "fetched"))


def problems(call: Any) -> list[str]:
    with pytest.raises(ConvertError) as caught:
        call()
    assert caught.value.exit_code == 2
    return [str(finding) for finding in caught.value.findings] or [str(caught.value)]


MODEL = {"name": "m", "source": str(DIGITS_ARCHIVE)}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"modles": []}, "modles: there is no such key. Perhaps you meant 'models'."),
        (
            {"models": [{**MODEL, "calibraton": "x"}]},
            "models[0].calibraton: there is no such key. Perhaps you meant 'calibration'.",
        ),
        (
            {"targets": [{"target": "rvc2", "modes": [{"name": "x", "option": {}}]}]},
            "targets[0].modes[0].option: there is no such key. Perhaps you meant 'options'.",
        ),
        ({"models": [{"name": "m"}]}, "models[0].source: is missing. Add it."),
        ({"models": []}, "models: "),
        ({"version": 2}, "version: 2 is not valid: "),
        ({"models": [{**MODEL, "name": "a/b"}]}, "models[0].name: 'a/b' is not valid: "),
        ({"models": [MODEL, MODEL]}, "models: two models are called 'm'."),
        ({"limits": {"retries": -1}}, "limits.retries: -1 is not valid: "),
        (
            {"models": [{**MODEL, "source": "https://example.org/m.tar.xz"}]},
            "https://example.org/m.tar.xz is a URL, whose content may change: add its sha256.",
        ),
        (
            {"models": [{**MODEL, "expected_failures": [{"reason": "no Foo", "until": "tomorrow"}]}]},
            "models[0].expected_failures[0].until: 'tomorrow' is not valid: ",
        ),
        ({"selectors": {"digits": ["*"]}}, "selectors: 'digits' is the name of a model."),
    ],
    ids=lambda value: json.dumps(value)[:50] if isinstance(value, dict) else "",
)
def test_what_is_wrong_is_named_with_its_path_and_the_nearest_key(
    tmp_path: Path, more: dict[str, Any], said: str
) -> None:
    found = problems(lambda: read(manifest(tmp_path, **more)))
    assert len(found) == 1
    assert said in found[0]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"targets": [{"target": "rvc5"}]}, "targets[0].target: There is no target 'rvc5'."),
        (
            {"targets": [{"target": "rvc2", "toolchain": "cloud"}]},
            "targets[0].toolchain: rvc2 has no toolchain 'cloud'.",
        ),
        (
            {"targets": [{"target": "rvc4", "modes": ["INT8_STANDART"]}]},
            "targets[0].modes[0]: 'INT8_STANDART' is no quantization mode of rvc4. "
            "Perhaps you meant 'INT8_STANDARD'.",
        ),
        (
            {"targets": [{"target": "rvc2", "modes": ["FP16"]}]},
            "targets[0].modes[0]: rvc2 has no quantization modes, so 'FP16' says nothing.",
        ),
        (
            {"targets": [{"target": "rvc2"}, {"target": "oak-d"}]},
            "the cell digits/rvc2/default is in the matrix twice.",
        ),
        ({"options": {"rvc2.superblobb": True}}, "rvc2.superblobb: there is no such option"),
        ({"models": [{**MODEL, "source": "conf.yaml"}]}, "models[0].source: conf.yaml is no model."),
        (
            {"options": {"verify.data": "no/such/folder"}},
            "verify.data: no/such/folder: no such file or folder",
        ),
    ],
    ids=lambda value: json.dumps(value)[:50] if isinstance(value, dict) else "",
)
def test_what_cannot_be_a_matrix_is_named(tmp_path: Path, more: dict[str, Any], said: str) -> None:
    found = problems(lambda: expanded(manifest(tmp_path, **more)))
    assert len(found) == 1
    assert said in found[0]


def test_all_missing_files_are_named_at_once(tmp_path: Path) -> None:
    models = [{"name": name, "source": f"{name}.onnx", "calibration": "data"} for name in "ab"]
    found = problems(lambda: expanded(manifest(tmp_path, models=models)))
    where = [one.partition(":")[0] for one in found]
    assert where == [f"models[{i}].{key}" for i in (0, 1) for key in ("source", "calibration")]


def test_the_manifest_of_the_contract_is_three_cells(tmp_path: Path) -> None:
    path = manifest(tmp_path)
    cells = expanded(path)
    assert [cell.id for cell in cells] == [
        "digits/rvc2/default",
        "digits/rvc4/INT8_STANDARD",
        "digits/rvc4/FP16_STANDARD",
    ]
    assert cells[2].values() == {"rvc4.quantization_mode": "FP16_STANDARD"}
    assert {*cells[2].files} == {"calibration.path"}


def test_options_of_the_mode_win_over_the_targets_the_models_and_the_manifests(tmp_path: Path) -> None:
    def limit(value: int) -> dict[str, Any]:
        return {"calibration.max_images": value}

    modes = [{"name": "few", "quantization": "INT8_STANDARD", "options": limit(1)}, "FP16_STANDARD"]
    path = manifest(
        tmp_path,
        options=limit(4) | {"verify.frames": 9},
        models=[{**MODEL, "options": limit(3)}, {**MODEL, "name": "n"}],
        targets=[{"target": "rvc4", "modes": modes, "options": limit(2)}, {"target": "oak-d"}],
    )
    cells = {cell.id: cell.values() for cell in expanded(path)}
    found = {name: values["calibration.max_images"] for name, values in cells.items()}
    assert found == {
        "m/rvc4/few": 1,
        "m/rvc4/FP16_STANDARD": 2,
        "m/rvc2/default": 3,
        "n/rvc4/few": 1,
        "n/rvc4/FP16_STANDARD": 2,
        "n/rvc2/default": 4,
    }
    assert all(values["verify.frames"] == 9 for values in cells.values())


def test_paths_are_taken_against_the_manifest_then_against_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder, names in ((here, ("a", "b")), (there, ("a",))):
        folder.mkdir()
        for name in names:
            (folder / f"{name}.onnx").touch()
    monkeypatch.chdir(here)
    models = [{"name": name, "source": f"{name}.onnx"} for name in "ab"]
    found = {cell.model: cell.source.path for cell in expanded(manifest(there, models=models))}
    assert found == {"a": there / "a.onnx", "b": here / "b.onnx"}


def test_a_model_may_be_for_some_targets_only(tmp_path: Path) -> None:
    models = [{**MODEL, "targets": ["rvc2"]}, {**MODEL, "name": "n", "targets": ["*4"]}]
    ids = {cell.id.rpartition("/")[0] for cell in expanded(manifest(tmp_path, models=models))}
    assert ids == {"m/rvc2", "n/rvc4"}


def test_another_content_than_the_manifest_names_fails_its_cells_alone(tmp_path: Path) -> None:
    right = digest_of(DIGITS_ARCHIVE)
    models = [{**MODEL, "sha256": right}, {**MODEL, "name": "wrong", "sha256": right[::-1]}]
    cells = make_plan(manifest(tmp_path, models=models)).cells
    assert [cell.error is None for cell in cells] == [True] * 3 + [False] * 3
    assert isinstance(cells[3].error, ArchiveError)
    assert right in cells[3].error.message


def test_names_that_are_there_twice_are_told_with_what_else_is_wrong(tmp_path: Path) -> None:
    models = [MODEL, {**MODEL, "calibraton": "x"}, 3, {"name": ["m"]}]
    found = problems(lambda: read(manifest(tmp_path, models=models, selectors={"m": ["*"]})))
    assert any("models[1].calibraton" in one for one in found)
    assert any("models: two models are called 'm'." in one for one in found)
    assert any("selectors: 'm' is the name of a model." in one for one in found)


@pytest.mark.parametrize(
    ("expected", "code", "said"),
    [
        ([], 3, ""),
        ([{"until": "2020-01-01"}], 3, "it was expected to fail until 2020-01-01, which is over (x)"),
        ([{"until": "2999-01-01"}], 0, "it is expected to fail until 2999-01-01"),
        ([{"until": "2999-01-01", "exit_code": 4}], 3, "it is expected to fail until 2999-01-01"),
        ([{"until": "2020-01-01"}, {"until": "2999-01-01"}], 0, "until 2999-01-01"),
    ],
    ids=["none", "expired", "expected", "another kind", "two"],
)
def test_a_plan_with_cells_that_cannot_be_tried_is_an_error_unless_that_is_expected(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    expected: list[dict[str, Any]],
    code: int,
    said: str,
) -> None:
    failures = [{"reason": "x", **one} for one in expected]
    models = [{**MODEL, "sha256": "0" * 64, "expected_failures": failures}]
    path = str(manifest(tmp_path, models=models))
    assert cli.app(["zoo", "plan", path], exit_on_error=False, result_action="return_value") == code
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert all("error: " in line and line.endswith(said) for line in lines[:3])
    again = cli.app(["zoo", "plan", path, "--json"], exit_on_error=False, result_action="return_value")
    assert again == code
    told = json.loads(capsys.readouterr().out)["cells"][0]["expected"]
    last = max((one["until"] for one in expected), default=None)
    assert told == (last and {"reason": "x", "until": last})


def test_a_source_behind_a_url_is_fetched_once_and_checked(tmp_path: Path) -> None:
    url, right = DIGITS_ARCHIVE.as_uri(), digest_of(DIGITS_ARCHIVE)
    models = [{"name": "m", "source": url, "sha256": right}]
    path = manifest(tmp_path, models=models)
    (cell, *_) = make_plan(path).cells
    assert cell.error is None
    assert cell.source == {"name": "digits.tar.xz", "sha256": right}
    fetched = cell.wanted.source.path
    assert fetched.read_bytes() == DIGITS_ARCHIVE.read_bytes()
    fetched.write_bytes(b"damage")
    (cell, *_) = make_plan(path).cells
    assert isinstance(cell.error, ArchiveError)
    (cell, *_) = make_plan(path).cells  # it was removed, and is fetched anew
    assert cell.error is None
    gone = [{"name": "m", "source": f"{url}.gone", "sha256": right}]
    (cell, *_) = make_plan(manifest(tmp_path, models=gone)).cells
    assert "could not be fetched" in str(cell.error)


def test_a_toolchain_of_another_version_than_the_pinned_one_is_refused(tmp_path: Path) -> None:
    targets = [
        {"target": "rvc2", "version": "2022.2"},
        {"target": "rvc4", "toolchain": "native", "version": "1.0"},
    ]
    right, wrong = make_plan(manifest(tmp_path, targets=targets)).cells
    assert right.error is None
    assert "the manifest pins the version '1.0'" in str(wrong.error)


def test_a_target_that_the_machine_cannot_do_fails_or_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine")
    target = {"target": "rvc3", "toolchain": "container"}
    plan = make_plan(manifest(tmp_path, targets=[target]))
    assert [cell.error is None for cell in plan.cells] == [False]
    plan = make_plan(manifest(tmp_path, targets=[{**target, "optional": True}]))
    assert (plan.cells, [*plan.left_out]) == ([], ["rvc3"])
    index, told = built(manifest(tmp_path, targets=[{**target, "optional": True}]), tmp_path / "out")
    assert index.cells == []
    assert any(one.text.startswith("rvc3 is left out: ") for one in told if isinstance(one, Noted))


def test_the_schema_knows_every_key() -> None:
    text = json.dumps(schema())
    for key in ("expected_failures", "cell_timeout_s", "selectors", "size_growth", "quantization"):
        assert f'"{key}"' in text


def test_the_digest_of_a_folder_is_what_sha256sum_says_of_it(tmp_path: Path) -> None:
    files = {"b.txt": b"2", "a/c.txt": b"1", ".hidden": b""}
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    lines = [f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files)]
    assert digest_of(tmp_path) == hashlib.sha256("".join(lines).encode()).hexdigest()


def test_a_file_is_hashed_once_in_a_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from converter.zoo import places

    seen: list[Path] = []

    def counted(path: Path) -> str:
        seen.append(path)
        return digest_of(path)

    monkeypatch.setattr(places, "digest_of", counted)
    models = [{**MODEL, "name": f"m{index}"} for index in range(5)]
    assert len(make_plan(manifest(tmp_path, models=models)).cells) == 15
    assert seen == [DIGITS_ARCHIVE]


# ------------------------------------------------------------ selectors

NAMES = st.text("abcxyz019._-", min_size=1, max_size=6)


@given(st.tuples(NAMES, NAMES, NAMES), st.integers(1, 3))
def test_a_selector_of_a_cells_own_parts_chooses_it(parts: tuple[str, ...], count: int) -> None:
    cell = "/".join(parts)
    assert matches(cell, "/".join(parts[:count]))
    assert matches(cell.upper(), "/".join(parts[:count]))
    assert matches(cell, "/".join("*" for _ in parts[:count]))
    assert not matches(cell, f"{cell}/*")
    assert not matches(cell, "/".join([*parts[: count - 1], f"{parts[count - 1]}?"]))


@pytest.mark.parametrize(
    ("selector", "chosen"),
    [
        ("digits", True),
        ("dig", False),
        ("*/rvc4", True),
        ("*/rvc2", False),
        ("digits/rvc4/INT8_*", True),
        ("*/*/fp16*", False),
        ("rvc4", False),
    ],
)
def test_selectors(selector: str, chosen: bool) -> None:
    assert matches("digits/rvc4/INT8_STANDARD", selector) is chosen


def test_yaml_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "zoo.yaml"
    path.write_text(yaml.safe_dump([1]))
    with pytest.raises(UsageError, match=r"zoo\.yaml"):
        read(path)


@pytest.mark.parametrize(
    "form", ["[{}]", "{{<<: [{}]}}", "{{k: [{}]}}"], ids=["lists", "merged", "mappings"]
)
def test_aliases_that_stand_for_more_than_memory_holds_are_refused(tmp_path: Path, form: str) -> None:
    """Nine to the thirtieth values in thirty lines; a list of nine is made at once."""
    lines = ["a0: &a0 {x: 1}"]
    for level in range(1, 31):
        inside = ",".join([f"*a{level - 1}"] * 9)
        lines.append(f"a{level}: &a{level} " + form.format(inside))
    path = tmp_path / "zoo.yaml"
    path.write_text("\n".join(lines))
    with pytest.raises(UsageError, match="aliases stand for more than") as caught:
        read(path)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("depth", [90, 300, 20_000])
def test_what_is_nested_deeply_never_reaches_libyaml_s_own_recursion(
    tmp_path: Path, depth: int
) -> None:
    """In C there is no limit to it, and the process would crash."""
    path = tmp_path / "zoo.yaml"
    path.write_text("version: " + "[" * depth + "]" * depth)
    with pytest.raises(UsageError, match=r"zoo\.yaml"):
        read(path)


def test_a_modest_alias_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "zoo.yaml"
    path.write_text(
        "version: 1\nmodels:\n"
        "  - {name: a, source: a.onnx, options: &o {verify.frames: 3}}\n"
        "  - {name: b, source: b.onnx, options: *o}\n"
        "targets: [{target: rvc2}]\n"
    )
    first, second = read(path).models
    assert first.options == second.options == {"verify.frames": 3}

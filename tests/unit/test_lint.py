"""Lint finds what each code's examples show, and nothing else in good archives; codes are declared once."""

from __future__ import annotations

import ast
import dataclasses
import json
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import converter
from converter import target_archive as describe
from converter.checks.codes import BASES, Example, codes
from converter.checks.lint import lint
from converter.checks.registry import RULES, checks
from converter.checks.subject import Side
from converter.errors import ToolError, UsageError
from converter.events import Warned
from converter.findings import Finding, Severity
from converter.open_source import open_archive
from targets.rvc2.myriad.toolchain import Toolchain
from targets.rvc4.toolchain import PINNED as QNN
from tests.archives import BUILDERS, base, blob_double, build
from tests.sources import DIGITS_ARCHIVE, RGB, config_for, conv_model, write_folder

ROOT = Path(__file__).parents[2]
SEVERITIES = list(Severity)
QUICK = {"verify.enabled": False}
# The codes that are put together of parts, and what those stand for.
TEMPLATES = {
    **dict.fromkeys(
        ("{}.duplicate", "{}.twice-in-model", "{}.unknown", "{}.missing", "{}.layout"),
        ("input", "output"),
    ),
    "input.{}": ("mean", "scale"),
    "compiled.{}": ("dtype", "shape"),
    "{}.tensor": ("rvc2", "rvc3"),
}


def examples(kind: str) -> list[object]:
    return [
        pytest.param(code.code, example, id=f"{code.code}-{index}")
        for code in codes().values()
        for index, example in enumerate(getattr(code, kind))
    ]


def found(example: Example, folder: Path) -> tuple[Finding, ...]:
    findings = lint(build(example, folder))
    for finding in findings:
        declared = checks()[finding.code].code  # what lint finds is declared as lint's
        assert SEVERITIES.index(finding.severity) >= SEVERITIES.index(declared.severity)
        assert finding.message
    return findings


# ------------------------------------------------------------------- examples


@pytest.mark.parametrize(("code", "example"), examples("failing"))
def test_what_is_wrong_is_found(code: str, example: Example, tmp_path: Path) -> None:
    assert code in {finding.code for finding in found(example, tmp_path)}


@pytest.mark.parametrize(("code", "example"), examples("passing"))
def test_what_is_right_is_not(code: str, example: Example, tmp_path: Path) -> None:
    assert code not in {finding.code for finding in found(example, tmp_path)}


@pytest.mark.parametrize("code", list(checks()))
def test_a_check_has_examples_for_each_rule_and_its_worst_severity(code: str, tmp_path: Path) -> None:
    check = checks()[code]
    assert check.code.passing
    shown = {
        Side.SOURCE if example.of.startswith(("onnx", "tflite")) else Side.TARGET
        for example in check.code.failing
    }
    assert shown <= check.sides
    assert all(rule.sides & shown for rule in check.rules)
    worst = [
        finding.severity
        for index, example in enumerate(check.code.failing)
        for finding in found(example, _folder(tmp_path / str(index)))
        if finding.code == code
    ]
    assert check.code.severity in worst


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.mark.parametrize("name", list(BASES))
def test_good_archives_have_nothing_to_find(name: str, tmp_path: Path) -> None:
    assert set(BASES) == set(BUILDERS)
    meant = {
        "onnx-int32": {"input.image-dtype"},
        "onnx-batch": {"input.batch"},
        "onnx-ambiguous": {"model.ambiguous"},
        "onnx-foreign": {"model.foreign-operator"},
        "onnx-live-scale": {"model.quantization"},
        "onnx-twice": {"input.twice-in-model", "output.twice-in-model"},
        "onnx-unused": {"model.unused-input"},
        "tflite-state": {"model.state"},
        "onnx-through": {"model.input-is-output"},
        "rvc2-old": {"model.blob-version"},
        "rvc3-superblob": {"camera.superblob-rvc3"},
    }
    codes_found = {finding.code for finding in found(Example(of=name), tmp_path)}
    assert codes_found == meant.get(name, set())


@pytest.mark.parametrize(("name", "wrong"), [("map", set()), ("mop", {"head.output"})])
def test_heads_may_name_what_the_second_stage_gives(name: str, wrong: set[str], tmp_path: Path) -> None:
    """The DLC in the first place has no output `map`, the blob in the second has."""
    members = dict(base("rvc4")) | {"post.blob": blob_double()}
    config = json.loads(members["config.json"])
    head = config["model"]["heads"][0]
    head["outputs"] = [name]
    head["metadata"]["postprocessor_path"] = "post.blob"
    members["config.json"] = json.dumps(config).encode()
    for member, content in members.items():
        (tmp_path / member).write_bytes(content)
    assert {finding.code for finding in lint(tmp_path)} == wrong


# ---------------------------------------------------------------------- codes


def test_every_code_is_declared_once_and_used() -> None:
    text = (ROOT / "configs" / "codes.yaml").read_text()
    names = [line[:-1].split(":")[0] for line in text.splitlines() if line[:1].isalpha()]
    assert len(names) == len(set(names)) == len(codes())
    assert set(codes()) == set(used())


def used() -> Iterator[str]:
    """Every code that a `Finding` is made with in the code of the project."""
    for folder in ("converter", "targets"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call):
                    yield from _codes_of(node)


# Functions that make a finding, or an error of one, of a code that they are given.
MAKERS = {"_finding": 0, "_refused": 0, "_guess": 0, "as_finding": 1}


def _codes_of(call: ast.Call) -> Iterator[str]:
    name = call.func.id if isinstance(call.func, ast.Name) else ""
    given = [keyword.value for keyword in call.keywords if keyword.arg == "code"]
    if name in MAKERS and len(call.args) > MAKERS[name]:
        given.append(call.args[MAKERS[name]])
    for value in given:
        match value:
            case ast.Constant(value=str(text)) if "." in text and " " not in text:
                yield text
            case ast.JoinedStr(values=parts) if name == "Finding":
                template = "".join(
                    str(part.value) if isinstance(part, ast.Constant) else "{}" for part in parts
                )
                assert template in TEMPLATES, f"what f-string {template!r} stands for: see TEMPLATES"
                yield from map(template.format, TEMPLATES[template])
            case ast.Name() | ast.Constant() | ast.JoinedStr():
                assert name != "Finding" or isinstance(value, ast.Name)


def test_rules_give_declared_codes_only() -> None:
    assert {code for rule in RULES for code in rule.codes} <= set(codes())


# --------------------------------------------------------------- hostile configs

ODD: tuple[Any, ...] = (None, True, -1, 1e300, "", "x" * 50, [], [None], {}, {"a": [{}]}, [[[1]]])


def places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield way
    rows = {dict: dict.items, list: enumerate}.get(type(value), lambda _: ())
    for key, inner in rows(value):
        yield from places(inner, (*way, key))


@pytest.mark.parametrize("name", ["onnx", "rvc2", "rvc4"])
def test_any_value_anywhere_gives_findings_and_no_traceback(name: str, tmp_path: Path) -> None:
    yolo = codes()["head.masks"].failing[0].changes["set"]
    with open_archive(build(Example(of=name, changes={"set": yolo}), tmp_path)) as archive:
        for way in places(archive.config):
            for odd in ODD:
                config = json.loads(json.dumps(archive.config))
                if way:
                    inner = config
                    for step in way[:-1]:
                        inner = inner[step]
                    inner[way[-1]] = odd
                elif isinstance(odd, dict):
                    config = odd
                for finding in lint(dataclasses.replace(archive, config=config)):
                    assert finding.code in checks()


# ------------------------------------------------------------ the command line


def command(*sources: Path, capsys: pytest.CaptureFixture[str], **options: Any) -> tuple[int, str]:
    from converter.cli.lint import lint as run

    defaults: dict[str, Any] = {
        "as_json": False, "as_sarif": False, "fail_on": "error", "list_checks": False, "explain": None,
        "quiet": False,
    }  # fmt: skip
    code = run(sources, **(defaults | options))
    return code, capsys.readouterr().out


@pytest.mark.parametrize(
    ("code", "index", "exits"),
    [
        ("archive.leftover", 0, (0, 0, 3)),
        ("camera.not-applied", 0, (0, 3, 3)),
        ("camera.dtype", 0, (3, 3, 3)),
    ],
)
def test_the_exit_code_follows_the_worst_finding(
    code: str, index: int, exits: tuple[int, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = build(codes()[code].failing[index], tmp_path)
    for level, wanted in zip(("error", "warning", "info"), exits, strict=True):
        assert command(path, capsys=capsys, fail_on=level)[0] == wanted


def test_a_good_archive_passes_at_every_level(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = build(Example(of="rvc2"), tmp_path)
    assert command(path, capsys=capsys, fail_on="info") == (0, f"{path}: nothing found.\n")


def test_sarif_names_the_archive_from_the_current_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub dir").mkdir()
    packed = build(Example(of="rvc2", changes={"set": {"model.heads[0].name": None}}), tmp_path)
    for place, reference in (
        (Path("sub dir") / packed.name, f"sub%20dir/{packed.name}"),
        (Path("folder"), "folder/config.json"),
    ):
        if reference.startswith("folder"):
            write_folder(tmp_path / place, conv_model())
        else:
            shutil.copy(packed, place)
        log = json.loads(command(place, capsys=capsys, as_sarif=True)[1])
        assert log["runs"][0]["artifacts"][0]["location"]["uri"] == reference


def test_sarif_has_what_the_standard_requires(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {
        "set": {
            "model.inputs[0].preprocessing.dai_type": None,
            "model.heads[0].metadata.odd": None,
        },
        "add": {"notes.txt": "x"},
        "named": "a net.tar",
    }
    path = build(Example(of="rvc2", changes=changes), tmp_path)
    exit_code, text = command(path, capsys=capsys, as_sarif=True)
    assert exit_code == 3
    log = json.loads(text)
    assert log["version"] == "2.1.0"
    assert log["$schema"].endswith("sarif-2.1.0.json")
    (run,) = log["runs"]
    driver = run["tool"]["driver"]
    assert (driver["name"], bool(driver["version"])) == ("nnconvert", True)
    rules = driver["rules"]
    assert len({rule["id"] for rule in rules}) == len(rules)
    for rule in rules:
        for key in ("shortDescription", "fullDescription", "help"):
            assert rule[key]["text"]
        assert rule["defaultConfiguration"]["level"] in ("error", "warning", "note")
    levels = {}
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["message"]["text"]
        (location,) = result["locations"]
        artifact = location["physicalLocation"]["artifactLocation"]
        assert artifact == {"uri": "a%20net.tar", "index": 0}
        assert run["artifacts"][artifact["index"]]["location"]["uri"] == artifact["uri"]
        levels[result["ruleId"]] = (
            result["level"],
            [place["fullyQualifiedName"] for place in location.get("logicalLocations", ())],
        )
    assert levels == {
        "camera.dai-type-missing": ("error", ["model.inputs[0].preprocessing.dai_type"]),
        "head.null": ("warning", ["model.heads[0].metadata"]),
        "archive.leftover": ("note", []),
    }
    assert run["columnKind"] == "unicodeCodePoints"


def test_list_and_explain_say_what_is_declared(capsys: pytest.CaptureFixture[str]) -> None:
    _, text = command(capsys=capsys, list_checks=True)
    for code, check in checks().items():
        assert f"{code} ({check.code.severity}, " in text
        assert check.code.cause in text
        assert check.code.remedy in text
    _, text = command(capsys=capsys, list_checks=True, as_json=True)
    assert [entry["code"] for entry in json.loads(text)["checks"]] == list(checks())
    _, text = command(capsys=capsys, explain="archive.config-name")
    assert "call the file config.json ./config.json" in text
    assert codes()["archive.config-name"].why in text
    _, text = command(capsys=capsys, explain="option.unknown")
    assert "not by lint" in text
    for code in codes():
        assert code in command(capsys=capsys, explain=code)[1]
    with pytest.raises(UsageError, match=r"'head\.generic'"):
        command(capsys=capsys, explain="head.generc")
    with pytest.raises(UsageError, match="needs an archive"):
        command(capsys=capsys)


# -------------------------------------------------------- what convert writes


def test_an_rvc2_archive_of_ours_passes_and_its_warnings_are_no_part_of_it(
    tmp_path: Path, toolchain: Toolchain
) -> None:
    config = config_for(conv_model(), preprocessing=RGB)
    plain = write_folder(tmp_path / "net", conv_model(), config)
    done = converter.convert(plain, "rvc2", output=tmp_path / "a.tar", options=QUICK)
    assert done.warnings == ()
    assert {finding.code for finding in lint(done.output)} <= {"head.none"}
    config["model"]["metadata"]["license"] = "MIT"
    (plain / "config.json").write_text(json.dumps(config))
    events: list[object] = []
    done = converter.convert(
        plain, "rvc2", output=tmp_path / "b.tar", options=QUICK, on_event=events.append
    )
    (warning,) = done.warnings
    assert "'license'" in warning
    assert Warned(text=warning) in events
    assert done.to_json()["warnings"] == [warning]
    (finding,) = (item for item in lint(done.output) if item.code != "head.none")
    assert str(finding) == warning
    with tarfile.open(done.output) as tar:
        file = tar.extractfile("buildinfo.json")
        assert file is not None
        assert json.load(file)["warnings"] == []


def test_an_rvc4_archive_of_ours_passes(tmp_path: Path) -> None:
    if problem := QNN.problem_with_system():
        pytest.skip(problem)
    done = converter.convert(
        DIGITS_ARCHIVE,
        "rvc4",
        output=tmp_path / "a.tar",
        options=QUICK | {"rvc4.quantization_mode": "FP16_STANDARD"},
        toolchain="native",
    )
    assert done.warnings == ()
    assert lint(done.output) == ()


def test_an_archive_that_lint_refuses_is_not_written(
    tmp_path: Path, toolchain: Toolchain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A double of `describe` that writes GRAY888p stands for a bug in the converter."""
    true = describe.target_config

    def faulty(*arguments: Any) -> dict[str, Any]:
        config = true(*arguments)
        config["model"]["inputs"][0]["preprocessing"]["dai_type"] = "GRAY888p"
        return config

    monkeypatch.setattr(describe, "target_config", faulty)
    source = write_folder(tmp_path / "net", conv_model(), preprocessing=RGB)
    with pytest.raises(ToolError, match=r"bug in the converter.*GRAY888p") as caught:
        converter.convert(source, "rvc2", output=tmp_path / "a.tar", options=QUICK)
    assert [finding.code for finding in caught.value.findings] == ["camera.dai-type-unknown"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net"]

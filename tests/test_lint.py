"""Lint finds what each code's examples show, and nothing else in good archives; codes are declared once."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from converter.checks.registry import RULES, checks
from converter.checks.subject import Side
from converter.codes import BASES, Example, codes
from converter.findings import Finding, Severity
from converter.linter import lint
from tests.archives import BUILDERS, build

ROOT = Path(__file__).parent.parent
SEVERITIES = list(Severity)
# What the variables of codes that are put together stand for.
PARTS = {
    "kind": ("input", "output"),
    "name": ("mean", "scale"),
    "key": ("dtype", "shape"),
    "target": ("rvc2", "rvc3"),
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
        Side.SOURCE if example.of.startswith("onnx") else Side.TARGET for example in check.code.failing
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
        "onnx-twice": {"input.twice-in-model", "output.twice-in-model"},
        "onnx-unused": {"model.unused-input"},
        "onnx-through": {"model.input-is-output"},
        "rvc2-old": {"model.blob-version"},
        "rvc3-superblob": {"camera.superblob-rvc3"},
    }
    codes_found = {finding.code for finding in found(Example(of=name), tmp_path)}
    assert codes_found == meant.get(name, set())


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
MAKERS = {"_finding": 0, "_refused": 0, "as_finding": 1}


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
                options = [""]
                for part in parts:
                    if isinstance(part, ast.Constant):
                        words: tuple[str, ...] = (str(part.value),)
                    else:
                        assert isinstance(part, ast.FormattedValue)
                        words = PARTS[ast.unparse(part.value)]
                    options = [option + word for option in options for word in words]
                yield from options
            case ast.Name() | ast.Constant() | ast.JoinedStr():
                assert name != "Finding" or isinstance(value, ast.Name)


def test_rules_give_declared_codes_only() -> None:
    assert {code for rule in RULES for code in rule.codes} <= set(codes())

"""The list of mutants does not rot: each text is there once, each edit is Python, each test exists."""

from __future__ import annotations

import ast
import re

import pytest

from tests.mutants.run import ROOT, Result, cases_of, outcome_of, page
from tests.mutants.table import MUTANTS, Mutant

EACH = pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)


@EACH
def test_the_text_of_a_mutant_is_in_its_file_exactly_once(mutant: Mutant) -> None:
    assert (ROOT / mutant.file).read_text().count(mutant.before) == 1


@EACH
def test_an_edit_is_python_and_changes_what_the_file_does(mutant: Mutant) -> None:
    before = (ROOT / mutant.file).read_text()
    after = before.replace(mutant.before, mutant.after)
    assert ast.dump(ast.parse(before)) != ast.dump(ast.parse(after))


@EACH
def test_the_tests_of_a_mutant_are_there(mutant: Mutant) -> None:
    assert mutant.tests
    for test in mutant.tests:
        file, _, name = test.partition("::")
        function = re.escape(name.partition("[")[0])
        assert re.search(rf"^def {function}\(", (ROOT / file).read_text(), re.MULTILINE), test


def test_mutants_have_names_of_their_own_and_say_what_they_do_to_a_user() -> None:
    names = [mutant.name for mutant in MUTANTS]
    assert len(set(names)) == len(names) >= 22
    assert len({(mutant.file, mutant.before, mutant.after) for mutant in MUTANTS}) == len(MUTANTS)
    for mutant in MUTANTS:
        assert re.fullmatch(r"[a-z0-9-]+", mutant.name)
        assert re.fullmatch(r"[^|\n]+\.", mutant.harm), mutant.name


def made(*tests: str) -> Mutant:
    return Mutant(name="m", file="f.py", before="a", after="b", tests=tests, harm="None.")


def test_only_a_failed_assertion_of_every_named_test_kills_a_mutant() -> None:
    one, two = "tests/a.py::test_x", "tests/a.py::test_y"
    asserted = {"asserted": [f"{one}[1]", two]}
    assert outcome_of(made(one, two), asserted) == "killed"
    assert outcome_of(made(one, "tests/a.py::test_z"), asserted) == "SURVIVED tests/a.py::test_z"
    assert outcome_of(made(one), {"passed": [one]}) == f"SURVIVED {one}"
    assert outcome_of(made(one), {"broken": ["tests/a.py"]}) == "broken: tests/a.py"
    assert cases_of(one, [f"{one}_and_more", f"{one}[a]", one]) == [f"{one}[a]", one]


def test_the_page_has_a_row_for_each_result() -> None:
    result = Result(mutant=made("tests/unit/test_a.py::test_x"), outcome="killed", seconds=1.25)
    written = page({7: result}, 9.0)
    assert "1 of 1 killed in 9 s" in written
    assert "| 7 | m | `f.py` | None. | `test_a.py::test_x` | killed | 1.2 |" in written

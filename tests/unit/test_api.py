"""The Python face: small, typed, light to import, and callable whatever was imported before."""

from __future__ import annotations

import dataclasses
import doctest
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import converter
from converter.errors import ConvertError
from tests.sources import DIGITS_ARCHIVE


def test_the_public_names_are_these_and_keep_their_meaning() -> None:
    """A submodule of the same name would take a function's place once it is imported."""
    for module in pkgutil.iter_modules(converter.__path__):
        importlib.import_module(f"converter.{module.name}")
        assert module.name not in converter.__all__
    assert converter.__all__ == [
        "Client",
        "Conversion",
        "ConvertError",
        "Difference",
        "Plan",
        "convert",
        "diff",
        "lint",
        "open_archive",
        "plan",
        "preview",
        "verify_archive",
    ]
    for name in converter.__all__:
        assert callable(getattr(converter, name))


def test_importing_the_package_costs_nothing() -> None:
    code = "import sys, converter; print([m for m in ('numpy', 'onnx', 'yaml', 'luxonis_ml') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_shell_shows_the_api_before_it_is_loaded() -> None:
    code = "import converter; print(sorted({*converter.__all__} - {*dir(converter)}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_plan_and_a_conversion_show_themselves_in_a_few_lines(tmp_path: Path) -> None:
    plan = converter.plan(DIGITS_ARCHIVE, "rvc2")
    assert repr(plan).splitlines() == [
        f"<Plan {plan.hash[:12]}: digits.onnx for rvc2, native toolchain",
        "  input image float32 [1, 3, 32, 32] NCHW",
        "  output scores float32 [1, 10] NC",
        "  steps: prepare, compile, verify, pack>",
    ]
    done = converter.convert(DIGITS_ARCHIVE, "rvc2", output=tmp_path / "out.tar")
    first, second = repr(done).splitlines()
    assert first.startswith(f"<Conversion {tmp_path}/out.tar: rvc2, ")
    assert second.startswith("  verification: passed on ")
    skipped = dataclasses.replace(done, verification={"status": "skipped"}, warnings=("one", "two"))
    assert repr(skipped).splitlines()[1:] == ["  verification: skipped", "  warnings: 2>"]


def test_it_is_typed_and_every_public_thing_has_a_docstring() -> None:
    assert (Path(converter.__file__).parent / "py.typed").is_file()
    for name in converter.__all__:
        assert getattr(converter, name).__doc__


def test_the_docstrings_examples_hold() -> None:
    assert doctest.testmod(converter).failed == 0


def test_every_error_has_an_exit_code_of_its_own() -> None:
    """The codes of the contract, which scripts branch on."""
    assert {kind.__name__: kind.exit_code for kind in ConvertError.__subclasses__()} == {
        "UsageError": 2,
        "ArchiveError": 3,
        "ModelError": 4,
        "ToolchainError": 5,
        "ToolError": 6,
        "VerificationError": 7,
        "Cancelled": 130,
    }


def test_the_front_end_does_not_import_a_target() -> None:
    """Entry points find them; a third party adds one without touching us."""
    for path in Path(converter.__file__).parent.rglob("*.py"):
        assert "import targets" not in path.read_text(), path
        assert "from targets" not in path.read_text(), path

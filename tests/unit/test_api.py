"""The Python face: small, typed, light to import, and callable whatever was imported before."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import converter
from converter.errors import ConvertError


def test_the_public_names_are_these_and_keep_their_meaning() -> None:
    """A submodule of the same name would take a function's place once it is imported."""
    for module in pkgutil.iter_modules(converter.__path__):
        importlib.import_module(f"converter.{module.name}")
        assert module.name not in converter.__all__
    assert converter.__all__ == [
        "Conversion",
        "ConvertError",
        "Difference",
        "Plan",
        "convert",
        "diff",
        "lint",
        "open_archive",
        "plan",
        "verify_archive",
    ]
    for name in converter.__all__:
        assert callable(getattr(converter, name))


def test_importing_the_package_costs_nothing() -> None:
    code = "import sys, converter; print([m for m in ('numpy', 'onnx', 'yaml', 'luxonis_ml') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_it_is_typed_and_every_public_thing_has_a_docstring() -> None:
    assert (Path(converter.__file__).parent / "py.typed").is_file()
    for name in converter.__all__:
        assert getattr(converter, name).__doc__


def test_the_docstrings_examples_hold() -> None:
    assert doctest.testmod(converter).failed == 0


def test_every_error_has_an_exit_code_of_its_own() -> None:
    codes = [kind.exit_code for kind in ConvertError.__subclasses__()]
    assert sorted(codes) == [2, 3, 4, 5, 6, 7, 130]


def test_the_front_end_does_not_import_a_target() -> None:
    """Entry points find them; a third party adds one without touching us."""
    for path in Path(converter.__file__).parent.rglob("*.py"):
        assert "import targets" not in path.read_text(), path
        assert "from targets" not in path.read_text(), path

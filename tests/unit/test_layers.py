"""Who may import whom: layers, no circles, targets apart. Read from the sources, nothing is imported.

What counts as an import: every `import` statement, at the head of a file, inside a function or under
TYPE_CHECKING. Inside a function it makes a file no less dependent; under TYPE_CHECKING it shows where a
name belongs. Left out are the packages that Python imports on the way (`converter.archive` for
`converter.archive.tar`), and modules named by strings: entry points, functions for a child process, the
lazy names of `converter/__init__.py`, which is the face of all and in no layer.

A room is a file of `converter/` or a folder of it with its files: see `room_of`.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

# From low to high. A room may import what is below it; rooms side by side may not import each other.
LAYERS: tuple[tuple[str, ...], ...] = (
    (
        *("arguments", "digests", "events", "findings", "html"),
        *("preprocessing", "profile", "resources", "system"),
    ),
    ("errors", "formats", "model", "notebook"),
    ("archive", "artifact", "backend", "graph", "options", "processes", "storage"),
    ("feeding", "plans"),
    ("target", "told"),
    ("cache", "cameras", "container", "pinned_wheel", "sources", "where_it_runs"),
    ("calibration", "config", "yolo"),
    ("bare", "unchanged", "verification"),
    ("modelconverter",),
    ("build_record", "drawing", "open_source", "target_archive"),
    ("checks", "doctor", "inspect", "report_page"),
    ("comparison", "conversion"),
    ("run",),
    ("jobs", "recheck"),
    ("analysis", "client", "photo_preview", "service", "zoo"),
    ("cli",),
)

# The imports that run upwards today. Take one away when it goes; a new one wants a better place instead.
UPWARD = {
    # An option may be written as a key of ModelConverter's, and a file may be one of its files.
    ("converter.options.files", "converter.modelconverter.document"),
    ("converter.options.resolve", "converter.modelconverter.keys"),
    ("converter.options.remedies", "converter.modelconverter.keys"),
    # The type of what a target's image is made of; under TYPE_CHECKING.
    ("converter.target", "converter.container.build"),
}

# The app registers the commands, and they use what the package has for printing: opened in functions.
CLI = {
    "converter.cli",
    "converter.cli.analyze",
    "converter.cli.app",
    "converter.cli.cache",
    "converter.cli.commands",
    "converter.cli.convert",
    "converter.cli.diff",
    "converter.cli.init",
    "converter.cli.inspect",
    "converter.cli.lint",
    "converter.cli.preview",
    "converter.cli.profile",
    "converter.cli.remote",
    "converter.cli.serve",
    "converter.cli.zoo",
}

# Which rooms of `targets/` a target may use beside its own.
SHARED = {"rvc2": {"openvino"}, "rvc3": {"openvino"}}
# The service's answer is held against RVC2's reader.
ACROSS = {("targets.openvino.online", "targets.rvc2.blob.read")}

# Values that everybody uses: nothing but the standard library and each other as they are loaded.
PURE = {
    f"converter.{name}"
    for name in ("arguments", "errors", "events", "findings", "model", "preprocessing")
}


@dataclass(frozen=True, kw_only=True)
class Import:
    """An import statement.

    Attributes:
        lazy: Whether it is inside a function.
        typing: Whether it is under TYPE_CHECKING, so that it never runs.
    """

    importer: str
    imported: str
    lazy: bool
    typing: bool

    @property
    def runs_at_once(self) -> bool:
        """Whether loading the importer carries it out."""
        return not (self.lazy or self.typing)


Sources = Mapping[str, str]


def sources() -> dict[str, str]:
    """The text of every module of both packages, by its name."""
    found = {}
    for path in (*ROOT.glob("converter/**/*.py"), *ROOT.glob("targets/**/*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text()
    return found


@cache
def _statements(text: str) -> tuple[tuple[ast.Import | ast.ImportFrom, bool, bool], ...]:
    """The import statements of a file, each with whether it is lazy and whether it is for types."""

    def walk(node: ast.AST, lazy: bool, typing: bool) -> Iterator[tuple[Any, bool, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import | ast.ImportFrom):
                yield child, lazy, typing
            elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                yield from walk(ast.Module(child.body, []), lazy, True)
                yield from walk(ast.Module(child.orelse, []), lazy, typing)
            else:
                inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                yield from walk(child, lazy or inside, typing)

    return tuple(walk(ast.parse(text), False, False))


def imports_of(importer: str, texts: Sources) -> Iterator[Import]:
    """The imports of one module; a name that is a module of ours counts as that module."""
    for node, lazy, typing in _statements(texts[importer]):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            base = _absolute(importer, node, texts)
            inside = [f"{base}.{alias.name}" for alias in node.names]
            names = [name if name in texts else base for name in inside]
        for name in names:
            yield Import(importer=importer, imported=name, lazy=lazy, typing=typing)


def _absolute(importer: str, node: ast.ImportFrom, texts: Sources) -> str:
    """The module of a `from … import`, dots in front resolved."""
    if not node.level:
        return str(node.module)
    is_package = any(name.startswith(f"{importer}.") for name in texts)
    parts = importer.split(".")
    base = parts[: len(parts) - node.level + is_package]
    return ".".join([*base, *([node.module] if node.module else [])])


def all_imports(texts: Sources) -> list[Import]:
    """The imports between modules of ours."""
    found = [one for name in texts for one in imports_of(name, texts)]
    return [one for one in found if one.imported in texts and one.imported != one.importer]


def room_of(module: str) -> str:
    """`archive` for converter.archive.tar, `errors` for converter.errors; rvc2 for targets.rvc2.steps."""
    return [*module.split("."), ""][1]


def circles(edges: Mapping[str, set[str]]) -> list[set[str]]:
    """The groups that import each other, directly or by others (Tarjan's strong components)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[set[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in edges.get(name, set()):
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            group = set(stack[stack.index(name) :])
            del stack[stack.index(name) :]
            if len(group) > 1:
                found.append(group)

    for name in edges:
        if name not in index:
            visit(name)
    return found


# ------------------------------------------------------------------ rules


def circles_of_files(texts: Sources) -> list[str]:
    """Files that import each other, wherever the import stands; the command line may, in functions."""
    edges: dict[str, set[str]] = {}
    at_once: dict[str, set[str]] = {}
    for one in all_imports(texts):
        edges.setdefault(one.importer, set()).add(one.imported)
        if one.runs_at_once:
            at_once.setdefault(one.importer, set()).add(one.imported)
    found = circles(at_once) + [group for group in circles(edges) if not group <= CLI]
    return sorted({f"a circle: {', '.join(sorted(group))}" for group in found})


def upward_imports(texts: Sources) -> list[str]:
    """Imports of `converter` that do not go down, rooms without a layer, and exceptions of the past."""
    height = {room: at for at, rooms in enumerate(LAYERS) for room in rooms}
    used = set()
    problems = [
        f"{module}: the room {room_of(module)} is in no layer"
        for module in texts
        if module.startswith("converter.") and room_of(module) not in height
    ]
    for one in all_imports(texts):
        if not (one.importer.startswith("converter.") and one.imported.startswith("converter.")):
            continue
        low, high = room_of(one.importer), room_of(one.imported)
        if low == high or height.get(low, 99) > height.get(high, -1):
            continue
        if (one.importer, one.imported) in UPWARD:
            used.add((one.importer, one.imported))
        else:
            problems.append(f"{one.importer} imports {one.imported}, which is not below it")
    problems += [f"{low} no longer imports {high}: drop it here" for low, high in sorted(UPWARD - used)]
    return sorted(set(problems))


def circles_of_rooms(texts: Sources) -> list[str]:
    """Rooms that import each other, the imports in UPWARD and ACROSS left out."""
    edges: dict[str, set[str]] = {}
    for one in all_imports(texts):
        if (one.importer, one.imported) in UPWARD | ACROSS or one.importer in ("converter", "targets"):
            continue
        low, high = (".".join(name.split(".")[:2]) for name in (one.importer, one.imported))
        if low != high:
            edges.setdefault(low, set()).add(high)
    return [f"a circle: {', '.join(sorted(group))}" for group in circles(edges)]


def targets_out_of_place(texts: Sources) -> list[str]:
    """Imports of a target by the front end, or by another target."""
    problems = []
    for one in all_imports(texts):
        if not one.imported.startswith("targets."):
            continue
        if one.importer.startswith("converter"):
            problems.append(f"{one.importer} imports {one.imported}: entry points find targets")
            continue
        own, other = room_of(one.importer), room_of(one.imported)
        may = {own, *SHARED.get(own, set())}
        if other not in may and (one.importer, one.imported) not in ACROSS:
            problems.append(f"{one.importer} imports {one.imported}, of another target")
    return problems


def weight_on_pure_modules(texts: Sources) -> list[str]:
    """What the pure modules load beside the standard library and each other."""
    problems = []
    for module in sorted(PURE):
        for one in imports_of(module, texts):
            is_ours = one.imported.startswith(("converter", "targets"))
            if is_ours and one.imported not in PURE:
                problems.append(f"{module} imports {one.imported}, which is not pure")
            top = one.imported.partition(".")[0]
            if one.runs_at_once and not is_ours and top not in sys.stdlib_module_names:
                problems.append(f"{module} loads {one.imported}")
    return problems


RULES = (
    circles_of_files,
    circles_of_rooms,
    upward_imports,
    targets_out_of_place,
    weight_on_pure_modules,
)


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    return sources()


def test_there_is_something_to_look_at(texts: dict[str, str]) -> None:
    assert {"converter", "converter.archive.tar", "targets.rvc4.dlc.read"} <= set(texts)
    assert len(all_imports(texts)) > 300


def test_no_files_import_each_other(texts: dict[str, str]) -> None:
    assert circles_of_files(texts) == []


def test_no_rooms_import_each_other(texts: dict[str, str]) -> None:
    assert circles_of_rooms(texts) == []


def test_imports_go_down_the_layers(texts: dict[str, str]) -> None:
    assert upward_imports(texts) == []


def test_the_front_end_imports_no_target_and_no_target_another_one(texts: dict[str, str]) -> None:
    assert targets_out_of_place(texts) == []


def test_pure_modules_load_nothing(texts: dict[str, str]) -> None:
    assert weight_on_pure_modules(texts) == []


# ------------------------------------------- the rules find what they are for

LAZY = "\ndef later():\n    "
TYPING = "\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    "


@pytest.mark.parametrize("how", ["\n", LAZY, TYPING], ids=["at once", "in a function", "for types"])
@pytest.mark.parametrize(
    ("module", "line", "said"),
    [
        ("converter.digests", "from converter import run", "converter.run, which is not below it"),
        ("converter.archive.tar", "import converter.options.resolve", "is not below it"),
        ("converter.feeding", "from converter.plans import Plan", "is not below it"),
        ("converter.run", "from targets.rvc4.dlc import read", "entry points find targets"),
        ("converter.errors", "import targets.openvino.ir", "entry points find targets"),
        ("targets.rvc3.steps", "from targets.rvc2 import steps", "of another target"),
        ("targets.rvc4.qnn", "from targets.openvino.ir import x", "of another target"),
        ("targets.openvino.ir", "from targets.rvc2.blob.read import read_blob", "of another target"),
        ("converter.findings", "from converter.options.resolve import Options", "which is not pure"),
        ("converter.archive.tar", "from converter.archive import opened", "a circle: "),
        ("targets.rvc4.dlc.read", "from targets.rvc4.dlc import check", "a circle: "),
    ],
)
def test_a_forbidden_import_is_found_wherever_it_stands(
    texts: dict[str, str], module: str, line: str, said: str, how: str
) -> None:
    changed = {**texts, module: texts[module] + how + line + "\n"}
    problems = [problem for rule in RULES for problem in rule(changed)]
    assert any(said in problem for problem in problems), problems


@pytest.mark.parametrize("library", ["numpy", "onnx.helper", "yaml", "luxonis_ml.nn_archive"])
def test_a_library_in_a_pure_module_is_found_and_in_a_function_is_allowed(
    texts: dict[str, str], library: str
) -> None:
    name = "converter.model"
    changed = {**texts, name: f"{texts[name]}\nimport {library}\n"}
    assert weight_on_pure_modules(changed) == [f"{name} loads {library}"]
    later = {**texts, name: f"{texts[name]}{LAZY}import {library}\n"}
    assert weight_on_pure_modules(later) == []


def test_a_new_room_wants_a_layer_and_an_exception_goes_with_its_import(texts: dict[str, str]) -> None:
    grown = {**texts, "converter.novel.queue": "from converter.plans import Plan\n"}
    assert upward_imports(grown) == ["converter.novel.queue: the room novel is in no layer"]
    mended = {**texts, "converter.target": ""}
    assert upward_imports(mended) == [
        "converter.target no longer imports converter.container.build: drop it here"
    ]


def test_the_command_line_may_go_in_circles_in_functions_only(texts: dict[str, str]) -> None:
    name = "converter.cli"
    changed = {**texts, name: f"{texts[name]}\nfrom converter.cli import commands\n"}
    assert any("converter.cli.commands" in problem for problem in circles_of_files(changed))
    changed = {**texts, name: f"{texts[name]}{LAZY}from converter.cli import commands\n"}
    assert circles_of_files(changed) == []


def test_relative_imports_count() -> None:
    texts = {
        "converter": "",
        "converter.a": "from . import b",
        "converter.b": "from .c.d import e",
        "converter.c": "",
        "converter.c.d": "from ..a import f\nfrom . import d",
    }
    assert circles_of_files(texts) == ["a circle: converter.a, converter.b, converter.c.d"]

"""The pages that are made of the project's own data, as the site is built: a hook of mkdocs.

Nothing of them is committed: `options.md` comes out of `configs/options.yaml`, `errors.md` out of
`configs/codes.yaml` and the classes of errors, `measured.md` out of the tables of the benchmarks.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Final

from converter import errors
from converter.checks.codes import Code, codes
from converter.checks.registry import checks
from converter.options.declared import Spec, Value, configs, specs

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

RESULTS: Final = Path(__file__).parent.parent / "tests" / "benchmarks" / "results"
_GROUPS: Final = {
    "": "Any target",
    "inputs": "Inputs, by name",
    "outputs": "Outputs, by name",
    "rvc2": "RVC2",
    "rvc3": "RVC3",
    "rvc4": "RVC4",
    "calibration": "Calibration data",
    "container": "Containers",
    "online": "The online service",
    "verify": "Verification",
    "cache": "The cache of results",
}
_FINDINGS: Final = {
    "archive": "The archive",
    "config": "config.json",
    "model": "The model's file",
    "input": "Inputs",
    "output": "Outputs",
    "tensor": "Tensors",
    "camera": "What a camera takes",
    "head": "Heads",
    "compiled": "The compiled file",
    "option": "Options",
    "calibration": "Calibration data",
    "verify": "The comparison with the source",
    "encodings": "Encodings",
    "rvc2": "RVC2",
    "rvc3": "RVC3",
    "rvc4": "RVC4",
    "snpe": "SNPE",
    "compile-tool": "compile_tool",
    "online": "The online service",
    "source": "OpenVINO IR and TFLite",
    "ir": "The IR that a compiler gets",
    "init": "init and bare models",
    "modelconverter": "ModelConverter's files",
    "zoo": "The zoo: manifest, gate, published folder",
    "hub": "The service: the official client's requests",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Put the generated pages among those that are written."""
    from mkdocs.structure.files import File

    for name, page in PAGES.items():
        files.append(File.generated(config, name, content=page()))
    return files


def options_page() -> str:
    """Every declared option; `spec.key` is its anchor."""
    return "\n".join(_options())


def _options() -> Iterator[str]:
    yield "# Options\n"
    yield "What can be set, its default and its bounds. What is set where, and by whom:\n"
    yield "```bash\nnnconvert plan --target rvc2 digits.tar.xz --explain\n```\n"
    yield (
        "An option is given as `KEY VALUE` or `KEY=VALUE` behind the source, in a YAML or JSON file "
        "with `--config`, or by a `--preset`; in Python as `options={KEY: VALUE}`. The command line "
        "wins over the file, the file over the preset. In a key, `NAME` stands for the name of an "
        "input or output, and `*` for each one that is not named.\n"
    )
    yield f"Presets: {', '.join(f'`{name}`' for name in _presets())}.\n"
    yield "This page is made of `configs/options.yaml`.\n"
    for group, of_group in groupby(sorted(_declared(), key=_place), key=_group):
        yield f"## {_GROUPS[group]} {{ #{group or 'any'}-options }}\n"
        for spec in of_group:
            yield f"### `{spec.key}` {{ #{spec.key} }}\n"
            yield f"{_text(spec.help)}\n"
            targets = ", ".join(spec.targets) or "all"
            unit = f" ({spec.unit})" if spec.unit else ""
            yield f"- takes: {_text(spec.kind)}{unit}"
            yield f"- default: {_default(spec.default)}"
            yield f"- targets: {targets}\n"


def _declared() -> list[Spec]:
    """Our own: a target of somebody else's, if one is installed here, has pages of its own."""
    return [spec for spec in specs() if _group(spec) in _GROUPS]


def _group(spec: Spec) -> str:
    first, dot, _ = spec.key.partition(".")
    return first if dot else ""


def _place(spec: Spec) -> int:
    return list(_GROUPS).index(_group(spec))


def _presets() -> list[str]:
    return sorted(path.stem for path in (configs() / "presets").glob("*.yaml"))


def _default(value: Value) -> str:
    if value is None:
        return "none; see above"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`{','.join(map(str, value))}`" if value else "none"
    return f"`{value}`"


def errors_page() -> str:
    """The exit codes, and every code of a finding; the code is its anchor."""
    return "\n".join(_errors())


def _errors() -> Iterator[str]:
    yield "# Errors\n"
    yield "What an exit code says, and what each code of a finding stands for. One at a shell:\n"
    yield "```bash\nnnconvert lint --explain archive.config-name\n```\n"
    yield "This page is made of `converter/errors.py` and `configs/codes.yaml`.\n"
    yield "## Exit codes\n"
    yield "| exit code | in Python | what it says |\n|---|---|---|"
    yield "| 0 | | Done. |"
    yield "| 1 | another one | A fault of the converter itself; of `nnconvert diff`, a difference. |"
    gate = (8, "", "The gate of a zoo build says no.")
    kinds = [
        (kind.exit_code, f"`{kind.__name__}`", (inspect.getdoc(kind) or "").splitlines()[0])
        for kind in errors.ConvertError.__subclasses__()
    ]
    for code, kind, line in sorted([*kinds, gate]):
        yield f"| {code} | {kind} | {_text(line)} |"
    yield (
        "\n`nnconvert diff` says 2 for whatever keeps it from comparing, as diff(1) does. With "
        '`--json` a failure prints `{"error": …}`; `--debug` adds the traceback and the tool\'s own '
        "words.\n"
    )
    yield "## Findings\n"
    yield (
        "The severity is the worst that a finding of that code has. What lint does not find comes up "
        "while a conversion is planned or carried out.\n"
    )
    order = list(_FINDINGS)
    for group, found in groupby(
        sorted(codes().values(), key=lambda code: order.index(_area(code))), key=_area
    ):
        yield f"### {_FINDINGS[group]} {{ #{group}-findings }}\n"
        for code in found:
            yield from _code(code)


def _area(code: Code) -> str:
    return code.code.partition(".")[0]


def _code(code: Code) -> Iterator[str]:
    yield f"#### `{code.code}` {{ #{code.code} }}\n"
    others = {"zoo": "zoo", "hub": "serve"}.get(_area(code), "plan and convert")
    finder = "lint" if code.code in checks() else others
    yield f"**{code.severity.value}**, found by {finder}.\n"
    yield f"- cause: {_text(code.cause)}"
    yield f"- why: {_text(code.why)}"
    yield f"- remedy: {_text(code.remedy)}"
    for kind, examples in (("found in", code.failing), ("not found in", code.passing)):
        for example in examples:
            yield f"- {kind}: {_text(example.in_words)}"
    yield ""


def measured_page() -> str:
    """The tables that the benchmarks wrote, one below the other."""
    return "\n".join(_measured())


def _measured() -> Iterator[str]:
    yield "# What was measured\n"
    yield (
        "Speed, memory, coverage and accuracy, as the benchmarks of this repository wrote them down: "
        "on a computer, never on a camera. To measure again, in a checkout:\n"
    )
    yield "<!-- not run: it takes hours -->\n```bash\nnox -s benchmarks\n```\n"
    for path in sorted(RESULTS.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        lines = [f"#{line}" if re.match("#+ ", line) else line for line in text.splitlines()]
        lines[0] += f" {{ #{path.stem} }}"
        yield "\n".join(lines) + "\n"


def _text(text: str) -> str:
    """Words in which Markdown finds nothing of its own."""
    return re.sub(r"([\\`*_{}\[\]<>|])", r"\\\1", " ".join(text.split()))


PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "options.md": options_page,
    "errors.md": errors_page,
    "measured.md": measured_page,
}

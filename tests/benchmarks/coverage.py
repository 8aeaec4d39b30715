"""Which models convert for RVC2 and compute what they should: `python -m tests.benchmarks.coverage`.

Every model goes through `converter.convert` with verification on, so "verified" means that the
network which was compiled computed what ONNX Runtime computes on the source. The models are the
backend tests of the onnx wheel and exports of `nets.py`, which needs torch and onnxscript.
"""

from __future__ import annotations

import argparse
import contextlib
import fnmatch
import io
import json
import platform
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import onnx
from onnx import numpy_helper

from converter import convert
from converter.errors import ConvertError, VerificationError
from converter.graph.facts import read_facts

_RESULTS: Final = Path(__file__).parent / "results"
_PACKAGES: Final = ("onnx", "onnxslim", "onnxruntime", "onnx-ir", "numpy", "torch", "onnxscript")
_LEGACY_OPSETS: Final = range(11, 19)
_DYNAMO_OPSET: Final = 18
_BACKEND_GROUPS: Final = ("pytorch-converted", "pytorch-operator")
# Every kernel of the light models is one constant. In this one that makes all logits 7e9, so that its
# softmax is rounding noise: ONNX Runtime does not agree with itself from one optimization level to
# the next. It gets random kernels.
_DEGENERATE: Final = ("light_squeezenet",)

Status = Literal["verified", "wrong", "refused", "not exported"]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model to convert; `write` puts the ONNX file where it is told."""

    group: str
    name: str
    variant: str
    write: Callable[[Path], None]

    @property
    def title(self) -> str:
        return f"{self.name} {self.variant}".strip()


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a case.

    Attributes:
        rel_rmse: The worst over the outputs.
        message: What the user sees of the error.
    """

    group: str
    name: str
    variant: str
    status: Status
    seconds: float
    rel_rmse: float | None = None
    error: str = ""
    exit_code: int = 0
    message: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return f"{self.name} {self.variant}".strip()


# --------------------------------------------------------------------- cases


def backend_cases() -> Iterator[Case]:
    """The models that the onnx wheel carries for testing backends."""
    spec = find_spec("onnx")
    assert spec is not None
    assert spec.origin is not None
    data = Path(spec.origin).parent / "backend" / "test" / "data"
    for path in sorted((data / "light").glob("*.onnx")):
        write = _reweighter(path) if path.stem in _DEGENERATE else _copier(path)
        yield Case(group="light", name=path.stem, variant="", write=write)
    for group in _BACKEND_GROUPS:
        for path in sorted((data / group).glob("*/model.onnx")):
            yield Case(group=group, name=path.parent.name, variant="", write=_copier(path))


def _copier(source: Path) -> Callable[[Path], None]:
    return lambda target: target.write_bytes(source.read_bytes()) and None


def _reweighter(source: Path) -> Callable[[Path], None]:
    """The model with random kernels (He's variance, a fixed seed) where it has one constant."""

    def write(target: Path) -> None:
        model = onnx.load(source)
        stored = {tensor.name: tensor for tensor in model.graph.initializer}
        rng = np.random.default_rng(0)
        for node in list(model.graph.node):
            if node.op_type != "ConstantOfShape":
                continue
            shape = [int(size) for size in numpy_helper.to_array(stored[node.input[0]])]
            if len(shape) > 1:
                values = rng.standard_normal(shape) * (2 / np.prod(shape[1:])) ** 0.5
                tensor = numpy_helper.from_array(values.astype(np.float32), node.output[0])
                model.graph.initializer.append(tensor)
                model.graph.node.remove(node)
        model.ir_version = max(model.ir_version, 4)  # before, weights had to be inputs as well
        onnx.save(model, target)

    return write


def torch_cases() -> Iterator[Case]:
    """Every net of `nets.py`, by each exporter."""
    from tests.benchmarks.nets import NETS

    for name in NETS:
        for opset in _LEGACY_OPSETS:
            yield Case(
                group="torch",
                name=name,
                variant=f"opset {opset}",
                write=_exporter(name, opset, dynamo=False),
            )
        yield Case(
            group="torch",
            name=name,
            variant=f"dynamo {_DYNAMO_OPSET}",
            write=_exporter(name, _DYNAMO_OPSET, dynamo=True),
        )


def _exporter(name: str, opset: int, *, dynamo: bool) -> Callable[[Path], None]:
    def write(target: Path) -> None:
        from tests.benchmarks.nets import export

        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            export(name, opset, target, dynamo=dynamo)

    return write


# ----------------------------------------------------------------- converting


def write_config(folder: Path, name: str) -> None:
    """Make an archive folder of a folder with `model.onnx`: raw inputs, no heads."""
    facts = read_facts(folder / "model.onnx", name)
    inputs = [
        {
            "name": item.name,
            "dtype": item.dtype,
            "input_type": "raw",
            "shape": [size if isinstance(size, int) else 1 for size in item.shape or ()],
            # The first axis is the batch in all of these, and some have more than one.
            "layout": "NCDEFGH"[: len(item.shape or ())] or None,
            "preprocessing": {},
        }
        for item in facts.inputs
    ]
    outputs = [{"name": item.name, "dtype": item.dtype} for item in facts.outputs]
    config = {
        "config_version": "1.0",
        "model": {
            "metadata": {"name": name, "path": "model.onnx"},
            "inputs": inputs,
            "outputs": outputs,
            "heads": [],
        },
    }
    (folder / "config.json").write_text(json.dumps(config))


def attempt(case: Case) -> Outcome:
    """Convert one model, in a folder that is gone afterwards."""
    started = time.monotonic()

    def outcome(status: Status, **more: Any) -> Outcome:
        seconds = round(time.monotonic() - started, 2)
        return Outcome(
            group=case.group,
            name=case.name,
            variant=case.variant,
            status=status,
            seconds=seconds,
            **more,
        )

    with tempfile.TemporaryDirectory(prefix="coverage-") as name:
        folder = Path(name) / "archive"
        folder.mkdir()
        try:
            case.write(folder / "model.onnx")
        except Exception as error:
            return outcome("not exported", error=type(error).__name__, message=_one_line(error))
        write_config(folder, case.name)
        started = time.monotonic()
        try:
            done = convert(folder, "rvc2", output=Path(name) / "out.tar")
        except VerificationError as error:
            figures = json.loads(error.tool_text)["outputs"]
            return outcome("wrong", rel_rmse=_worst(figures), **_told(error))
        except ConvertError as error:
            return outcome("refused", **_told(error))
        except Exception as error:
            return outcome("refused", error=type(error).__name__, message=_one_line(error))
    worst = _worst(done.verification["outputs"])
    return outcome("verified", rel_rmse=worst, warnings=tuple(done.warnings))


def _told(error: ConvertError) -> dict[str, Any]:
    """An error as the user meets it: its message, then each finding where there are several."""
    lines = [str(error)]
    if len(error.findings) > 1:
        lines += [str(finding) for finding in error.findings]
    return {
        "error": type(error).__name__,
        "exit_code": error.exit_code,
        "message": "\n".join(line.replace(tempfile.gettempdir(), "<tmp>") for line in lines),
    }


def _one_line(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:300]


def _worst(figures: Mapping[str, Mapping[str, Any]]) -> float | None:
    errors = [row["rel_rmse"] for row in figures.values()]
    return None if not errors or None in errors else float(max(errors))


# --------------------------------------------------------------------- report


def versions() -> dict[str, str]:
    """What the figures depend on."""
    from targets.rvc2.toolchain import OPENVINO

    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found | {"OpenVINO": OPENVINO}


def report(outcomes: Sequence[Outcome], date: str, used: Mapping[str, str]) -> str:
    """The whole result as Markdown."""
    parts = [
        "# RVC2 coverage",
        f"Written by `tests/benchmarks/coverage.py` on {date}. "
        + ", ".join(f"{name} {number}" for name, number in used.items())
        + ".",
        "Verified: the network that was compiled computes what ONNX Runtime computes on the source "
        "(the compiler's own CPU plugin, float32; not on a camera). Wrong: it compiled, the "
        "comparison failed, and nothing was written. "
        f"With random kernels instead of constant ones: {', '.join(_DEGENERATE)}.",
        _summary(outcomes),
    ]
    if any(item.group == "torch" for item in outcomes):
        parts += ["## Exports from PyTorch", _families(outcomes)]
    for status, title in (
        ("wrong", "Compiled, but wrong"),
        ("refused", "Refused"),
        ("not exported", "Not exported: PyTorch itself has no such export"),
    ):
        if chosen := [item for item in outcomes if item.status == status]:
            parts += [f"## {title}", "\n".join(_failure(item) for item in chosen)]
    if noted := [item for item in outcomes if item.warnings]:
        parts += [
            "## Converted with a warning",
            "\n".join(f"- {item.title}: {' '.join(item.warnings)}" for item in noted),
        ]
    return "\n\n".join(parts) + "\n"


def _summary(outcomes: Sequence[Outcome]) -> str:
    rows = []
    for group in dict.fromkeys(item.group for item in outcomes):
        chosen = [item for item in outcomes if item.group == group]
        count = Counter(item.status for item in chosen)
        total = len(chosen) - count["not exported"]
        worst = max((item.rel_rmse or 0 for item in chosen if item.status == "verified"), default=0)
        seconds = sum(item.seconds for item in chosen)
        rows.append(
            (
                group, f"{count['verified']}/{total}", count["wrong"], count["refused"],
                f"{worst:.1e}", f"{seconds:.0f}",
            )
        )  # fmt: skip
    heads = ("models", "verified", "wrong", "refused", "worst relative RMSE", "seconds")
    return _table(heads, rows)


def _families(outcomes: Sequence[Outcome]) -> str:
    marks = {"verified": "✓", "wrong": "**wrong**", "refused": "**refused**", "not exported": "–"}
    chosen = [item for item in outcomes if item.group == "torch"]
    variants = list(dict.fromkeys(item.variant for item in chosen))
    found = {(item.name, item.variant): marks[item.status] for item in chosen}
    rows = [
        (name, *(found.get((name, variant), "") for variant in variants))
        for name in dict.fromkeys(item.name for item in chosen)
    ]
    return _table(("net", *variants), rows)


def _table(heads: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _failure(item: Outcome) -> str:
    what = item.error if not item.exit_code else f"{item.error}, exit code {item.exit_code}"
    return f"- **{item.title}** ({what}): {item.message}".replace("\n", "\n  ")


def _merged(last: Mapping[str, Any], fresh: Sequence[Outcome]) -> list[Outcome]:
    """The last results with the fresh ones in their places."""
    by_title = {(item.group, item.title): item for item in fresh}
    kept = [Outcome(**{**row, "warnings": tuple(row["warnings"])}) for row in last["outcomes"]]
    return [by_title.get((item.group, item.title), item) for item in kept]


def main() -> int:
    """Run the sweep; 1 if anything was refused or wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", default="*", help="a pattern for the names, such as 'gru*'")
    parser.add_argument("--without-torch", action="store_true", help="leave nets.py out")
    parser.add_argument("--update", action="store_true", help="keep the other rows of the last results")
    parser.add_argument("--results", type=Path, default=_RESULTS, help="where to write")
    chosen = parser.parse_args()
    cases = list(backend_cases())
    if not chosen.without_torch:
        missing = [name for name in ("torch", "onnxscript") if find_spec(name) is None]
        if missing:
            print(f"{' and '.join(missing)} missing: install, or give --without-torch.")
            return 2
        cases += torch_cases()
    cases = [case for case in cases if fnmatch.fnmatch(case.title, chosen.only)]
    outcomes = []
    for index, case in enumerate(cases, 1):
        done = attempt(case)
        outcomes.append(done)
        figure = f" {done.rel_rmse:.1e}" if done.rel_rmse is not None else ""
        print(
            f"{index}/{len(cases)} {done.status}{figure} {done.seconds:.1f} s  "
            f"{case.group}  {case.title}  {done.message}",
            flush=True,
        )
    if chosen.update:
        outcomes = _merged(json.loads((chosen.results / "coverage-rvc2.json").read_text()), outcomes)
    date, used = datetime.now(UTC).date().isoformat(), versions()
    chosen.results.mkdir(parents=True, exist_ok=True)
    text = report(outcomes, date, used)
    (chosen.results / "coverage-rvc2.md").write_text(text)
    data = {"date": date, "versions": used, "outcomes": [asdict(item) for item in outcomes]}
    (chosen.results / "coverage-rvc2.json").write_text(json.dumps(data, indent=1) + "\n")
    print("\n" + _summary(outcomes))
    for item in outcomes:
        if item.status in ("wrong", "refused"):
            print(_failure(item))
    return int(any(item.status in ("wrong", "refused") for item in outcomes))


if __name__ == "__main__":
    sys.exit(main())

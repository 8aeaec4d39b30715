"""Which models convert and compute what they should: `python -m tests.benchmarks.coverage`.

Every model goes through `converter.convert` with verification on, so "verified" means that the
network which was compiled computed what ONNX Runtime computes on the source. The models are the
backend tests of the onnx wheel and exports of `nets.py`, which needs torch and onnxscript. For RVC4
(`--target rvc4`) each is converted in two modes, on generated calibration data.
"""

from __future__ import annotations

import argparse
import contextlib
import fnmatch
import importlib
import io
import json
import platform
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
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
from converter.events import StageStarted, ignore
from converter.graph.facts import read_facts
from converter.processes.run import Processes, kept_warm
from converter.target import modules_called

_RESULTS: Final = Path(__file__).parent / "results"
_PACKAGES: Final = ("onnx", "onnxslim", "onnxruntime", "onnx-ir", "numpy", "torch", "onnxscript")
_LEGACY_OPSETS: Final[Mapping[str, Sequence[int]]] = {"rvc2": range(11, 19), "rvc4": (11, 17)}
_DYNAMO_OPSET: Final = 18
_BACKEND_GROUPS: Final = ("pytorch-converted", "pytorch-operator")
# Every kernel of the light models is one constant. In this one that makes all logits 7e9, so that its
# softmax is rounding noise: ONNX Runtime does not agree with itself from one optimization level to
# the next. It gets random kernels.
_DEGENERATE: Final = ("light_squeezenet",)
_MODES: Final = ("INT8_STANDARD", "FP16_STANDARD")
_COMPILE_TIMEOUT_S: Final = 300
_RVC4_OPTIONS: Final[Mapping[str, Any]] = {
    "calibration.random": True,
    "calibration.max_images": 4,
    "verify.frames": 1,
    "verify.timeout_s": 120,
    "rvc4.compile_timeout_s": _COMPILE_TIMEOUT_S,
}

Status = Literal["verified", "wrong", "not compared", "refused", "not exported"]
_FAILURES: Final[Sequence[Status]] = ("wrong", "not compared", "refused")


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
        date: When it was converted, where that is not the date of the whole sweep.
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
    date: str = ""

    @property
    def title(self) -> str:
        return f"{self.name} {self.variant}".strip()

    @property
    def key(self) -> tuple[str, ...]:
        """What is the same in two sweeps."""
        return self.group, self.title


@dataclass(frozen=True, kw_only=True)
class HtpOutcome(Outcome):
    """What became of a case in one of RVC4's modes.

    Attributes:
        on_ir: Whether QNN's intermediate representation takes the whole network; None where there
            was no network to give it.
        on_htp: Whether everything but the comparison succeeded.
    """

    mode: str = ""
    on_ir: bool | None = None
    on_htp: bool = False

    @property
    def key(self) -> tuple[str, ...]:
        return *super().key, self.mode


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


def torch_cases(target: str) -> Iterator[Case]:
    """Every net of `nets.py`, by each exporter."""
    from tests.benchmarks.nets import NETS

    for name in NETS:
        for opset in _LEGACY_OPSETS[target]:
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


def attempt(case: Case, target: str) -> Iterator[Outcome]:
    """Convert one model, for RVC4 in each mode, in a folder that is gone afterwards."""
    modes = _MODES if target == "rvc4" else ("",)
    with tempfile.TemporaryDirectory(prefix="coverage-") as name:
        folder = Path(name)
        archive = folder / "archive"
        archive.mkdir()
        started = time.monotonic()
        try:
            case.write(archive / "model.onnx")
        except Exception as error:
            told = {"error": type(error).__name__, "message": _one_line(error)}
            for mode in modes:
                yield _outcome(case, mode, "not exported", started, **told)
            return
        write_config(archive, case.name)
        for mode in modes:
            started = time.monotonic()
            if not mode:
                status, more = _converted(archive, target, folder / "out.tar")
            else:
                status, more = _converted_for_htp(archive, mode, folder / mode)
            yield _outcome(case, mode, status, started, **more)


def _outcome(case: Case, mode: str, status: Status, started: float, **more: Any) -> Outcome:
    shared: dict[str, Any] = {
        "group": case.group,
        "name": case.name,
        "variant": case.variant,
        "status": status,
        "seconds": round(time.monotonic() - started, 2),
        **more,
    }
    return HtpOutcome(mode=mode, **shared) if mode else Outcome(**shared)


def _converted(archive: Path, target: str, output: Path, **how: Any) -> tuple[Status, dict[str, Any]]:
    """Convert with verification; what became of it, and the figures or the error."""
    try:
        done = convert(archive, target, output=output, **how)
    except VerificationError as error:
        figures = json.loads(error.tool_text)["outputs"]
        return "wrong", {"rel_rmse": _worst(figures), **_told(error)}
    except ConvertError as error:
        return "refused", _told(error)
    except Exception as error:
        return "refused", {"error": type(error).__name__, "message": _one_line(error)}
    worst = _worst(done.verification.get("outputs", {}))
    return "verified", {"rel_rmse": worst, "warnings": tuple(done.warnings)}


def _converted_for_htp(archive: Path, mode: str, folder: Path) -> tuple[Status, dict[str, Any]]:
    """The same for RVC4, with what QNN's IR says, and whether the error is only the comparison's."""
    folder.mkdir()
    work, options = folder / "work", {**_RVC4_OPTIONS, "rvc4.quantization_mode": mode}
    reached: list[str] = []

    def listen(event: object) -> None:
        if isinstance(event, StageStarted):
            reached.append(event.stage)

    how = {"options": options, "keep_work": work, "on_event": listen}
    status, more = _converted(archive, "rvc4", folder / "out.tar", **how)
    # The comparison begins when all that a conversion needs without it has succeeded.
    if status == "refused" and "verify" in reached:
        status = "not compared"
    # Warnings say that the data were generated, which is so everywhere.
    more["warnings"] = tuple(text for text in more.get("warnings", ()) if "generated" not in text)
    return status, {**more, "on_ir": _on_ir(work), "on_htp": status != "refused"}


def _on_ir(work: Path) -> bool | None:
    """Whether QNN's intermediate representation takes a conversion's whole network."""
    from targets.rvc4 import toolchain

    if not (work / "network.onnx").is_file():
        return None
    found = toolchain.ensure(ignore)
    try:
        return bool(
            Processes().call(
                "tests.benchmarks.coverage:takes_whole",
                {
                    "network": str(work / "network.onnx"),
                    "backend": str(found.libraries / "libQnnIr.so"),
                    "provider": str(found.provider),
                },
                what="QNN's IR",
                work=work,
                timeout_s=_COMPILE_TIMEOUT_S,
            )
        )
    except ConvertError:
        return False


def takes_whole(network: str, backend: str, provider: str) -> bool:
    """Whether a backend of QNN takes a network as one partition; in a child process."""
    from targets.rvc4.toolchain import PROVIDER

    ort: Any = importlib.import_module("onnxruntime")
    ort.register_execution_provider_library(PROVIDER, provider)
    devices = [device for device in ort.get_ep_devices() if device.ep_name == PROVIDER]
    settings = ort.SessionOptions()
    settings.log_severity_level = 4
    settings.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    options = {"backend_path": backend, "offload_graph_io_quantization": "0"}
    settings.add_provider_for_devices(devices[:1], options)
    session = ort.InferenceSession(network, settings)
    return [group.ep_name for group in session.get_provider_graph_assignment_info()] == [PROVIDER]


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


def versions(target: str) -> dict[str, str]:
    """What the figures depend on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    if target == "rvc2":
        from targets.rvc2.myriad.toolchain import OPENVINO

        return found | {"OpenVINO": OPENVINO}
    from targets.rvc4 import toolchain

    return found | {toolchain.PACKAGE: toolchain.VERSION, "QAIRT": toolchain.QAIRT}


def report(outcomes: Sequence[Outcome], date: str, used: Mapping[str, str]) -> str:
    """The whole result for RVC2 as Markdown."""
    parts = [
        "# RVC2 coverage",
        f"Written by `tests/benchmarks/coverage.py` on {date}. "
        + ", ".join(f"{name} {number}" for name, number in used.items())
        + "."
        + _older(outcomes),
        "Verified: the blob, executed on this machine, computes what ONNX Runtime computes on the source "
        "(not on a camera). Wrong: it compiled, the "
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


def _older(outcomes: Sequence[Outcome]) -> str:
    """Which rows an update left as they were."""
    rows = Counter((item.date, item.group) for item in outcomes if item.date)
    kept = [f"{count} of {group} of {date}" for (date, group), count in sorted(rows.items())]
    return f" Rows of an earlier sweep: {', '.join(kept)}." if kept else ""


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
    marks = {"verified": "✓", "not exported": "–", **{status: f"**{status}**" for status in _FAILURES}}
    chosen = [item for item in outcomes if item.group == "torch"]
    variants = list(dict.fromkeys(item.variant for item in chosen))
    found = {(item.name, item.variant): marks[item.status] for item in chosen}
    rows = [
        (name, *(found.get((name, variant), "") for variant in variants))
        for name in dict.fromkeys(item.name for item in chosen)
    ]
    return _table(("net", *variants), rows)


def htp_report(outcomes: Sequence[HtpOutcome], date: str, used: Mapping[str, str]) -> str:
    """The whole result for RVC4 as Markdown."""
    parts = [
        "# RVC4 coverage",
        f"Written by `tests/benchmarks/coverage.py --target rvc4` on {date}. "
        + ", ".join(f"{name} {number}" for name, number in used.items())
        + "."
        + _older(outcomes),
        "Calibrated on 4 generated frames, compared on one. QNN's IR: its intermediate representation "
        "takes the whole network. HTP: a DLC was written and reads back as asked for. Right: the "
        "quantized network on ONNX Runtime and the same on the HTP emulator compute what ONNX Runtime "
        "computes on the source, within the mode's limits; not on a camera. Weights of the nets are "
        "random, so that 8 bits cost more than in trained ones. "
        f"With random kernels instead of constant ones: {', '.join(_DEGENERATE)}.",
        _htp_summary(outcomes),
    ]
    for mode in _MODES:
        chosen = [item for item in outcomes if item.group == "torch" and item.mode == mode]
        if chosen:
            parts += [f"## Exports from PyTorch, {mode}", _families(chosen)]
    if failed := [item for item in outcomes if item.status in _FAILURES]:
        parts += ["## Refused or wrong", _htp_failures(failed)]
    if absent := [item for item in outcomes if item.status == "not exported"]:
        once = {item.title: replace(item, mode="") for item in absent}
        parts += [
            "## Not exported: PyTorch itself has no such export",
            "\n".join(_failure(item) for item in once.values()),
        ]
    if noted := [item for item in outcomes if item.warnings]:
        parts += [
            "## Converted with a warning",
            "\n".join(f"- {item.title}, {item.mode}: {' '.join(item.warnings)}" for item in noted),
        ]
    return "\n\n".join(parts) + "\n"


def _htp_summary(outcomes: Sequence[HtpOutcome]) -> str:
    rows = []
    for group, mode in dict.fromkeys((item.group, item.mode) for item in outcomes):
        chosen = [item for item in outcomes if (item.group, item.mode) == (group, mode)]
        seconds = sum(item.seconds for item in chosen)
        chosen = [item for item in chosen if item.status != "not exported"]
        right = [item for item in chosen if item.status == "verified"]
        rows.append(
            (
                group, mode, len(chosen), sum(item.on_ir is True for item in chosen),
                sum(item.on_htp for item in chosen), len(right),
                f"{max((item.rel_rmse or 0 for item in right), default=0):.1e}", f"{seconds:.0f}",
            )
        )  # fmt: skip
    heads = ("models", "mode", "cases", "QNN's IR", "HTP", "right", "worst relative RMSE", "seconds")
    return _table(heads, rows)


def _htp_failures(failed: Sequence[HtpOutcome]) -> str:
    rows = [
        (item.title, item.mode, item.status, " ".join(item.message.split()).replace("|", "\\|"))
        for item in failed
    ]
    return _table(("case", "mode", "what", "message"), rows)


def _table(heads: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _failure(item: Outcome) -> str:
    what = item.error if not item.exit_code else f"{item.error}, exit code {item.exit_code}"
    return f"- **{item.title}** ({what}): {item.message}".replace("\n", "\n  ")


def _merged(last: Mapping[str, Any], fresh: Sequence[Outcome]) -> list[Outcome]:
    """The last results with the fresh ones in their places."""
    by_key = {item.key: item for item in fresh}
    rows = [
        {**row, "date": row.get("date") or last["date"], "warnings": tuple(row["warnings"])}
        for row in last["outcomes"]
    ]
    kept = [HtpOutcome(**row) if "mode" in row else Outcome(**row) for row in rows]
    return [by_key.get(item.key, item) for item in kept]


def _write_results(
    folder: Path, target: str, outcomes: Sequence[Outcome], date: str, used: Mapping[str, str]
) -> None:
    if target == "rvc4":
        text = htp_report([item for item in outcomes if isinstance(item, HtpOutcome)], date, used)
    else:
        text = report(outcomes, date, used)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"coverage-{target}.md").write_text(text)
    data = {"date": date, "versions": used, "outcomes": [asdict(item) for item in outcomes]}
    (folder / f"coverage-{target}.json").write_text(json.dumps(data, indent=1) + "\n")


def sweep(cases: Sequence[Case], target: str) -> list[Outcome]:
    """Convert every model, telling how it goes; one server forks the children of all."""
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory() as work, kept_warm(modules_called(target), Path(work)):
        for index, case in enumerate(cases, 1):
            for done in attempt(case, target):
                outcomes.append(done)
                figure = f" {done.rel_rmse:.1e}" if done.rel_rmse is not None else ""
                print(
                    f"{index}/{len(cases)} {done.status}{figure} {done.seconds:.1f} s  "
                    f"{'  '.join(done.key)}  {done.message}",
                    flush=True,
                )
    return outcomes


def main() -> int:
    """Run the sweep; 1 if anything was refused or wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--target", choices=tuple(_LEGACY_OPSETS), default="rvc2")
    parser.add_argument("--only", default=["*"], nargs="+", help="patterns for the names: 'gru*'")
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
        cases += torch_cases(chosen.target)
    cases = [case for case in cases if any(fnmatch.fnmatch(case.title, only) for only in chosen.only)]
    outcomes = sweep(cases, chosen.target)
    if chosen.update:
        last = json.loads((chosen.results / f"coverage-{chosen.target}.json").read_text())
        outcomes = _merged(last, outcomes)
    date, used = datetime.now(UTC).date().isoformat(), versions(chosen.target)
    _write_results(chosen.results, chosen.target, outcomes, date, used)
    failed = [item for item in outcomes if item.status in _FAILURES]
    htp = [item for item in outcomes if isinstance(item, HtpOutcome)]
    print("\n" + (_htp_summary(htp) if chosen.target == "rvc4" else _summary(outcomes)))
    for item in failed:
        print(_failure(item))
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())

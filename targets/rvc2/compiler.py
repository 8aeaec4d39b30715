"""Our side of the compiler: asks a child process, waits with a limit, and reads what it says."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from converter.errors import ConvertError, ModelError, ToolchainError, ToolError
from converter.process import Processes, died, python_env
from converter.reference import Tensors
from targets.rvc2 import toolchain as toolchains
from targets.rvc2.parameters import Parameters
from targets.rvc2.prepare import Prepared
from targets.rvc2.toolchain import Toolchain

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PRECISIONS: Final = {"float32": "FP32", "int32": "I32", "uint8": "U8"}
# What the compiler says of a model that it cannot take, as against a failure of its own.
_MODEL_FAULTS: Final = (
    re.compile(r"nsupported (?:layer|operation|op)", re.IGNORECASE),
    re.compile(r"not supported|unsupported|doesn't support|does not support", re.IGNORECASE),
    re.compile(r"OpenVINO does not support the following ONNX operations"),
    re.compile(r"Not supported ONNX op|Check '.*' failed at|While validating"),
    re.compile(r"Cannot (?:convert|find|infer)|dynamic", re.IGNORECASE),
)
# The loader looks for optional parts of the library; that it finds none is no fault.
_LOADER_NOISE: Final = re.compile(r"^(?:Cannot load library|dlSym cannot locate)")
# Names stand in quotes: 'Failed to compile layer "conv1"', 'Stage node conv1 (Prod) types check error'.
_NAMED: Final = re.compile(r"(?:layer \"|[Nn]ode )([^ \"]+)(?=\"| \()")
# "Check 'unknown_operators.empty()' failed at … does not support the following ONNX operations: Det"
_UNKNOWN: Final = re.compile(r"unknown_operators.*operations?: ([\w, .]+?)\s*$")
_SOURCE_PLACE: Final = re.compile(r"^(?:\[[^\]]*\]\s*)?(?:/|\w:)?[\w./\\-]+\.(?:cpp|hpp):\d+\s*")


@dataclass(frozen=True, kw_only=True)
class CompileResult:
    """The blobs by SHAVE count, and the child's peak memory."""

    blobs: Mapping[int, Path]
    peak_rss_bytes: int


def compile_blobs(
    model: Path,
    nodes: Mapping[str, str],
    parameters: Parameters,
    shave_counts: Sequence[int],
    toolchain: Toolchain,
    work: Path,
    *,
    processes: Processes,
    on_blob: Callable[[int, Path], None] = lambda _shaves, _path: None,
) -> CompileResult:
    """Compile a prepared model, the network read once for all SHAVE counts.

    Args:
        nodes: Operator types by node name, to say in errors which node is meant.
        work: An existing folder for the blobs, one for each call.
        on_blob: Called as each blob is there.

    Raises:
        ModelError: The compiler does not take the model: an operator, a shape.
        ToolError: It crashed, ran out of time or wrote nothing.
    """
    blobs = {shaves: work / f"{shaves}.blob" for shaves in shave_counts}
    request = {
        "device": "MYRIAD",
        "model": str(model),
        "inputs": {
            item.name: {"precision": item.precision, "layout": item.compiler_layout}
            for item in parameters.inputs
        },
        "outputs": {item.name: {"precision": item.precision} for item in parameters.outputs},
        "jobs": [
            {"settings": dict(parameters.settings(shaves)), "output": str(path)}
            for shaves, path in blobs.items()
        ],
    }
    written: list[int] = []

    def on_done(index: int) -> None:
        shaves = shave_counts[index]
        if blobs[shaves].is_file():
            written.append(shaves)
            on_blob(shaves, blobs[shaves])

    result = _ask(
        request,
        toolchain,
        work,
        nodes,
        timeout_s=parameters.compile_timeout_s,
        on_done=on_done,
        processes=processes,
    )
    if missing := [shaves for shaves in shave_counts if shaves not in written]:
        raise ToolError(f"The compiler ended well but wrote no blob for {missing} SHAVE cores.")
    return CompileResult(blobs=blobs, peak_rss_bytes=int(result["peak_rss_bytes"]))


def run_on_cpu(
    prepared: Prepared,
    feeds: Sequence[Mapping[str, NDArray[Any]]],
    outputs: Mapping[str, tuple[int, ...]],
    toolchain: Toolchain,
    work: Path,
    *,
    processes: Processes,
    timeout_s: float,
) -> list[dict[str, NDArray[Any]]]:
    """Run frames through a prepared model on the compiler's own CPU plugin, in float32.

    Args:
        feeds: For each frame the inputs by name, in the prepared model's layout.
        outputs: Shapes by name.

    Raises:
        ModelError, ToolError: As for a compile.
    """
    import numpy as np

    tensors = Tensors([*feeds[0], *outputs])
    jobs = []
    for index, feed in enumerate(feeds):
        values = {name: np.asarray(x, prepared.input_types[name]) for name, x in feed.items()}
        file = tensors.write(work / f"cpu-feed-{index}.npz", values)
        jobs.append({"feeds": str(file), "output": str(work / f"cpu-result-{index}.npz")})
    request = {
        "device": "CPU",
        "model": str(prepared.path),
        "inputs": {
            name: {"precision": _PRECISIONS[kind]} for name, kind in prepared.input_types.items()
        },
        "outputs": {
            name: {"precision": "FP32", "shape": list(shape)} for name, shape in outputs.items()
        },
        "tensor_keys": tensors.keys,
        "jobs": jobs,
    }
    _ask(
        request,
        toolchain,
        work,
        prepared.nodes,
        timeout_s=timeout_s,
        on_done=lambda _index: None,
        processes=processes,
    )
    return [tensors.read(Path(job["output"]), list(outputs)) for job in jobs]


def _ask(
    request: dict[str, Any],
    toolchain: Toolchain,
    work: Path,
    nodes: Mapping[str, str],
    *,
    timeout_s: float,
    on_done: Callable[[int], None],
    processes: Processes,
) -> dict[str, Any]:
    request |= {
        "libraries": str(toolchain.libraries),
        "libusb": str(toolchain.libusb) if toolchain.libusb else None,
    }
    file = work / f"request-{request['device'].lower()}.json"
    file.write_text(json.dumps(request))
    answers: list[dict[str, Any]] = []
    listener_errors: list[BaseException] = []

    def listen(line: str) -> None:
        try:
            answer = json.loads(line)
        except ValueError:
            return  # the native code prints now and then
        answers.append(answer)
        if "done" in answer and not listener_errors:
            try:
                on_done(answer["done"])
            except BaseException as error:  # noqa: BLE001 - it is raised below, in our thread
                listener_errors.append(error)

    done = processes.run(
        [sys.executable, "-m", "targets.rvc2.compiler_child", str(file)],
        timeout_s=timeout_s,
        env=python_env(work),
        cwd=work,
        on_line=listen,
    )
    if listener_errors:
        raise listener_errors[0]
    for answer in answers:
        if "error" in answer:
            raise _tool_said(answer["error"], nodes)
        if "result" in answer and done.returncode == 0:
            return dict(answer["result"])
    what = "The compiler" if request["device"] == "MYRIAD" else "The compiler's CPU plugin"
    if (damage := toolchains.check()) is not None and not done.timed_out:
        raise ToolchainError(
            f"{what} could not be started: {damage}.",
            remedy="Run: nnconvert toolchain install rvc2",
            tool_text=done.stdout + done.stderr,
        )
    raise died(done, what, timeout_s)


def _tool_said(error: Mapping[str, Any], nodes: Mapping[str, str]) -> ConvertError:
    """Turn the library's exceptions into one line; its whole text goes along."""
    texts = [" ".join(text.split()) for text in error["texts"]]
    texts = [text for text in texts if not _LOADER_NOISE.search(text)]
    telling = [text for text in texts if any(fault.search(text) for fault in _MODEL_FAULTS)]
    # The innermost exception is thrown first and says most; those thrown on add the layer's name.
    said = _clean((telling or texts or [f"{error['call']} failed without a word"])[0])
    named = [name for text in texts for name in _NAMED.findall(text) if name in nodes]
    if unknown := _UNKNOWN.search(" ".join(texts)):
        operators = unknown[1].replace(",", " ").split()
        named = [name for name, kind in nodes.items() if kind in operators]
        said = f"it has no operator {', '.join(operators)}."
    elif "FakeQuantize" in said:
        said = "it takes no quantized ONNX (QuantizeLinear, DequantizeLinear); give the float model."
    where = f"node {named[-1]!r} ({nodes[named[-1]]}): " if named else ""
    text = "\n".join(error["texts"])
    if telling or named or error["phase"] == "read":
        return ModelError(
            f"The RVC2 compiler does not take the model: {where}{said}",
            remedy="Cut the model before that node, or export it with other operators.",
            tool_text=text,
        )
    return ToolError(f"The RVC2 compiler failed: {where}{said}", tool_text=text)


def _clean(text: str) -> str:
    text = _SOURCE_PLACE.sub("", text)
    text = text.rstrip(".") + "."
    return text if len(text) <= 400 else text[:399] + "…"

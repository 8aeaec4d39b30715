"""The parent's side of the compiler: sends requests to the child process and reads its answers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from converter.errors import ConvertError, ModelError, ToolError
from targets.rvc2.myriad.where import Place
from targets.rvc2.parameters import Parameters

# The compiler's messages for a model that it cannot take, as opposed to other failures.
_MODEL_FAULTS: Final = (
    re.compile(r"nsupported (?:layer|operation|op)", re.IGNORECASE),
    re.compile(r"not supported|unsupported|doesn't support|does not support", re.IGNORECASE),
    re.compile(r"OpenVINO does not support the following ONNX operations"),
    re.compile(r"Not supported ONNX op|Check '.*' failed at|While validating"),
    re.compile(r"Cannot (?:convert|find|infer)|dynamic", re.IGNORECASE),
)
# The loader looks for optional parts of the library; it is no error if it finds none.
_LOADER_NOISE: Final = re.compile(r"^(?:Cannot load library|dlSym cannot locate)")
# 'Failed to compile layer "conv1"', 'Stage node conv1 (Prod) types check error', 'layer conv1.',
# 'dynamic node conv1 of type Gather', 'stage conv1@0': what stands there, up to a space or a bracket.
_NAMED: Final = re.compile(r"""(?:layers?|node|stage|operation)\s+["']?([^\s"'(),;]+)""", re.IGNORECASE)
# What is thrown by the compiler's graph passes is about the model, whatever it says.
_IN_PASSES: Final = re.compile(r"graph_transformer|AssertionFailed|ngraph")
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
    nodes: Mapping[str, tuple[str, str]],
    parameters: Parameters,
    shave_counts: Sequence[int],
    place: Place,
    work: Path,
    *,
    on_blob: Callable[[int, Path], None] = lambda _shaves, _path: None,
) -> CompileResult:
    """Compile a prepared model, the network read once for all SHAVE counts.

    Args:
        nodes: The user's nodes (name, operator) by node and output name, for errors.
        work: An existing folder for the blobs, one for each call.
        on_blob: Called for each blob when it is done.

    Raises:
        ModelError: The compiler does not take the model: an operator, a shape.
        ToolError: It crashed, ran out of time or wrote nothing.
    """
    blobs = {shaves: work / f"{shaves}.blob" for shaves in shave_counts}
    request = {
        "model": place.inside(model),
        "inputs": {
            item.name: {"precision": item.precision, "layout": item.compiler_layout}
            for item in parameters.inputs
        },
        "outputs": {item.name: {"precision": item.precision} for item in parameters.outputs},
        "jobs": [
            {"settings": dict(parameters.settings(shaves)), "output": place.inside(path)}
            for shaves, path in blobs.items()
        ],
    }
    written: list[int] = []

    def on_done(index: int) -> None:
        shaves = shave_counts[index]
        if blobs[shaves].is_file():
            written.append(shaves)
            on_blob(shaves, blobs[shaves])

    result = _ask(request, place, work, nodes, timeout_s=parameters.compile_timeout_s, on_done=on_done)
    if missing := [shaves for shaves in shave_counts if shaves not in written]:
        raise ToolError(f"The compiler ended well but wrote no blob for {missing} SHAVE cores.")
    return CompileResult(blobs=blobs, peak_rss_bytes=int(result["peak_rss_bytes"]))


def _ask(
    request: dict[str, Any],
    place: Place,
    work: Path,
    nodes: Mapping[str, tuple[str, str]],
    *,
    timeout_s: float,
    on_done: Callable[[int], None],
) -> dict[str, Any]:
    request |= {"libraries": place.libraries, "libusb": place.libusb, "parent": place.parent}
    file = work / "request.json"
    file.write_text(json.dumps(request))
    answers: list[dict[str, Any]] = []
    listener_errors: list[Exception] = []

    def listen(line: str) -> None:
        try:
            answer = json.loads(line)
        except ValueError:
            return  # the native code prints now and then
        answers.append(answer)
        if "done" in answer and not listener_errors:
            try:
                on_done(answer["done"])
            except Exception as error:  # noqa: BLE001 - it is raised below, in the caller's thread
                listener_errors.append(error)

    what = "The compiler"
    done = place.run(file, what=what, timeout_s=timeout_s, on_line=listen)
    if listener_errors:
        raise listener_errors[0]
    for answer in answers:
        if "error" in answer:
            raise _tool_said(answer["error"], nodes)
        if "result" in answer and done.returncode == 0:
            return dict(answer["result"])
    raise place.failure(done, what, timeout_s)


def _tool_said(error: Mapping[str, Any], nodes: Mapping[str, tuple[str, str]]) -> ConvertError:
    """Turn the library's exceptions into one line; its whole text goes along."""
    texts = [" ".join(text.split()) for text in error["texts"]]
    texts = [text for text in texts if not _LOADER_NOISE.search(text)]
    telling = [text for text in texts if any(fault.search(text) for fault in _MODEL_FAULTS)]
    # The innermost exception is thrown first and says most; those around it add the layer's name.
    said = _clean((telling or texts or [f"{error['call']} failed without a message"])[0])
    found = [name for text in texts for name in _names_in(text) if name in nodes]
    named = [nodes[found[-1]]] if found else []
    if unknown := _UNKNOWN.search(" ".join(texts)):
        operators = unknown[1].replace(",", " ").split()
        named = [item for item in nodes.values() if item[1] in operators]
        said = f"it has no operator {', '.join(operators)}."
    elif "FakeQuantize" in said:
        said = "it takes no quantized ONNX (QuantizeLinear, DequantizeLinear); give the float model."
    every = [f"node {name!r} ({operator})" for name, operator in dict.fromkeys(named)]
    where = f"{', '.join(every)}: " if every else ""
    text = "\n".join(error["texts"])
    in_passes = error["phase"] == "compile" and any(map(_IN_PASSES.search, error["texts"]))
    if telling or named or in_passes or error["phase"] == "read":
        return ModelError(
            f"The RVC2 compiler does not take the model: {where}{said}",
            remedy="Cut the model before that node, or export it with other operators.",
            tool_text=text,
        )
    return ToolError(f"The RVC2 compiler failed: {where}{said}", tool_text=text)


def _names_in(text: str) -> list[str]:
    """What may be names of nodes: as they stand, and without what the compiler puts behind."""
    names = []
    for name in _NAMED.findall(text):
        short = name.rstrip(".:")
        names += [short.partition("@")[0], short, name]
    return names


def _clean(text: str) -> str:
    text = _SOURCE_PLACE.sub("", text)
    text = text.rstrip(".") + "."
    return text if len(text) <= 400 else text[:399] + "…"

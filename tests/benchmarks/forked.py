"""Our children forked from a process that has everything imported: a sweep of small models in a tenth.

Only for sweeps. Time limits hold by an alarm; a crash is seen as a child that said nothing.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from converter import errors
from converter.processes.run import Processes
from converter.processes.worker import _of_library

_PRELOADED = (
    "onnx",
    "onnx_ir.passes.common",
    "onnxruntime.quantization.execution_providers.qnn",
    "onnxslim",
    "converter.verification.reference",
    "targets.rvc4.quantization.calibrate",
    "targets.rvc4.quantization.float16",
    "targets.rvc4.prepare",
    "targets.rvc4.qnn",
    "targets.rvc4.quantization.quantize",
)


def install() -> None:
    """Have every call of a function in a child fork from here on."""
    for name in _PRELOADED:
        importlib.import_module(name)
    Processes.call = _call  # type: ignore[method-assign]


def _call(
    self: Processes,
    function: str,
    arguments: Mapping[str, Any],
    *,
    what: str,
    work: Path,
    timeout_s: float,
) -> Any:
    given = json.loads(json.dumps(dict(arguments)))
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _answer(function, given, what, work, timeout_s, writer)
    os.close(writer)
    with os.fdopen(reader) as file:
        text = file.read()
    _, status = os.waitpid(child, 0)
    if not text:
        raise errors.ToolError(f"{what} crashed on this model (status {status}).")
    answer = json.loads(text)
    if "error" in answer:
        raise errors.from_json(answer["error"])
    return answer["result"]


def _answer(function: str, given: Any, what: str, work: Path, timeout_s: float, writer: int) -> None:
    os.chdir(work)
    signal.alarm(int(timeout_s) + 1)
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    module, _, name = function.partition(":")
    try:
        answer = {"result": getattr(importlib.import_module(module), name)(**given)}
    except errors.ConvertError as error:
        answer = {"error": errors.to_json(error)}
    except Exception as error:
        answer = {"error": errors.to_json(_of_library(error, what))}
    with os.fdopen(writer, "w") as file:
        json.dump(answer, file)
    os._exit(0)

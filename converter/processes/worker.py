"""The other end of `Processes.call`: it calls one function.

A fork server's child runs `main`; without a server, a new Python does
(`python -m converter.processes.worker REQUEST PARENT`).

The answer lies beside the request, so that whatever native code prints cannot get into it.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
import traceback
from pathlib import Path
from typing import Final

from converter.errors import ConvertError, ModelError, ToolError, to_json
from converter.processes.linux import die_with_parent

# ONNX Runtime of a node whose types none of its kernels has.
_NO_KERNEL: Final = re.compile(
    r"find an implementation for (?P<operator>\w+)\(\d+\) node with name '(?P<node>[^']*)'"
)


def main(request_file: str) -> None:
    """Call what the request names and write down what it returns or raises."""
    path = Path(request_file)
    request = json.loads(path.read_text())
    module, _, name = request["function"].partition(":")
    function = getattr(importlib.import_module(module), name)
    try:
        answer = {"result": function(**request["arguments"])}
    except ConvertError as error:
        answer = {"error": to_json(error)}
    except Exception as error:  # noqa: BLE001 - a library's own, told as such with its trace
        answer = {"error": to_json(_of_library(error, request["what"]))}
    path.with_suffix(".answer").write_text(json.dumps(answer))


def _of_library(error: BaseException, what: str) -> ConvertError:
    """The innermost exception says what happened; those around it only where it was passing."""
    innermost = error
    while innermost.__cause__ is not None:
        innermost = innermost.__cause__
    said = " ".join(str(innermost).split())
    said = said if len(said) < 300 else said[:299] + "…"
    trace = "".join(traceback.format_exception(error))
    missing = _NO_KERNEL.search(said)
    if missing:
        return ModelError(
            f"node {missing['node']!r} ({missing['operator']}): ONNX Runtime, which the result is "
            "compared on, has it not for these element types.",
            remedy="Export it with other element types: int64 for indices, float32 else.",
            tool_text=trace,
        )
    return ToolError(
        f"{what} failed on this model: {type(innermost).__name__}: {said}",
        remedy="Try onnx_simplification=false, or export the model with other operators.",
        tool_text=trace,
    )


if __name__ == "__main__":
    die_with_parent(int(sys.argv[2]))
    main(sys.argv[1])

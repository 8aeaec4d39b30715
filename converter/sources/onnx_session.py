"""ONNX models on ONNX Runtime."""

from __future__ import annotations

import importlib
from typing import Any, Final

_OLDEST_OPSET: Final = 7


def readable(path: str) -> str | bytes:
    """A model that ONNX Runtime takes: it implements ONNX from opset 7 on; older opsets are raised."""
    import onnx

    proto = onnx.load(path, load_external_data=False)
    opsets = [entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")]
    if max(opsets, default=1) >= _OLDEST_OPSET:
        return path
    # Only here: what old graphs need is slow to import.
    import onnx_ir as ir

    from converter.graph.opset import raise_opset

    raised = raise_opset(ir.from_proto(onnx.load(path)))
    return ir.to_proto(raised).SerializeToString()  # type: ignore[no-any-return, no-untyped-call]


def session_of(model: str | bytes, *, exact: bool = False) -> Any:
    """A session of ONNX Runtime on the CPU, silent but for exceptions.

    Args:
        model: A file, or a model's bytes.
        exact: Compute quantized networks node by node. Without it ONNX Runtime fuses their nodes into
            integer kernels, which saturate on processors without VNNI.
    """
    ort: Any = importlib.import_module("onnxruntime")  # its stubs leave these names out
    options = ort.SessionOptions()
    options.log_severity_level = 4
    if exact:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])

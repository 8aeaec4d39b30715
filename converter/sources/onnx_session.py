"""ONNX models on ONNX Runtime."""

from __future__ import annotations

import importlib
from typing import Any, Final

_OLDEST_OPSET: Final = 7


def readable(path: str) -> str | bytes:
    """A model that ONNX Runtime takes, and whose results have one order.

    It implements ONNX from opset 7 on, so that older opsets are raised, and recurrent layers in layout
    0 only. A Split gets all of its outputs. A TopK that may give any order (`sorted` 0) gives it in
    order, as compiled networks do.
    """
    import onnx

    proto = onnx.load(path, load_external_data=False)
    opsets = [entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")]
    old = max(opsets, default=1) < _OLDEST_OPSET
    if not old and not any(map(_is_changed, proto.graph.node)):
        return path
    # Only here: what these graphs need is slow to import.
    import onnx_ir as ir

    from converter.graph.opset import raise_opset
    from converter.graph.rewrite import Rewrite
    from converter.graph.rules.ranking import IN_ORDER
    from converter.graph.rules.recurrent import TIME_FIRST
    from converter.graph.source import name_left_out

    model = ir.from_proto(onnx.load(path))
    name_left_out(model)
    model = raise_opset(model) if old else Rewrite({**IN_ORDER, **TIME_FIRST})(model).model
    return ir.to_proto(model).SerializeToString()  # type: ignore[no-any-return, no-untyped-call]


def _is_changed(node: Any) -> bool:
    if node.op_type == "Split" and "" in node.output:
        return True
    return any((item.name, item.i) in (("layout", 1), ("sorted", 0)) for item in node.attribute)


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

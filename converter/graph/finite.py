"""Weights that are numbers: a NaN or an infinity among them makes every result one."""

from __future__ import annotations

from typing import Final

import numpy as np
import onnx_ir as ir

from converter.errors import ModelError, from_findings
from converter.findings import Finding

# Where an infinity is a fault. Elsewhere it may be meant: masks add it, Where and Clip choose it.
_WEIGHTED: Final = (
    "BatchNormalization",
    "Conv",
    "ConvTranspose",
    "GRU",
    "Gemm",
    "GroupNormalization",
    "InstanceNormalization",
    "LSTM",
    "LayerNormalization",
    "MatMul",
    "PRelu",
    "RNN",
)


def check_finite(model: ir.Model) -> None:
    """Refuse weights with NaN, and with infinities where they are multiplied.

    Raises:
        ModelError: It names every such weight, and a node that reads it.
    """
    findings = []
    for value in model.graph.initializers.values():
        if value.const_value is None or not value.const_value.dtype.is_floating_point():
            continue
        array = value.const_value.numpy()
        if array.dtype.kind != "f" or np.isfinite(array).all():
            continue
        users = [user for user, _ in value.uses()]
        weighted = [user for user in users if user.op_type in _WEIGHTED]
        what = "NaN" if np.isnan(array).any() else "infinite" if weighted else ""
        if what and users:
            user = (weighted or users)[0]
            findings.append(
                Finding(
                    code="model.weights",
                    where=f"weight {value.name!r}",
                    message=f"holds {int((~np.isfinite(array)).sum()):,} values that are {what}; node "
                    f"{user.name or user.op_type!r} ({user.op_type}) reads it.",
                    remedy="Export the model again; it was damaged, or its training failed.",
                )
            )
    if findings:
        raise from_findings(ModelError, "The model", findings)

"""Keeping large weights out of tools that take the whole graph as one message.

A protobuf message is limited to two gigabytes, and each tool that takes one makes copies. If a model's
weights come near that, the large ones stay in their files and become inputs of the graph while such a
tool has it: the tool does not read their values, and does not fold them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import onnx_ir as ir

if TYPE_CHECKING:
    import onnx

# From here on the large weights stay out, and from which size a weight is large.
HEAVY_BYTES: Final = 1 << 30
_LARGE_BYTES: Final = 1 << 20


def settle(model: ir.Model) -> None:
    """Read weights from their files into memory; of a heavy model only the small ones.

    Raises:
        OSError, ValueError: A file is missing or too short.
    """
    held = [value for value in model.graph.initializers.values() if value.const_value is not None]
    for value in held:
        if isinstance(value.const_value, ir.ExternalTensor):
            _check(value.const_value)
    if not _is_heavy(held):
        ir.external_data.load_to_model(model)
        return
    for value in held:
        tensor = value.const_value
        if isinstance(tensor, ir.ExternalTensor) and tensor.nbytes < _LARGE_BYTES:
            value.const_value = ir.Tensor(tensor.numpy().copy(), name=tensor.name)


def _check(tensor: ir.ExternalTensor) -> None:
    size = Path(tensor.path).stat().st_size
    end = (tensor.offset or 0) + tensor.nbytes
    if end > size:
        raise ValueError(f"{tensor.name!r} ends at byte {end:,} of a file of {size:,}")
    if tensor.length is not None and tensor.length != tensor.nbytes:
        raise ValueError(f"{tensor.name!r} has {tensor.length:,} bytes instead of {tensor.nbytes:,}")


def _is_heavy(values: Iterable[ir.Value]) -> bool:
    held = (value.const_value for value in values)
    return sum(tensor.nbytes for tensor in held if tensor is not None) >= HEAVY_BYTES


def through_proto(
    model: ir.Model, tool: Callable[[onnx.ModelProto], onnx.ModelProto | None]
) -> ir.Model | None:
    """Run a tool on a model's message, without its large weights if the model is heavy.

    Args:
        tool: May return None, which is returned.
    """
    weights = dict(model.graph.initializers)
    if not _is_heavy(weights.values()):
        made = tool(ir.to_proto(model))
        return None if made is None else ir.from_proto(made)
    apart = {
        name: value
        for name, value in weights.items()
        if value.const_value is not None and value.const_value.nbytes >= _LARGE_BYTES
    }
    own_inputs = {value.name for value in model.graph.inputs}
    for name, value in apart.items():
        del model.graph.initializers[name]
        if name not in own_inputs:
            model.graph.inputs.append(value)
    made = tool(ir.to_proto(model))
    for name, value in apart.items():
        if name not in own_inputs:
            model.graph.inputs.remove(value)
        model.graph.initializers[name] = value
    if made is None:
        return None
    result = ir.from_proto(made)
    for value in list(result.graph.inputs):
        held = apart.get(value.name or "")
        if held is None:
            continue
        if value.name not in own_inputs:
            result.graph.inputs.remove(value)
        value.const_value = held.const_value
        result.graph.register_initializer(value)
    return result

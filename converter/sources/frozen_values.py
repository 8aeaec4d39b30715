"""The values of frozen inputs, out of the options."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from converter.errors import UsageError, from_findings
from converter.findings import Finding, listed, perhaps
from converter.graph.facts import GraphFacts, TensorFacts
from converter.options.resolve import Options

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FROZEN: Final = "frozen_value"


def frozen_values(facts: GraphFacts, options: Options) -> dict[str, NDArray[Any]]:
    """The array for each input that is frozen, in its shape and dtype.

    Raises:
        UsageError: A name is not the model's, or a value does not fit; it names all of them.
    """
    by_name = {alias: tensor for tensor in facts.inputs for alias in (tensor.name, *tensor.aliases)}
    found: dict[str, NDArray[Any]] = {}
    findings = []
    for given, keys in options.names("inputs").items():
        key = f"inputs.{given}.{_FROZEN}"
        if key not in keys or (text := options.text(key)) is None:
            continue
        if given not in by_name:
            names = [tensor.name for tensor in facts.inputs]
            findings.append(
                Finding(
                    code="option.tensor",
                    where=key,
                    message=f"the model has no input {given!r}; it has {listed(names)}.",
                    remedy=perhaps(given, names),
                )
            )
            continue
        tensor = by_name[given]
        try:
            quantized = tensor.name in facts.quantized
            found[tensor.name] = _array(text, tensor, options.ints(f"inputs.{given}.shape"), quantized)
        except ValueError as problem:
            findings.append(
                Finding(
                    code="option.value",
                    where=key,
                    message=f"{problem}.",
                    remedy=f"{tensor.name!r} is {tensor.dtype} {_written(tensor)}: give a number, an "
                    "array such as [1,2], or a .npy file.",
                )
            )
    if findings:
        raise from_findings(UsageError, "The options", findings)
    return found


def array_of(text: str) -> NDArray[Any]:
    """The numbers of an option of the type `array`, in their own shape and dtype.

    Raises:
        ValueError: A file is missing, or is not NumPy's.
    """
    import numpy as np

    if not text.lower().endswith(".npy"):
        return np.asarray(json.loads(text))
    try:
        found: NDArray[Any] = np.load(text, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ValueError(f"{text} is no NumPy file that can be read ({error})") from None
    return found


def _array(
    text: str, tensor: TensorFacts, shape: tuple[int, ...] | None, quantized: bool
) -> NDArray[Any]:
    """A value in the shape and the dtype of its input; a single number fills the shape.

    Raises:
        ValueError: It does not fit.
    """
    import numpy as np

    given = array_of(text)
    if given.dtype.kind not in "biuf":
        raise ValueError("the value is not made of numbers")
    dtype = np.dtype("float32" if quantized else {"boolean": "bool"}.get(tensor.dtype, tensor.dtype))
    converted = given.astype(dtype)
    if dtype.kind in "iub" and not np.array_equal(converted, given):
        raise ValueError(f"the value does not fit into {tensor.dtype}")
    sizes: Sequence[Any] = shape or (tensor.shape if tensor.shape is not None else given.shape)
    if len(sizes) != given.ndim:
        sizes = [size if isinstance(size, int) and size > 0 else 1 for size in sizes]
        whole = int(np.prod(sizes))
        if converted.size == 1:
            return np.full(sizes, converted.reshape(()), dtype)
        if converted.size == whole:
            return np.asarray(converted.reshape(sizes))
    elif all(
        not isinstance(size, int) or size < 1 or size == length
        for size, length in zip(sizes, given.shape, strict=True)
    ):
        return np.ascontiguousarray(converted)
    raise ValueError(f"the value has the shape {list(given.shape)}")


def _written(tensor: TensorFacts) -> str:
    return "[" + ", ".join(str(size or "?") for size in tensor.shape or ()) + "]"

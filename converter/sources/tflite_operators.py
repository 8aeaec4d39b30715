"""What of a TFLite model no target reads: custom operators, fused recurrence, state, branches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

# Variables that a model keeps between frames.
_STATE: Final = frozenset({"ASSIGN_VARIABLE", "CALL_ONCE", "READ_VARIABLE", "VAR_HANDLE"})
# Fused, with state in variable tensors: OpenVINO, which reads TFLite, has no translation of them.
_RECURRENT: Final = frozenset(
    {
        "BIDIRECTIONAL_SEQUENCE_LSTM",
        "BIDIRECTIONAL_SEQUENCE_RNN",
        "LSTM",
        "RNN",
        "SVDF",
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        "UNIDIRECTIONAL_SEQUENCE_RNN",
    }
)
# How operators begin that TFLite's runtime gives to TensorFlow.
_TENSORFLOW: Final = "Flex"
_BRANCHES: Final = frozenset({"IF", "WHILE"})


def unreadable(kinds: Counter[str], custom: Counter[str]) -> Iterator[tuple[str, str, str]]:
    """Each kind of operator that is not read: kind of problem, operator, problem.

    Args:
        kinds: How often each of TFLite's own operators occurs.
        custom: The same of custom operators.
    """
    for name, count in sorted(custom.items()):
        what = (
            "is one of TensorFlow's (SELECT_TF_OPS)"
            if name.startswith(_TENSORFLOW)
            else "is a custom one, outside TFLite's own"
        )
        yield "operator", f"operator {name!r}{_times(count)}", f"{what}."
    for name, count in sorted(kinds.items()):
        where = f"operator {name}{_times(count)}"
        if name in _STATE:
            yield "state", where, "keeps state from frame to frame, which a compiled model does not."
        elif name in _RECURRENT:
            yield (
                "state",
                where,
                "is a fused recurrent layer with state in variables; OpenVINO does not read it.",
            )
        elif name in _BRANCHES:
            yield "operator", where, "is control flow, which a camera's accelerator does not run."


def _times(count: int) -> str:
    return f" ({count} times)" if count > 1 else ""


def operators_of(schema: Any, model: Any) -> tuple[Counter[str], Counter[str]]:
    """How often each operator is in a model (schema.Model): TFLite's own, and custom ones."""
    names = {number: word for word, number in vars(schema.BuiltinOperator).items() if word.isupper()}
    own: Counter[str] = Counter()
    custom: Counter[str] = Counter()
    for place in range(model.SubgraphsLength()):
        graph = model.Subgraphs(place)
        for index in range(graph.OperatorsLength()):
            code = model.OperatorCodes(graph.Operators(index).OpcodeIndex())
            number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
            if (title := code.CustomCode()) is not None:
                custom[title.decode()] += 1
            else:
                own[names.get(number, str(number))] += 1
    return own, custom

"""The questions of `init` on a terminal: what is missing or guessed, with the guess as the default."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from converter.bare.classes import read_classes
from converter.bare.heads import KINDS, SUBTYPES, Head, HeadHints, make_head
from converter.bare.inputs import InputHints
from converter.cli.flags import floats, ints, read_anchors
from converter.errors import Cancelled, UsageError
from converter.findings import Finding
from converter.preprocessing import Color

if TYPE_CHECKING:
    from converter.bare.config import Draft
    from converter.graph.facts import GraphFacts, TensorFacts

# Errors of a draft that an answer corrects.
_OPEN: Final = ("init.shape", "init.layout")
_LAYOUTS: Final = ("NCHW", "NHWC", "CHW", "HWC")


def settle_inputs(
    facts: GraphFacts,
    hints: Mapping[str, InputHints],
    attempt: Callable[[Mapping[str, InputHints]], Draft],
) -> tuple[dict[str, InputHints], frozenset[tuple[str, str]]]:
    """Ask for everything about the inputs that is missing or guessed.

    Args:
        hints: The known hints.
        attempt: Drafts a config with hints, or raises an error about them.

    Returns:
        The hints with the answers, and code and place of the guesses that were answered.

    Raises:
        UsageError: Something is wrong that no answer corrects.
        Cancelled: The terminal was closed.
    """
    settled = dict(hints)
    answered: set[tuple[str, str]] = set()
    while True:
        question = _next_question(settled, attempt, answered)
        if question is None:
            return settled, frozenset(answered)
        answered.add((question.code, question.where))
        settled = _ask_input(question, facts, settled, attempt)


def _next_question(
    hints: Mapping[str, InputHints],
    attempt: Callable[[Mapping[str, InputHints]], Draft],
    answered: set[tuple[str, str]],
) -> Finding | None:
    try:
        guesses = attempt(hints).guesses
    except UsageError as error:
        if not _is_open(error):
            raise
        return error.findings[0]
    return next((g for g in guesses if g.code in _ASK and (g.code, g.where) not in answered), None)


def _is_open(error: UsageError) -> bool:
    return bool(error.findings) and all(finding.code in _OPEN for finding in error.findings)


def _ask_input(
    question: Finding,
    facts: GraphFacts,
    hints: Mapping[str, InputHints],
    attempt: Callable[[Mapping[str, InputHints]], Draft],
) -> dict[str, InputHints]:
    """Hints with the answer to one question; it asks until the answer is valid."""
    index = int(question.where.partition("[")[2].partition("]")[0])
    tensor = facts.inputs[index]
    known = hints.get(tensor.name, InputHints())
    while True:
        try:
            answer = {**hints, tensor.name: _ASK[question.code](tensor, known, question)}
            attempt(answer)
        except ValueError:
            _say("That cannot be read.")
        except UsageError as error:
            if _is_open(error) and error.findings[0] != question:
                return answer
            for finding in error.findings:
                _say(str(finding))
        else:
            return answer


# --------------------------------------------------------------- questions


def _ask_shape(tensor: TensorFacts, hint: InputHints, _question: Finding) -> InputHints:
    sizes = [size if isinstance(size, int) and size > 0 else None for size in tensor.shape or ()]
    default = ",".join(str(size) for size in [1, *sizes[1:]]) if sizes and None not in sizes[1:] else ""
    written = "[" + ", ".join(str(size or "?") for size in tensor.shape or ()) + "]"
    return replace(hint, shape=ints(_ask(f"Shape of {tensor.name}, of {written}", default)))


def _ask_layout(tensor: TensorFacts, hint: InputHints, question: Finding) -> InputHints:
    default = question.message.partition(",")[0]
    return replace(
        hint,
        layout=_ask(f"Layout of {tensor.name}", default if default in _LAYOUTS else "").upper(),
    )


def _ask_type(tensor: TensorFacts, hint: InputHints, question: Finding) -> InputHints:
    default = "image" if "camera frames" in question.message else "raw"
    answer = _ask(f"What {tensor.name} takes, camera frames or numbers", default, ("image", "raw"))
    return replace(hint, is_image=answer == "image")


def _ask_color(tensor: TensorFacts, hint: InputHints, _question: Finding) -> InputHints:
    return replace(hint, color=Color(_ask(f"Colour order of {tensor.name}", "RGB", ("RGB", "BGR"))))


def _ask_normalization(tensor: TensorFacts, hint: InputHints, _question: Finding) -> InputHints:
    mean = floats(_ask(f"Mean of {tensor.name}, one value or one a channel", "none"))
    scale = floats(_ask(f"Scale of {tensor.name}, what is divided by", "none"))
    return replace(hint, mean=mean, scale=scale)


_ASK: Final[Mapping[str, Callable[[TensorFacts, InputHints, Finding], InputHints]]] = {
    "init.shape": _ask_shape,
    "init.batch": _ask_shape,
    "init.layout": _ask_layout,
    "init.input-type": _ask_type,
    "init.color": _ask_color,
    "init.normalization": _ask_normalization,
}


def ask_kind() -> str:
    """Which head the model has."""
    return _ask("Head, what the camera makes of the outputs", "none", (*KINDS, "none"))


def settle_head(kind: str, hints: HeadHints, tensors: Sequence[TensorFacts]) -> Head:
    """A head; it asks for everything that is missing or guessed.

    Raises:
        UsageError: Something is wrong that no answer corrects.
        Cancelled: The terminal was closed.
    """
    answered: set[str] = set()
    while True:
        head = None
        try:
            head = make_head(kind, hints, tensors)
            asked = [_FIELD.get(g.where, g.where) for g in head.guesses if g.where in _GUESSED]
        except UsageError as error:
            asked = [_FIELD.get(f.where, f.where) for f in error.findings if f.where in _FIELDS]
            if not asked:
                raise
            for finding in error.findings:  # the answer is not valid
                field = _FIELD.get(finding.where, finding.where)
                if field in answered:
                    _say(str(finding))
                    answered.discard(field)
        left = [field for field in asked if field not in answered]
        if head is not None and not left:
            return replace(head, guesses=tuple(g for g in head.guesses if g.where not in answered))
        field = left[0]
        text, default, read = _FIELDS[field]
        try:
            hints = replace(hints, **{field: read(_ask(text, default))})
            answered.add(field)
        except UsageError as error:
            _say(str(error))
        except ValueError:
            _say("That cannot be read.")


def _yes(text: str) -> bool:
    if text.lower() not in ("y", "yes", "n", "no"):
        raise ValueError
    return text.lower().startswith("y")


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


_FIELDS: Final[Mapping[str, tuple[str, str, Callable[[str], Any]]]] = {
    "outputs": ("Outputs of the head, a,b,c", "", _names),
    "classes": ("Classes, a,b,c or a file", "", read_classes),
    "n_classes": ("Classes, a,b,c or a file", "", read_classes),
    "subtype": (f"Which YOLO ({', '.join(SUBTYPES)})", "", str),
    "anchors": ("Anchors by output, [[[w,h],…],…] or a file", "", read_anchors),
    "is_softmax": ("Does the model end with a softmax, yes or no", "", _yes),
    "iou_threshold": ("IoU threshold", "0.5", float),
    "conf_threshold": ("Confidence threshold", "0.5", float),
    "max_det": ("Detections a frame at most", "300", int),
}
# The guesses that a question can settle.
_GUESSED: Final = ("subtype", "iou_threshold", "conf_threshold", "max_det")
# Other names correct a count that does not fit.
_FIELD: Final = {"n_classes": "classes"}


def _ask(text: str, default: str, choices: Sequence[str] = ()) -> str:
    from rich.console import Console
    from rich.markup import escape
    from rich.prompt import Prompt

    console = Console(stderr=True)
    while True:
        try:
            answer = Prompt.ask(
                escape(text),
                console=console,
                choices=list(choices) or None,
                default=default or ...,
                case_sensitive=False,
            )
        except EOFError:
            raise Cancelled("Cancelled; nothing was written.") from None
        if isinstance(answer, str) and answer.strip():
            return answer.strip()


def _say(text: str) -> None:
    from rich.console import Console

    Console(stderr=True).print(text, markup=False, highlight=False)

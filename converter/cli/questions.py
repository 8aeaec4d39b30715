"""The questions of `init` on a terminal: what is missing or guessed, with the guess as the default."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from converter.bare.classes import read_classes
from converter.bare.heads import KINDS, SUBTYPES, Head, HeadHints, make_head
from converter.bare.inputs import InputHints
from converter.cli.answers import ask, say
from converter.cli.flags import floats, ints, read_anchors
from converter.errors import UsageError
from converter.findings import Finding, perhaps
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
            say(f"That is not {_EXPECTED[question.code]}.")
        except UsageError as error:
            if _is_open(error) and error.findings[0] != question:
                return answer
            for finding in error.findings:
                say(str(finding))
        else:
            return answer


# --------------------------------------------------------------- questions


def _ask_shape(tensor: TensorFacts, hint: InputHints, _question: Finding) -> InputHints:
    sizes = [size if isinstance(size, int) and size > 0 else None for size in tensor.shape or ()]
    default = ",".join(str(size) for size in [1, *sizes[1:]]) if sizes and None not in sizes[1:] else ""
    written = "[" + ", ".join(str(size or "?") for size in tensor.shape or ()) + "]"
    text = f"Shape of {tensor.name}, of {written}, such as 1,3,224,224"
    return replace(hint, shape=ints(ask(text, default)))


def _ask_layout(tensor: TensorFacts, hint: InputHints, question: Finding) -> InputHints:
    default = question.message.partition(",")[0]
    return replace(
        hint,
        layout=ask(
            f"Layout of {tensor.name}, such as NHWC", default if default in _LAYOUTS else ""
        ).upper(),
    )


def _ask_type(tensor: TensorFacts, hint: InputHints, question: Finding) -> InputHints:
    default = "image" if "camera frames" in question.message else "raw"
    answer = ask(f"What {tensor.name} takes, camera frames or numbers", default, ("image", "raw"))
    return replace(hint, is_image=answer == "image")


def _ask_color(tensor: TensorFacts, hint: InputHints, _question: Finding) -> InputHints:
    return replace(hint, color=Color(ask(f"Colour order of {tensor.name}", "RGB", ("RGB", "BGR"))))


def _ask_normalization(tensor: TensorFacts, hint: InputHints, _question: Finding) -> InputHints:
    mean = floats(
        ask(f"Mean of {tensor.name}, one value or one a channel, such as 123.7,116.3,103.5", "none")
    )
    scale = floats(ask(f"Scale of {tensor.name}, what is divided by, such as 255", "none"))
    return replace(hint, mean=mean, scale=scale)


_ASK: Final[Mapping[str, Callable[[TensorFacts, InputHints, Finding], InputHints]]] = {
    "init.shape": _ask_shape,
    "init.batch": _ask_shape,
    "init.layout": _ask_layout,
    "init.input-type": _ask_type,
    "init.color": _ask_color,
    "init.normalization": _ask_normalization,
}


# What an answer should be.
_EXPECTED: Final = {
    "init.shape": "a size for each axis, such as 1,3,224,224",
    "init.batch": "a size for each axis, such as 1,3,224,224",
    "init.layout": "a letter for each axis, such as NCHW",
    "init.input-type": "image or raw",
    "init.color": "RGB or BGR",
    "init.normalization": "numbers with commas between them, such as 123.7,116.3,103.5, or none",
}


def ask_kind() -> str:
    """Which head the model has."""
    return ask("Head, what the camera makes of the outputs", "none", (*KINDS, "none"))


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
                    say(str(finding))
                    answered.discard(field)
        left = [field for field in asked if field not in answered]
        if head is not None and not left:
            return replace(head, guesses=tuple(g for g in head.guesses if g.where not in answered))
        field = left[0]
        asked_for = _FIELDS[field]
        try:
            hints = replace(hints, **{field: asked_for.read(ask(asked_for.text, asked_for.default))})
            answered.add(field)
        except UsageError as error:
            say(str(error))
        except ValueError:
            say(f"That is not {asked_for.expected}.")


def _yes(text: str) -> bool:
    if text.lower() not in ("y", "yes", "n", "no"):
        raise ValueError
    return text.lower().startswith("y")


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


def _subtype(text: str) -> str:
    """A subtype that parsers know.

    Raises:
        UsageError: There is none of that name.
    """
    if (known := text.lower()) in SUBTYPES:
        return known
    near = perhaps(text, SUBTYPES)
    raise UsageError(
        f"{text!r} is no YOLO that a parser knows.",
        remedy=near or f"There are: {', '.join(SUBTYPES)}.",
    )


@dataclass(frozen=True, kw_only=True)
class _Field:
    """A question about a head.

    Attributes:
        text: The question, with an example.
        expected: What an answer should be.
    """

    text: str
    read: Callable[[str], Any]
    expected: str
    default: str = ""


_CLASSES: Final = _Field(
    text="Classes, such as cat,dog, or a file with them",
    read=read_classes,
    expected="names with commas between them, such as cat,dog",
)
_SHARE: Final = "a number from 0 to 1, such as 0.5"
_FIELDS: Final[Mapping[str, _Field]] = {
    "outputs": _Field(
        text="Outputs of the head, such as boxes,scores",
        read=_names,
        expected="names of outputs with commas between them",
    ),
    "classes": _CLASSES,
    "n_classes": _CLASSES,
    "subtype": _Field(
        text=f"Which YOLO, such as yolov8 ({', '.join(SUBTYPES)})",
        read=_subtype,
        expected="one of those",
    ),
    "anchors": _Field(
        text="Anchors by output, such as [[[10,13],[16,30]],[[30,61],[62,45]]], or a file",
        read=read_anchors,
        expected="a list of pairs for each output",
    ),
    "is_softmax": _Field(
        text="Does the model end with a softmax, yes or no", read=_yes, expected="yes or no"
    ),
    "iou_threshold": _Field(
        text="IoU threshold, from 0 to 1", read=float, expected=_SHARE, default="0.5"
    ),
    "conf_threshold": _Field(
        text="Confidence threshold, from 0 to 1", read=float, expected=_SHARE, default="0.5"
    ),
    "max_det": _Field(
        text="Detections a frame at most, such as 300",
        read=int,
        expected="a whole number, such as 300",
        default="300",
    ),
}
# The guesses that a question can settle.
_GUESSED: Final = ("subtype", "iou_threshold", "conf_threshold", "max_det")
# Other names correct a count that does not fit.
_FIELD: Final = {"n_classes": "classes"}

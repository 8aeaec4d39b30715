"""`nnconvert init`: its flags, and the command."""

# ruff: noqa: T201 - printing is what a command is for

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from converter.cli.source_flags import EACH, flag

if TYPE_CHECKING:
    from converter.bare.config import Draft, InputHints
    from converter.bare.heads import HeadHints
    from converter.bare.ready import Ready
    from converter.errors import ConvertError
    from converter.findings import Finding
    from converter.graph.facts import GraphFacts


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class InputFlags:
    """The flags for the inputs."""

    image: Annotated[tuple[str, ...], flag("An input that takes camera frames.")] = ()
    raw: Annotated[tuple[str, ...], flag("An input that takes plain numbers.")] = ()
    shape: Annotated[tuple[str, ...], flag(f"Sizes such as 1,3,224,224: {EACH}")] = ()
    frozen: Annotated[
        tuple[str, ...], flag("An input that is always the same, NAME=VALUE: 1, [1,2] or a .npy file.")
    ] = ()
    layout: Annotated[tuple[str, ...], flag(f"Axes such as NCHW: {EACH}")] = ()
    mean: Annotated[tuple[str, ...], flag(f"In the model's channel order: {EACH}")] = ()
    scale: Annotated[tuple[str, ...], flag(f"The divisors of the channels: {EACH}")] = ()
    color: Annotated[tuple[str, ...], flag(f"RGB, BGR or GRAY, the model's order: {EACH}")] = ()
    resize_mode: Annotated[tuple[str, ...], flag(f"CROP, STRETCH or LETTERBOX: {EACH}")] = ()

    def hints(self, facts: GraphFacts) -> dict[str, InputHints]:
        """The hints for each input; errors as for `input_hints`."""
        from converter.cli.flags import input_hints

        named = ("shape", "frozen", "layout", "mean", "scale", "color", "resize_mode")
        return input_hints(facts, self.image, self.raw, {key: getattr(self, key) for key in named})


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class HeadFlags:
    """The flags for the head."""

    head: Annotated[
        Literal["yolo", "classification", "segmentation", "ssd", "none"] | None,
        flag("How the camera decodes the outputs."),
    ] = None
    parser: Annotated[str | None, flag("Or the class of any parser of depthai-nodes.")] = None
    heads: Annotated[Path | None, flag("Or a JSON file with a list of heads, as they are.")] = None
    outputs: Annotated[
        str | None, flag("The head's outputs, a,b,c; default: all. Inner tensors cut the model.")
    ] = None
    cut: Annotated[bool, Parameter(help="Cut a YOLO export in front of its decoding.")] = True
    classes: Annotated[
        str | None, flag("a,b,c, or a file: lines, a YAML or JSON list, Ultralytics' data.yaml.")
    ] = None
    n_classes: Annotated[int | None, flag("The number of classes, if they have no names.")] = None
    subtype: Annotated[str | None, flag("Which YOLO, for example yolov8.")] = None
    anchors: Annotated[
        str | None, flag("By output, smallest first, [[[w,h],…],…] or a file with it.")
    ] = None
    iou_threshold: Annotated[float | None, flag("Boxes that overlap more count as one.")] = None
    conf_threshold: Annotated[float | None, flag("Less certain detections are dropped.")] = None
    max_det: Annotated[int | None, flag("The largest number of detections in a frame.")] = None
    softmax: Annotated[bool | None, Parameter(help="Whether the model ends with a softmax.")] = None
    n_prototypes: Annotated[int | None, flag("YOLO instance segmentation: prototypes.")] = None
    n_keypoints: Annotated[int | None, flag("YOLO pose: keypoints.")] = None
    head_metadata: Annotated[Path | None, flag("A JSON file with further keys of the head.")] = None

    def hints(self) -> HeadHints:
        """The hints for the head.

        Raises:
            UsageError: A file or a value cannot be read.
        """
        from converter.bare.classes import read_classes
        from converter.bare.heads import HeadHints
        from converter.cli.flags import read_anchors, read_json

        return HeadHints(
            outputs=tuple(part.strip() for part in self.outputs.split(",")) if self.outputs else None,
            classes=read_classes(self.classes) if self.classes is not None else None,
            n_classes=self.n_classes,
            subtype=self.subtype,
            iou_threshold=self.iou_threshold,
            conf_threshold=self.conf_threshold,
            max_det=self.max_det,
            anchors=read_anchors(self.anchors) if self.anchors is not None else None,
            is_softmax=self.softmax,
            n_prototypes=self.n_prototypes,
            n_keypoints=self.n_keypoints,
            metadata=read_json("--head-metadata", self.head_metadata, dict),
        )


_NO_INPUT_FLAGS = InputFlags()
_NO_HEAD_FLAGS = HeadFlags()


def init(
    model: Annotated[Path, Parameter(help="An ONNX model; weights in other files must be beside it.")],
    *,
    output: Annotated[
        str | None, flag("Default: the model's name.tar.xz here; FOLDER/ makes one.", "-o", "--output")
    ] = None,
    name: Annotated[str | None, flag("The model's name; default: its file's name.")] = None,
    inputs: InputFlags = _NO_INPUT_FLAGS,
    head: HeadFlags = _NO_HEAD_FLAGS,
    encodings: Annotated[Path | None, flag("AIMET's encodings, for RVC4.")] = None,
    calibration: Annotated[Path | None, flag("A folder of frames to calibrate with.")] = None,
    force: Annotated[bool, flag("Replace an existing output.")] = False,
    json: Annotated[bool, flag("Print one JSON document.")] = False,
    yes: Annotated[bool, flag("Ask nothing, take every guess.")] = False,
) -> int:
    """Write a source archive from a bare model. On a terminal it asks for what it would guess."""
    from converter.bare.config import read_signature
    from converter.bare.settled import options_of, settled_model
    from converter.bare.write import place_for, write_source
    from converter.cli.flags import read_json

    _refuse_two_heads(head)
    place_for(model, output, force=force)
    facts = read_signature(model)
    hints, head_hints = inputs.hints(facts), head.hints()
    settled = settled_model(model, options_of(hints), facts)
    facts, hints = settled.facts, settled.hints(hints)
    written_heads = read_json("--heads", head.heads, list)
    asks = not json and not yes and sys.stdin.isatty() and sys.stderr.isatty()
    ready = _ready(settled.path, facts, hints, head, head_hints)
    try:
        drafted = _draft(
            settled.path,
            name,
            ready,
            lambda asks: _heads(
                head.parser or head.head, head_hints, written_heads, ready.facts, asks=asks
            ),
            asks=asks,
        )
        done = write_source(
            settled.path,
            drafted,
            output=output,
            cut=ready.cut,
            encodings=encodings,
            calibration=calibration,
            force=force,
        )
    finally:
        if ready.cut is not None:
            ready.cut.folder.cleanup()
        settled.close()
    if json:
        from converter.cli import print_json

        print_json(done.to_json())
        return 0
    for word, findings in (("guess", done.guesses), ("warning", done.warnings)):
        for finding in findings:
            print(f"{word}: {' '.join(str(finding).split())}", file=sys.stderr)
    print(f"{done.size_bytes:,} bytes, sha256 {done.sha256}", file=sys.stderr)
    print(done.output)
    return 0


def _refuse_two_heads(flags: HeadFlags) -> None:
    from converter.errors import UsageError

    given = {"--head": flags.head, "--parser": flags.parser, "--heads": flags.heads}
    named = [flag for flag, value in given.items() if value is not None]
    if len(named) > 1:
        raise UsageError(
            f"{' and '.join(named)} each define the head.",
            remedy="Give one of them; several heads go into a file for --heads.",
        )


def _ready(
    model: Path,
    facts: GraphFacts,
    hints: Mapping[str, InputHints],
    flags: HeadFlags,
    head: HeadHints,
) -> Ready:
    """The model with its cut and its head, as far as the flags leave them open."""
    from converter.bare.ready import Wish, make_ready

    own = [tensor.name for tensor in facts.outputs]
    chosen = [name for name in head.outputs or () if name not in own]
    has_head = flags.parser is not None or flags.heads is not None or flags.head not in (None, "yolo")
    wish = Wish(
        outputs={name: name for name in head.outputs or ()} if chosen else None,
        cut=flags.cut,
        head=head,
        has_head=has_head or head.outputs is not None,
    )
    return make_ready(model, facts, hints, wish, work=None)


def _draft(
    model: Path,
    name: str | None,
    ready: Ready,
    heads: Callable[[bool], tuple[list[Any], tuple[Finding, ...]]],
    *,
    asks: bool,
) -> Draft:
    """The config; on a terminal it asks for what is missing or guessed.

    Args:
        heads: Makes the heads and returns the guesses in them; it asks if its argument is true.

    Raises:
        UsageError: It names everything that is missing or wrong, with the flags to give.
    """
    from converter.bare.config import draft
    from converter.cli.flags import error_in_flags, in_flags
    from converter.cli.questions import settle_inputs
    from converter.errors import ConvertError, UsageError, from_findings

    facts, hints = ready.facts, ready.inputs
    names = [tensor.name for tensor in facts.inputs]

    def attempt(said: Mapping[str, InputHints], found: list[Any]) -> Draft:
        try:
            return draft(model, name=name, inputs=said, heads=found, facts=facts)
        except ConvertError as error:
            raise error_in_flags(error, model.name, names) from error

    answered: frozenset[tuple[str, str]] = frozenset()
    if asks:
        hints, answered = settle_inputs(facts, hints, lambda said: attempt(said, []))
    problems: list[Finding] = []
    found: list[Any] = []
    guesses: tuple[Finding, ...] = ()
    try:
        found, guesses = ([dict(ready.head)], ()) if ready.head else heads(asks)
    except UsageError as error:
        problems += error.findings or [_as_finding(error)]
    try:
        drafted = attempt(hints, found)
    except UsageError as error:
        problems = [*(error.findings or [_as_finding(error)]), *problems]
    if problems:
        raise from_findings(UsageError, model.name, problems)
    kept = [guess for guess in drafted.guesses if (guess.code, guess.where) not in answered]
    told = [*ready.told, *kept]
    return replace(drafted, guesses=(*(in_flags(guess, names) for guess in told), *guesses))


def _as_finding(error: ConvertError) -> Finding:
    from converter.findings import Finding

    return Finding(code="init.error", where="", message=error.message, remedy=error.remedy)


def _heads(
    kind: str | None, hints: HeadHints, written: list[Any], facts: GraphFacts, *, asks: bool
) -> tuple[list[Any], tuple[Finding, ...]]:
    """The config's heads, and the guesses in them.

    Raises:
        UsageError: Something is missing, or there are flags for a head but no head.
    """
    from converter.bare.heads import HeadHints, make_head
    from converter.cli.questions import ask_kind, settle_head
    from converter.errors import UsageError
    from converter.findings import Finding, Severity

    if written:
        if not all(isinstance(head, dict) for head in written):
            raise UsageError("--heads: every head must be a JSON object.")
        return written, ()
    if kind is None and asks:
        kind = ask_kind()
    if kind in (None, "none"):
        if hints != HeadHints():
            raise UsageError(
                "There are flags for a head, but no head.",
                remedy="Give --head yolo, classification, segmentation or ssd, or --parser CLASS.",
            )
        if kind == "none" or asks:
            return [], ()
        guess = Finding(
            code="init.heads",
            severity=Severity.INFO,
            where="model.heads",
            message="there is none: no parser decodes the outputs.",
            remedy="Give --head or --parser so that the camera decodes them, or --head none.",
        )
        return [], (guess,)
    assert kind is not None
    head = settle_head(kind, hints, facts.outputs) if asks else make_head(kind, hints, facts.outputs)
    return [head.config], tuple(
        replace(
            guess,
            where=f"model.heads[0].{'' if guess.where == 'outputs' else 'metadata.'}{guess.where}",
        )
        for guess in head.guesses
    )

"""Where a network for RVC4 loses its accuracy, why, and what helps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from converter.errors import ConvertError
from converter.target import Run
from converter.verification import verdict
from converter.verification.trace import Traced, begins, behind, leaves_half, node_name, trace
from targets.rvc4 import qnn
from targets.rvc4.parameters import QnnParameters
from targets.rvc4.prepare import Prepared
from targets.rvc4.quantization.network import Network
from targets.rvc4.quantization.variants import wider
from targets.rvc4.toolchain import Toolchain

if TYPE_CHECKING:
    from numpy.typing import NDArray

Feeds = Sequence[Mapping[str, "NDArray[Any]"]]
# How the quantizer ends the name of a tensor that went through codes, and of the codes.
_DECODED: Final = "_DequantizeLinear_Output"
_CODES: Final = "_QuantizeLinear_Output"
# What the emulator may round in another way than ONNX Runtime.
_SAME: Final = 0.02


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is explained: a network, what it was made of, and what it was fed."""

    run: Run
    parameters: QnnParameters
    prepared: Prepared
    network: Network
    feeds: Feeds
    timeout_s: float

    def folder(self, name: str) -> Path:
        """A new folder for a call's tensors."""
        folder = self.run.work / f"explain-{name}"
        folder.mkdir()
        return folder


def losses(subject: Subject, record: Mapping[str, Any]) -> dict[str, Any] | None:
    """Why the network differs from the source on ONNX Runtime; None if that cannot be found out."""
    said: list[str] = []
    found: dict[str, Any] = {}
    lost, error = _lost(record), None
    if lost:
        error = max(lost.values())
        try:
            rows = trace(
                subject.prepared.path,
                subject.network.path,
                subject.feeds,
                subject.feeds,
                suffix=_DECODED,
                processes=subject.run.processes,
                work=subject.folder("trace"),
                timeout_s=subject.timeout_s,
            )
        except ConvertError:
            rows = []
        rows = behind(rows, list(lost))
        place = begins(rows, error)
        if subject.parameters.precision.is_float:
            place = leaves_half(rows) or place
        if place is not None:
            reason, why = _reason(place, rows, is_float=subject.parameters.precision.is_float)
            found = {"node": place.node, "operator": place.operator, "tensor": place.tensor}
            found["reason"] = reason
            said.append(f"It begins at node {place.name}: {why}.")
    helps = _what_helps(subject, record, error)
    if helps:
        said.append(helps)
    return {**found, "said": said} if said else None


def _lost(record: Mapping[str, Any]) -> dict[str, float]:
    """The outputs that as a whole are far off, with their errors; those that fail, if some do."""
    least = verdict.LARGE * record["limits"]["max_rel_rmse"]
    failed = record.get("failed") or ()
    errors = {
        name: 1.0 if row.get("not_finite") else float(row.get("rel_rmse") or 0.0)
        for name, row in record["outputs"].items()
    }
    lost = {name: error for name, error in errors.items() if error > least}
    return {name: error for name, error in lost.items() if name in failed} or lost


def _reason(place: Traced, rows: Sequence[Traced], *, is_float: bool) -> tuple[str, str]:
    """The reason in a word and in a sentence."""
    if is_float:
        if place.half_note:
            return ("overflow" if "ends at" in place.half_note else "underflow"), place.half_note
        return "rounding", "float16 rounds away what it computes with"
    before = [row.error for row in rows if row.tensor in place.inputs]
    given = max((error or 0.0 for error in before), default=0.0)
    # Behind a node that is computed together with this one, the figure is of something else.
    raw, error = None if None in before else place.raw, place.error or 0.0
    if place.range_note and (raw is None or error - raw > 0.5 * (error - given)):
        return "range", place.range_note
    if place.raw is None and place.weighted:
        return "weights", f"its weights and its output lose {error:.2g} to their quantization"
    if raw is None or error - raw > raw - given:
        return "activations", f"its activations lose {error:.2g} to their quantization"
    if place.weighted:
        return "weights", f"its weights lose {raw:.2g} to their quantization"
    return "amplified", f"it makes {raw:.2g} of an error of {given:.2g} in what it is fed"


def _what_helps(subject: Subject, record: Mapping[str, Any], error: float | None) -> str:
    """A mode that was tried on ONNX Runtime, or the way out of parts that share a step."""
    precision = subject.parameters.precision
    if precision.is_float:
        return "An integer mode keeps the range, INT8_INT16_MIXED for one." if error else ""
    dead = [
        part
        for row in record["outputs"].values()
        for part in (*row.get("parts", ()), *filter(None, [row.get("whole")]))
        if part["state"] in ("dead", "fell silent")
    ]
    cut = " Or cut the model so that these are outputs of their own (--outputs)." if dead else ""
    if precision.activations == 16:
        return f"FP16_STANDARD has no steps.{cut}" if dead or error else ""
    tried = _wider_error(subject, list(record["outputs"]))
    if tried is None:
        return f"INT8_INT16_MIXED has steps 257 times finer.{cut}"
    if error is not None and tried > 0.7 * error and not dead:
        lost = f"INT8_INT16_MIXED loses {tried:.2g} as well (tried on ONNX Runtime)"
        return f"{lost}; FP16_STANDARD has no steps."
    return f"INT8_INT16_MIXED brings the relative RMSE to {tried:.2g} (tried on ONNX Runtime).{cut}"


def _wider_error(subject: Subject, names: Sequence[str]) -> float | None:
    """The largest error of an output with 16-bit activations; None if unknown."""
    import numpy as np

    from converter.verification import reference
    from converter.verification.compare import compare

    run, parameters = subject.run, subject.parameters
    try:
        network = wider(run, parameters, subject.prepared, subject.network)
        if network is None:
            return None
        floats = [
            {name: x.astype(np.float32) if x.dtype == np.uint8 else x for name, x in feed.items()}
            for feed in subject.feeds
        ]
        results = [
            reference.run(
                path,
                feeds,
                names,
                processes=run.processes,
                work=subject.folder(name),
                timeout_s=subject.timeout_s,
                exact=True,
            )
            for name, path, feeds in (
                ("float", subject.prepared.path, floats),
                ("wider", network.path, subject.feeds),
            )
        ]
    except ConvertError:
        return None
    figures = compare(results[0], network.decoded(results[1]))
    errors = [row["rel_rmse"] for row in figures.values()]
    return None if None in errors else max(errors)


def lowering(subject: Subject, toolchain: Toolchain, optimization: Any) -> dict[str, Any] | None:
    """The first node that the emulator computes otherwise than ONNX Runtime; None if that is not found.

    The network is run once more with its inner tensors as outputs, which may keep the fault away.
    """
    import onnx

    from converter.verification import reference
    from converter.verification.reference import with_outputs

    graph = onnx.load(subject.network.path, load_external_data=False).graph
    made = {name: node for node in graph.node for name in node.output}
    is_float = subject.parameters.precision.is_float
    inner = [
        name
        for name, node in made.items()
        if (is_float or name.endswith(_CODES)) and node.op_type not in ("Cast", "DequantizeLinear")
    ]
    try:
        network = Path(with_outputs(str(subject.network.path), inner))
        here = reference.run(
            network,
            subject.feeds,
            inner,
            processes=subject.run.processes,
            work=subject.folder("inner"),
            timeout_s=subject.timeout_s,
            exact=True,
        )
        there = qnn.emulate(
            network,
            subject.feeds,
            inner,
            toolchain,
            subject.parameters.soc,
            optimization,
            processes=subject.run.processes,
            work=subject.folder("inner-emulator"),
            timeout_s=subject.timeout_s,
        )
    except ConvertError:
        return None
    for name in inner:
        if _differ([frame[name] for frame in here], [frame[name] for frame in there]):
            maker = _computing(name, made)
            if maker is None:
                continue
            said = node_name(maker.name, maker.op_type)
            return {
                "node": maker.name,
                "operator": maker.op_type,
                "tensor": name.removesuffix(_CODES),
                "reason": "lowering",
                "said": [f"The first node that QNN computes otherwise is {said}."],
            }
    return None


def _computing(name: str, made: Mapping[str, Any]) -> Any:
    """The node behind a tensor's quantization."""
    node = made.get(name)
    while node is not None and node.op_type in ("QuantizeLinear", "DequantizeLinear", "Cast"):
        node = made.get(node.input[0])
    return node


def _differ(one: Sequence[Any], other: Sequence[Any]) -> bool:
    import numpy as np

    a = np.stack([np.asarray(values, np.float64) for values in one])
    b = np.stack([np.asarray(values, np.float64).reshape(a.shape[1:]) for values in other])
    finite = np.isfinite(a)
    if not np.array_equal(finite, np.isfinite(b)):
        return True
    a, b = np.where(finite, a, 0.0), np.where(finite, b, 0.0)
    spread = float(a.std())
    return bool(np.sqrt(np.mean(np.square(a - b))) > _SAME * max(spread, 1e-9) + 1e-9)

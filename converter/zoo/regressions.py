"""What became worse in a cell: the archive of this build beside the published one."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from converter.findings import Finding, Severity
from converter.zoo.index import Cell
from converter.zoo.thresholds import Thresholds

# Measures of a headline that are better when they are smaller.
_DISTANCES: Final = frozenset({"keypoint distance"})
_SECOND: Final = "second stage, "
_COSINE: Final = ": 1 − cosine"
# Of a tensor: what a program on a camera relies on.
_TENSOR_KEYS: Final = ("dtype", "shape", "layout", "dai_type")
_NUMBER: Final = re.compile(r"\d+(?:\.\d+)?(?:e[-+]?\d+)?")
# What is told although no limit forbids it: an error that became so many times as large, a conversion
# that takes so many times as long, each by more than so much.
_TIMES: Final = 2.0
_SMALL_ERROR: Final = 0.001
_SHORT_S: Final = 30.0
# A change of the size below it is none: the packing's own.
_SMALL_BYTES: Final = 4096


def regressions(new: Cell, old: Cell, limits: Thresholds) -> Iterator[Finding]:
    """The findings of a cell that succeeds now and did before.

    `ERROR` where a limit is broken, `WARNING` for what deserves a look all the same.
    """
    yield from _size(new, old, limits)
    yield from _tensors(new, old, limits)
    yield from _verification(new, old)
    yield from _accuracy(new, old, limits)
    yield from _warnings(new, old, limits)
    yield from _seconds(new, old, limits)


def error_figures(record: Mapping[str, Any]) -> dict[str, float]:
    """The errors of a verification record by output and part, 0 is best; infinite where not finite."""
    found: dict[str, float] = {}
    for name, row in _outputs(record):
        if "agreement" in row:
            found[f"{name}: wrong indices"] = _figure(row.get("wrong"))
            continue
        found[f"{name}: relative RMSE"] = _figure(row.get("rel_rmse"))
        if row.get("cosine") is not None:
            found[f"{name}{_COSINE}"] = 1.0 - _figure(row["cosine"])
        if isinstance(row.get("ranked"), Mapping):
            found[f"{name}, scores: relative RMSE"] = _figure(row["ranked"].get("rel_rmse"))
        for part in row.get("parts") or ():
            found[f"{name}{part.get('where', '')}: error"] = _figure(part.get("error"))
    return found


def metric_figures(record: Mapping[str, Any]) -> dict[str, float]:
    """What is better when it is larger: agreement of the heads, accuracy on labels."""
    found: dict[str, float] = {}
    for one in record.get("headlines") or ():
        value, measure = one.get("value"), str(one.get("measure"))
        if isinstance(value, int | float):
            sign = -1.0 if measure in _DISTANCES else 1.0
            found[f"{one.get('output')}: {measure}"] = sign * float(value)
    accuracy = record.get("accuracy") or {}
    for name, value in (accuracy.get("compiled") or {}).items():
        if isinstance(value, int | float):
            found[f"{name} on labelled frames"] = float(value)
    return found


def worst_error(record: Mapping[str, Any]) -> float | None:
    """The largest relative RMSE, share of wrong indices, or error of a part; None if none was taken."""
    figures = [value for name, value in error_figures(record).items() if not name.endswith(_COSINE)]
    finite = [value for value in figures if math.isfinite(value)]
    return max(finite) if finite else None


def _outputs(record: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield from (record.get("outputs") or {}).items()
    second = record.get("postprocessor") or {}
    for name, row in (second.get("outputs") or {}).items():
        yield f"{_SECOND}{name}", row


def _figure(value: Any) -> float:
    """None is how a record says that values are not finite."""
    return float(value) if isinstance(value, int | float) else math.inf


# ------------------------------------------------------------------- rules


def _size(new: Cell, old: Cell, limits: Thresholds) -> Iterator[Finding]:
    if not new.size_bytes or not old.size_bytes or limits.size_growth is None:
        return
    change = new.size_bytes - old.size_bytes
    if abs(change) > max(_SMALL_BYTES, limits.size_growth * old.size_bytes):
        share = f"{old.size_bytes:,} → {new.size_bytes:,} bytes ({change / old.size_bytes:+.1%})"
        if change > 0:
            said = f"{share}; it may grow by {limits.size_growth:.1%}."
            yield _worse(new, code="zoo.size", message=said)
        else:
            yield _told(new, code="zoo.size", message=f"{share}: it shrank.")


def _tensors(new: Cell, old: Cell, limits: Thresholds) -> Iterator[Finding]:
    if not old.tensors or not new.tensors:
        return
    found = _told if limits.changed_tensors else _worse
    for kind in ("inputs", "outputs"):
        before, after = _by_name(old.tensors.get(kind)), _by_name(new.tensors.get(kind))
        if list(before) != list(after):
            said = f"The {kind} were {_names(before)}, now {_names(after)}."
            yield found(new, code="zoo.tensors", message=said)
        for name in [name for name in before if name in after]:
            changed = [
                f"{key} {before[name].get(key)} → {after[name].get(key)}"
                for key in _TENSOR_KEYS
                if before[name].get(key) != after[name].get(key)
            ]
            if changed:
                said = f"The {kind[:-1]} {name!r}: {', '.join(changed)}."
                yield found(new, code="zoo.tensors", message=said)


def _verification(new: Cell, old: Cell) -> Iterator[Finding]:
    """A comparison that says less than the published one's."""
    before, after = old.verification, new.verification
    if before.get("status") == "passed" and after.get("status") != "passed":
        reason = after.get("reason")
        said = f"It was compared with its source, now it is {after.get('status') or 'not'}"
        yield _worse(new, code="zoo.verification", message=f"{said}{f': {reason}' if reason else ''}.")
        return
    known = set(before.get("not_compared") or {})
    lost = [name for name in after.get("not_compared") or {} if name not in known]
    gone = set(dict(_outputs(before))) - set(dict(_outputs(after))) - set(lost)
    # An output that the archive no longer has is told with its tensors.
    here = set(_by_name(new.tensors.get("outputs")))
    lost += sorted(name for name in gone if name in here or name.startswith(_SECOND))
    if lost:
        said = f"No longer compared with the source: {_names(lost)}."
        yield _worse(new, code="zoo.verification", message=said)
    if before.get("checked_on") != after.get("checked_on"):
        said = f"Compared on {after.get('checked_on')}; before on {before.get('checked_on')}."
        yield _told(new, code="zoo.verification", message=said)


def _accuracy(new: Cell, old: Cell, limits: Thresholds) -> Iterator[Finding]:
    before, after = error_figures(old.verification), error_figures(new.verification)
    for name, was in before.items():
        grown = after.get(name, was) - was
        if not math.isfinite(was) or not grown > 0:
            continue
        limit = limits.cosine_loss if name.endswith(_COSINE) else limits.rel_rmse_growth
        said = f"{name} {was:.4g} → {after[name]:.4g}"
        if limit is not None and grown > limit:
            said += f"; it may grow by {limit:g}."
            yield _worse(new, code="zoo.accuracy", message=said)
        elif grown > max(_SMALL_ERROR, (_TIMES - 1) * was):
            yield _told(new, code="zoo.accuracy", message=f"{said}.")
    states = _states(old), _states(new)
    for name, state in states[0].items():
        if state == "fine" != states[1].get(name, state):
            said = f"{name} was fine, now it is {states[1][name]}."
            yield _worse(new, code="zoo.accuracy", message=said)
    measured = metric_figures(old.verification), metric_figures(new.verification)
    for name, was in measured[0].items():
        now = measured[1].get(name, was)
        if limits.accuracy_loss is not None and was - now > limits.accuracy_loss:
            may = "fall" if was >= 0 else "grow"
            said = f"{name} {abs(was):.4g} → {abs(now):.4g}; it may {may} by {limits.accuracy_loss:g}."
            yield _worse(new, code="zoo.metric", message=said)
    if lost := [name for name in measured[0] if name not in measured[1]]:
        said = f"No longer measured: {', '.join(lost)}."
        yield _told(new, code="zoo.metric", message=said)


def _states(cell: Cell) -> dict[str, str]:
    """By part what became of it: `fine`, `dead`, `saturated`, … (`verification.figures`)."""
    return {
        f"{name}{part.get('where', '')}": str(part.get("state", "fine"))
        for name, row in _outputs(cell.verification)
        for part in row.get("parts") or ()
    }


def _warnings(new: Cell, old: Cell, limits: Thresholds) -> Iterator[Finding]:
    """Warnings that are new; two that differ in their numbers only are one."""
    found = _told if limits.new_warnings else _worse
    known = {_NUMBER.sub("#", text) for text in old.warnings}
    for text in new.warnings:
        if _NUMBER.sub("#", text) not in known:
            yield found(new, code="zoo.warnings", message=f"A new warning: {text}")


def _seconds(new: Cell, old: Cell, limits: Thresholds) -> Iterator[Finding]:
    if new.cached or new.seconds is None or old.seconds is None:
        return
    said = f"{old.seconds:.1f} → {new.seconds:.1f} s"
    if limits.slowdown is not None and new.seconds > limits.slowdown * old.seconds:
        said += f"; {limits.slowdown:g} times as long is allowed."
        yield _worse(new, code="zoo.seconds", message=said)
    elif new.seconds - old.seconds > max(_SHORT_S, (_TIMES - 1) * old.seconds):
        yield _told(new, code="zoo.seconds", message=f"{said}.")


def _worse(cell: Cell, *, code: str, message: str) -> Finding:
    return Finding(code=code, where=cell.id, message=message, severity=Severity.ERROR)


def _told(cell: Cell, *, code: str, message: str) -> Finding:
    return Finding(code=code, where=cell.id, message=message, severity=Severity.WARNING)


def _by_name(tensors: Any) -> dict[str, Mapping[str, Any]]:
    return {str(item.get("name")): item for item in tensors or ()}


def _names(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names)) or "none"

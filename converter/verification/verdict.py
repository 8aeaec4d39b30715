"""The verdict on a comparison: limits, the record, and what a user is told."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from converter.errors import ToolError, VerificationError
from converter.sources.runtimes import RUNTIMES
from converter.verification.limits import Limits

if TYPE_CHECKING:
    from converter.target import Run

Row = Mapping[str, Any]
# Scores of sorted rows may be out of order by so much of their spread: ties that were rounded.
_MOST_DISORDER: Final = 0.1
# Outputs that vary less than this between frames prove little.
_VARIES: Final = 1e-3
# From this share of the limit on, a user is told where the error comes from.
LARGE: Final = 0.4


def judge(
    figures: Mapping[str, Row],
    limits: Limits,
    *,
    source_format: str,
    checked_on: str,
    frames: str,
    excuse: Mapping[str, float] | None = None,
    headlines: Sequence[Row] = (),
) -> dict[str, Any]:
    """The verification record (docs/verification.md).

    Args:
        excuse: By output, and by output and part (`part_key`), an error up to which it passes although
            it breaks a limit, because the number format explains that much.
        headlines: What the comparison means (`meaning.headlines`).
    """
    allowed = {} if limits.own or excuse is None else excuse
    reasons = {name: broken(name, row, limits, allowed) for name, row in figures.items()}
    failed = {name: said for name, said in reasons.items() if said}
    if not figures:
        raise ToolError("The network has no output that was compared.")
    excused = {
        name: float(f"{allowed[name]:.3g}")
        for name, row in figures.items()
        if name in allowed and name not in failed and broken(name, row, limits, {})
    }
    return {
        "status": "failed" if failed else "passed",
        "checked_on": checked_on,
        "reference": f"the source model on {RUNTIMES[source_format]} (CPU), preprocessing in NumPy",
        "frames": frames,
        "outputs": {name: dict(row) for name, row in figures.items()},
        "limits": limits.to_json(),
        **({"failed": list(failed), "reasons": failed} if failed else {}),
        **({"excused": excused} if excused else {}),
        **({"headlines": [dict(item) for item in headlines]} if headlines else {}),
    }


def worse(
    figures: Mapping[str, Row], others: Mapping[str, Row], limits: Limits, excuse: Mapping[str, float]
) -> dict[str, Row]:
    """For each output the figures of the worse result: it breaks more limits, or is further off."""
    allowed = {} if limits.own else excuse

    def badness(name: str, row: Row) -> tuple[int, float]:
        error = row["wrong"] if "wrong" in row else row["rel_rmse"]
        return len(broken(name, row, limits, allowed)), math.inf if error is None else float(error)

    return {
        name: max(row, others[name], key=lambda found: badness(name, found))
        for name, row in figures.items()
    }


def part_key(name: str, part: Row) -> str:
    """The name of an output's part in a record."""
    return f"{name}{part['where']}"


def ranked_key(name: str) -> str:
    """The name of the scores by which an output's rows were chosen, in a record."""
    return f"{name} (scores, in the order of the rows)"


def broken(name: str, row: Row, limits: Limits, allowed: Mapping[str, float]) -> list[str]:
    """The limits that an output breaks, in words; none if it passes."""
    if "agreement" in row:
        return _broken_by_indices(row, limits)
    if row["rel_rmse"] is None:
        return ["the result is not finite where the source is, or the reverse"]
    said = [] if _excused(row, limits, allowed.get(name)) else _values(row, limits)
    if "ranked" in row:
        scores = row["ranked"]
        order = ranked_key(name)
        if scores["rel_rmse"] is None:
            said.append(f"{order}: not finite where the source's are, or the reverse")
        elif not _excused(scores, limits, allowed.get(order)):
            said += [f"{order}: {text}" for text in _values(scores, limits)]
        if scores.get("disorder", 0.0) > max(_MOST_DISORDER, limits.max_rel_rmse):
            said.append(f"{order}: they do not fall or rise as the source's do")
    if "whole" in row and (fault := _part_fault(row["whole"], limits, None)):
        said.append(f"{name}: {fault}")
    for part in row.get("parts", ()):
        fault = _part_fault(part, limits, allowed.get(part_key(name, part)))
        said += [f"{part_key(name, part)} ({part['name']}): {fault}"] if fault else []
    return said


def _excused(row: Row, limits: Limits, excused: float | None) -> bool:
    """Whether the format explains the error, or cannot tell so little."""
    if excused is not None and row["rel_rmse"] <= excused:
        return True
    beyond = row.get("beyond_floor")
    return beyond is not None and not limits.own and not _values(beyond, limits)


def _values(row: Row, limits: Limits) -> list[str]:
    said = []
    if not row["rel_rmse"] <= limits.max_rel_rmse:
        said.append(f"relative RMSE {row['rel_rmse']:.4g} is above {limits.max_rel_rmse:g}")
    if not row["cosine"] >= limits.min_cosine:
        said.append(f"cosine {row['cosine']:.6g} is below {limits.min_cosine:g}")
    return said


def _broken_by_indices(row: Row, limits: Limits) -> list[str]:
    lost = row.get("lost") or ()
    said = [
        f"the index {', '.join(map(str, lost))} is lost: most of its places point at a value that is "
        "clearly another"
    ] * bool(lost)
    if row["wrong"] <= limits.max_wrong_indices:
        return said
    return [
        f"{row['wrong']:.2%} of the indices point at a value that is clearly another; "
        f"{limits.max_wrong_indices:.2%} may ({row['agreement']:.2%} are equal)",
        *said,
    ]


def _part_fault(part: Row, limits: Limits, excused: float | None) -> str:
    """What is wrong with a part; empty if nothing is."""
    low, high = part["range"]
    state = part["state"]
    largest = max(abs(low), abs(high))
    reach = f"values reach {largest:.3g}"
    if limits.own_error and part["error"] <= limits.max_rel_rmse:
        return ""
    if state == "dead":
        return f"nothing of it is left: one step is {part['step']:.3g}, {reach}"
    first, last = part["found"]
    if excused is not None and part["error"] <= excused:
        return ""
    if state == "silent":
        if part["max_abs"] <= max(part["floor"], limits.max_rel_rmse * largest):
            return ""
        return f"it goes from {first:.3g} to {last:.3g}, the source from {low:.3g} to {high:.3g} only"
    if state == "fell silent":
        constant = f"all {first:.3g}" if first == last else f"all between {first:.3g} and {last:.3g}"
        step = f"; one step is {part['step']:.3g}" if part["step"] else ""
        return f"{constant}, where the source goes from {low:.3g} to {high:.3g}{step}"
    if state == "still":
        return (
            f"it is nearly the same for every frame, from {first:.3g} to {last:.3g}; the source's goes "
            f"from {low:.3g} to {high:.3g} and changes"
        )
    if state == "saturated":
        return f"it stops at {first:.3g} and {last:.3g}; the source goes from {low:.3g} to {high:.3g}"
    if part["error"] > limits.max_part_error:
        return f"its error is {part['error']:.3g} of its spread; {limits.max_part_error:.3g} is allowed"
    return ""


# --------------------------------------------------------- telling users


def large(record: Mapping[str, Any]) -> list[str]:
    """The outputs of a passed comparison that lose so much that a user should know where."""
    if record["status"] != "passed":
        return []
    error = record["limits"]["max_rel_rmse"] * LARGE
    told = {name: row.get("beyond_floor", row) for name, row in record["outputs"].items()}
    return [name for name, row in told.items() if (row.get("rel_rmse") or 0) > error]


def is_silent(row: Row) -> bool:
    """Whether an output's values are all below what its number format can tell, before and after."""
    floor = row.get("floor", 0.0)
    return bool(floor) and max(row["reference_max_abs"], row["max_abs"]) <= floor


def notes(record: Mapping[str, Any], expected: Limits | None = None) -> list[str]:
    """What deserves a second look although it passed."""
    said = []
    outputs = record.get("outputs", {})
    for name, row in outputs.items():
        if expected is not None and name not in record.get("failed", ()):
            worse = [] if _excused(row, expected, None) else broken_values(row, expected)
            said += [
                f"The output {name!r} is worse than its mode promises: {'; '.join(worse)}."
            ] * bool(worse)
    said += [
        f"The output {name!r} is silent on these frames and passes as such: its values reach "
        f"{row['reference_max_abs']:.2g}, its format tells no less than {row['floor']:.2g}. "
        "verify.data takes frames of yours."
        for name, row in outputs.items()
        if is_silent(row)
    ]
    said += [
        f"The output {name!r} passes only because its format tells no less than {row['floor']:.2g}: "
        f"without that its relative RMSE is {row['rel_rmse']:.3g}."
        for name, row in outputs.items()
        if name not in record.get("failed", ()) and not is_silent(row) and _only_by_floor(row, record)
    ]
    tied = [name for name, row in outputs.items() if row.get("rows", 1.0) == 0]
    if tied:
        said.append(
            f"The rows of {', '.join(map(repr, tied))} were not compared: the scores by which they are "
            "chosen are all the same on these frames. verify.data takes frames of yours."
        )
    still = [name for name, row in outputs.items() if row.get("varies", 1.0) < _VARIES]
    if still:
        said.append(
            f"The comparison proves little for {', '.join(map(repr, still))}: the source gives nearly "
            "the same for every frame. verify.data takes frames of yours."
        )
    silent = [
        part_key(name, part)
        for name, row in outputs.items()
        for part in row.get("parts", ())
        if part["state"] == "silent" and part["range"][0] != part["range"][1]
    ]
    if silent:
        said.append(
            f"Not judged, because the source hardly varies there on these frames: {', '.join(silent)}."
        )
    return said


def _only_by_floor(row: Row, record: Mapping[str, Any]) -> bool:
    """Whether an output breaks a limit without the floor and keeps them with it."""
    beyond, limits = row.get("beyond_floor"), record["limits"]
    if beyond is None:
        return False
    given = Limits(min_cosine=limits["min_cosine"], max_rel_rmse=limits["max_rel_rmse"])
    return bool(_values(row, given)) and not _values(beyond, given)


def broken_values(row: Row, limits: Limits) -> list[str]:
    """The limits for values that an output breaks; an output of indices breaks none."""
    return [] if row.get("rel_rmse") is None else _values(row, limits)


def settle(
    run: Run, record: dict[str, Any], limits: Limits, explain: Callable[[], Row | None] | None = None
) -> None:
    """Say what a record holds, and end the conversion if it failed.

    Args:
        explain: Finds out where an error comes from (`diagnosis` in the record). It is called for an
            output that failed or that lost much.

    Raises:
        VerificationError: See `require`.
    """
    lost = large(record)
    if explain is not None and (record["status"] == "failed" or lost):
        found = explain()
        if found:
            record["diagnosis"] = dict(found)
    for text in notes(record, limits.expected):
        run.warn(text)
    for name in lost:
        error = record["outputs"][name]["rel_rmse"]
        run.warn(f"The output {name!r} passes with a relative RMSE of {error:.3g}.{_advice(record)}")
    require(record)


def require(record: Mapping[str, Any]) -> None:
    """Raise if a verification failed.

    Raises:
        VerificationError: It names every output that differs too much, the limits that it breaks, and
            where the error begins if that is known.
    """
    if record["status"] != "failed":
        return
    lines = [f"{name!r}: {'; '.join(said)}" for name, said in record["reasons"].items()]
    raise VerificationError(
        f"The compiled network does not compute what the source does ({record['checked_on']}; "
        f"frames: {record['frames']}): {'. '.join(lines)}.{_advice(record)}",
        remedy=_remedy(record),
        tool_text=json.dumps(record, indent=2),
    )


def _advice(record: Mapping[str, Any]) -> str:
    """Where an error begins and what helps, as sentences with a space in front."""
    diagnosis = record.get("diagnosis")
    return "".join(f" {text}" for text in diagnosis["said"]) if diagnosis else ""


def _remedy(record: Mapping[str, Any]) -> str:
    own = "Frames of yours (verify.data) prove more than generated ones. "
    return (
        f"Nothing was written. {own if 'generated' in record['frames'] else ''}"
        "verify.max_rel_rmse sets another limit; --no-verify leaves the comparison out."
    )


def skipped(reason: str) -> dict[str, Any]:
    """The record of a conversion that was not compared."""
    return {"status": "skipped", "reason": reason, "outputs": {}}

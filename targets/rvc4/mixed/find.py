"""The search: the fewest 16-bit nodes that keep `rvc4.max_drop`, judged on the quantized network."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Final

from converter.errors import VerificationError
from converter.target import Run
from targets.rvc4.mixed.assignment import Assignment, of_ranges
from targets.rvc4.mixed.judge import Drop, Judge, judge_of, worst
from targets.rvc4.mixed.search import Forecast, Found, Step, confirmed, fewest
from targets.rvc4.mixed.told import nodes_told
from targets.rvc4.mixed.wanted import MAX_DROP
from targets.rvc4.parameters import Parameters
from targets.rvc4.prepare import Prepared
from targets.rvc4.quantization.network import Network, warned
from targets.rvc4.quantization.variants import corrected_again, with_wide

STAGE: Final = "search"
FILE_NAME: Final = "precision.json"
# A few other frames may be as far beyond the limit.
_CLEARLY: Final = 1.5
# Where so few tensors are wide each of them is tried without; one of so few is worth a second.
_FEW: Final = 8
# From so many seconds on a user is told beforehand.
_WORTH_TELLING_S: Final = 5.0


def find(run: Run, parameters: Parameters, prepared: Prepared, network: Network) -> Network:
    """The network with the fewest wide nodes that keeps the limit, or the one that was given.

    Args:
        network: With what is wide without a search.

    Raises:
        VerificationError: No number of wide nodes keeps it; the best one is named, and its assignment
            lies in the work folder.
    """
    if parameters.mixed.max_drop is None or network.report is None:
        return network
    with run.stage(STAGE):
        return _Search(run, parameters, prepared, network).result()


def beyond_limit(parameters: Parameters, verification: Mapping[str, Any]) -> list[str]:
    """The warning about a limit that the last comparison clearly breaks, or that cannot tell."""
    limit = parameters.mixed.max_drop
    if limit is not None and parameters.mixed.metric == "labels" and verification.get("accuracy"):
        return [
            f"The accuracy is measured on the labelled frames that decided which nodes are wide "
            f"({MAX_DROP}): on others it may be lower. nnconvert verify --data DIR --labels FILE "
            "measures it on frames of a test."
        ]
    if limit is None or parameters.mixed.metric != "error" or not verification.get("outputs"):
        return []
    drop = worst(verification["outputs"])
    if drop.value <= _CLEARLY * limit:
        return []
    return [
        f"{MAX_DROP}={limit:g} was kept on calibration frames. The loss is {_coarse(drop.value):g} "
        f"({drop.where}) on {verification['checked_on']}."
    ]


class _Search:
    def __init__(self, run: Run, parameters: Parameters, prepared: Prepared, network: Network) -> None:
        assert parameters.mixed.max_drop is not None
        self._run, self._parameters, self._prepared = run, parameters, prepared
        self._limit = parameters.mixed.max_drop
        self._base = network
        self._judge: Judge = judge_of(run, parameters, prepared)
        self._steps: list[Step] = [Step(tensors=(), nodes=frozenset())]
        self._networks: dict[int, Network] = {0: network}
        self._drops: dict[int, Drop] = {}
        self._apart: dict[int, Drop] = {}
        self._sensitivity: Mapping[str, Any] = {"losses": {}, "frames": 0}

    def result(self) -> Network:
        count: int | None = 0
        if max(self._lost(0), self._lost_apart(0)) > self._limit:
            count = self._searched().count
        if count is not None:
            count = confirmed(count, len(self._steps) - 1, self._lost_on_both, self._limit)
        if count is None:
            raise self._unreached()
        count = self._pruned(count)
        corrected = self._correct(count)
        made = self._network(count)
        report = self._report(count, corrected_again=corrected)
        self._tell(count, made)
        return dataclasses.replace(
            made,
            report={**(made.report or {}), "mixed": report},
            warnings=(*made.warnings, *warned(self._run, made)),
        )

    def _pruned(self, count: int) -> int:
        """A step without the tensors that the limit does not need, where only few are wide.

        The order is of what tensors lose alone, and where a step was added for the frames kept apart
        its neighbours were not tried. Where many are wide, a node less is not worth another try.
        """
        if len(self._steps[count].tensors) > _FEW:
            return count
        for tensor in reversed(self._steps[count].tensors):
            rest = tuple(name for name in self._steps[count].tensors if name != tensor)
            if any(rest == step.tensors for step in self._steps):
                continue
            self._steps.append(Step(tensors=rest, nodes=frozenset()))
            less = len(self._steps) - 1
            narrower = len(self._network(less).nodes) < len(self._network(count).nodes)
            if narrower and self._lost_on_both(less) <= self._limit:
                count = less
        return count

    def _correct(self, count: int) -> bool:
        """Whether biases that are corrected for the found network lose less; it has them then."""
        before = self._network(count)
        if not before.nodes:
            return False
        again = corrected_again(
            self._run, self._parameters, self._prepared, before, f"corrected-{count}"
        )
        if again is None:
            return False
        drops = [self._judge.lost(again, held_out=apart) for apart in (False, True)]
        if max(drop.value for drop in drops if drop) >= self._lost_on_both(count):
            return False
        self._networks[count] = again
        for known, drop in zip((self._drops, self._apart), drops, strict=True):
            if drop is not None:
                known[count] = drop
        return True

    def _searched(self) -> Found:
        self._sensitivity = self._measured()
        self._steps = [
            Step(tensors=tuple(step["tensors"]), nodes=frozenset(step["nodes"]))
            for step in self._sensitivity["steps"]
        ]
        self._take_biases()
        rests = self._sensitivity["rests"]
        return fewest(
            len(self._steps) - 1,
            self._lost,
            self._limit,
            suggest=Forecast(rests=rests, limit=self._limit) if rests else None,
        )

    def _take_biases(self) -> None:
        """Let all tries have biases corrected for the network with all steps wide, if that helps there.

        What rounding adds to a mean is the weights' alone, but among 8-bit activations their own
        rounding is larger, and the correction was not kept for the network without wide nodes.
        """
        last = len(self._steps) - 1
        before = self._network(last)
        again = corrected_again(self._run, self._parameters, self._prepared, before, "biases")
        if again is None or again.report is None or self._base.report is None:
            return
        drop = self._judge.lost(again, held_out=False)
        assert drop is not None
        if drop.value < self._lost(last):
            self._networks[last], self._drops[last] = again, drop
            correction = again.report["bias_correction"]
            report = {**self._base.report, "bias_correction": correction}
            self._base = dataclasses.replace(self._base, report=report)

    def _measured(self) -> Mapping[str, Any]:
        run, parameters = self._run, self._parameters
        data = parameters.deciding
        assert data is not None
        told: list[bool] = []

        def on_line(line: str) -> None:
            try:
                at = json.loads(line)
                done, total, each = int(at["done"]), int(at["total"]), float(at["run_s"])
            except (ValueError, KeyError, TypeError):
                return
            if done == 2 and not told and each * total > _WORTH_TELLING_S:
                told.append(True)
                run.notice(f"Finding out which tensors matter takes about {each * total:.0f} s.")
            run.progress(STAGE, done, total)

        chosen = parameters.output_type in ("uint8", "uint16")
        found: Mapping[str, Any] = run.processes.call(
            "targets.rvc4.mixed.sensitivity:sensitivity_file",
            {
                "model": str(self._prepared.path),
                "network": str(self._base.path),
                "calibration": data.to_call(run.model),
                "sources": [item.to_json() for item in run.plan.model.inputs],
                "inputs": [item.to_json() for item in parameters.inputs],
                "facts": {name: fact.to_json() for name, fact in self._prepared.outputs.items()},
                "fixed": [item.name for item in parameters.outputs] if chosen else [],
                "limit": self._limit if parameters.mixed.metric == "error" else None,
            },
            what="The search for sensitive tensors",
            work=run.work,
            timeout_s=parameters.timeout_s,
            on_line=on_line,
        )
        return found

    def _lost(self, count: int) -> float:
        if count not in self._drops:
            drop = self._judge.lost(self._network(count), held_out=False)
            assert drop is not None
            self._drops[count] = drop
        return self._drops[count].value

    def _lost_apart(self, count: int) -> float:
        if count not in self._apart:
            drop = self._judge.lost(self._network(count), held_out=True)
            if drop is None:
                return self._lost(count)
            self._apart[count] = drop
        return self._apart[count].value

    def _lost_on_both(self, count: int) -> float:
        """More wide nodes may lose more on the frames of the search, too: all of them decide."""
        return max(self._lost(count), self._lost_apart(count))

    def _network(self, count: int) -> Network:
        if count not in self._networks:
            self._networks[count] = with_wide(
                self._run,
                self._parameters,
                self._prepared,
                self._base,
                self._steps[count].tensors,
                f"try-{count}",
            )
        return self._networks[count]

    def _assignment(self, count: int) -> Assignment:
        made = self._network(count)
        report = made.report or {}
        return of_ranges(made.asked, sorted(made.wide), report["ranges"])

    def _report(self, count: int, *, corrected_again: bool) -> dict[str, Any]:
        """The build record's entry: the assignment, and how it was found."""
        drop, apart = self._drops.get(count), self._apart.get(count)
        return {
            **self._assignment(count).to_json(),
            "search": {
                "limit": self._limit,
                "metric": self._parameters.mixed.metric,
                "corrected_again": corrected_again,
                "without": _coarse(self._drops[0].value),
                "drop": _coarse(drop.value) if drop else None,
                "held_out": _coarse(apart.value) if apart else None,
                "where": (apart or drop or Drop(value=0.0, where="")).where,
                "tried": [
                    {
                        "nodes": len(self._networks[one].nodes),
                        "drop": _coarse(self._drops[one].value) if one in self._drops else None,
                        "held_out": _coarse(self._apart[one].value) if one in self._apart else None,
                    }
                    for one in sorted({*self._drops, *self._apart})
                ],
            },
        }

    def _tell(self, count: int, made: Network) -> None:
        drop = self._apart.get(count) or self._drops[count]
        kept = " on frames kept apart" if count in self._apart else ""
        if not made.nodes:
            self._run.notice(
                f"All nodes keep 8 bits: the loss is {drop.value:.3g}{kept} ({drop.where})."
            )
            return
        self._run.notice(
            f"{nodes_told(made.nodes, len(made.operators))} The loss is {drop.value:.3g}{kept} "
            f"({drop.where}), {self._drops[0].value:.3g} without."
        )

    def _unreached(self) -> VerificationError:
        """The limit is not kept: what came nearest, with its file."""
        known = {
            count: max((drop, self._apart.get(count, drop)), key=lambda one: one.value)
            for count, drop in self._drops.items()
        }
        count = min(known, key=lambda one: (known[one].value, one))
        drop = known[count]
        made = self._network(count)
        file = self._run.work / FILE_NAME
        file.write_text(json.dumps(self._assignment(count).to_json(), indent=2))
        return VerificationError(
            f"{MAX_DROP}={self._limit:g} cannot be kept: the best found is {drop.value:.3g} "
            f"({drop.where}), with {len(made.nodes)} of {len(made.operators)} nodes in 16 bits; "
            f"{self._drops[0].value:.3g} in 8 bits.",
            remedy=f"Nothing was written. Allow {drop.value:.2g}, choose INT16_STANDARD or "
            f"FP16_STANDARD, or take the best: with --keep-work it is {FILE_NAME} there, for "
            "rvc4.precision_file.",
        )


def _coarse(value: float) -> float:
    """Two digits: the last ones depend on the processor."""
    return float(f"{value:.2g}")

"""What a quantized network loses: by the worst part's error, the head's figure, or labelled frames."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

import numpy as np

from converter.calibration.feeds import evenly
from converter.errors import UsageError
from converter.feeding import target_feeds
from converter.target import Run
from converter.verification import meaning, reference
from converter.verification.accuracy import measure
from converter.verification.compare import Judged, compare
from targets.rvc4.parameters import Parameters
from targets.rvc4.prepare import Prepared
from targets.rvc4.quantization.network import Network

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from converter.model import SourceModel
    from converter.verification.accuracy.labelled import Labelled

Outputs = Mapping[str, "NDArray[Any]"]
_MOST_FRAMES: Final = 12
# Agreement is counted in frames: more of them tell smaller losses.
_MOST_FOR_HEADS: Final = 64
# The measures that say how far something is off; the others say how much of it agrees.
_DISTANCES: Final = frozenset({"keypoint distance"})


@dataclass(frozen=True, kw_only=True)
class Drop:
    """What a network loses: 0 for nothing.

    Attributes:
        where: The part of the outputs, or the figure, in words.
    """

    value: float
    where: str


class Judge(Protocol):
    """Tells what a network loses."""

    def lost(self, network: Network, *, held_out: bool) -> Drop | None:
        """What it loses on the frames of the search, or on those that are kept apart.

        Returns:
            None where no frames are kept apart.
        """
        ...


def judge_of(run: Run, parameters: Parameters, prepared: Prepared) -> Judge:
    """The judge that `rvc4.drop_metric` names."""
    if parameters.mixed.metric == "labels":
        return _Labels(run, parameters)
    return _Frames(run, parameters, prepared)


def worst(rows: Mapping[str, Mapping[str, Any]]) -> Drop:
    """The part with the largest error of a comparison (`converter.verification.compare`).

    Of an output of indices it is the share of wrong ones.
    """
    found = [Drop(value=0.0, where="no output")]
    for name, row in rows.items():
        parts = [part for part in row.get("parts", ()) if part["state"] != "silent"]
        for part in parts:
            where = f"{part['name']} {part['where']} of {name!r}"
            found.append(Drop(value=_number(part["error"]), where=where))
        if not parts:
            value = row["wrong"] if "wrong" in row else row["rel_rmse"]
            found.append(Drop(value=_number(value), where=repr(name)))
    return max(found, key=lambda drop: drop.value)


def of_heads(model: SourceModel, expected: Sequence[Outputs], found: Sequence[Outputs]) -> Drop:
    """What the config's heads lose: the share that does not agree, or a distance.

    Args:
        expected, found: For each frame the outputs by name, real numbers.

    Raises:
        UsageError: No head says what the outputs mean.
    """
    rows = [
        row for row in meaning.of_model(model, expected, found) if isinstance(row["value"], int | float)
    ]
    if not rows:
        raise UsageError(
            "rvc4.drop_metric=head: no head of the config says what the outputs mean.",
            remedy="Leave it out, or give labels and rvc4.drop_metric=labels.",
        )
    drops = [
        Drop(
            value=row["value"] if row["measure"] in _DISTANCES else 1.0 - row["value"],
            where=f"{row['measure']} of {row['parser']}",
        )
        for row in rows
    ]
    return max(drops, key=lambda drop: drop.value)


def _number(value: float | None) -> float:
    return float("inf") if value is None else float(value)


class _Frames:
    """Compares on calibration frames, with the prepared float model."""

    def __init__(self, run: Run, parameters: Parameters, prepared: Prepared) -> None:
        self._run, self._parameters, self._prepared = run, parameters, prepared
        self._made = 0

    @cached_property
    def _feeds(self) -> dict[bool, list[dict[str, NDArray[Any]]]]:
        model, parameters = self._run.plan.model, self._parameters
        most = _MOST_FOR_HEADS if parameters.mixed.metric == "head" else _MOST_FRAMES
        assert parameters.calibration is not None
        found: dict[bool, list[dict[str, NDArray[Any]]]] = {False: [], True: []}
        for is_apart, data in enumerate(parameters.calibration.split()):
            wanted = evenly(data.frames, most) if data is not None else []
            for index, frame in enumerate(data.read(model.inputs, max(wanted) + 1) if data else ()):
                if index in wanted:
                    feed = target_feeds(model.inputs, parameters.inputs, frame)
                    found[bool(is_apart)].append(feed)
        return found

    @cached_property
    def _expected(self) -> dict[bool, list[dict[str, NDArray[Any]]]]:
        found = {}
        for apart, feeds in self._feeds.items():
            floats = [
                {name: x.astype(np.float32) if x.dtype == np.uint8 else x for name, x in feed.items()}
                for feed in feeds
            ]
            found[apart] = self._outputs(self._prepared.path, floats) if floats else []
        return found

    def lost(self, network: Network, *, held_out: bool) -> Drop | None:
        """What it loses."""
        expected = self._expected[held_out]
        if not expected:
            return None
        found = network.decoded(self._outputs(network.path, self._feeds[held_out]))
        if self._parameters.mixed.metric == "head":
            return of_heads(self._run.plan.model, expected, found)
        judged = Judged(
            facts=self._prepared.outputs,
            layouts={item.name: item.layout for item in self._run.plan.model.outputs},
        )
        return worst(compare(expected, found, judged))

    def _outputs(
        self, path: Path, feeds: Sequence[Mapping[str, NDArray[Any]]]
    ) -> list[dict[str, NDArray[Any]]]:
        self._made += 1
        folder = self._run.work / f"judge-{self._made}"
        folder.mkdir()
        found = reference.run(
            path,
            feeds,
            [item.name for item in self._run.plan.model.outputs],
            processes=self._run.processes,
            work=folder,
            timeout_s=self._parameters.timeout_s,
            exact=True,
        )
        shutil.rmtree(folder)
        return found


class _Labels:
    """Measures accuracy on labelled frames, before and after."""

    def __init__(self, run: Run, parameters: Parameters) -> None:
        self._run, self._parameters = run, parameters
        self._labelled = cast("Labelled", run.plan.labelled)

    @cached_property
    def _before(self) -> Mapping[str, float]:
        return measure.source_figures(self._run, self._labelled)

    def lost(self, network: Network, *, held_out: bool) -> Drop | None:
        """What it loses; all labelled frames decide, none are kept apart."""
        if held_out:
            return None
        model = self._run.plan.model

        def execute(frames: measure.Frames, folder: Path) -> Sequence[Mapping[str, NDArray[Any]]]:
            feeds = [target_feeds(model.inputs, self._parameters.inputs, frame) for frame in frames]
            return network.decoded(
                reference.run(
                    network.path,
                    feeds,
                    [item.name for item in model.outputs],
                    processes=self._run.processes,
                    work=folder,
                    timeout_s=self._parameters.timeout_s,
                    exact=True,
                )
            )

        after = measure.figures_of(self._run, self._labelled, execute, stage=None)
        name = measure.headline(self._labelled)
        return Drop(value=max(0.0, self._before[name] - after[name]), where=name)

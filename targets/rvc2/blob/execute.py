"""Running a blob on the host: every stage of its schedule, on the memory that the compiler laid out.

What is certain, because it is in the file: the constants, the parameters, the wiring, where each tensor
lies and in which order stages run. A float16 tensor is rounded where a stage stores it.

What is assumed of the camera's firmware, which nobody outside of Intel can read:

- What a stage computes from its parameters. That comes from the public compiler's serializers, their
  comments and tests, and from nets that must agree with ONNX Runtime: a fault of the firmware that all
  of these miss is not seen here.
- A stage sums in float32 and rounds its results once. The public reference of the LSTM rounds after
  each multiply-add, so a camera is noisier.
- A window of the convolution unit leads over the border by k // 2 at the left and top. An average pool
  of that unit divides by the whole window; one with pads on one side only is unknown.
- The outputs of an LSTM are all hidden states, the last cell state, the last hidden state.
- Linear resizing with "half" coordinates takes (i + 0.5) · in / out − 0.5, and clamps at the borders.
- Whether tiles and modes of the convolution unit are legal, and how long it takes, is not looked at.

What is not known is named, never guessed: a stage that is not in the table, has other parameters or a
shape that the camera computes is "unknown", and outputs that depend on one are left out.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from converter.errors import ArchiveError
from targets.rvc2.blob.graph import Buffer, Location, Stage, read_stages
from targets.rvc2.blob.memory import Memory
from targets.rvc2.blob.memory import unwritten as holds_unwritten
from targets.rvc2.blob.read import Blob, read_blob
from targets.rvc2.blob.running import Budget, Running
from targets.rvc2.blob.stages.table import name_of, rule_of
from targets.rvc2.blob.unknown import Unknowns, UnknownStage
from targets.rvc2.blob.words import NotKnown

# What hostile parameters make of NumPy's calls.
_FAULTS: Final = (
    ValueError, IndexError, TypeError, OverflowError, ZeroDivisionError, struct.error
)  # fmt: skip
# Two minutes and more on any machine; the largest nets for a Myriad X take 3e11.
_MAX_OPERATIONS: Final = 5e12
# Whether two tensors share memory is a hard problem in general; the compiler's are easy.
_OVERLAP_WORK: Any = 10_000


@dataclass(frozen=True, kw_only=True)
class Execution:
    """What a run gave.

    Attributes:
        outputs: By name, in the blob's dtype and shape; those that depend on an unknown stage are not
            among them.
        unknown: The stages that were not executed.
        overlaps: Stages that write over what they, or a stage beside them, read.
        unwritten: Stages that compute with memory which no stage wrote, and outputs that hold such.
    """

    outputs: Mapping[str, NDArray[Any]]
    unknown: tuple[UnknownStage, ...]
    overlaps: tuple[str, ...]
    unwritten: tuple[str, ...]


class Program:
    """A blob that was read and can be run, for as many frames as wanted.

    Attributes:
        header: Its inputs and outputs.
        stages: Its schedule.
    """

    def __init__(self, data: bytes, name: str = "blob", *, max_operations: float = _MAX_OPERATIONS):
        self._name = name
        self._max_operations = max_operations
        self.header: Blob = read_blob(data, name)
        self.stages = read_stages(data, self.header, name)
        try:
            self._memory = Memory(self.header, data)
            for stage in self._all_stages():
                for buffer in stage.buffers:
                    self._memory.check(buffer)
        except _FAULTS as error:
            raise ArchiveError(f"{name} cannot be run ({error}).") from error

    def _all_stages(self) -> list[Stage]:
        return [part for stage in self.stages for part in (stage, stage.injected) if part is not None]

    def run(
        self, feeds: Mapping[str, NDArray[Any]], watch: Callable[[Running], None] | None = None
    ) -> Execution:
        """Run one frame.

        Args:
            feeds: The inputs by name; sizes as in the blob, slowest axis first, whatever dtype.
            watch: Called after each stage, while its buffers hold what it read and wrote.

        Raises:
            ArchiveError: A stage does what no compiler makes it do.
            ValueError: An input is missing, or of another size.
        """
        memory = self._memory
        memory.start(feeds)
        unknowns = Unknowns(memory)
        budget = Budget(self._max_operations)
        overlaps: list[str] = []
        unwritten: list[str] = []
        for stage in self.stages:
            label = f"{name_of(stage.type)} ({stage.index})"
            parts = [part for part in (stage, stage.injected) if part is not None]
            done = [self._run_stage(part, budget, unknowns) for part in parts]
            if watch is not None:
                for running in done:
                    watch(running)
            if _overlap(done, memory):
                overlaps.append(label)
            if any(running.reads_unwritten for running in done):
                unwritten.append(label)
        depends = {name: unknowns.behind(key) for name, key in memory.outputs_keys()}
        outputs = {
            item.name: memory.output(index)
            for index, item in enumerate(self.header.outputs)
            if not depends[item.name]
        }
        unwritten += [f"output {name}" for name, values in outputs.items() if holds_unwritten(values)]
        return Execution(
            outputs=outputs,
            unknown=tuple(
                UnknownStage(
                    index=stage.index,
                    name=name_of(stage.type),
                    reason=reason,
                    outputs=tuple(name for name, numbers in depends.items() if number in numbers),
                )
                for number, (stage, reason) in enumerate(unknowns.stages)
            ),
            overlaps=tuple(overlaps),
            unwritten=tuple(unwritten),
        )

    def _run_stage(self, stage: Stage, budget: Budget, unknowns: Unknowns) -> Running:
        running = Running(stage, self._memory, budget)
        try:
            if stage.problem:
                raise NotKnown(stage.problem)
            with np.errstate(all="ignore"):
                rule_of(stage.type)(running)
        except NotKnown as unknown:
            unknowns.add(stage, str(unknown))
            running.reads.clear()
            running.writes.clear()
        except _FAULTS as error:
            place = f"the stage {name_of(stage.type)} ({stage.index})"
            raise ArchiveError(f"{self._name}: {place} cannot be run ({error}).") from error
        else:
            unknowns.pass_on(running.reads, running.writes)
        return running


def execute(data: bytes, feeds: Mapping[str, NDArray[Any]], name: str = "blob") -> Execution:
    """Read a blob and run one frame; arguments and errors as of `Program`."""
    return Program(data, name).run(feeds)


def _overlap(done: list[Running], memory: Memory) -> bool:
    """Whether something is written over what is read, within a stage or beside it."""
    for writer in done:
        for other in done:
            touched = other.reads if other is writer else other.reads + other.writes
            for written in writer.writes:
                for read in touched:
                    # A stage that goes element by element may work in place.
                    if other is writer and rule_of(writer.stage.type).in_place and _same(written, read):
                        continue
                    if _shared(written, read, memory):
                        return True
    return False


def _same(one: Buffer, other: Buffer) -> bool:
    """Whether two buffers are one and the same, element by element."""
    return replace(one, order=other.order) == other


def _shared(one: Buffer, other: Buffer, memory: Memory) -> bool:
    if memory.key(one) != memory.key(other) or one.location is Location.CONSTANT:
        return False
    a, b = memory.view(one), memory.view(other)
    try:
        return np.shares_memory(a, b, max_work=_OVERLAP_WORK)
    except np.exceptions.TooHardError:
        return True

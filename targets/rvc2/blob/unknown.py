"""Which memory depends on stages that were not executed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from targets.rvc2.blob.graph import Buffer, Location, Stage
from targets.rvc2.blob.memory import Memory

_MAX_TOLD_APART = 31


@dataclass(frozen=True, kw_only=True)
class UnknownStage:
    """A stage that was not executed.

    Attributes:
        index: Its place in the schedule.
        reason: Why not.
        outputs: The blob's outputs that depend on it.
    """

    index: int
    name: str
    reason: str
    outputs: tuple[str, ...]


class Unknowns:
    """The unknown stages of a run, and for every byte of memory on which of them it depends.

    Nothing is kept until there is one. From the 32nd on they are told apart no more: a byte that
    depends on one of these depends on all.

    Attributes:
        stages: The stages, and why they are unknown.
    """

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._marks: dict[tuple[Location, int], NDArray[np.uint32]] = {}
        self.stages: list[tuple[Stage, str]] = []

    def add(self, stage: Stage, reason: str) -> None:
        """A stage is not executed. What it writes is not known either, so all that it may write to is.

        That is all of its buffers, or the whole memory if they cannot be read.
        """
        mark = np.uint32(1 << min(len(self.stages), _MAX_TOLD_APART))
        self.stages.append((stage, reason))
        before = self._on(stage.buffers)
        for buffer in stage.buffers:
            if buffer.location in (Location.BSS, Location.CMX, Location.OUTPUT):
                self._view(buffer)[...] |= mark | before
        if not stage.buffers:
            keys = [key for _, key in self._memory.outputs_keys()]
            for key in (*keys, (Location.BSS, -1), (Location.CMX, -1)):
                self._mark(key)[...] |= mark

    def pass_on(self, reads: Sequence[Buffer], writes: Sequence[Buffer]) -> None:
        """A stage was executed: what it wrote depends on what its reads depend on."""
        if not self.stages:
            return
        before = self._on(reads)
        for buffer in writes:
            self._view(buffer)[...] = before

    def behind(self, key: tuple[Location, int]) -> set[int]:
        """The numbers of the unknown stages that a memory depends on."""
        if not self.stages or key not in self._marks:
            return set()
        bits = int(np.bitwise_or.reduce(self._marks[key]))
        return {
            number for number in range(len(self.stages)) if bits >> min(number, _MAX_TOLD_APART) & 1
        }

    def _on(self, buffers: Sequence[Buffer]) -> np.uint32:
        bits = np.uint32(0)
        for buffer in buffers:
            if self._memory.key(buffer) in self._marks:
                bits |= np.bitwise_or.reduce(self._view(buffer), axis=None)
        return bits

    def _mark(self, key: tuple[Location, int]) -> NDArray[np.uint32]:
        if key not in self._marks:
            self._marks[key] = np.zeros(self._memory.size_bytes(key), np.uint32)
        return self._marks[key]

    def _view(self, buffer: Buffer) -> NDArray[np.uint32]:
        """The marks of a tensor's bytes."""
        marks = self._mark(self._memory.key(buffer))
        item = np.dtype(buffer.dtype).itemsize
        strides = (*(4 * step for step in buffer.strides_bytes), 4)
        return np.ndarray((*buffer.shape, item), np.uint32, marks.data, 4 * buffer.offset, strides)

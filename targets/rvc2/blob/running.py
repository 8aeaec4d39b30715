"""A stage at work: what its function reads, writes and is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from targets.rvc2.blob.graph import Buffer, Stage
from targets.rvc2.blob.memory import Memory, put, unwritten
from targets.rvc2.blob.words import NotKnown, exactly

IMAGE: Final = "NCHW"
_LETTERS: Final = "NDCHW"

Array = NDArray[Any]
Floats = NDArray[np.float32]


class TooMuchWorkError(ValueError):
    """A stage would compute longer than any network does."""


@dataclass
class Budget:
    """How many elementary operations may still be done; a hostile blob asks for any number."""

    left: float

    def spend(self, operations: float) -> None:
        """Take operations off.

        Raises:
            TooMuchWorkError: So many are not left.
        """
        self.left -= operations
        if not self.left >= 0:
            raise TooMuchWorkError("it asks for more arithmetic than any network")


@dataclass
class Running:
    """One stage in memory.

    Attributes:
        reads, writes: The buffers that were touched.
        reads_unwritten: Whether it computed with memory that no stage wrote.
    """

    stage: Stage
    memory: Memory
    budget: Budget
    reads: list[Buffer] = field(default_factory=list)
    writes: list[Buffer] = field(default_factory=list)
    reads_unwritten: bool = False

    def parameters(self, form: str) -> tuple[Any, ...]:
        """All parameters; a letter each: i (i32), I (u32), f (float32), e (float16).

        Raises:
            NotKnown: The stage has others.
        """
        return exactly(form, self.stage.parameters)

    def buffers(self, least: int, most: int | None = None) -> tuple[Buffer, ...]:
        """The buffers, of which there are so many.

        Raises:
            NotKnown: There are more or fewer.
        """
        found = self.stage.buffers
        if not least <= len(found) <= (least if most is None else most):
            raise NotKnown(f"{len(found)} buffers instead of {least}")
        return found

    # ---- reading

    def raw(self, buffer: Buffer, order: str = "") -> Array:
        """A tensor as it lies in memory, in its own dtype, for stages that only move elements.

        Memory that no stage wrote may be moved: a compiler pads channels. Whoever computes with it is
        at fault.

        Args:
            order: Letters of the axes to get it in; empty for the memory's order.
        """
        if not buffer.is_there:
            raise NotKnown("a buffer is missing")
        view = self.memory.view(buffer)
        self.budget.spend(view.size)
        self.reads.append(buffer)
        return in_order(view, buffer.order, order)

    def read(self, buffer: Buffer, order: str = "") -> Array:
        """A tensor with float16 as float32, in which a stage computes."""
        values = self.raw(buffer, order)
        self.reads_unwritten |= unwritten(values)
        return values.astype(np.float32) if values.dtype == np.float16 else values

    def floats(self, buffer: Buffer, order: str = "") -> Floats:
        """The same, with every dtype as float32."""
        values = self.raw(buffer, order)
        self.reads_unwritten |= unwritten(values)
        return values.astype(np.float32)

    def whole(self, buffer: Buffer) -> NDArray[np.int64]:
        """A tensor of indices, sizes or the like."""
        values = self.raw(buffer)
        if values.dtype.kind not in "iu":
            raise NotKnown(f"indices of {values.dtype}")
        return values.astype(np.int64)

    def channels(self, buffer: Buffer, order: str) -> Floats:
        """A value a channel, laid along the axis C of an order; one value is for all channels."""
        values = self.floats(buffer).reshape(-1)
        if values.size == 1:
            return values.reshape(())
        if "C" not in order:
            raise NotKnown("values by channel for a tensor without that axis")
        return values.reshape([-1 if letter == "C" else 1 for letter in order])

    # ---- writing

    def target(self, buffer: Buffer, order: str = "") -> Array:
        """The memory of a result, to be written to."""
        if not buffer.is_there:
            raise NotKnown("a result has no buffer")
        view = self.memory.view(buffer)
        if not view.flags.writeable:
            raise ValueError("it writes to constants")
        self.budget.spend(view.size)
        self.writes.append(buffer)
        return in_order(view, buffer.order, order)

    def write(self, buffer: Buffer, values: Array, order: str = "") -> None:
        """Store a result, rounded to the buffer's dtype.

        Raises:
            ValueError: It has another size.
        """
        target = self.target(buffer, order)
        if values.size != target.size:
            raise ValueError(f"{values.shape} is written to {target.shape}")
        put(target, values.reshape(target.shape))

    def size(self, buffer: Buffer, order: str) -> tuple[int, ...]:
        """The sizes of a tensor along the axes of an order."""
        return in_order(self.memory.view(buffer), buffer.order, order).shape


def common_order(*buffers: Buffer) -> str:
    """In which order tensors lie over each other, element by element.

    Tensors with the same letters are laid by letters, whatever their memory orders; single values fit
    anywhere. Others are laid in memory order from the fastest axis on: then it is empty.
    """
    tensors = [item for item in buffers if item.is_there and item.shape not in ((), (1,))]
    letters = {frozenset(item.order) for item in tensors}
    if len(letters) != 1:
        return ""
    (found,) = letters
    if "?" in found or len(found) != len(tensors[0].order):
        return ""
    return "".join(letter for letter in _LETTERS if letter in found)


def in_order(view: Array, order: str, wanted: str) -> Array:
    """A view with its axes in another order; axes that it has not are of size 1.

    Raises:
        NotKnown: It has axes that the order has not.
    """
    if not wanted or wanted == order:
        return view
    extra = [axis for axis, letter in enumerate(order) if letter not in wanted]
    if any(view.shape[axis] != 1 for axis in extra) or len(set(order)) != len(order):
        raise NotKnown(f"a tensor of the axes {order} as {wanted}")
    present = [order.index(letter) for letter in wanted if letter in order]
    view = view.transpose(present + extra)[(slice(None),) * len(present) + (0,) * len(extra)]
    return view[tuple(slice(None) if letter in order else None for letter in wanted)]

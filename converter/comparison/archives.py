"""Comparing two archives by what they mean: order, formatting and packing make no difference."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converter.comparison.json_values import ABSENT, Change, changes, labelled
from converter.comparison.sections import Side
from converter.comparison.weights import Pair, PartChange, compared, paired
from converter.formats import Part
from converter.open_source import open_archive


@dataclass(frozen=True, kw_only=True)
class Size:
    """A member whose size differs; `percent` is relative to the old size."""

    member: str
    old_bytes: int
    new_bytes: int

    @property
    def percent(self) -> float | None:
        """By how many percent the new size is larger; None if the old one is zero."""
        if not self.old_bytes:
            return None
        return round(100 * (self.new_bytes - self.old_bytes) / self.old_bytes, 2)

    def to_json(self) -> dict[str, Any]:
        """The size as plain JSON data."""
        return {
            "member": self.member,
            "old_bytes": self.old_bytes,
            "new_bytes": self.new_bytes,
            "percent": self.percent,
        }


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What differs between two archives, by section; all of them are empty if nothing does.

    Attributes:
        old: The first archive, as it was given; new: the second.
        identical: Whether all members are the same to the byte. Archives that are not may be the same.
        config: Fields of `config.json` other than those of `tensors`.
        tensors: dtype, shape, layout and `dai_type` of inputs and outputs, added and removed ones too.
        parameters: The options and the plan's parameters and commands, of `buildinfo.json`.
        provenance: The rest of `buildinfo.json`: tools, hashes, figures; and what the tools wrote about
            themselves into the model file.
        model: Facts in the model files: kind, version, operators, SHAVE cores, bit widths, encodings;
            for ONNX also how each output is computed.
        weights: The model files' weights, tensor by tensor if the format shows them.
        members: Other files, by SHA-256, or by their content if they are JSON.
        sizes: Sizes of the members, except config and build record; they do not count for `same`.
    """

    old: str
    new: str
    identical: bool
    config: tuple[Change, ...]
    tensors: tuple[Change, ...]
    parameters: tuple[Change, ...]
    provenance: tuple[Change, ...]
    model: tuple[Change, ...]
    weights: tuple[PartChange, ...]
    members: tuple[Change, ...]
    sizes: tuple[Size, ...]

    @property
    def same(self) -> bool:
        """Whether the archives mean the same."""
        return not any(
            (
                *(self.config, self.tensors, self.parameters, self.provenance),
                *(self.model, self.weights, self.members),
            )
        )

    def to_json(self) -> dict[str, Any]:
        """The difference as plain JSON data, with these keys, always all of them.

        `same`, `identical` (booleans), `old`, `new` (paths as given); `config`, `tensors`,
        `parameters`, `provenance`, `model`, `members`: lists of `{path, kind, old, new}`, where kind is
        `changed`, `added` (old is null) or `removed` (new is null); `weights`: a list of `{name, kind,
        old, new, max_abs, rel_rmse, bytes_changed}`, old and new being null or `{dtype, shape}`;
        `sizes`: a list of `{member, old_bytes, new_bytes, percent}`.
        """
        return {
            "same": self.same,
            "identical": self.identical,
            "old": self.old,
            "new": self.new,
            "config": [change.to_json() for change in self.config],
            "tensors": [change.to_json() for change in self.tensors],
            "parameters": [change.to_json() for change in self.parameters],
            "provenance": [change.to_json() for change in self.provenance],
            "model": [change.to_json() for change in self.model],
            "weights": [change.to_json() for change in self.weights],
            "members": [change.to_json() for change in self.members],
            "sizes": [size.to_json() for size in self.sizes],
        }


def diff(old: str | os.PathLike[str], new: str | os.PathLike[str]) -> Difference:
    """Compare two NN Archives, source or target, file or folder, by what they mean.

    Args:
        old: The archive before the change; new: the archive after it.

    Raises:
        UsageError: There is no such file.
        ArchiveError: One of them is no archive, or it or its model file is damaged.
        ModelError: A model is of a newer opset than can be read.
        ToolError: The disk is full: weights of two ONNX models that differ are copied to the temporary
            folder.
    """
    with (
        open_archive(old) as before,
        open_archive(new) as after,
        tempfile.TemporaryDirectory(prefix="nnconvert-") as scratch,
    ):
        one, other = Side(before), Side(after)
        tensors = tuple(changes(one.tensors, other.tensors))
        model = [*changes(one.facts, other.facts)]
        weights: list[PartChange] = []
        if one.files != other.files:
            weights, more = _inside(one, other, Path(scratch))
            model += more
        return Difference(
            old=os.fspath(old),
            new=os.fspath(new),
            identical={(m.name, m.sha256) for m in before.members}
            == {(m.name, m.sha256) for m in after.members},
            config=tuple(_config(one, other, tensors)),
            tensors=tensors,
            parameters=tuple(changes(one.parameters, other.parameters)),
            provenance=tuple(changes(one.provenance, other.provenance)),
            model=tuple(model),
            weights=tuple(weights),
            members=tuple(_members(one, other)),
            sizes=tuple(_sizes(one, other)),
        )


def _config(one: Side, other: Side, tensors: tuple[Change, ...]) -> Iterator[Change]:
    """Differences of the config, without tensors that only one side has: `tensors` names those."""
    told = {f"model.{change.path}" for change in tensors if change.kind != "changed"}
    for change in changes(one.config, other.config):
        if change.path not in told:
            yield change
    before, after = (labelled(side.heads, _parser) for side in (one, other))
    for label in dict.fromkeys([*before, *after]):
        old, new = before.get(label, ABSENT), after.get(label, ABSENT)
        yield from changes(old, new, f"model.heads[{label}]")
    both = before.keys() & after.keys()
    orders = [[label for label in heads if label in both] for heads in (before, after)]
    if orders[0] != orders[1]:
        yield Change(path="model.heads", old=orders[0], new=orders[1])


def _parser(head: Any) -> str:
    parser = head.get("parser") if isinstance(head, dict) else None
    return parser if isinstance(parser, str) else "no parser"


def _inside(one: Side, other: Side, scratch: Path) -> tuple[list[PartChange], list[Change]]:
    """The differences of two model files that are not the same to the byte: weights, and the rest."""
    if one.is_onnx and other.is_onnx:
        return _graphs(one, other, scratch)
    before, after = one.parts(), other.parts()
    if before is not None and after is not None:
        return list(compared(paired(list(before), list(after)))), []
    if one.facts != other.facts:
        return [], []  # files of two kinds cannot be compared piece by piece
    return [], list(changes(one.files, other.files, "files"))


def _graphs(one: Side, other: Side, scratch: Path) -> tuple[list[PartChange], list[Change]]:
    graphs = one.graph(scratch / "old"), other.graph(scratch / "new")
    pairs = paired(graphs[0].parts, graphs[1].parts)
    before, after = (
        [
            {"name": name, "computation": word}
            for name, word in graph.computed(_labels(pairs, at)).items()
        ]
        for at, graph in enumerate(graphs)
    )
    return list(compared(pairs)), list(changes(before, after, "outputs"))


def _labels(pairs: list[Pair], at: int) -> dict[str, str]:
    """The same label for both parts of a pair, whatever their names."""
    found = {}
    for number, pair in enumerate(pairs):
        part: Part | None = pair[at]
        if part is not None:
            found[part.name] = str(number)
    return found


def _members(one: Side, other: Side) -> Iterator[Change]:
    before, after = one.others, other.others
    for name in dict.fromkeys([*before, *after]):
        old, new = before.get(name), after.get(name)
        if old is not None and new is not None and old.sha256 == new.sha256:
            continue
        yield from changes(one.content(name), other.content(name), name)


def _sizes(one: Side, other: Side) -> Iterator[Size]:
    """Sizes of the model files, whatever their names, and of members with the same name."""
    pairs = [(name, name) for name in one.sizes if name in other.sizes]
    if (one.model, other.model) not in pairs and one.model in one.sizes and other.model in other.sizes:
        pairs.insert(0, (one.model, other.model))
    for name, new_name in pairs:
        old_bytes, new_bytes = one.sizes[name], other.sizes[new_name]
        if old_bytes != new_bytes:
            member = name if name == new_name else f"{name} → {new_name}"
            yield Size(member=member, old_bytes=old_bytes, new_bytes=new_bytes)

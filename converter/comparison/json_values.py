"""The differences of two JSON documents, by path: items that have names are matched by name."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

_BY_NAME: Final = ("inputs", "outputs", "steps")
_WHOLE: Final = 8  # a list of up to so many plain values is shown whole


class _Absent:
    def __repr__(self) -> str:
        return "absent"


ABSENT: Final = _Absent()


@dataclass(frozen=True, kw_only=True)
class Change:
    """One value that differs.

    Attributes:
        path: The place, `model.inputs[image].shape`; items are given by name, or by index if they have
            none.
        old: The value in the first document, `ABSENT` if it has none; new: in the second.
    """

    path: str
    old: Any = ABSENT
    new: Any = ABSENT

    @property
    def kind(self) -> str:
        """`added`, `removed` or `changed`."""
        return "added" if self.old is ABSENT else "removed" if self.new is ABSENT else "changed"

    def to_json(self) -> dict[str, Any]:
        """The change as plain JSON data: an absent value is null; `kind` distinguishes it from null."""
        return {
            "path": self.path,
            "kind": self.kind,
            "old": None if self.old is ABSENT else self.old,
            "new": None if self.new is ABSENT else self.new,
        }


def changes(old: Any, new: Any, path: str = "") -> Iterator[Change]:
    """Every difference between two documents, in the order of the first and then of the second.

    The order of an object's keys makes no difference, nor that of inputs, outputs and steps, which have
    names.
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        yield from _in_objects(old, new, path)
    elif isinstance(old, list) and isinstance(new, list):
        yield from _in_lists(old, new, path)
    elif not _equal(old, new):
        yield Change(path=path, old=old, new=new)


def _in_objects(old: Mapping[str, Any], new: Mapping[str, Any], path: str) -> Iterator[Change]:
    for key in dict.fromkeys([*old, *new]):
        here = f"{path}.{key}" if path else key
        yield from changes(old.get(key, ABSENT), new.get(key, ABSENT), here)


def _in_lists(old: list[Any], new: list[Any], path: str) -> Iterator[Change]:
    if path.rpartition(".")[2] in _BY_NAME and _named(old) and _named(new):
        before, after = (labelled(items, lambda item: item["name"]) for items in (old, new))
        for label in dict.fromkeys([*before, *after]):
            one, other = before.get(label, ABSENT), after.get(label, ABSENT)
            yield from changes(one, other, f"{path}[{label}]")
    elif len(old) == len(new) and not (_plain(old) and _plain(new) and len(old) <= _WHOLE):
        for index, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from changes(one, other, f"{path}[{index}]")
    elif not _equal(old, new):
        yield Change(path=path, old=old, new=new)


def labelled(items: Sequence[Any], key: Callable[[Any], str]) -> dict[str, Any]:
    """Items by a label for people; a repeated key gets a number."""
    found: dict[str, Any] = {}
    seen: Counter[str] = Counter()
    for item in items:
        name = key(item)
        seen[name] += 1
        label = text(name) + (f"#{seen[name]}" if seen[name] > 1 else "")
        found[label] = item
    return found


def text(name: str) -> str:
    """A name for a line of text, quoted if it has characters that a terminal does not print."""
    return name if name.isprintable() else json.dumps(name)


def _named(items: list[Any]) -> bool:
    names = [item.get("name") for item in items if isinstance(item, Mapping)]
    return len(names) == len(items) and all(isinstance(name, str) for name in names)


def _plain(items: list[Any]) -> bool:
    return not any(isinstance(item, Mapping | list) for item in items)


def _equal(old: Any, new: Any) -> bool:
    """Equality in JSON: 1 is 1.0, but true is not 1."""
    if isinstance(old, bool) or isinstance(new, bool):
        return old is new
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(_equal, old, new))
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return old.keys() == new.keys() and all(_equal(old[key], new[key]) for key in old)
    return bool(old == new)

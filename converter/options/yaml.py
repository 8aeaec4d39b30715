"""YAML and JSON files, read strictly: no duplicate keys, no document that contains itself.

Aliases share values, and a few lines of them can stand for more values than any memory holds: how many
they stand for is counted before anything is made of them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

from converter.errors import UsageError

# What the aliases of a document may stand for, in values beside those that are written.
_MOST_ALIASED: Final = 100_000
_DEEP: Final = 100


def load(path: Path) -> dict[str, Any]:
    """The mapping in a YAML or JSON file.

    Raises:
        UsageError: It cannot be read, or is no mapping.
    """
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        is_json = path.suffix == ".json"
        values = json.loads(text, object_pairs_hook=_once) if is_json else _values(text)
        json.dumps(values, default=str)  # a document that contains itself has no end
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}.") from error
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        first = " ".join(str(error).split())
        raise UsageError(f"{path} is neither YAML nor JSON: {first}.") from error
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise UsageError(f"{path} holds no options, but {type(values).__name__}.")
    return values


def _values(text: str) -> Any:
    """What a YAML document holds.

    Raises:
        ValueError: Its aliases stand for too much, or a key is in a mapping twice.
        yaml.YAMLError: It is no YAML document.
    """
    loader = _strict_loader(is_fast=_is_shallow(text))(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        sizes: dict[int, int] = {}
        aliased = _size(node, sizes) - len(sizes)
        if aliased > _MOST_ALIASED:
            raise ValueError(f"its aliases stand for more than {_MOST_ALIASED:,} values")
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _is_shallow(text: str) -> bool:
    """Whether libyaml may make values of a document: it recurses without a limit, in C.

    Raises:
        yaml.YAMLError: It is no YAML document.
    """
    import yaml

    if not hasattr(yaml, "CSafeLoader"):
        return False
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):  # one event after another
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEP:
            return False
    return True


def _size(node: Any, sizes: dict[int, int]) -> int:
    """How many nodes there are when each alias is written out; one within itself counts once."""
    if id(node) not in sizes:
        sizes[id(node)] = 1
        if not isinstance(node.value, str):
            parts = (part for item in node.value for part in (item if type(item) is tuple else [item]))
            sizes[id(node)] = 1 + sum(_size(part, sizes) for part in parts)
    return sizes[id(node)]


def _once(pairs: Sequence[tuple[Any, Any]]) -> dict[Any, Any]:
    """A mapping without duplicate keys: it is not known which one is meant.

    Raises:
        ValueError: A key is there twice.
    """
    found: dict[Any, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} is in one mapping twice")
        found[key] = value
    return found


@cache
def _strict_loader(*, is_fast: bool) -> Any:
    import yaml

    base: Any = yaml.CSafeLoader if is_fast else yaml.SafeLoader

    class Strict(base):  # type: ignore[misc]
        """YAML's safe loader, which takes the last of equal keys; this one refuses them."""

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            _once([(name, None) for name in names if name != "<<"])
            return dict(super().construct_mapping(node, deep))

    return Strict

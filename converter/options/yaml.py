"""YAML and JSON files, read strictly: no duplicate keys, no document that contains itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from converter.errors import UsageError


def load(path: Path) -> dict[str, Any]:
    """The mapping in a YAML or JSON file.

    Raises:
        UsageError: It cannot be read, or is no mapping.
    """
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            values = json.loads(text, object_pairs_hook=_once)
        else:
            values = yaml.load(text, _strict_loader())  # noqa: S506 - a safe loader, made stricter
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
def _strict_loader() -> Any:
    import yaml

    class Strict(yaml.SafeLoader):
        """YAML's safe loader, which takes the last of equal keys; this one refuses them."""

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            _once([(name, None) for name in names if name != "<<"])
            return super().construct_mapping(node, deep)

    return Strict

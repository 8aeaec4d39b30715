"""Values as every database, and every reader of JSON, takes them.

What an attempt tells comes from a stranger's model: half a surrogate or a NUL in a name must not be
what the dispatcher fails at, for it would fail at it for ever, and no other job would go on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar

_T = TypeVar("_T")


def storable_text(text: str) -> str:
    """A text without characters that UTF-8, or PostgreSQL, does not hold."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def storable(value: _T) -> _T:
    """Plain JSON data of the same form; a number that is none becomes null, as JSON has it."""
    return _storable(value)  # type: ignore[no-any-return]


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {storable_text(str(key)): _storable(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(one) for one in value]
    return value

"""A plan, made in a process of its own: the source is a stranger's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from converter.processes import linux


def plan(
    source: str,
    target: str,
    options: Mapping[str, Any],
    toolchain: str,
    bounds: Mapping[str, int | None],
) -> dict[str, Any]:
    """The plan of a conversion as `nnconvert plan --json` has it."""
    import converter

    linux.bound_this_process(**bounds)
    return converter.plan(source, target, options=dict(options), toolchain=toolchain).to_json()

"""How many examples a property is tried on: a part of them in every run, all in `nox -s properties`."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import settings

# CI's time is everybody's; what is random is another part in each run.
PART = 1 if os.environ.get("NNCONVERT_EXAMPLES") == "all" else 3
LEAST = 10


def space(examples: int, **more: Any) -> settings:
    """Settings for a property whose space wants so many examples."""
    return settings(max_examples=max(min(LEAST, examples), examples // PART), deadline=None, **more)

"""Finding the image that a target's tools are in."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from converter.container.engine import Image, connect
from converter.errors import ToolchainError
from converter.options.resolve import Options


def require_image(options: Options, candidates: Sequence[str], cure: str) -> Image:
    """The first image that is there: the one that `container.image` names, else of the candidates.

    Args:
        cure: What to run to get one.

    Raises:
        ToolchainError: There is no engine, or no such image.
    """
    chosen = options.text("container.image")
    names = [chosen] if chosen else list(candidates)
    with contextlib.closing(connect(options.text("container.engine"))) as engine:
        image = engine.first_of(names)
        if image is None:
            raise ToolchainError(
                f"{engine.name} has no image {' or '.join(names)}.",
                remedy=f"Run: docker pull {chosen}"
                if chosen and not chosen.startswith("sha256:")
                else cure,
            )
        return image

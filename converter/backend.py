"""What a plan converts with: a toolchain, its tool and version, and the image that holds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from converter.errors import UsageError

Kind = Literal["native", "container", "online"]


@dataclass(frozen=True, kw_only=True)
class Backend:
    """A toolchain that was chosen.

    Attributes:
        tool: What compiles, by its name.
        version: Its version, as exactly as it is known before it is asked.
        image: Id of the container's image: the same wherever the image is.
        image_name: By which name it was found.
        reason: Why it was chosen, where nobody asked for it.
        caveat: What is not known of its results, in a sentence.
    """

    toolchain: Kind
    tool: str
    version: str
    image: str | None = None
    image_name: str | None = None
    reason: str = ""
    caveat: str = ""

    @property
    def image_record(self) -> dict[str, str]:
        """The image as a step and the build record name it; empty without one."""
        return {"image": self.image} if self.image else {}

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data; how an image is called and why it was taken changes no result."""
        return {
            "toolchain": self.toolchain,
            "tool": self.tool,
            "version": self.version,
            "image": self.image,
        }


def wanted(target: str, toolchain: str, available: tuple[Kind, ...]) -> Kind | None:
    """The toolchain that somebody asked for; None for `auto`.

    Raises:
        UsageError: The target does not have it.
    """
    if toolchain == "auto":
        return None
    for kind in get_args(Kind):
        if kind == toolchain and kind in available:
            return kind  # type: ignore[no-any-return]
    raise UsageError(
        f"{target} has no toolchain {toolchain!r}.", remedy=f"There are: auto, {', '.join(available)}."
    )

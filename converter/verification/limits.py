"""What an output of the result may differ by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from converter.options.resolve import Options

# A part with an error of its whole spread tells nothing; a whole output may be judged by its offset.
_PART_TIMES: Final = 5.0
_MOST_PART_ERROR: Final = 0.95
# Of the indices so many may point at something clearly smaller: a seventh of the limit for values.
_WRONG_INDICES: Final = 1 / 7
_FEWEST_WRONG: Final = 0.01


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What an output may differ by; see `figures.figures`.

    Attributes:
        expected: What the mode promises, where that is stricter: more is told, and no failure.
        own: Whether the user set them; then nothing excuses an output that breaks them.
        own_error: Whether the user set the error; then a part may lose what that allows.
    """

    min_cosine: float
    max_rel_rmse: float
    expected: Limits | None = None
    own: bool = False
    own_error: bool = False

    def chosen(self, options: Options) -> Limits:
        """These limits, where the options do not set others."""
        cosine, error = options.get("verify.min_cosine"), options.get("verify.max_rel_rmse")
        given = [isinstance(value, int | float) for value in (cosine, error)]
        return Limits(
            min_cosine=float(cosine) if isinstance(cosine, int | float) else self.min_cosine,
            max_rel_rmse=float(error) if isinstance(error, int | float) else self.max_rel_rmse,
            expected=None if any(given) else self.expected,
            own=any(given),
            own_error=given[1],
        )

    @property
    def max_part_error(self) -> float:
        """What a part may lose of its spread."""
        usual = min(_MOST_PART_ERROR, _PART_TIMES * self.max_rel_rmse)
        return max(usual, self.max_rel_rmse) if self.own else usual

    @property
    def max_wrong_indices(self) -> float:
        """The share of an output's indices that may point at something clearly smaller."""
        return max(_FEWEST_WRONG, _WRONG_INDICES * self.max_rel_rmse)

    def to_json(self) -> dict[str, Any]:
        """The limits as plain JSON data."""
        return {
            "min_cosine": self.min_cosine,
            "max_rel_rmse": self.max_rel_rmse,
            **({"expected": self.expected.to_json()} if self.expected else {}),
        }

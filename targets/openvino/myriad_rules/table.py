"""The rules that only the Myriad compiler needs, by operator, in the order of their application."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from converter.graph.rewrite import Rule
from targets.openvino.myriad_rules import integers, padding

RULES: Final[Sequence[Mapping[str, Rule]]] = (integers.RULES, padding.RULES)

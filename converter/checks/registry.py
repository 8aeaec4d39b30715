"""Every check of lint: a declared code, and the rules that can find it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from converter.checks import config, fit, frames, heads, members, model, source, tensors, yolo
from converter.checks.codes import Code, codes
from converter.checks.rule import Rule
from converter.checks.subject import Side, Subject
from converter.findings import Finding, Severity

RULES: Final[tuple[Rule, ...]] = (
    *members.RULES,
    *config.RULES,
    *source.RULES,
    *model.RULES,
    *tensors.RULES,
    *frames.RULES,
    *heads.RULES,
    *fit.RULES,
    *yolo.RULES,
)


@dataclass(frozen=True, kw_only=True)
class Check:
    """A code that lint may give.

    Attributes:
        code: The declared code, with examples.
        sides: The kinds of archives that it is found in.
        rules: The functions that look for it; none if opening an archive finds it.
    """

    code: Code
    sides: frozenset[Side]
    rules: tuple[Rule, ...]

    def to_json(self) -> dict[str, Any]:
        """The check as plain JSON data."""
        return {**self.code.to_json(), "looks_at": sorted(self.sides)}


@cache
def checks() -> Mapping[str, Check]:
    """The checks by code, in the order of the declaration."""
    result = {}
    for name, code in codes().items():
        rules = tuple(rule for rule in RULES if name in rule.codes)
        if rules or name in members.OPENING:
            sides = frozenset().union(*(rule.sides for rule in rules)) if rules else frozenset(Side)
            result[name] = Check(code=code, sides=sides, rules=rules)
    return result


def run(subject: Subject) -> tuple[Finding, ...]:
    """The findings of all rules in an archive, errors first, without repetition."""
    found = dict.fromkeys(subject.archive.guesses)  # of a bare model's config
    for rule in RULES:
        if subject.side in rule.sides and not (rule.needs_schema and subject.schema):
            found |= dict.fromkeys(rule.find(subject))
    order = list(Severity)
    return tuple(sorted(found, key=lambda finding: order.index(finding.severity)))

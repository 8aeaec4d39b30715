"""What whoever listens to a conversion was told."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from converter.events import Notice, OnEvent, Warned
from converter.findings import Finding, Severity
from converter.plans import Plan


class Told:
    """What the listener was told: its warnings are part of the result.

    Attributes:
        before_lint: How many warnings there were before the result itself was looked at.
    """

    def __init__(self, listen: OnEvent) -> None:
        """Nothing yet."""
        self._listen = listen
        self.warnings: list[str] = []
        self.before_lint = 0

    def event(self, event: Any) -> None:
        """Hand an event on."""
        if isinstance(event, Warned):
            self.warnings.append(event.text)
        self._listen(event)

    def notice(self, text: str) -> None:
        """Tell something worth a line."""
        self._listen(Notice(text=text))

    def plan(self, made: Plan) -> None:
        """Tell why the toolchain was chosen, what is not known of it, and the plan's warnings."""
        for text in (made.backend.reason, made.backend.caveat):
            if text:
                self._listen(Notice(text=text))
        for finding in made.warnings:
            if finding.severity is Severity.INFO:
                self.warnings.append(str(finding))
                self._listen(Notice(text=finding.said))
            else:
                self.event(Warned(text=str(finding)))

    def lint(self, findings: Iterable[Finding]) -> None:
        """Tell what the result is warned of, but not again what was told already."""
        self.before_lint = len(self.warnings)
        for finding in findings:
            if finding.message.rstrip(".") not in "\n".join(self.warnings):
                self.event(Warned(text=str(finding)))

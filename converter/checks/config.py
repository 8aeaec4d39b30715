"""The config against the format: its schema, its version, and the keys that readers drop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from converter.checks.rule import SOURCE, TARGET, Rule
from converter.checks.subject import Subject
from converter.findings import Finding, Severity, listed

_HEAD_KEYS: Final = ("name", "parser", "metadata", "outputs")
_METADATA_KEYS: Final = ("name", "path", "precision")


def _schema(subject: Subject) -> Iterator[Finding]:
    yield from subject.schema


def _version(subject: Subject) -> Iterator[Finding]:
    config = subject.archive.config
    if config.get("config_version") is not None:
        return
    written = "config_version" in config
    yield Finding(
        code="config.version-missing",
        severity=Severity.WARNING if written else Severity.INFO,
        where="config_version",
        message="is null, which luxonis-ml refuses." if written else "is missing: read as 1.0.",
        remedy='Write "1.0".',
    )


def _dropped(subject: Subject) -> Iterator[Finding]:
    places: list[tuple[str, Mapping[str, Any], tuple[str, ...]]] = [
        ("model.metadata", subject.model["metadata"], _METADATA_KEYS)
    ]
    places += [(f"model.heads[{i}]", head, _HEAD_KEYS) for i, head in enumerate(subject.heads)]
    for where, entry, known in places:
        if dropped := [key for key in entry if key not in known]:
            yield Finding(
                code="config.dropped-key",
                severity=Severity.WARNING,
                where=where,
                message=f"readers drop {listed(dropped)} silently.",
                remedy="Put what a parser shall read into the head's metadata; leave out the rest.",
            )


RULES: Final = (
    Rule(
        find=_schema,
        codes=("config.version", "config.value", "config.unknown-key", "config.missing-key"),
        sides=TARGET,  # a source's are among those of `source`
        needs_schema=False,
    ),
    Rule(find=_version, codes=("config.version-missing",), sides=SOURCE, needs_schema=False),
    Rule(find=_dropped, codes=("config.dropped-key",)),
)

"""The codes of findings, each declared once, in `configs/codes.yaml`: for lint, SARIF and the docs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from converter import resources
from converter.findings import Severity

# The good archives that examples change, by the name that `configs/codes.yaml` calls them.
BASES: Final[Mapping[str, str]] = {
    "onnx": "a source (config.json and model.onnx, which takes RGB frames as float32)",
    "onnx-uint8": "a source whose model takes uint8",
    "onnx-int32": "a source whose model takes int32",
    "onnx-external": "a source whose model has its weights in model.onnx.data",
    "onnx-batch": "a source whose model takes four frames at once",
    "onnx-ambiguous": "the onnx archive with a Resize of negative axes and an aspect ratio",
    "onnx-foreign": "a source whose model has an operator of another domain",
    "onnx-live-scale": "a source whose model quantizes with a scale that it computes",
    "onnx-twice": "a source whose model has an input and an output twice",
    "onnx-unused": "a source whose model has an input that no node reads",
    "tflite-state": "a source whose TFLite model has a recurrent layer with variables",
    "onnx-through": "a source whose model has an input that is an output too",
    "rvc2": "a target for RVC2 (config.json, buildinfo.json and model.blob)",
    "rvc2-old": "a target for RVC2 whose blob's header has version 4.0",
    "rvc2-superblob": "a target for RVC2 with model.superblob",
    "rvc3": "a target for RVC3 (config.json, buildinfo.json and model.blob)",
    "rvc3-superblob": "a target for RVC3 with model.superblob",
    "rvc4": "a target for RVC4 (config.json, buildinfo.json and model.dlc)",
}
_CHANGES: Final[Mapping[str, str]] = {
    "set": "write {key} as {value}",
    "remove": "leave out {value}",
    "add": "add the file {key}",
    "drop": "leave out the file {value}",
    "rename": "call the file {key} {value}",
    "last": "pack {value} last",
    "twice": "pack {value} twice",
    "link": "pack {key} as a symbolic link to {value}",
    "overwrite": "put into the file {key}: {value}",
    "named": "call the archive {value}",
    "overwrite_archive": "write instead of the archive: {value}",
}


@dataclass(frozen=True, kw_only=True)
class Example:
    """A good archive and what is changed in it.

    Attributes:
        of: A key of BASES.
        changes: By kind (`set`, `remove`, `add`, …): JSON paths or file names, and values.
    """

    of: str = "onnx"
    changes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def in_words(self) -> str:
        """The example as a sentence."""
        said = []
        for kind, change in self.changes.items():
            values = [change] if isinstance(change, str) else change
            rows = values.items() if isinstance(values, Mapping) else [("", item) for item in values]
            for key, value in rows:
                text = json.dumps(value) if kind == "set" else value
                said.append(_CHANGES[kind].format(key=key, value=text))
        return f"{BASES[self.of]}, {'; '.join(said) or 'as it is'}"


@dataclass(frozen=True, kw_only=True)
class Code:
    """What a code stands for.

    Attributes:
        severity: The worst severity of a finding of this code.
        cause: What is wrong, in one line.
        why: The effect on a camera, a parser, a reader or the conversion.
        remedy: What to do about it, where a finding has no exact remedy.
        failing: Archives in which lint finds it; empty if only a conversion can find it.
        passing: Similar archives, in which lint does not find it.
    """

    code: str
    severity: Severity
    cause: str
    why: str
    remedy: str
    failing: tuple[Example, ...] = ()
    passing: tuple[Example, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The code as plain JSON data, its examples in words."""
        return {
            "code": self.code,
            "severity": self.severity.value,
            "cause": self.cause,
            "why": self.why,
            "remedy": self.remedy,
            "failing": [example.in_words for example in self.failing],
            "passing": [example.in_words for example in self.passing],
        }


@cache
def codes() -> Mapping[str, Code]:
    """Every code, in the order of the declaration."""
    import yaml

    text = (resources.folder("configs") / "codes.yaml").read_text(encoding="utf-8")
    return {name: _read(name, entry) for name, entry in yaml.safe_load(text).items()}


def _read(name: str, entry: Mapping[str, Any]) -> Code:
    return Code(
        code=name,
        severity=Severity(entry["severity"]),
        cause=entry["cause"],
        why=entry["why"],
        remedy=entry["remedy"],
        failing=_examples(entry.get("failing", ())),
        passing=_examples(entry.get("passing", ())),
    )


def _examples(rows: Iterable[Mapping[str, Any]]) -> tuple[Example, ...]:
    return tuple(
        Example(
            of=row.get("of", "onnx"),
            changes={kind: change for kind, change in row.items() if kind != "of"},
        )
        for row in rows
    )

"""The sections of an archive that `converter.comparison.archives` compares one by one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from converter.archive.opened import BUILDINFO, CONFIG, Archive, read_json
from converter.archive.tar import Member
from converter.comparison.json_values import ABSENT
from converter.comparison.normalized_config import canonical
from converter.errors import ArchiveError
from converter.formats import Part, format_of
from converter.graph.facts import external_member
from converter.inspect import model_facts

if TYPE_CHECKING:
    from converter.graph.weights import Graph

_KINDS: Final = ("inputs", "outputs")
# The keys of a tensor's signature; the rest of its entry is compared as part of the config.
_SIGNATURE: Final = ("dtype", "shape", "layout")
# Keys of a build record that repeat others, or that make no difference.
_REPEATED: Final = ("target", "toolchain", "warnings", "parameters", "steps")
# Keys that other sections cover, or that only say where something is.
_ELSEWHERE: Final = ("size_bytes", "base_size_bytes", "patch_size_bytes", "external_data")
# What a tool writes about itself and its run, and the name it makes up for a graph.
_OF_THE_TOOL: Final = ("metadata", "graph")


class Side:
    """An archive's sections, as `converter.comparison.archives` compares them.

    Raises:
        ArchiveError: The build record is no JSON, or the model file is damaged.
    """

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        config = canonical(archive.config)
        model = config.get("model")
        model = model if isinstance(model, dict) else {}
        metadata = model.get("metadata")
        path = metadata.get("path") if isinstance(metadata, dict) else None
        self.model: str = path if isinstance(path, str) and archive.member(path) else ""
        heads = model.get("heads")
        self.heads: list[Any] = model.pop("heads") if isinstance(heads, list) else []
        self.tensors = {kind: _signatures(model, kind) for kind in _KINDS}
        self.config = config
        self._facts = model_facts(archive.path(self.model)) if self.model else None

    @property
    def is_onnx(self) -> bool:
        """Whether the model file is an ONNX file."""
        return self._facts is not None and self._facts["kind"] == "onnx"

    @cached_property
    def facts(self) -> dict[str, Any]:
        """The facts in the model file that the config does not have."""
        if self._facts is None:
            return {"kind": Path(self.model).suffix.removeprefix(".") or None}
        facts = {k: v for k, v in self._facts.items() if k not in (*_ELSEWHERE, *_OF_THE_TOOL)}
        for kind in _KINDS:
            if kind in facts:
                told = {
                    signature["name"]: signature
                    for signature in self.tensors[kind]
                    if isinstance(signature.get("name"), str)
                }
                facts[kind] = [
                    {
                        k: v
                        for k, v in item.items()
                        if k == "name" or told.get(item["name"], {}).get(k) != v
                    }
                    for item in facts[kind]
                ]
        return facts

    @cached_property
    def _record(self) -> dict[str, Any]:
        if self._archive.member(BUILDINFO) is None:
            return {}
        record = read_json(self._archive.path(BUILDINFO), self._archive.name)
        return record if isinstance(record, dict) else {BUILDINFO: record}

    @cached_property
    def _plan(self) -> dict[str, Any]:
        plan = self._record.get("plan")
        return plan if isinstance(plan, dict) else {}

    def _steps(self, *keys: str) -> list[dict[str, Any]]:
        steps = self._plan.get("steps")
        steps = steps if isinstance(steps, list) else []
        return [
            {key: step[key] for key in ("name", *keys) if key in step}
            for step in steps
            if isinstance(step, dict)
        ]

    @property
    def parameters(self) -> dict[str, Any]:
        """Options, parameters, and the tools' arguments."""
        return {
            "options": self._record.get("options", {}),
            "parameters": self._plan.get("parameters", {}),
            "steps": self._steps("call", "argv"),
        }

    @property
    def provenance(self) -> dict[str, Any]:
        """The rest of the build record, and the metadata that tools wrote into the model file."""
        record = {key: value for key, value in self._record.items() if key not in ("options", "plan")}
        compiled = record.get("compiled")
        if isinstance(compiled, dict) and self._facts is not None:
            told = (*self._facts, "sha256", "target")
            record["compiled"] = {key: value for key, value in compiled.items() if key not in told}
        record["plan"] = {key: value for key, value in self._plan.items() if key not in _REPEATED}
        if self._plan or "plan" not in self._record:
            record["plan"]["steps"] = self._steps("tool", "version")
        else:
            record["plan"] = self._record["plan"]
        written = {key: _without_times((self._facts or {}).get(key)) for key in _OF_THE_TOOL}
        return record | {"model file": written}

    @cached_property
    def files(self) -> dict[str, str]:
        """SHA-256 of the model file and of its external data, by their role."""
        found = {}
        for role, member in self._files.items():
            found[role] = member.sha256
        return found

    @cached_property
    def _files(self) -> dict[str, Member]:
        names = {"model": self.model} if self.model else {}
        if self.is_onnx:
            places = (self._facts or {})["external_data"]
            names |= {place: external_member(self.model, place) for place in places}
        found = {}
        for role, name in names.items():
            member = self._archive.member(name)
            if member is None:
                raise ArchiveError(
                    f"{self._archive.name}: the weights of {self.model} are in {name!r}, "
                    "which is not in the archive.",
                    remedy="Pack that file beside the model, under this name.",
                )
            found[role] = member
        return found

    @cached_property
    def others(self) -> dict[str, Member]:
        """The members that are neither config, build record, model nor its weights."""
        told = {CONFIG, BUILDINFO, *(member.name for member in self._files.values())}
        return {member.name: member for member in self._archive.members if member.name not in told}

    @property
    def sizes(self) -> dict[str, int]:
        """Sizes in bytes of the members whose sizes are compared."""
        members = self._archive.members
        return {m.name: m.size_bytes for m in members if m.name not in (CONFIG, BUILDINFO)}

    def content(self, name: str) -> Any:
        """The content of one of `others`: a document if it is JSON, else its SHA-256."""
        member = self.others.get(name)
        if member is None:
            return ABSENT
        if name.endswith(".json"):
            try:
                return read_json(self._archive.path(name), self._archive.name)
            except ArchiveError:
                pass  # not JSON: compared by its SHA-256
        return f"sha256:{member.sha256}"

    def parts(self) -> Iterable[Part] | None:
        """The pieces of a compiled model file; None if nothing is known of its inside."""
        if not self.model:
            return None
        path = self._archive.path(self.model)
        found = format_of(path)
        return None if found is None or found.parts is None else found.parts(path)

    def graph(self, scratch: Path) -> Graph:
        """The ONNX model, its weights in a new folder."""
        from converter.graph.weights import read_weights

        scratch.mkdir()
        return read_weights(self._archive.path(self.model), self.model, scratch)


def _signatures(model: dict[str, Any], kind: str) -> list[Any]:
    """The signatures of a kind's tensors; they are removed from the config."""
    items = model.get(kind)
    if not isinstance(items, list):
        return []
    signatures = []
    for item in items:
        if not isinstance(item, dict):
            continue
        signature = {key: item.pop(key) for key in _SIGNATURE if key in item}
        preprocessing = item.get("preprocessing")
        if isinstance(preprocessing, dict) and "dai_type" in preprocessing:
            signature["dai_type"] = preprocessing.pop("dai_type")
        signatures.append(({"name": item["name"]} if "name" in item else {}) | signature)
    return signatures


def _without_times(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_times(inner) for key, inner in value.items() if key != "timestamp"}
    return [_without_times(item) for item in value] if isinstance(value, list) else value

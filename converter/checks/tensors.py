"""A target's inputs and outputs: names, shapes, layouts, by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from converter.checks.rule import TARGET, Rule
from converter.checks.subject import Subject
from converter.findings import Finding


def _names(subject: Subject) -> Iterator[Finding]:
    for kind in ("input", "output"):
        names = [item["name"] for item in subject.model[f"{kind}s"]]
        for index, name in enumerate(names):
            if name in names[:index]:
                yield Finding(
                    code=f"{kind}.duplicate",
                    where=f"model.{kind}s[{index}].name",
                    message=f"{name!r} is there twice.",
                    remedy="Keep one.",
                )


def _shapes(subject: Subject) -> Iterator[Finding]:
    for kind in ("input", "output"):
        for index, item in enumerate(subject.model[f"{kind}s"]):
            shape = item.get("shape") or ()
            if any(size < 1 for size in shape):
                yield Finding(
                    code="tensor.dynamic",
                    where=f"model.{kind}s[{index}].shape",
                    message=f"{list(shape)} has a size that is not positive.",
                    remedy="Write the sizes that were compiled.",
                )


def _layouts(subject: Subject) -> Iterator[Finding]:
    for kind in ("input", "output"):
        for index, item in enumerate(subject.model[f"{kind}s"]):
            layout, shape = (item.get("layout") or "").upper(), item.get("shape")
            if not layout:
                continue
            where = f"model.{kind}s[{index}].layout"
            problem = ""
            if shape is None:
                problem = f"{layout!r} has no shape beside it."
            elif len(layout) != len(shape):
                yield Finding(
                    code="tensor.layout-length",
                    where=where,
                    message=f"{layout!r} has {len(layout)} letters, but the shape {shape} has "
                    f"{len(shape)} axes.",
                    remedy="Write one letter for each axis.",
                )
            elif layout.find("N") > 0:
                problem = f"{layout!r} has N, the batch, not in front."
            elif kind == "input" and len(set(layout)) != len(layout):
                problem = f"{layout!r} does not have one letter for each axis."
            elif kind == "input" and item["input_type"] == "image" and "C" not in layout:
                problem = f"{layout!r} has no C, the channels of a frame."
            if problem:
                yield Finding(
                    code=f"{kind}.layout",
                    where=where,
                    message=problem,
                    remedy="Write the layout that the shape has.",
                )


RULES: Final = (
    Rule(find=_names, codes=("input.duplicate", "output.duplicate"), sides=TARGET),
    Rule(find=_shapes, codes=("tensor.dynamic",), sides=TARGET),
    Rule(
        find=_layouts,
        codes=("tensor.layout-length", "input.layout", "output.layout"),
        sides=TARGET,
    ),
)

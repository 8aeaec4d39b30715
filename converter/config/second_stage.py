"""Archives of two stages: a head's `postprocessor_path` names a model that the first's outputs feed.

The config describes the first model only, so all that is known of the second is in its file: its inputs
are numbers, with the file's shapes or those that options give.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from converter.config.tensors import read_tensors
from converter.errors import ModelError
from converter.findings import Finding, listed, perhaps
from converter.graph.facts import GraphFacts, TensorFacts
from converter.model import Link, SourceModel
from converter.options.resolve import Options


def postprocessor_path(model: Mapping[str, Any]) -> str | None:
    """The member name of the second stage's model; None where there is none.

    Raises:
        ModelError: Heads name different ones.
    """
    found: dict[str, str] = {}
    for index, head in enumerate(model.get("heads") or ()):
        path = (head.get("metadata") or {}).get("postprocessor_path")
        if path is not None:
            found.setdefault(str(path), f"model.heads[{index}].metadata.postprocessor_path")
    if len(found) > 1:
        raise ModelError(
            f"{' and '.join(found.values())} name different models, {listed(list(found))}; "
            "a camera runs two stages at most.",
            remedy="Keep one of them, and make a separate archive of each other.",
        )
    return next(iter(found), None)


def second_stage(
    first: SourceModel,
    path: str,
    files: Mapping[str, str],
    facts: GraphFacts,
    options: Options,
) -> tuple[SourceModel, list[Finding]]:
    """The second stage's model, and what is wrong with it.

    Args:
        first: The model of the first stage.
        path: The second model's member name; files: its files; facts: the facts in its file.
    """
    outputs = {tensor.name: tensor for tensor in first.outputs}
    chosen = {t.name: options.text(f"inputs.{t.name}.calibration.output") for t in facts.inputs}
    findings = [
        Finding(
            code="option.output",
            where=f"inputs.{name}.calibration.output",
            message=f"the first stage has no output {output!r}; it has {listed(list(outputs))}.",
            remedy=perhaps(output, list(outputs)),
        )
        for name, output in chosen.items()
        if output is not None and output not in outputs
    ]
    fed = {t.name: chosen[t.name] or _same(t, facts, outputs) for t in facts.inputs}
    declared = {
        "inputs": [
            _entry(tensor, options, outputs.get(fed[tensor.name] or ""))
            | {"input_type": "raw", "preprocessing": {}}
            for tensor in facts.inputs
        ],
        "outputs": [{"name": t.name, "dtype": t.dtype} for t in facts.outputs],
    }
    inputs, results, problems = read_tensors(declared, facts, options)
    findings += [
        dataclasses.replace(problem, where=f"{path}: {problem.where.removeprefix('model.')}")
        for problem in problems
    ]
    links = {}
    for item in inputs:
        output = outputs.get(fed[item.name] or "")
        if output is not None and output.shape == item.shape:
            links[item.name] = output.name
        elif output is not None and chosen[item.name]:
            findings.append(
                Finding(
                    code="option.output",
                    where=f"inputs.{item.name}.calibration.output",
                    message=f"{output.name!r} is {list(output.shape)}; {item.name!r} of {path} takes "
                    f"{list(item.shape)}.",
                    remedy="Name the output that feeds it.",
                )
            )
    second = SourceModel(
        archive_name=first.archive_name,
        name=PurePosixPath(path).stem,
        path=path,
        files=files,
        inputs=tuple(inputs),
        outputs=tuple(results),
        opset=facts.opset,
        format=facts.format,
        config={"model": {"inputs": declared["inputs"], "outputs": declared["outputs"]}},
        link=Link(model=first, outputs=links),
    )
    return second, findings


def _same(tensor: TensorFacts, facts: GraphFacts, outputs: Mapping[str, Any]) -> str | None:
    """The output that feeds an input by default: the one of the same name, or the only one."""
    if tensor.name in outputs:
        return tensor.name
    return next(iter(outputs)) if len(outputs) == len(facts.inputs) == 1 else None


def _entry(tensor: TensorFacts, options: Options, output: Any) -> dict[str, Any]:
    """An input as a config would describe it: with its shape, else with its source output's."""
    given: Sequence[Any] | None = options.ints(f"inputs.{tensor.name}.shape")
    own = tensor.shape or ()
    if given is None and output is not None and len(output.shape) == len(own):
        given = [
            size if isinstance(size, int) else fed for size, fed in zip(own, output.shape, strict=True)
        ]
    shape = [size if isinstance(size, int) else 0 for size in (own if given is None else given)]
    return {"name": tensor.name, "dtype": tensor.dtype, "shape": shape}

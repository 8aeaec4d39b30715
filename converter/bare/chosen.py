"""Which tensors the user chose for outputs, and under which names."""

from __future__ import annotations

from collections.abc import Sequence

from converter.errors import UsageError, from_findings
from converter.findings import Finding
from converter.options.resolve import Options


def chosen_outputs(
    options: Options, outputs: Sequence[str], described: Sequence[str] = ()
) -> dict[str, str] | None:
    """By the name that each output gets, its tensor; None if the model's outputs stay as they are.

    `outputs` names the tensors; `outputs.N.name` is ModelConverter's form of the same, by index.
    `outputs.TENSOR.name` gives one another name.

    Args:
        options: What the user set.
        outputs: The model's own outputs.
        described: The outputs that a file of ModelConverter describes.

    Raises:
        UsageError: Two outputs would have one name.
    """
    listed = list(options.words("outputs") if options.get("outputs") else described)
    renamed: dict[str, str] = {}
    for name, keys in options.names("outputs").items():
        given = options.text(f"outputs.{name}.name") if f"outputs.{name}.name" in keys else None
        if given is None:
            continue
        if name.isdecimal() and name not in (*outputs, *listed):
            # As in ModelConverter: the tensor that is output N, which needs all outputs before it.
            index = int(name)
            listed += [tensor for tensor in outputs if tensor not in listed][len(listed) : index]
            listed[index : index + 1] = [given]
        else:
            renamed[name] = given
    if not listed:
        listed = list(outputs)
        # A name of a tensor inside chooses it as well.
        inner = [name for name in renamed if name not in outputs]
        listed = inner or listed
    findings = [
        Finding(
            code="option.tensor",
            where=f"outputs.{name}.name",
            message=f"{name!r} is not among the chosen outputs.",
            remedy="Add it to --outputs.",
        )
        for name in renamed
        if name not in listed
    ]
    names = [renamed.get(name, name) for name in listed]
    findings += [
        Finding(
            code="option.tensor",
            where="outputs",
            message=f"two outputs would be called {name!r}.",
            remedy="Give each a name of its own.",
        )
        for index, name in enumerate(names)
        if name in names[:index]
    ]
    if findings:
        raise from_findings(UsageError, "The options", findings)
    if not renamed and set(listed) == set(outputs):
        return None
    return dict(zip(names, listed, strict=True))

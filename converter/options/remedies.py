"""What is said of options that do not exist, or that do not fit."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Final

from converter.findings import Finding, listed, perhaps
from converter.options.declared import Spec, Value, specs

# The flags that set an input's options.
_FLAGS: Final = {
    "mean_values": "--mean",
    "scale_values": "--scale",
    "shape": "--shape",
    "layout": "--layout",
    "encoding.from": "--color",
}


# How people call an option whose name is longer.
_CALLED: Final = {
    "mean": "mean_values, or --mean",
    "means": "mean_values, or --mean",
    "scale": "scale_values, or --scale",
    "std": "scale_values, or --scale",
    "color": "encoding.from, or --color",
    "shaves": "rvc2.number_of_shaves",
}


def unknown(key: str, origin: str) -> Finding:
    """There is no such option; the remedy names the nearest."""
    near = nearest(key)
    return Finding(
        code="option.unknown",
        where=key,
        message=f"there is no such option ({origin}).",
        remedy=f"Perhaps you meant {near}." if near else "See: nnconvert convert --help",
    )


def no_input(key: str, name: str, inputs: Sequence[str]) -> Finding:
    """A name that is none of the model's inputs, or that an input shall get."""
    if name in inputs:
        message = "inputs keep their names; only inputs.0.name, with a number, says which is meant."
        return Finding(code="modelconverter.refused", where=key, message=message)
    return Finding(
        code="modelconverter.tensor",
        where=key,
        message=f"the model has no input {name!r}; it has {listed(inputs)}.",
        remedy=perhaps(name, inputs),
    )


def wrong_value(key: str, spec: Spec, error: str, origin: str) -> Finding:
    """A value that is not of its option's type.

    Args:
        key: As it was written; another name of the option, perhaps.
        error: What is wrong with the value.
    """
    remedy = f"Expected: {spec.kind}."
    if key == "calibration":  # ModelConverter's; it says whether the data are random
        remedy = "Write calibration.path FOLDER, or --calibration FOLDER."
    return Finding(code="option.value", where=key, message=f"{error} ({origin}).", remedy=remedy)


def nearest(key: str) -> str:
    """The declared option, or ModelConverter's key, that is nearest; empty if none is near."""
    from converter.modelconverter.keys import KEYS

    if key in _CALLED:
        return _CALLED[key]
    declared = [*(spec.key for spec in specs()), *KEYS]
    # If the group is missing or misspelt, the last part still tells what was meant.
    by_tail = [name for name in declared if name.rpartition(".")[2] == key.rpartition(".")[2]]
    return next(iter(by_tail or difflib.get_close_matches(key, declared, n=1, cutoff=0.5)), "")


def for_which(tail: str, value: Value, names: Sequence[str]) -> Finding:
    """Something is said of the only image input, and there is not one.

    Args:
        tail: The option without the input, `mean_values`.
        names: The inputs that it may be meant for.
    """
    written = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
    flag = _FLAGS.get(tail, tail)
    return Finding(
        code="option.which-input",
        where=flag,
        message=f"{written!r} is for one of the inputs {listed(names)}.",
        remedy=f"Say for which: {flag} {names[0] if names else 'NAME'}={written}.",
    )

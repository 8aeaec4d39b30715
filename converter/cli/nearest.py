"""A wrong word of the command line, and what was meant by it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, Final

from cyclopts import CycloptsError, MissingArgumentError, UnknownOptionError, UnusedCliTokensError

# What other tools, and people, call it: the flag or the option here.
_MEANT: Final = {
    "mean-values": "--mean",
    "means": "--mean",
    "scale-values": "--scale",
    "scale-factor": "--scale",
    "std": "--scale",
    "std-values": "--scale",
    "norm": "--scale",
    "input-shape": "--shape",
    "input-size": "--shape",
    "imgsz": "--shape",
    "size": "--shape",
    "input-layout": "--layout",
    "colour": "--color",
    "encoding": "--color",
    "reverse-input-channels": "--color BGR, or --color RGB",
    "bgr": "--color BGR",
    "rgb": "--color RGB",
    "calib": "--calibration",
    "calibration-data": "--calibration",
    "calibration-path": "--calibration",
    "dataset": "--calibration",
    "data": "--calibration",
    "images": "--calibration",
    "platform": "--target",
    "camera": "--target",
    "device": "--target",
    "out": "--output",
    "outdir": "--output FOLDER/",
    "output-dir": "--output FOLDER/",
    "output-path": "--output",
    "freeze": "--frozen",
    "frozen-value": "--frozen",
    "overwrite": "--force",
    "silent": "--quiet",
    "shaves": "rvc2.number_of_shaves N",
    "sh": "rvc2.number_of_shaves N",
    "fp16": "rvc4.quantization_mode FP16_STANDARD",
    "half": "rvc4.quantization_mode FP16_STANDARD",
    "int8": "rvc4.quantization_mode INT8_STANDARD",
}


def explained(error: CycloptsError) -> tuple[str, str]:
    """What is wrong, and what to write."""
    said = " ".join(str(error).split())
    if isinstance(error, UnknownOptionError):
        word = (error.token.keyword or error.token.value).partition("=")[0]
        near = _near(word, _flags(error.argument_collection))
        return f"There is no flag {word}.", f"Perhaps you meant {near}." if near else _help(error)
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        if error.argument.name == "--target" and not error.tokens_so_far and error.keyword is None:
            return "--target is missing.", "Give your camera, or its platform: --target oak-d, rvc4, …"
        if error.argument.name == "--source":
            return "A source is missing.", "Give an archive or a model: convert --target oak-d FILE."
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        return f"{' '.join(error.unused_tokens)}: not expected here.", _help(error)
    return said, _help(error)


def _help(error: CycloptsError) -> str:
    chain = " ".join(error.command_chain or ())
    return f"See: nnconvert {chain} --help".replace("  ", " ")


def _flags(arguments: Iterable[Any]) -> list[str]:
    return [name for argument in arguments for name in argument.names if name.startswith("--")]


def _near(word: str, flags: list[str]) -> str:
    """The flag of this command, or the option, that is meant; empty if none is near."""
    from converter.options.declared import specs

    bare = word.lstrip("-").lower().replace("_", "-")
    meant = _MEANT.get(bare, "")
    takes_options = "--target" in flags
    if meant.partition(" ")[0] in flags or (takes_options and meant and not meant.startswith("-")):
        return meant if meant.startswith("-") else f"the option {meant}"
    if takes_options:
        dashed = {spec.key.replace("_", "-"): spec.key for spec in specs()}
        for name, key in dashed.items():
            if bare in (name, name.rpartition(".")[2]):
                return f"the option {key} VALUE"
    close = difflib.get_close_matches(f"--{bare}", flags, n=1, cutoff=0.7)
    return close[0] if close else ""

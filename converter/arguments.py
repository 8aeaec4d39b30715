"""The flags that messages name, as arguments of the Python API."""

from __future__ import annotations

import re
from typing import Final

# A flag with its value, and the argument that means the same.
_ARGUMENTS: Final = (
    (r"--force\b", "force=True"),
    (r"(?:--output|-o) (\S+?)(?=[.,;)]?(?:\s|$))", r'output="\1"'),
    (r"(?<!\w)-o\b", "output"),
    (r"--toolchain (\w+)", r'toolchain="\1"'),
    (r"--keep-work (\w+)", r'keep_work="\1"'),
    (r"--keep-work\b", "keep_work"),
    (r"--no-verify\b", 'options={"verify.enabled": False}'),
    (r"--calibration (\w+)", r'options={"calibration.path": "\1"}'),
    (r"--main-stage (\S+?)(?=[.,;)]?(?:\s|$))", r'options={"main_stage": "\1"}'),
    (r"--target ([\w-]+)", r'target="\1"'),
    (r"--against\b", "against"),
    (r"--data\b", "data"),
    (r"--config\b", "options"),
    (r"--(mean|scale) (\S+)=(\S+?)(?=[.,;)]?(?:\s|$))", r'options={"inputs.\2.\1_values": "\3"}'),
    (r"--(shape|layout) (\S+)=(\S+?)(?=[.,;)]?(?:\s|$))", r'options={"inputs.\2.\1": "\3"}'),
    (r"--color (\S+)=(\S+?)(?=[.,;)]?(?:\s|$))", r'options={"inputs.\1.encoding.from": "\2"}'),
)


def in_arguments(text: str) -> str:
    """A message that speaks of flags, for somebody who calls a function.

    Commands (`nnconvert …`) and other programs' flags stay as they are.
    """
    if re.search(r"\b(?:nnconvert|docker|pip|modelconverter|convert) \S", text):
        return text
    for pattern, argument in _ARGUMENTS:
        text = re.sub(pattern, argument, text)
    return text

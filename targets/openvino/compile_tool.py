"""OpenVINO 2022.3's `compile_tool`: from an IR to a blob, in a container.

Options: OpenVINO 2022.3's documentation, "Compile Tool".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from converter.container.session import Session
from converter.errors import ModelError, ToolchainError, ToolError, from_findings
from converter.findings import Finding
from converter.processes.completed import of_model
from targets.openvino.ir import Ir
from targets.openvino.parameters import InputParameters, TensorParameters

TOOL: Final = "compile_tool"
# Characters at which the tool splits an argument: `-iop "name:U8, other:FP16"`.
_SPLITTING: Final = re.compile(r"[\s,:\"']")
_MODEL_FAULTS: Final = re.compile(
    r"unsupported|not supported|doesn't support|does not support|Cannot (?:create|convert|find)|"
    r"Check '.*' failed|[Dd]ynamic",
)
# Finds the tool and its libraries in an image that another program built.
_LOCATE: Final = """
import glob, json, os, shutil
tool = shutil.which("compile_tool")
found = sorted(filter(os.path.isfile, glob.glob("/opt/**/compile_tool", recursive=True)))
folders = []
if tool is None and found:
    tool = found[0]
    for root, _, files in os.walk(tool.rsplit("/tools/", 1)[0]):
        if any(".so" in name for name in files):
            folders.append(root)
print(json.dumps({"tool": tool, "libraries": folders}))
"""


def check_names(names: Iterable[str]) -> None:
    """Check that the tool can take these tensors' names.

    Raises:
        ModelError: It has a finding for each name that it cannot take.
    """
    findings = [
        Finding(
            code="compile-tool.name",
            where=name,
            message="compile_tool splits its arguments at spaces, commas, colons and quotes, so this "
            "tensor's precision cannot be set.",
            remedy="Rename it in the model.",
        )
        for name in names
        if _SPLITTING.search(name)
    ]
    if findings:
        raise from_findings(ModelError, "The model", findings)


def precisions(
    inputs: Sequence[InputParameters], outputs: Sequence[TensorParameters]
) -> tuple[str, ...]:
    """The arguments that set every tensor's precision, and interleaved frames, by name."""
    words = [f"{item.name}:{item.precision}" for item in inputs]
    words += [f"{item.name}:{item.precision}" for item in outputs]
    arguments = ["-iop", ",".join(words)]
    interleaved = [item.name for item in inputs if item.compiler_layout]
    if interleaved:
        arguments += ["-iol", ",".join(f"{name}:NHWC" for name in interleaved)]
        arguments += ["-ioml", ",".join(f"{name}:NCHW" for name in interleaved)]
    return tuple(arguments)


def command(
    device: str,
    model: str,
    output: str,
    inputs: Sequence[InputParameters],
    outputs: Sequence[TensorParameters],
    *,
    config: str | None,
) -> tuple[str, ...]:
    """The whole command; paths are those inside the container."""
    argv = [TOOL, "-d", device, "-m", model, "-o", output, *precisions(inputs, outputs)]
    return (*argv, "-c", config) if config else tuple(argv)


@dataclass(frozen=True)
class CompileTool:
    """The tool of a running container."""

    session: Session
    program: str
    env: Mapping[str, str]

    @classmethod
    def find(cls, session: Session) -> CompileTool:
        """Look for the tool in the container's image.

        Raises:
            ToolchainError: It is not there.
        """
        done = session.container.run(["python3", "-c", _LOCATE], what="python3", timeout_s=60)
        try:
            found = json.loads(done.stdout)
        except ValueError:
            found = {"tool": None}
        if not found["tool"]:
            raise ToolchainError(
                f"The image {session.container.image.name} has no compile_tool.",
                remedy="Name one of OpenVINO 2022.3 with container.image.",
                tool_text=done.stdout + done.stderr,
            )
        libraries = ":".join(found["libraries"])
        return cls(session, found["tool"], {"LD_LIBRARY_PATH": libraries} if libraries else {})

    def compile(
        self,
        device: str,
        ir: Ir,
        target: Path,
        inputs: Sequence[InputParameters],
        outputs: Sequence[TensorParameters],
        *,
        settings: Mapping[str, str],
        stage: str,
        timeout_s: float,
    ) -> None:
        """Compile an IR to a blob.

        Args:
            target: The file to write, below the container's work folder.
            settings: The plugin's settings, for its configuration file.

        Raises:
            ModelError: The compiler does not take the model.
            ToolError: It failed, or wrote nothing.
        """
        config = target.with_suffix(".conf")
        config.write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
        inside = self.session.inside
        argv = command(
            device,
            inside(ir.xml),
            inside(target),
            inputs,
            outputs,
            config=inside(config) if settings else None,
        )
        try:
            done = self.session.call(
                [self.program, *argv[1:]], stage=stage, timeout_s=timeout_s, env=self.env
            )
        except ToolError as error:
            if fault := of_model(error, "The compiler", _MODEL_FAULTS):
                raise fault from error
            raise
        if not target.is_file():
            raise ToolError(
                "compile_tool ended well but wrote no blob.", tool_text=done.stdout + done.stderr
            )

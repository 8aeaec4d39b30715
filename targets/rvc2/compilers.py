"""The compilers for RVC2: OpenVINO 2022.2's (natively or in a container), compile_tool, the service.

Each compiles a prepared model for some numbers of SHAVE cores.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from converter.errors import UsageError
from converter.target import Run
from targets.rvc2 import backends
from targets.rvc2.myriad.compile import compile_blobs
from targets.rvc2.myriad.where import InContainer, Native, Place
from targets.rvc2.parameters import Parameters

if TYPE_CHECKING:
    from targets.openvino.compile_tool import CompileTool
    from targets.openvino.prepare import Prepared

_DEVICE: Final = "MYRIAD"
OnBlob = Callable[[int, Path], None]


class Compiler(Protocol):
    """A compiler for RVC2."""

    @property
    def tools(self) -> Mapping[str, str]:
        """Names and versions for the build record."""
        ...

    def compile(
        self, prepared: Prepared, counts: Sequence[int], folder: Path, on_blob: OnBlob
    ) -> Mapping[int, Path]:
        """Compile for each number of SHAVE cores; `on_blob` is called for each blob when it is done."""
        ...


@contextlib.contextmanager
def opened(run: Run, parameters: Parameters) -> Iterator[Compiler]:
    """The compiler that the plan names, with its container running if it has one."""
    backend = parameters.backend
    match backend.toolchain:
        case "native":
            from targets.rvc2.myriad.toolchain import ensure

            yield _Own(run, parameters, Native(ensure(run.on_event), run.processes))
        case "online":
            yield _Service(run, parameters)
        case "container":
            from converter.container.session import open_session

            assert backend.image is not None
            with open_session(run, backend.image) as session:
                if backend.tool == backends.MYRIAD:
                    yield _Own(run, parameters, InContainer(session))
                else:
                    from targets.openvino.compile_tool import CompileTool

                    yield _Tool(run, parameters, CompileTool.find(session))


@dataclass(frozen=True)
class _Own:
    """OpenVINO 2022.2's compiler, run in a child process (`targets.rvc2.myriad.worker`)."""

    owner: Run
    parameters: Parameters
    place: Place

    @property
    def tools(self) -> Mapping[str, str]:
        return {"openvino": backends.VERSION, **self.parameters.backend.image_record}

    def compile(
        self, prepared: Prepared, counts: Sequence[int], folder: Path, on_blob: OnBlob
    ) -> Mapping[int, Path]:
        made = compile_blobs(
            prepared.path, prepared.nodes, self.parameters, counts, self.place, folder, on_blob=on_blob
        )
        self.owner.peak_bytes["compile"] = made.peak_rss_bytes
        return made.blobs


@dataclass(frozen=True)
class _Tool:
    """compile_tool of another OpenVINO, which gets an IR."""

    owner: Run
    parameters: Parameters
    tool: CompileTool

    @property
    def tools(self) -> Mapping[str, str]:
        from importlib.metadata import version

        backend = self.parameters.backend
        own = {"compile_tool": backend.version, "openvino": version("openvino")}
        return {**own, **backend.image_record}

    def compile(
        self, prepared: Prepared, counts: Sequence[int], folder: Path, on_blob: OnBlob
    ) -> Mapping[int, Path]:
        from targets.openvino.ir import make_ir

        ir = make_ir(
            prepared.path,
            self.owner.work / "model.xml",
            int8=None,
            processes=self.owner.processes,
            work=self.owner.work,
            timeout_s=self.parameters.compile_timeout_s,
        )
        blobs = {}
        for shaves in counts:
            path = folder / f"{shaves}.blob"
            self.tool.compile(
                _DEVICE,
                ir,
                path,
                self.parameters.inputs,
                self.parameters.outputs,
                settings=self.parameters.settings(shaves),
                stage="compile",
                timeout_s=self.parameters.compile_timeout_s,
            )
            blobs[shaves] = path
            on_blob(shaves, path)
        return blobs


@dataclass(frozen=True)
class _Service:
    """blobconverter: the prepared ONNX file goes to a server of Luxonis'."""

    owner: Run
    parameters: Parameters

    @property
    def tools(self) -> Mapping[str, str]:
        from importlib.metadata import version

        return {"blobconverter": version("blobconverter"), "openvino": backends.ONLINE_VERSION}

    def compile(
        self, prepared: Prepared, counts: Sequence[int], folder: Path, on_blob: OnBlob
    ) -> Mapping[int, Path]:
        from targets.openvino.compile_tool import precisions
        from targets.openvino.online import OnlineJob, Service, compile_online

        options = self.owner.plan.options
        service = Service(
            url=str(options.text("online.url")), timeout_s=options.number("online.timeout_s")
        )
        whole = self.owner.work / "whole.onnx"
        self.owner.processes.call(
            "targets.openvino.prepare:merge_weights",
            {"model": str(prepared.path), "target": str(whole)},
            what="The graph tools",
            work=self.owner.work,
            timeout_s=self.parameters.compile_timeout_s,
        )
        self.owner.notice(f"The prepared model is sent to {service.url}.")
        blobs = {}
        for shaves in counts:
            path = folder / f"{shaves}.blob"
            compile_online(
                whole,
                OnlineJob(
                    version=backends.ONLINE_VERSION,
                    shaves=shaves,
                    optimizer_params=(),
                    # The service splits its command at spaces and knows no quotes.
                    compile_params=(
                        " ".join(precisions(self.parameters.inputs, self.parameters.outputs)),
                    ),
                ),
                service,
                path,
                processes=self.owner.processes,
                work=self.owner.work,
            )
            blobs[shaves] = path
            on_blob(shaves, path)
        return blobs


def check_online(parameters: Parameters, names: Sequence[str]) -> None:
    """Check that the service can take all names and options.

    Raises:
        ModelError: Its command line would split names.
        UsageError: An option that it does not take.
    """
    from targets.openvino.online import check_names

    check_names(names)
    if parameters.cmx_slices not in (None, parameters.shaves):
        raise UsageError(
            "rvc2.number_of_cmx_slices: the service takes as many as SHAVE cores.",
            remedy="Leave it out, or convert with another toolchain.",
        )

"""The compilers for RVC2: OpenVINO 2022.2's (natively or in a container), compile_tool, the service.

Each compiles a prepared model for some numbers of SHAVE cores, and runs frames through the network that
it compiles, on a CPU.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from converter.errors import UsageError
from converter.target import Run
from targets.rvc2 import backends
from targets.rvc2.myriad.compile import compile_blobs, run_on_cpu
from targets.rvc2.myriad.toolchain import OPENVINO
from targets.rvc2.myriad.where import InContainer, Native, Place
from targets.rvc2.parameters import Parameters

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from targets.openvino.compile_tool import CompileTool
    from targets.openvino.ir import Ir
    from targets.openvino.prepare import Prepared

_DEVICE: Final = "MYRIAD"
OnBlob = Callable[[int, Path], None]
Feeds = Sequence[Mapping[str, "NDArray[Any]"]]
Shapes = Mapping[str, tuple[int, ...]]


class Compiler(Protocol):
    """A compiler for RVC2."""

    @property
    def checked_on(self) -> str:
        """The runtime of `run`, for the record of a verification."""
        ...

    @property
    def runs_beside(self) -> bool:
        """Whether `run` needs nothing that `compile` makes, and may be called at the same time."""
        ...

    @property
    def tools(self) -> Mapping[str, str]:
        """Names and versions for the build record."""
        ...

    def compile(
        self, prepared: Prepared, counts: Sequence[int], folder: Path, on_blob: OnBlob
    ) -> Mapping[int, Path]:
        """Compile for each number of SHAVE cores; `on_blob` is called for each blob when it is done."""
        ...

    def run(
        self, prepared: Prepared, feeds: Feeds, shapes: Shapes, folder: Path, timeout_s: float
    ) -> list[dict[str, NDArray[Any]]]:
        """Run frames through the network that was compiled, on the CPU in float32.

        Args:
            feeds: For each frame, by input name, an array in the prepared model's layout.
            shapes: The shape of each output, by name.

        Returns:
            For each frame, by output name, a float32 array of the output's shape.
        """
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
    def checked_on(self) -> str:
        return (
            f"OpenVINO {OPENVINO}'s CPU plugin, the network that was compiled, in float32; not on a "
            "camera"
        )

    @property
    def runs_beside(self) -> bool:
        return isinstance(self.place, Native)

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

    def run(
        self, prepared: Prepared, feeds: Feeds, shapes: Shapes, folder: Path, timeout_s: float
    ) -> list[dict[str, NDArray[Any]]]:
        return run_on_cpu(prepared, feeds, shapes, self.place, folder, timeout_s=timeout_s)


@dataclass(frozen=True)
class _Tool:
    """compile_tool of another OpenVINO, which gets an IR."""

    owner: Run
    parameters: Parameters
    tool: CompileTool
    made: dict[Path, Ir] = field(default_factory=dict)

    @property
    def checked_on(self) -> str:
        return _checked_on_ir()

    @property
    def runs_beside(self) -> bool:
        return False

    @property
    def tools(self) -> Mapping[str, str]:
        from importlib.metadata import version

        backend = self.parameters.backend
        own = {"compile_tool": backend.version, "openvino": version("openvino")}
        return {**own, **backend.image_record}

    def _ir(self, prepared: Prepared) -> Ir:
        from targets.openvino.ir import make_ir

        if prepared.path not in self.made:
            self.made[prepared.path] = make_ir(
                prepared.path,
                self.owner.work / "model.xml",
                int8=None,
                processes=self.owner.processes,
                work=self.owner.work,
                timeout_s=self.parameters.compile_timeout_s,
            )
        return self.made[prepared.path]

    def compile(
        self, prepared: Prepared, counts: Sequence[int], folder: Path, on_blob: OnBlob
    ) -> Mapping[int, Path]:
        ir = self._ir(prepared)
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

    def run(
        self, prepared: Prepared, feeds: Feeds, shapes: Shapes, folder: Path, timeout_s: float
    ) -> list[dict[str, NDArray[Any]]]:
        return _on_cpu(self.owner, self._ir(prepared).xml, feeds, shapes, folder, timeout_s)


@dataclass(frozen=True)
class _Service:
    """blobconverter: the prepared ONNX file goes to a server of Luxonis'."""

    owner: Run
    parameters: Parameters

    @property
    def checked_on(self) -> str:
        from importlib.metadata import version

        return (
            f"OpenVINO {version('openvino')}'s CPU plugin, the network that was sent to the service, "
            "in float32; not on a camera"
        )

    @property
    def runs_beside(self) -> bool:
        return False

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

    def run(
        self, prepared: Prepared, feeds: Feeds, shapes: Shapes, folder: Path, timeout_s: float
    ) -> list[dict[str, NDArray[Any]]]:
        return _on_cpu(self.owner, prepared.path, feeds, shapes, folder, timeout_s)


def _checked_on_ir() -> str:
    from importlib.metadata import version

    return (
        f"OpenVINO {version('openvino')}'s CPU plugin, the IR that was compiled, in float32; not on a "
        "camera"
    )


def _on_cpu(
    owner: Run, model: Path, feeds: Feeds, shapes: Shapes, folder: Path, timeout_s: float
) -> list[dict[str, NDArray[Any]]]:
    from targets.openvino.ir import run_ir

    results = run_ir(
        model, feeds, list(shapes), processes=owner.processes, work=folder, timeout_s=timeout_s
    )
    return [{name: values.reshape(shapes[name]) for name, values in row.items()} for row in results]


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

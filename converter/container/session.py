"""A conversion's container: opened for a run; its tools' output becomes the run's events."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from converter.container.container import Container, require
from converter.container.engine import Engine, connect
from converter.container.limits import Limits
from converter.errors import ToolchainError
from converter.events import ToolSaid
from converter.options.resolve import Options
from converter.processes.completed import Completed
from converter.target import Run


@dataclass(frozen=True)
class Session:
    """A container that runs the tools of one conversion."""

    container: Container
    run: Run

    def inside(self, path: Path) -> str:
        """The path of a file of the work folder inside the container."""
        return self.container.inside(path)

    def call(
        self,
        argv: Sequence[str],
        *,
        stage: str,
        timeout_s: float,
        env: Mapping[str, str] | None = None,
        on_line: Callable[[str], None] = lambda _line: None,
    ) -> Completed:
        """Run a tool, which must end well; its lines become events.

        Raises:
            ToolchainError: The image does not have it.
            ToolError: It failed, was ended, or ran out of memory, time or disk.
        """

        def listen(line: str) -> None:
            self.run.on_event(ToolSaid(stage=stage, text=line))
            on_line(line)

        what = Path(argv[0]).name
        done = self.container.run(argv, what=what, timeout_s=timeout_s, env=env, on_line=listen)
        return require(done, what, timeout_s, self.container)


@contextlib.contextmanager
def open_session(
    run: Run,
    image_id: str,
    *,
    env: Mapping[str, str] | None = None,
) -> Iterator[Session]:
    """Start the container of a run; it is removed when the block is left, in any case.

    Args:
        image_id: The id of the image that the plan names.

    Raises:
        ToolchainError: There is no engine, or the image is not there any more.
    """
    options = run.plan.options
    with contextlib.closing(connect(options.text("container.engine"))) as engine:
        image = engine.image(image_id)
        if image is None:
            raise ToolchainError(
                f"The image {image_id} of the plan is not on this machine any more.",
                remedy="Plan again.",
            )
        image = dataclasses.replace(image, name=run.plan.backend.image_name or image_id)
        limits = Limits.of(options)
        if told := ignored(engine, options):
            run.warn(told)
        with Container(
            engine,
            image,
            run.work,
            limits=limits,
            env=env,
            on_wait=lambda what, seconds: run.notice(f"{what} is running, {seconds / 60:.0f} min …"),
        ) as container:
            yield Session(container, run)


def ignored(engine: Engine, options: Options) -> str | None:
    """The notice about limits that the engine accepts and does not keep; None if it keeps them."""
    if not engine.ignores:
        return None
    asked = [
        key for key in ("container.memory", "container.cpus") if options.setting(key).value is not None
    ]
    told = f"{engine.name} does not keep limits on {', '.join(engine.ignores)} on this machine"
    return f"{told}: {', '.join(asked)} will have no effect." if asked else f"{told}."

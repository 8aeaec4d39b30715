"""Building a target's image: a folder with everything in it, and the engine's own builder.

Inside the build only the Dockerfile's package manager fetches files. Python packages are fetched
outside, by the user's pip with the user's settings, and copied into the build.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from converter import resources
from converter.container.container import Container
from converter.container.engine import Engine, Image, connect
from converter.container.limits import Limits
from converter.errors import Cancelled, ToolchainError, disk_error
from converter.events import Notice, OnEvent, ToolSaid
from converter.processes.run import Processes
from converter.processes.work_folder import work_folder

_PIP_TIMEOUT_S: Final = 1800.0
STAGE: Final = "build"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How an image is made.

    Attributes:
        target: The target; its Dockerfile is `docker/TARGET/Dockerfile`.
        tag: The image's name; also: further names for it.
        fill: Puts the files that the Dockerfile copies into a folder; it gets the base image as well.
        arguments: The build's arguments, besides BASE.
    """

    target: str
    tag: str
    base: str
    fill: Callable[[Path, Base], None]
    also: tuple[str, ...] = ()
    arguments: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Base:
    """The image that another is built from."""

    engine: Engine
    image: Image

    def python(self) -> tuple[int, int]:
        """Major and minor version of its Python.

        Raises:
            ToolchainError: It has none.
        """
        code = "import sys; print(*sys.version_info[:2])"
        remedy = "Name one that has with --base, such as python:3.10-slim-bookworm."
        with work_folder() as work:
            try:
                with Container(self.engine, self.image, work, limits=Limits()) as container:
                    done = container.run(["python3", "-c", code], what="python3", timeout_s=60)
                major, minor = map(int, done.stdout.split())
            except (ToolchainError, ValueError) as error:
                raise ToolchainError(
                    f"The base image {self.image.name} has no Python.", remedy=remedy
                ) from error
        return major, minor


def build(recipe: Recipe, on_event: OnEvent, *, engine_address: str | None = None) -> Image:
    """Build an image.

    Raises:
        ToolchainError: There is no engine, or a file of the build cannot be fetched.
        ToolError: The build failed.
    """
    try:
        with (
            contextlib.closing(connect(engine_address)) as engine,
            work_folder() as context,
        ):
            base = engine.image(recipe.base)
            if base is None:
                on_event(Notice(text=f"Fetching the base image {recipe.base} …"))
                base = engine.pull(recipe.base, lambda line: _tell(on_event, line))
            shutil.copytree(resources.folder("docker") / recipe.target, context, dirs_exist_ok=True)
            recipe.fill(context, Base(engine, base))
            on_event(Notice(text=f"Building {recipe.tag} …"))
            arguments = {"BASE": recipe.base, **recipe.arguments}
            image = engine.build(context, recipe.tag, arguments, lambda line: _tell(on_event, line))
            for name in recipe.also:
                engine.tag(image, name)
            return image
    except OSError as error:
        raise disk_error(error, f"building {recipe.tag}") from error
    except KeyboardInterrupt as error:
        raise Cancelled("Cancelled; no image was made.") from error


def pull(name: str, on_event: OnEvent, *, engine_address: str | None = None) -> Image:
    """Fetch an image; errors as for `Engine.pull`."""
    with contextlib.closing(connect(engine_address)) as engine:
        on_event(Notice(text=f"Fetching {name} …"))
        return engine.pull(name, lambda line: _tell(on_event, line))


def _tell(on_event: OnEvent, line: str) -> None:
    if line.strip():
        on_event(ToolSaid(stage=STAGE, text=line))


def fetch_wheels(requirements: Sequence[str], python: tuple[int, int], folder: Path) -> None:
    """Put wheels for a Python of this version on Linux x86-64 into a folder, dependencies included.

    Raises:
        ToolchainError: pip does not find them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    version = "".join(map(str, python))
    argv = [
        *(sys.executable, "-m", "pip", "download", "--only-binary", ":all:"),
        *("--python-version", version, "--implementation", "cp", "--abi", f"cp{version}"),
        *("--abi", "abi3", "--abi", "none", "--dest", str(folder)),
        *(f"--platform=manylinux_2_{minor}_x86_64" for minor in (17, 24, 26, 27, 28)),
        *("--platform", "manylinux2014_x86_64", "--platform", "any"),
        *("--disable-pip-version-check", "--progress-bar", "off", *requirements),
    ]
    done = Processes().run(argv, timeout_s=_PIP_TIMEOUT_S)
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        reason = "no answer in half an hour" if done.timed_out else (said or ["pip failed"])[-1]
        raise ToolchainError(
            f"The image's Python packages could not be fetched: {reason}.",
            remedy="Check pip's network and index settings.",
            tool_text=done.stdout + done.stderr,
        )

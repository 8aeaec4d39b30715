"""The container engine: finding it, its abilities, its images.

Docker and podman both answer the Docker Engine API on a Unix socket; the `docker` package speaks it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from converter.errors import ToolchainError, ToolError
from converter.system import System, user_id

if TYPE_CHECKING:
    import docker

# The driver was written for Docker 20.10 and podman 3.4.
_OLDEST_API: Final = (1, 41)
_REQUEST_TIMEOUT_S: Final = 120
# It is there where systemd is the init (sd_booted(3)).
_SYSTEMD: Final = Path("/run/systemd/system")
_LINUX_ACCESS: Final = "Run: sudo usermod -aG docker $USER, and log in again; or use rootless podman."
_MAC_ACCESS: Final = "Start Docker Desktop as this user, or use podman machine."


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image of the engine: `id` is the hash of its content, the same on every machine."""

    name: str
    id: str
    labels: Mapping[str, str]
    size_bytes: int

    @property
    def short_id(self) -> str:
        """Twelve digits of the id, as engines print it."""
        return self.id.removeprefix("sha256:")[:12]


@dataclass(frozen=True, kw_only=True)
class Engine:
    """An engine that answered.

    Attributes:
        kind: `Docker` or `podman`.
        is_rootless: Whether it runs as an ordinary user.
        ignores: Limits that it accepts and does not keep.
        memory_bytes: Memory of the machine that it runs on.
        socket: The socket that it listens on.
    """

    kind: str
    version: str
    is_rootless: bool
    ignores: tuple[str, ...]
    memory_bytes: int
    socket: str
    client: docker.DockerClient

    @property
    def name(self) -> str:
        """Kind and version for people."""
        return f"{'rootless ' if self.is_rootless else ''}{self.kind} {self.version}"

    def image(self, name: str) -> Image | None:
        """The image of that name or id; None if the engine does not have it.

        Raises:
            ToolchainError: It does not say.
        """
        import docker
        import requests

        try:
            found = self.client.api.inspect_image(name)
        except docker.errors.NotFound:
            return None
        except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
            raise ToolchainError(
                f"{self.name} does not say whether it has the image {name}: {said(error)}.",
                remedy="Try: docker info",
            ) from error
        return Image(
            name=name,
            id=str(found["Id"]),
            labels=dict((found.get("Config") or {}).get("Labels") or {}),
            size_bytes=int(found.get("Size") or 0),
        )

    def first_of(self, names: Sequence[str]) -> Image | None:
        """The first of these images that is there."""
        return next((image for image in map(self.image, names) if image is not None), None)

    def pull(self, name: str, on_line: Callable[[str], None]) -> Image:
        """Fetch an image from its registry.

        Raises:
            ToolchainError: It cannot be fetched: no network, no such image, no permission.
        """
        import docker
        import requests

        try:
            for row in self.client.api.pull(name, stream=True, decode=True):
                if "error" in row:
                    raise docker.errors.APIError(row["error"])
                if "progressDetail" not in row or not row["progressDetail"]:
                    on_line(" ".join(str(row[key]) for key in ("id", "status") if row.get(key)))
        except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
            raise ToolchainError(
                f"The image {name} could not be fetched: {said(error)}.",
                remedy=f"See what the engine itself says: docker pull {name}",
            ) from error
        image = self.image(name)
        if image is None:
            raise ToolchainError(f"{self.kind} fetched {name}, but does not have it.")
        return image

    def build(
        self, context: Path, tag: str, arguments: Mapping[str, str], on_line: Callable[[str], None]
    ) -> Image:
        """Build the `Dockerfile` in a folder with the engine's own builder.

        Raises:
            ToolError: A step of the build failed; its log is in `tool_text`.
        """
        import docker
        import requests

        log: list[str] = []
        try:
            for row in self.client.api.build(
                path=str(context),
                tag=tag,
                buildargs=dict(arguments),
                rm=True,
                forcerm=True,
                decode=True,
            ):
                if "error" in row:
                    raise docker.errors.APIError(str(row["error"]).strip())
                for line in str(row.get("stream", "")).splitlines():
                    log.append(line)
                    on_line(line)
        except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
            raise ToolError(
                f"The image {tag} could not be built: {said(error)}.",
                remedy="Its base image comes from a registry unless --base names one that is here.",
                tool_text="\n".join(log),
            ) from error
        image = self.image(tag)
        if image is None:
            raise ToolError(f"{self.kind} built {tag} and does not have it.", tool_text="\n".join(log))
        return image

    def tag(self, image: Image, name: str) -> None:
        """Give an image another name."""
        repository, _, tag = name.rpartition(":")
        self.client.api.tag(image.id, repository, tag)

    def close(self) -> None:
        """Close the connection."""
        self.client.close()


def find_socket(chosen: str | None = None) -> str | None:
    """The socket of an engine; nothing is sent to it yet, and no heavy module loaded.

    Args:
        chosen: The option `container.engine`.

    Returns:
        A `unix://` address; None if there is no socket in any of the usual places.

    Raises:
        ToolchainError: An engine is named that is not on this machine.
    """
    for origin, address in (
        ("container.engine", chosen),
        ("DOCKER_HOST", os.environ.get("DOCKER_HOST")),
        ("CONTAINER_HOST", os.environ.get("CONTAINER_HOST")),
    ):
        if address:
            address = f"unix://{address}" if address.startswith("/") else address
            if not address.startswith("unix://"):
                raise ToolchainError(
                    f"{origin} is {address!r}, but the engine must run on this machine: files are "
                    "handed to it in place.",
                    remedy="Name a local socket, unix:///…",
                )
            return address
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{user_id()}"
    places = (
        Path("/var/run/docker.sock"),
        Path(runtime) / "docker.sock",
        Path.home() / ".docker" / "run" / "docker.sock",
        Path(runtime) / "podman" / "podman.sock",
        Path("/run/podman/podman.sock"),
    )
    found = next((path for path in places if _is_socket(path)), None)
    return None if found is None else f"unix://{found}"


def _start() -> str:
    """How an engine is started on this system."""
    if System.current().name == "Darwin":
        return (
            "Start Docker Desktop (open -a Docker), or: podman machine start; or install one of them."
        )
    install = "or install Docker Engine or podman."
    if not _SYSTEMD.is_dir():  # another init, or none
        return f"Start Docker or podman, {install}"
    return (
        f"Start it (sudo systemctl start docker, or: systemctl --user start podman.socket), {install}"
    )


def _is_socket(path: Path) -> bool:
    try:
        return path.is_socket()
    except OSError:  # a folder that this user may not read
        return False


def connect(chosen: str | None = None) -> Engine:
    """The engine of this machine.

    Raises:
        ToolchainError: There is none, it may not be used, or it is too old; with a remedy.
    """
    system = System.current()
    if not system.has("container"):
        raise ToolchainError(
            f"Container engines are driven on Linux and macOS; this is {system}.",
            remedy="Convert in WSL 2, which is a Linux.",
        )
    address = find_socket(chosen)
    if address is None:
        raise ToolchainError("No container engine is running on this machine.", remedy=_start())
    _knock(address)
    import docker

    try:
        version = _asked(address)
        client = docker.DockerClient(
            base_url=address, version=str(version["ApiVersion"]), timeout=_REQUEST_TIMEOUT_S
        )
    except _no_engine() as error:
        raise _no_answer(address, error) from error
    try:
        engine = _described(client, address, version, client.info())
        offered = tuple(int(part) for part in str(version["ApiVersion"]).split(".")[:2])
        if offered < _OLDEST_API:
            raise ToolchainError(
                f"{engine.name} is too old: it speaks version {version['ApiVersion']} of the API.",
                remedy="Install Docker Engine 20.10 or podman 3.4, or newer ones.",
            )
    except BaseException as error:
        client.close()
        if isinstance(error, _no_engine()):
            raise _no_answer(address, error) from error
        raise
    return engine


def _knock(address: str) -> None:
    """Check that an engine listens: `docker` takes long to load, and leaves a socket open if none does.

    Raises:
        ToolchainError: None does, or not for this user.
    """
    try:
        with socket.socket(socket.AF_UNIX) as knocking:
            knocking.settimeout(_REQUEST_TIMEOUT_S)
            knocking.connect(address.removeprefix("unix://"))
    except OSError as error:
        raise _no_answer(address, error) from error


def _asked(address: str) -> dict[str, Any]:
    """An engine's version, by a request that every version of the API has."""
    import docker

    probe = docker.APIClient(base_url=address, version="1.41", timeout=_REQUEST_TIMEOUT_S)
    try:
        return dict(probe.version(api_version=False))
    finally:
        probe.close()


def _no_engine() -> tuple[type[Exception], ...]:
    """The exceptions if no engine, or something else, answers."""
    import docker
    import requests

    broken = (KeyError, TypeError, ValueError)
    return (docker.errors.DockerException, requests.exceptions.RequestException, OSError, *broken)


def _described(
    client: docker.DockerClient, address: str, version: Mapping[str, Any], info: Mapping[str, Any]
) -> Engine:
    parts = {str(part.get("Name")): part for part in version.get("Components") or ()}
    is_podman = any("podman" in name.lower() for name in parts)
    security = " ".join(info.get("SecurityOptions") or ())
    rootless = "rootless" in security
    ignores = [
        what
        for what, key in (("memory", "MemoryLimit"), ("CPU", "CpuCfsQuota"), ("pids", "PidsLimit"))
        if info.get(key) is False
    ]
    if rootless and str(info.get("CgroupVersion")) == "1":
        # It accepts them silently and applies none (measured: podman 4.3).
        ignores = ["memory", "CPU", "pids"]
    return Engine(
        kind="podman" if is_podman else "Docker",
        version=str(version.get("Version", "of unknown version")),
        is_rootless=rootless,
        ignores=tuple(ignores),
        memory_bytes=int(info.get("MemTotal") or 0) or (8 << 30),
        socket=address,
        client=client,
    )


def _no_answer(address: str, error: Exception) -> ToolchainError:
    text = str(error)
    if "Permission denied" in text or "PermissionError" in text:
        return ToolchainError(
            f"This user may not use the container engine at {address}.",
            remedy=_MAC_ACCESS if System.current().name == "Darwin" else _LINUX_ACCESS,
        )
    if "No such file" in text or "FileNotFoundError" in text or "Connection refused" in text:
        return ToolchainError(f"No container engine answers at {address}.", remedy=_start())
    return ToolchainError(
        f"The container engine at {address} gave an unexpected answer: {said(error)}.",
        remedy="Try: docker info",
    )


def lost(error: Exception) -> ToolError:
    """The error for an engine that stopped answering, or refused, in the middle of something."""
    return ToolError(
        f"The container engine failed or went away: {said(error)}.",
        remedy="Try: docker info. Nothing was written; convert again.",
    )


def said(error: Exception) -> str:
    """An engine's message, in one line without a full stop."""
    explanation = getattr(error, "explanation", None) or str(error)
    line = " ".join(str(explanation).split()).rstrip(".")
    return line if len(line) <= 300 else line[:299] + "…"

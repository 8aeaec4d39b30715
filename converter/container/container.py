"""One container for one conversion: started hardened, its tools run inside, removed in any case."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Final, Self

from converter.container.engine import Engine, Image, lost, said
from converter.container.limits import Limits
from converter.container.output import Lines, output_of
from converter.container.watch import Watch
from converter.errors import ConvertError, ToolchainError, ToolError
from converter.processes.completed import Completed, died
from converter.processes.owner import Owner
from converter.processes.work_folder import full, is_full

OWNER_LABEL: Final = "nnconvert.owner"
WORK: Final = "/work"
_KEPT_LINES: Final = 20_000
# The first process does nothing: tools run beside it. Every image of a target has Python.
# It ends by itself after a day, in case the run that started it was killed.
_IDLE: Final = ("-c", "import signal; signal.alarm(86400); signal.pause()")
# A shell's exit code for a signal is at most this (there are 64 signals).
_LAST_SIGNAL: Final = 128 + 64
# An engine's exit codes for a tool that it could not start: 125 to 128.
_FIRST_OF_ENGINE: Final = 125
# How often the kernel ended a process of this container for want of memory, in cgroup v2 and in v1.
_COUNT_OOM: Final = """
for path in ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"):
    try:
        print(dict(line.split() for line in open(path))["oom_kill"])
        break
    except (OSError, KeyError, ValueError):
        pass
"""


class Container:
    """A running container; a context manager.

    It runs as the caller (so files belong to the user), on a read-only root file system, without
    network and capabilities, with a private `/tmp` and `WORK` for the files that go in and out.
    Starting one removes the containers of runs that were killed.
    """

    def __init__(
        self,
        engine: Engine,
        image: Image,
        work: Path,
        *,
        limits: Limits,
        env: Mapping[str, str] | None = None,
        on_wait: Callable[[str, float], None] = lambda _what, _seconds: None,
    ) -> None:
        """Args are kept; nothing is started yet.

        Args:
            work: An existing folder, which the container sees as `WORK`.
            on_wait: Called now and then with the tool that is running and for how many seconds.
        """
        self.engine = engine
        self.image = image
        self.limits = limits
        self.work = work
        self._env = {"HOME": "/tmp", "PYTHONDONTWRITEBYTECODE": "1", **(env or {})}  # noqa: S108
        self._on_wait = on_wait
        self._name = f"nnconvert-{os.getpid()}-{secrets.token_hex(6)}"

    def inside(self, path: Path) -> str:
        """The path of a file or folder of the work folder inside the container."""
        return (PurePosixPath(WORK) / path.relative_to(self.work).as_posix()).as_posix()

    def __enter__(self) -> Self:
        import docker
        import requests

        reap(self.engine)
        try:
            created = self.engine.client.api.create_container_from_config(
                self._config(), name=self._name
            )
            self.engine.client.api.start(created["Id"])
        except BaseException as error:
            self._remove()
            if isinstance(error, docker.errors.APIError):
                raise self._refused(error) from error
            if isinstance(error, requests.exceptions.RequestException):
                raise lost(error) from error
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._remove()

    def run(
        self,
        argv: Sequence[str],
        *,
        what: str,
        timeout_s: float,
        env: Mapping[str, str] | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> Completed:
        """Run a tool to its end and return its output. At the time limit the container is ended.

        Args:
            argv: The tool and its arguments; no shell is involved.
            what: The tool's name for people.
            on_line: Called with each line as it comes, of both streams.

        Raises:
            ToolchainError: The image does not have the tool.
            ToolError: The engine went away, or the container was ended from outside.
        """
        import docker
        import requests

        started = time.monotonic()
        api = self.engine.client.api
        lines: dict[bool, deque[str]] = {
            False: deque(maxlen=_KEPT_LINES),
            True: deque(maxlen=_KEPT_LINES),
        }
        with Watch(self._kill, timeout_s, lambda seconds: self._on_wait(what, seconds)) as watch:
            try:
                session = api.exec_create(
                    self._name, list(argv), workdir=WORK, environment={**self._env, **(env or {})}
                )
                parts = {False: Lines(), True: Lines()}
                with output_of(api, session["Id"]) as output:
                    for out, err in output:
                        for is_error, chunk in ((False, out), (True, err)):
                            for line in parts[is_error].take(chunk or b""):
                                lines[is_error].append(line)
                                if on_line is not None:
                                    on_line(line)
                for is_error, rest in parts.items():
                    lines[is_error].extend(rest.end())
                code = api.exec_inspect(session["Id"])["ExitCode"]
            except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
                if not watch.timed_out:
                    raise self._gone(what, error, lines) from error
                code = None
        text = {kind: "".join(f"{line}\n" for line in kept) for kind, kept in lines.items()}
        if not watch.timed_out:
            # A tool that is started while the container ends has one of these codes and no output.
            if code is None or (code >= _FIRST_OF_ENGINE and self._has_ended()):
                raise self._gone(what, None, lines)
            if code in (126, 127):
                self._check_started(argv[0], text[False] + text[True])
        return Completed(
            # The engine gives a signal as a shell does; `Completed` has it as Python does.
            returncode=-9 if code is None else 128 - code if 128 < code <= _LAST_SIGNAL else code,
            stdout=text[False],
            stderr=text[True],
            seconds=time.monotonic() - started,
            timed_out=watch.timed_out,
            oom_killed=bool(code) and not watch.timed_out and self._was_oom_killed(),
        )

    # ------------------------------------------------------------ the engine

    def _config(self) -> dict[str, Any]:
        import docker

        api = self.engine.client.api
        is_podman = self.engine.kind == "podman"
        user = f"{os.getuid()}:{os.getgid()}"
        memory = self.limits.memory_of(self.engine.memory_bytes)
        host = api.create_host_config(
            # Unlike `binds`, these do not make a folder that is not there.
            mounts=[docker.types.Mount(WORK, str(self.work), type="bind")],
            network_mode="none",
            read_only=True,
            tmpfs={"/tmp": "rw,nosuid,nodev,mode=1777"},  # noqa: S108 - the container's own
            mem_limit=memory,
            memswap_limit=memory,
            nano_cpus=int(self.limits.cpus * 1e9) if self.limits.cpus else None,
            pids_limit=self.limits.pids,
            cap_drop=["ALL"],
            # Without the label SELinux would keep the work folder from it, or relabel the user's files.
            security_opt=["no-new-privileges", "label=disable"],
            # podman's init wants catatonit, which is not everywhere; nothing here needs an init.
            init=not is_podman,
            # Rootful podman hands on limits that the kernel then refuses, unless they are named.
            ulimits=[docker.types.Ulimit(name="nofile", soft=65536, hard=65536)] if is_podman else None,
            userns_mode="keep-id" if is_podman and self.engine.is_rootless else None,
        )
        config: dict[str, Any] = api.create_container_config(
            self.image.id,
            list(_IDLE),
            entrypoint=["python3"],
            # In rootless Docker, root inside is the caller outside.
            user="0:0" if self.engine.is_rootless and not is_podman else user,
            environment=self._env,
            working_dir=WORK,
            labels={OWNER_LABEL: Owner.current().to_text()},
            host_config=host,
        )
        return config

    def _refused(self, error: Any) -> ConvertError:
        text = said(error)
        if error.status_code == 404 and "image" in text.lower():
            return ToolchainError(
                f"The image {self.image.name} is gone.", remedy=f"Run: docker pull {self.image.name}"
            )
        if "python3" in text:
            return self._no_python()
        return ToolchainError(f"{self.engine.name} does not start a container: {text}.")

    def _gone(
        self, what: str, error: Exception | None, lines: Mapping[bool, Sequence[str]]
    ) -> ConvertError:
        """The error for a tool whose end was not seen: the container or the engine ended."""
        text = "\n".join([*lines[False], *lines[True]])
        state = self._state()
        if state is None:
            failure = lost(error or RuntimeError("no answer"))
            failure.tool_text = text
            return failure
        if state.get("ExitCode") in (126, 127):  # of the idle process: an init hides that it is missing
            return self._no_python()
        if state["Running"]:
            why = f"{self.engine.name} broke off" + (f": {said(error)}" if error else "")
        else:
            why = "its container was ended from outside"
        return ToolError(
            f"{what} did not come to its end: {why}.",
            remedy="Nothing was written; convert again.",
            tool_text=text,
        )

    def _no_python(self) -> ToolchainError:
        return ToolchainError(
            f"The image {self.image.name} has no python3, so it is not a toolchain's image.",
            remedy="Name another one with container.image, or leave it out.",
        )

    def _has_ended(self) -> bool:
        """Whether the container has ended; an engine tells this a moment after the tool's end."""
        for _ in range(4):
            if not (self._state() or {"Running": False})["Running"]:
                return True
            time.sleep(0.05)
        return False

    def _state(self) -> dict[str, Any] | None:
        """The container's state; None if the engine does not answer."""
        import docker
        import requests

        try:
            return dict(self.engine.client.api.inspect_container(self._name)["State"])
        except docker.errors.NotFound:
            return {"Running": False}
        except (docker.errors.DockerException, requests.exceptions.RequestException):
            return None

    def _check_started(self, tool: str, text: str) -> None:
        """Tell a tool that was never started from one that ended with such a code by itself."""
        if "executable file not found" in text:
            raise ToolchainError(
                f"The image {self.image.name} has no {tool}.",
                remedy="It is another version, or not an image for this target.",
            )
        if text.startswith("OCI runtime exec failed"):
            raise lost(RuntimeError(text))

    def _was_oom_killed(self) -> bool:
        """Whether the kernel ended a process in here for want of memory: exit codes do not tell.

        The engine itself knows only of the first process (and podman not even of that).
        """
        import docker
        import requests

        api = self.engine.client.api
        with contextlib.suppress(docker.errors.DockerException, requests.exceptions.RequestException):
            session = api.exec_create(self._name, ["python3", "-c", _COUNT_OOM], environment=self._env)
            with output_of(api, session["Id"]) as output:
                count = b"".join(out or b"" for out, _ in output).strip()
            return count.isdigit() and int(count) > 0
        return False

    def _kill(self) -> None:
        import docker
        import requests

        with contextlib.suppress(docker.errors.DockerException, requests.exceptions.RequestException):
            self.engine.client.api.kill(self._name)

    def _remove(self) -> None:
        import docker
        import requests

        with contextlib.suppress(docker.errors.DockerException, requests.exceptions.RequestException):
            self.engine.client.api.remove_container(self._name, force=True, v=True)


def reap(engine: Engine) -> int:
    """Remove the containers of runs that were killed, never those of a living run.

    Returns:
        The number of containers removed.
    """
    import docker
    import requests

    removed = 0
    with contextlib.suppress(docker.errors.DockerException, requests.exceptions.RequestException):
        for row in engine.client.api.containers(all=True, filters={"label": OWNER_LABEL}):
            owner = Owner.from_text((row.get("Labels") or {}).get(OWNER_LABEL, ""))
            if owner is not None and owner.is_gone():
                engine.client.api.remove_container(row["Id"], force=True, v=True)
                removed += 1
    return removed


def failure(done: Completed, what: str, timeout_s: float, container: Container) -> ToolError:
    """The error for a tool that failed: out of memory, time or disk, or by itself."""
    text = done.stdout + done.stderr
    if done.oom_killed:
        memory = container.limits.memory_of(container.engine.memory_bytes) / (1 << 30)
        return ToolError(
            f"{what} ran out of memory: its container may take {memory:.2g} GiB.",
            remedy="Give it more with container.memory=16g, or convert a smaller model.",
            tool_text=text,
        )
    if not done.timed_out and is_full(container.work):
        error = full(f"{what} was running")
        error.tool_text = text
        return error
    return died(done, what, timeout_s)


def require(done: Completed, what: str, timeout_s: float, container: Container) -> Completed:
    """The result of a tool, if it ended well.

    Raises:
        ToolError: It did not; see `failure`.
    """
    if done.returncode == 0 and not done.timed_out:
        return done
    raise failure(done, what, timeout_s, container)

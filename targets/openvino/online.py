"""Compiling at Luxonis' blobconverter service, through its own library: the toolchain `online`.

Only the prepared model, under a neutral name, and the compiler's parameters are sent. The service's
code is in https://github.com/luxonis/blobconverter (`main.py`): it writes the parameters into its log
and keeps the compiled file in its bucket, under a hash of the whole request.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from converter.errors import (
    ArchiveError,
    ConvertError,
    ModelError,
    ToolchainError,
    ToolError,
    UsageError,
    disk_error,
    from_findings,
)
from converter.findings import Finding
from converter.processes.run import Processes

if TYPE_CHECKING:
    import requests

_CONNECT_S: Final = 20.0
_SHOWN: Final = 300  # characters of the service's words in a message
_ANSWERED: Final = Path("answer")
_ELSEWHERE: Final = "Try again later, or take another toolchain (see --toolchain)."
# The service splits the compiler's command at spaces, without a shell; compile_tool splits -iop at
# commas and colons; mo takes brackets for shapes, and its wrapper `$` for the start of a variable.
_BREAKING: Final = re.compile(r"[\s'\"`,:$\[\](){}]")
# The lines in the output of mo and compile_tool that say what is wrong.
_MO_ERROR: Final = re.compile(r"^\[ ?ERROR ?\]\s*(?=.*\w)")
_TELLING: Final = re.compile(
    r"error|unsupported|not supported|cannot|can't|fail|invalid", re.IGNORECASE
)
_SOURCE_PLACE: Final = re.compile(r"^(?:/|\w:)?[\w./\\-]+\.[ch]pp:\d+:?\s*")
# Failures of a command that the model did not cause: its parameters, or the service's machine.
_NOT_THE_MODEL: Final = re.compile(
    r"command line flag|unrecognized arguments|No space left|bad_alloc|MemoryError|Permission denied"
)


@dataclass(frozen=True, kw_only=True)
class Service:
    """Where to compile, and for how long.

    Attributes:
        url: The URL of a blobconverter service, such as `https://blobconverter.luxonis.com`.
        timeout_s: The limit for one whole compile: sending, compiling and receiving.
    """

    url: str
    timeout_s: float


@dataclass(frozen=True, kw_only=True)
class OnlineJob:
    """The parameters of a request to the service.

    Attributes:
        version: The service's name for OpenVINO's version: `2022.1` for RVC2, `2022.3_RVC3` for RVC3.
        shaves: SHAVE cores and CMX slices; without meaning for RVC3.
        optimizer_params: For `mo`, each one argument; with an ONNX file only.
        compile_params: For `compile_tool`, split at spaces by the service, which knows no quotes:
            `-ip U8`, `-iop images:U8,scores:FP16`.
        data_type: The weights' type, `FP16` or `FP32`.
    """

    version: str
    shaves: int
    optimizer_params: tuple[str, ...] = ()
    compile_params: tuple[str, ...] = ()
    data_type: str = "FP16"

    @property
    def is_rvc3(self) -> bool:
        """Whether the blob is for RVC3, so in VPUX' format."""
        return self.version.endswith("RVC3")


def check_names(names: Iterable[str]) -> None:
    """Refuse names of tensors that the service's command lines would split.

    Raises:
        ModelError: It has one finding for each such name.
    """
    findings = []
    for name in names:
        if name and not (found := sorted(set(_BREAKING.findall(name)))):
            continue
        has = "has " + " ".join(map(repr, found)) if name else "is empty"
        findings.append(
            Finding(
                code="online.tensor-name",
                where=f"tensor {name!r}",
                message=f"the online service cannot take it: its name {has}.",
                remedy="Rename the tensor, or take another toolchain.",
            )
        )
    if findings:
        raise from_findings(ModelError, "Names of tensors for the online service", findings)


def compile_online(
    model: Path,
    job: OnlineJob,
    service: Service,
    output: Path,
    *,
    processes: Processes,
    work: Path,
) -> Path:
    """Have a model compiled, in a child process, and write the blob.

    Proxies and certificates are those of the environment, as `requests` reads it.

    Args:
        model: An ONNX file with its weights inside, or an `.xml` of OpenVINO's with its `.bin` beside.
        output: The blob's path; it appears whole or not at all.
        work: An existing folder; temporary files there are removed afterwards.

    Returns:
        `output`.

    Raises:
        UsageError: The URL or a parameter is not valid.
        ModelError: The service's tools do not take the model.
        ToolchainError: The service cannot be reached.
        ToolError: It failed, did not answer in time, or answered with something else than a blob.
    """
    _check_parameters(job, model)
    if model.suffix == ".xml":
        files = {"model.xml": model, "model.bin": model.with_suffix(".bin")}
    else:
        files = {"model.onnx": model}
    try:
        with tempfile.TemporaryDirectory(prefix="online-", dir=work) as name:
            folder = Path(name)
            for sent, path in files.items():
                shutil.copyfile(path, folder / sent)
            answer = processes.call(
                "targets.openvino.online:compile_file",
                {"files": list(files), "url": service.url.rstrip("/"), "job": asdict(job)},
                what=f"Compiling at {_shown(service.url)}",
                work=folder,
                timeout_s=service.timeout_s,
            )
            data = (folder / answer).read_bytes()
            _check_blob(data, job, _service(service.url))
            _put(data, output)
    except OSError as error:
        raise disk_error(error, "compiling online") from error
    return output


def compile_file(files: Sequence[str], url: str, job: Mapping[str, Any]) -> str:
    """The child's part: ask the service about files in the current folder.

    Returns:
        The file with the answer, relative to the current folder.

    Raises:
        ConvertError: As for `compile_online`.
    """
    os.environ.setdefault("HOME", ".")  # the library asks for it as it is imported
    try:
        import requests

        library: Any = importlib.import_module("blobconverter")  # without types
    except ImportError as error:
        raise ToolchainError(
            f"The online toolchain needs a package that is not installed: {error.name}.",
            remedy="Run: pip install blobconverter",
        ) from error
    where = _service(url)

    def post(address: str, **form: Any) -> requests.Response:
        # A redirect would turn the POST into a GET, or send the model to a host that was not named.
        response = requests.post(address, allow_redirects=False, timeout=(_CONNECT_S, None), **form)
        if response.status_code != 200:
            raise _refusal(response, where)
        return response

    # Before it asks the service, the library asks a public S3 bucket for a blob of the same hash,
    # whatever `use_cache` says. The user did not choose that host, and it is not known when its blobs
    # were compiled: only the service is asked.
    def no_bucket(*_: Any) -> None:
        raise FileNotFoundError

    bucket = "__download_from_s3_bucket"
    if not hasattr(library, bucket):
        raise ToolchainError(
            "The installed version of blobconverter is not supported.",
            remedy="Run: pip install blobconverter==1.4.3",
        )
    vars(library).update({bucket: no_bucket, "requests": SimpleNamespace(post=post)})
    # The library writes its cache's index to the default folder, though the cache is not used.
    library.set_defaults(output_dir=_ANSWERED, silent=True)
    options: dict[str, Any] = {
        "url": url,
        "version": job["version"],
        "shaves": job["shaves"],
        "compile_params": job["compile_params"],
        "data_type": job["data_type"],
        "output_dir": _ANSWERED,
        "use_cache": False,  # its cache returns any file of the same name
    }
    try:
        # Relative paths: the library cuts the folder's name at `#`, `?` and `:`.
        if files[0] == "model.xml":
            return str(library.from_openvino(*files, **options))
        parameters = job["optimizer_params"]
        return str(library.from_onnx(files[0], optimizer_params=parameters, **options))
    except requests.RequestException as error:
        raise _not_answered(error, where) from error
    except OSError as error:
        raise disk_error(error, "receiving the blob") from error


# ---------------------------------------------------------------- what was asked


def _check_parameters(job: OnlineJob, model: Path) -> None:
    if quoted := [text for text in job.compile_params if re.search(r"['\"]", text)]:
        raise UsageError(
            f"The online service splits at spaces and knows no quotes: {quoted[0]}.",
            remedy="Write -iop images:U8,scores:FP16, without quotes and spaces.",
        )
    assert not (model.suffix == ".xml" and job.optimizer_params), "an IR does not go through mo"


def _service(url: str) -> str:
    return f"The blobconverter service {_shown(url)}"


def _shown(url: str) -> str:
    """A URL for a message: without a password."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()


# ---------------------------------------------------------------- what was answered


def _check_blob(data: bytes, job: OnlineJob, where: str) -> None:
    """A status of 200 means little: proxies and portals answer so too."""
    from targets.rvc2.blob.read import is_blob, read_blob

    problem = None
    if job.is_rvc3:
        if data[4:8] != b"BLOB":
            problem = "no VPUX blob"
    elif not is_blob(data):
        problem = "no blob"
    else:
        try:
            read_blob(data)
        except ArchiveError as error:
            problem = error.message
    if problem is None:
        return
    text = data[:10_000].decode("utf-8", "replace")
    start = _one_line(text, 40)
    begins = f" that begin with {start!r}" if start.isprintable() and "\ufffd" not in start else ""
    raise ToolError(
        f"{where} answered with {len(data)} bytes{begins if start else ''}: {problem.rstrip('.')}.",
        remedy=f"Check that the URL is a blobconverter service, not a proxy's page. {_ELSEWHERE}",
        tool_text=text,
    )


def _put(data: bytes, output: Path) -> None:
    """Write beside and rename."""
    beside = output.with_name(f".{output.name}.part")
    try:
        beside.write_bytes(data)
        beside.replace(output)
    finally:
        beside.unlink(missing_ok=True)


def _refusal(response: requests.Response, where: str) -> ConvertError:
    """The error for an answer that is not 200."""
    status = f"{response.status_code} {response.reason or ''}".strip()
    text = response.content.decode("utf-8", "replace")
    if response.is_redirect:
        there = _shown(response.headers["location"])
        return ToolError(
            f"{where} redirects to {there}; the model was not sent there.",
            remedy="If that is the service, give it as the URL.",
            tool_text=text,
        )
    if response.status_code == 400:
        try:
            body = json.loads(text)
        except ValueError:
            body = None
        if isinstance(body, dict) and isinstance(body.get("message"), str):
            return _command_failed(body, where, text)
    title = re.search(r"<title[^>]*>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
    said = _one_line(title[1] if title else re.sub(r"<[^>]*>", " ", text))
    remedy = _ELSEWHERE
    if response.status_code in (401, 403, 404, 405, 407):
        remedy = f"Check the service's URL, and the proxy's if there is one. {_ELSEWHERE}"
    elif response.status_code == 413:
        remedy = "The model is too large for the service; take another toolchain."
    return ToolError(
        f"{where} failed while compiling, status {': '.join(filter(None, (status, said)))}.",
        remedy=remedy,
        tool_text=text,
    )


def _command_failed(body: Mapping[str, Any], where: str, text: str) -> ConvertError:
    """The error from a line of the tool's output, and the service's message.

    The service runs `mo` and `compile_tool` and answers with the first that failed: `message` (the
    whole command line in it), `exit_code`, `stdout`, `stderr`. Other refusals have only a message.
    """
    printed = [
        " ".join(line.split())
        for stream in ("stderr", "stdout")
        for line in str(body.get(stream) or "").splitlines()
        if line.strip()
    ]
    errors = [_MO_ERROR.sub("", line) for line in printed if _MO_ERROR.search(line)]
    telling = [line for line in printed if _TELLING.search(line)]
    said = (errors or telling or printed[-1:] or [""])[0]
    said = _one_line(_SOURCE_PLACE.sub("", said))
    message, _, command = body["message"].partition(", command: ")
    said = f"{said} ({_one_line(message)})" if said else _one_line(message)
    tool = "compile_tool" if re.search(r"compile_tool|myriad_compile", command) else "mo"
    by = f"{where} ({tool})" if command else where
    exit_code = body.get("exit_code", 1 if printed else -1)
    # A negative code is a signal, or a command that could not be started.
    if isinstance(exit_code, int) and exit_code > 0 and not _NOT_THE_MODEL.search(" ".join(printed)):
        return ModelError(
            f"{by} does not take the model: {said}.",
            remedy="Cut the model before that operator, or export it with others.",
            tool_text=text,
        )
    return ToolError(f"{by} failed: {said}.", remedy=_ELSEWHERE, tool_text=text)


def _not_answered(error: requests.RequestException, where: str) -> ConvertError:
    """The error if there is no complete answer: not reached, or broken off."""
    from requests import exceptions
    from urllib3.exceptions import NewConnectionError

    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(cause)
    innermost = causes[-1]
    reason = _one_line(str(getattr(innermost, "strerror", None) or innermost))
    if isinstance(error, (exceptions.InvalidURL, exceptions.InvalidSchema, exceptions.MissingSchema)):
        return UsageError(
            f"{where}: that is not the URL of a service.",
            remedy="One is https://blobconverter.luxonis.com",
        )
    unreached = (exceptions.ConnectTimeout, exceptions.ProxyError, exceptions.SSLError)
    if isinstance(error, unreached) or any(isinstance(cause, NewConnectionError) for cause in causes):
        return ToolchainError(
            f"{where} cannot be reached: {reason}.",
            remedy=f"Check the network, the URL and http(s)_proxy. {_ELSEWHERE}",
            tool_text=str(error),
        )
    return ToolError(
        f"{where} broke off before the blob was here: {reason}.",
        remedy=_ELSEWHERE,
        tool_text=str(error),
    )


def _one_line(text: str, limit: int = _SHOWN) -> str:
    line = " ".join(text.split()).rstrip(".")
    return line if len(line) <= limit else line[: limit - 1] + "…"

"""Requests to the service's own API; what it answers instead of a result becomes an error of ours."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import IO, TYPE_CHECKING, Any, Final

from converter.errors import ConvertError, ToolError, UsageError, from_json
from converter.findings import Finding, Severity

if TYPE_CHECKING:
    import requests

_TIMEOUT_S: Final = (10.0, 120.0)
_CHUNK: Final = 1 << 20


class Http:
    """A server's address, and a key for it."""

    def __init__(self, url: str, key: str) -> None:
        import requests

        self.url = url.rstrip("/")
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {key}"

    def json(self, method: str, path: str, **sent: Any) -> Any:
        """The JSON document of an answer.

        Raises:
            UsageError: The key or the request is refused, with the server's findings.
            ToolError: The server does not answer, or failed.
        """
        answer = self._asked(method, path, **sent)
        try:
            return answer.json()
        except ValueError as error:
            raise ToolError(
                f"{self.url} answers with something else than the service does.",
                remedy="Look whether --server names it, and what is between.",
            ) from error

    def download(self, path: str, file: IO[bytes]) -> None:
        """Write a file of the server's; errors as for `json`."""
        import requests

        with self._asked("GET", path, stream=True) as answer:
            try:
                for chunk in answer.iter_content(_CHUNK):
                    file.write(chunk)
            except requests.RequestException as error:
                raise ToolError(
                    f"The connection to {self.url} was lost.", remedy="Run it again."
                ) from error

    def events(self, path: str, after: int) -> Iterator[tuple[int, str, dict[str, Any]]]:
        """Position, kind and data of server-sent events behind a position; ends with the connection.

        Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
        """
        import requests

        headers = {"Last-Event-ID": str(after)}
        fields: dict[str, str] = {}
        with self._asked("GET", path, headers=headers, stream=True) as answer:
            lines = answer.iter_lines()
            while True:
                try:
                    line = next(lines).decode()
                except (StopIteration, requests.RequestException):
                    return
                if line:
                    name, _, value = line.partition(":")
                    fields[name] = value.removeprefix(" ")
                    continue
                if "data" in fields:
                    yield int(fields["id"]), fields["event"], json.loads(fields["data"])
                fields = {}

    def _asked(self, method: str, path: str, **sent: Any) -> requests.Response:
        import requests

        try:
            answer = self._session.request(method, self.url + path, timeout=_TIMEOUT_S, **sent)
        except requests.RequestException as error:
            raise ToolError(
                f"The server {self.url} does not answer ({type(error).__name__}).",
                remedy="Look whether it runs, and whether --server names it.",
            ) from error
        if answer.status_code >= 400:
            raise _refusal(answer.status_code, answer.text)
        return answer


def _refusal(status: int, text: str) -> ConvertError:
    try:
        told = json.loads(text)
    except ValueError:
        told = {}
    detail = told.get("detail") if isinstance(told, Mapping) else None
    said = detail if isinstance(detail, str) else json.dumps(detail) if detail else f"status {status}"
    if status == 401:
        return UsageError(f"The server refuses the key: {said}", remedy="Set NNCONVERT_API_KEY.")
    findings = [
        Finding(**{**one, "severity": Severity(one["severity"])}) for one in told.get("findings") or ()
    ]
    kind = UsageError if status < 500 else ToolError
    return kind(said, findings=findings)


def error_of(told: Mapping[str, Any]) -> ConvertError:
    """The error of a job that failed, as the converter on the server raised it."""
    kind = str(told.get("class", "ToolError"))
    fields = {key: told.get(key) or "" for key in ("message", "remedy", "tool_text")}
    try:
        return from_json({"kind": kind, **fields, "findings": told.get("findings") or []})
    except KeyError:
        return ToolError(fields["message"], remedy=fields["remedy"])

"""The other end of `Processes.call`: `python -m converter.child REQUEST` calls one function.

The answer lies beside the request, so that whatever native code prints cannot get into it.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

from converter.errors import ConvertError, to_json
from converter.process import die_with_parent


def main(request_file: str) -> None:
    """Call what the request names and write down what it returns or raises."""
    die_with_parent()
    path = Path(request_file)
    request = json.loads(path.read_text())
    module, _, name = request["function"].partition(":")
    function = getattr(importlib.import_module(module), name)
    try:
        answer = {"result": function(**request["arguments"])}
    except ConvertError as error:
        answer = {"error": to_json(error)}
    path.with_suffix(".answer").write_text(json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1])

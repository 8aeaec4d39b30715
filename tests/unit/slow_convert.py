"""`convert` that stays in its first call: `python -m tests.unit.slow_convert MARKS SOURCE OUT`."""

from __future__ import annotations

import sys
from typing import Any

from converter.cli import convert_main
from converter.processes.run import Processes


def main() -> None:
    marks, source, out = sys.argv[1:]
    real = Processes.call

    def call(self: Processes, function: str, arguments: Any, **rest: Any) -> Any:
        return real(self, "tests.unit.worker_functions:wait", {"folder": marks}, **rest)

    Processes.call = call  # type: ignore[method-assign]
    sys.argv = ["convert", "--target", "rvc2", source, "-o", out]
    convert_main()


if __name__ == "__main__":
    main()

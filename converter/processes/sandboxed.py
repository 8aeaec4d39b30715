"""In a sandbox: import what a call and its own calls need, then do it.

`python -m converter.processes.sandboxed REQUEST MODULE…`. The process may be forked from: like a fork
server it starts no thread while it imports, so that the conversion's own server is a fork of it.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import sys
from collections.abc import Sequence

from converter.processes.linux import forget_peak
from converter.processes.run import ALONE
from converter.processes.worker import main as work


def main(request: str, modules: Sequence[str]) -> None:
    """Import the modules and carry the request out."""
    for module in modules:
        # A call that needs it will say what is wrong with it.
        with contextlib.suppress(Exception):
            importlib.import_module(module)
    gc.collect()
    gc.freeze()
    forget_peak()
    for name in ALONE:
        os.environ.pop(name, None)
    work(request)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])

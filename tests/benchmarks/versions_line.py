"""The line of a table that says when and on what it was measured."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import version


def line() -> str:
    """Date, machine and the versions of what jobs are made of."""
    names = ("sqlalchemy", "alembic", "distributed", "psycopg", "fsspec")
    said = ", ".join(f"{name} {version(name)}" for name in names)
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}"
    return f"{time.strftime('%Y-%m-%d')}, {machine}, {said}."

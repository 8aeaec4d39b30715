"""Convert NN Archives for Luxonis cameras.

>>> import converter
>>> sorted(name for name in converter.__all__ if name.islower())
['convert', 'diff', 'lint', 'open_archive', 'plan', 'preview', 'verify_archive']

`convert(source, target)` writes an archive, `plan(source, target)` only says what it would do,
`open_archive(source)` reads one, `lint(source)` says what cameras and parsers would trip over,
`diff(old, new)` compares two by what they mean, `verify_archive(archive, source)` compares a
converted one with its source again, and `preview(archive, photos, source)` draws what both find.
`Client(url)` converts on a server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from converter.checks.lint import lint
    from converter.client.client import Client
    from converter.comparison.archives import Difference, diff
    from converter.conversion import Conversion
    from converter.errors import ConvertError
    from converter.open_source import open_archive
    from converter.photo_preview import preview
    from converter.plans import Plan
    from converter.recheck import verify_archive
    from converter.run import convert, plan

__all__ = [
    "Client",
    "Conversion",
    "ConvertError",
    "Difference",
    "Plan",
    "convert",
    "diff",
    "lint",
    "open_archive",
    "plan",
    "preview",
    "verify_archive",
]

_HOMES = {
    "Client": "client.client",
    "Conversion": "conversion",
    "ConvertError": "errors",
    "Difference": "comparison.archives",
    "Plan": "plans",
    "convert": "run",
    "diff": "comparison.archives",
    "lint": "checks.lint",
    "open_archive": "open_source",
    "plan": "run",
    "preview": "photo_preview",
    "verify_archive": "recheck",
}


def __getattr__(name: str) -> Any:
    """Load what is asked for when it is asked for: importing the package costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'converter' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"converter.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """The API, also before it is loaded."""
    return sorted({*globals(), *__all__})

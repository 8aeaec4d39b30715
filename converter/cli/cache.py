"""`cache`: how much the cache holds, whether it is whole, and making it smaller."""

# ruff: noqa: T201 - printing is what this module is for

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

if TYPE_CHECKING:
    from converter.cache.store import Summary

cache_app = App(name="cache", help="Show, check or shrink the cache of results.")

Url = Annotated[
    str | None, Parameter(help="The cache's folder or URL (cache.url); the user's own if not set.")
]
AsJson = Annotated[bool, Parameter(name="--json", negative="", help="Print one JSON document.")]


@cache_app.command(help_epilogue="Example: nnconvert cache info")
def info(*, url: Url = None, json: AsJson = False) -> int:
    """Print where the cache is, how many results it has and how large they are."""
    from converter.cache.store import Store

    return _tell(Store(url).info(), as_json=json)


@cache_app.command(help_epilogue="Example: nnconvert cache verify")
def verify(*, url: Url = None, json: AsJson = False) -> int:
    """Read every file; what is damaged is dropped, and made again when it is wanted."""
    from converter.cache.store import Store

    return _tell(Store(url).verify(), as_json=json)


@cache_app.command(help_epilogue="Example: nnconvert cache prune --max-gb 5")
def prune(
    *,
    url: Url = None,
    max_gb: Annotated[
        float | None,
        Parameter(help="What may be left, in gigabytes; cache.max_gb's default if not set."),
    ] = None,
    json: AsJson = False,
) -> int:
    """Remove the results that were used longest ago, until the rest is small enough."""
    from converter.cache.store import Store
    from converter.errors import UsageError
    from converter.options.resolve import Options

    if max_gb is not None and max_gb < 0:
        raise UsageError("--max-gb is negative.", remedy="Write 0 to remove every result.")
    most = Options({}).number("cache.max_gb") if max_gb is None else max_gb
    return _tell(Store(url).prune(int(most * 1e9)), as_json=json)


def _tell(summary: Summary, *, as_json: bool) -> int:
    from converter.cli import print_json

    if as_json:
        print_json(
            {
                "url": summary.url,
                "results": summary.results,
                "size_bytes": summary.size_bytes,
                "stages": {
                    name: {"count": count, "size_bytes": size}
                    for name, (count, size) in summary.stages.items()
                },
                "damaged": list(summary.damaged),
            }
        )
        return 0
    print(f"{summary.url}: {summary.results} results, {summary.size_bytes:,} bytes")
    for name, (count, size) in summary.stages.items():
        print(f"  {name}: {count}, {size:,} bytes")
    for key in summary.damaged:
        print(f"dropped, for it was damaged: {key}")
    return 0

"""What both kinds of pages share: the frame, links, a list of findings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Final
from urllib.parse import quote

from converter.findings import Finding, Severity
from converter.zoo.site.states import STATES, State, page_key

# Nothing is fetched but the site's own files; a report may be shown in a frame.
_POLICY: Final = (
    "default-src 'none'; script-src 'self' file:; style-src 'self' file: 'unsafe-inline'; "
    "img-src 'self' file: data:; frame-src 'self' file:; base-uri 'self' file:; form-action 'none'"
)
_LEVELS: Final = {Severity.ERROR: "R", Severity.WARNING: "W", Severity.INFO: "P"}
_WORDS: Final = {Severity.ERROR: "refused", Severity.WARNING: "told", Severity.INFO: "news"}


def framed(title: str, body: str, *, up: str, base: str = "", scripts: Iterable[str] = ()) -> str:
    """A page as HTML.

    Args:
        title: Any text.
        body: HTML.
        up: From the page to the build's folder: empty, or `../`.
        base: What its links are relative to, if that is not the page's own folder.
    """
    loaded = "".join(f'<script src="{escape(name)}" defer></script>' for name in scripts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        + (f'<base href="{escape(base)}">' if base else "")
        + '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="icon" href="data:,">'
        f'<title>{escape(title)}</title><link rel="stylesheet" href="{up}style.css">{loaded}</head>\n'
        f"<body><main>\n{body}\n</main></body></html>\n"
    )


def badge(state: State, label: str = "", *, href: str = "") -> str:
    """A state with its sign and words, or as a small link that says them to a reader."""
    if not href:
        said = f"<span>{escape(label or state.words)}</span>"
        return (
            f'<span class="s {state.letter}"><span aria-hidden="true">{state.sign}</span>{said}</span>'
        )
    told = escape(f"{label}: {state.words}")
    return (
        f'<a class="s {state.letter}" href="{escape(href)}" title="{told}" aria-label="{told}">'
        f'<span>{state.sign}</span><span class="label">{escape(label)}</span></a>'
    )


def findings(found: Iterable[Finding], *, cells: Mapping[str, tuple[str, str]] | None = None) -> str:
    """A list; with `cells` each begins with a link to its cell.

    Args:
        cells: Model and anchor by the cell's id.
    """
    lines = []
    for one in found:
        state = STATES[_LEVELS[one.severity]]
        said = badge(state, _WORDS[one.severity])
        where = ""
        if cells is not None:
            where = f"<b>{escape(one.where)}</b> "
            if one.where in cells:
                model, anchor = cells[one.where]
                href = escape(f"models/{page_key(model)}.html#{anchor}")
                where = f'<a href="{href}">{escape(one.where)}</a> '
        text = escape(f"{one.message} {one.remedy}".strip())
        lines.append(f"<li>{said} {where}{text}</li>")
    return f'<ul class="findings">{"".join(lines)}</ul>' if lines else ""


def link(path: str, text: str, *, up: str, download: str = "") -> str:
    """A link to a file of the published folder.

    Args:
        path: Relative to the folder.
        up: From the page to the folder.
    """
    named = f' download="{escape(download)}"' if download else ""
    return f'<a href="{escape(up + quote(path))}"{named}>{escape(text)}</a>'

"""A question on the terminal, and its answer."""

# ruff: noqa: T201 - printing is what this module is for

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

from converter.errors import Cancelled

_WIDTH: Final = 72


def ask(text: str, default: str, choices: Sequence[str] = ()) -> str:
    """An answer that is not empty, and one of the choices if there are any.

    Args:
        default: What Enter means; empty if there must be an answer.

    Raises:
        Cancelled: The terminal was closed.
    """
    among = f" [{'/'.join(choices)}]" if choices else ""
    prompt = f"{text}{among}{f' ({default})' if default else ''}: "
    if len(prompt) > _WIDTH:  # readline scrolls a long prompt out of sight on a plain terminal
        say(f"{text}{among}")
        prompt = f"  ({default}): " if default else "  answer: "
    while True:
        answer = _line(prompt).strip() or default
        by_lower = {choice.lower(): choice for choice in choices}
        if not answer:
            say("An answer is needed here.")
        elif choices and answer.lower() not in by_lower:
            say(f"That is not {' or '.join(choices)}.")
        else:
            return by_lower.get(answer.lower(), answer)


def _line(prompt: str) -> str:
    """What is typed. Readline begins a new line after Enter only if the prompt is its own."""
    try:
        if sys.stdout.isatty():
            return input(prompt)
        print(prompt, end="", file=sys.stderr, flush=True)
        return input()
    except EOFError:
        raise Cancelled("Cancelled; nothing was written.") from None


def say(text: str) -> None:
    """A line about an answer."""
    print(text, file=sys.stderr, flush=True)

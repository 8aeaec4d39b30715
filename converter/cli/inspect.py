"""`inspect`: what a file holds, for people; several files in a line each."""

# ruff: noqa: T201 - printing is what this module is for

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converter.archive.guesses import read_guesses
from converter.cli import print_json
from converter.cli.commands import verification_line
from converter.cli.several import attempt, say_error, worst

if TYPE_CHECKING:
    from converter.formats import Format


def inspect(sources: Sequence[Path], *, as_json: bool) -> int:
    """Exit code 0 if every file could be read, else the worst error's."""
    from converter.inspect import inspect as look

    if len(sources) > 1:
        return _several(sources, as_json=as_json)
    (source,) = sources
    facts = look(source)
    if as_json:
        print_json(facts)
    elif facts["kind"] == "archive":
        _print_archive(source, facts)
    else:
        _print_compiled(source, facts)
    return 0


def _several(sources: Sequence[Path], *, as_json: bool) -> int:
    from converter.inspect import inspect as look

    documents = []
    codes = []
    for source in sources:
        tried = attempt(str(source), lambda path=source: look(path))  # type: ignore[misc]
        codes.append(tried.exit_code)
        if tried.result is None:
            say_error(tried)
            documents.append({"file": str(source), "error": tried.error_json()})
        else:
            documents.append({"file": str(source), **tried.result})
            if not as_json:
                print(f"{source}: {_one_line(tried.result)}")
    code = worst(codes)
    if as_json:
        print_json({"files": documents, "exit_code": code})
    else:
        print(f"{len(codes) - sum(map(bool, codes))} of {len(codes)} files could be read.")
    return code


def _one_line(facts: Any) -> str:
    if facts["kind"] != "archive":
        return _summary(facts)
    inside = facts["model_file"]
    if inside is None:
        return "NN Archive without a model that can be read"
    if "format" in inside:
        return f"NN Archive, source: {_source(inside)}"
    said = ""
    # A build record of another program may hold anything.
    with contextlib.suppress(AttributeError, KeyError, TypeError, ValueError):
        said = f", verification {facts['buildinfo']['verification']['status']}"
    return f"NN Archive, {_summary(inside)}{said}"


def _source(facts: Any) -> str:
    version = f"{'opset ' if facts['format'] == 'ONNX' else ''}{facts['opset']}"
    return f"{facts['format']} {version}, {sum(facts['operators'].values())} nodes"


def _print_archive(source: Path, facts: Any) -> None:
    from converter.config.schema import check_schema

    print(f"{source}: NN Archive")
    for member in facts["members"]:
        print(f"  {member['size_bytes']:>12,}  {member['name']}")
    if problems := check_schema(facts["config"]):
        print(
            f"config.json does not fit the format ({len(problems)} problems): nnconvert lint {source}"
        )
        return
    model = facts["config"]["model"]
    print(f"name: {model['metadata']['name']}")
    for kind in ("inputs", "outputs"):
        print(f"{kind}:")
        for item in model[kind]:
            frames = (item.get("preprocessing") or {}).get("dai_type")
            print(
                f"  {item['name']}: {item['dtype']} {item.get('layout') or ''} "
                f"{item.get('shape')}{f', frames {frames}' if frames else ''}"
            )
    heads = [str(head.get("parser")) for head in model.get("heads") or ()]
    print(f"heads: {', '.join(heads) or 'none'}")
    for guess in read_guesses(facts["buildinfo"]):
        print(f"guessed: {guess.one_line}")
    compiled = facts["model_file"]
    if compiled and "format" not in compiled:
        print(f"compiled: {_summary(compiled)}")
        # A build record of another program may hold anything.
        with contextlib.suppress(AttributeError, KeyError, TypeError, ValueError):
            print(verification_line(facts["buildinfo"]["verification"]))
        _print_note(compiled)
        print(f'load it: dai.NNArchive("{source}")')
    elif compiled:
        print(f"source: {_source(compiled)}")
        print(f"convert it: convert --target rvc2 {source}")


def _print_compiled(source: Path, facts: Any) -> None:
    print(f"{source}: {_summary(facts)}")
    for kind in ("inputs", "outputs"):
        if kind not in facts:
            continue
        print(f"{kind}:")
        for item in facts[kind]:
            order = f"{item['order']} " if item.get("order") else ""
            print(f"  {item['name']}: {item['dtype']} {order}{item['shape']}")
    _print_note(facts)
    load_with = _format(facts).load_with
    print(f'load it: {load_with}("{source}")' if load_with else "DepthAI loads it from an NN Archive.")


def _print_note(facts: Any) -> None:
    if note := _format(facts).note(facts):
        print(note)


def _summary(facts: Any) -> str:
    return _format(facts).summary(facts)


def _format(facts: Any) -> Format:
    from converter.formats import formats

    return next(
        item
        for item in formats()
        if (item.suffix, item.target) == (f".{facts['kind']}", facts["target"])
    )

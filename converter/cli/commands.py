"""The commands: call the API, print the result."""

# ruff: noqa: T201 - printing is what this module is for

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converter.cli import print_json
from converter.cli.progress import Reporter
from converter.errors import UsageError
from converter.options.resolve import Layer, Options, from_arguments, resolve
from converter.plans import Plan

if TYPE_CHECKING:
    from converter.formats import Format


def layers(
    overrides: Sequence[str],
    config: Path | None,
    preset: str | None,
    preprocess: str | None,
    *,
    verify: bool,
) -> Options:
    """The options in their order of strength: preset, file, command line."""
    stack: list[Layer] = []
    if preset is not None or config is not None:
        from converter.options.files import from_file, preset_layer

        stack += [preset_layer(preset)] if preset is not None else []
        stack += [from_file(config)] if config is not None else []
    stack.append(from_arguments(overrides))
    flags: dict[str, Any] = {}
    if preprocess is not None:
        flags["preprocess"] = preprocess
    if not verify:
        flags["verify.enabled"] = False
    stack.append(Layer(origin="command line", values=flags))
    return resolve(stack)


def convert(
    source: Path,
    target: str,
    toolchain: str,
    chosen: Options,
    *,
    output: Path | None,
    force: bool,
    keep_work: Path | None,
    explain: bool,
    as_json: bool,
) -> int:
    """`convert`: exit code 0 when the archive was written."""
    from converter.run import convert as run

    with Reporter(quiet=as_json) as reporter:
        done = run(
            source,
            target,
            output=output,
            options=chosen,
            toolchain=toolchain,
            force=force,
            keep_work=keep_work,
            on_event=reporter,
        )
    if as_json:
        print_json(done.to_json())
        return 0
    if explain:
        print_plan(done.plan, explain=True, file=sys.stderr)
    print(_verification_line(done.verification), file=sys.stderr)
    if "accuracy" in done.verification:
        print(_accuracy_line(done.verification["accuracy"]), file=sys.stderr)
    print(
        f"{done.size_bytes:,} bytes, sha256 {done.sha256}, {done.timings_s['total']:.1f} s",
        file=sys.stderr,
    )
    print(done.output)
    return 0


def _left_out(record: Mapping[str, Any]) -> str:
    """The outputs that were not compared, in front of the figures of the others."""
    names = list(record.get("not_compared") or ())
    return f"Not compared: {', '.join(names)}. " if names else ""


def _verification_line(record: Any) -> str:
    if record.get("status") == "skipped":
        return f"Not compared with the source: {record['reason']}."
    rows = [*record["outputs"].values(), *record.get("postprocessor", {}).get("outputs", {}).values()]
    cosine = min((row["cosine"] for row in rows), default=1.0)
    error = max((row["rel_rmse"] for row in rows), default=0.0)
    return (
        f"{_left_out(record)}Compared with the source on {record['checked_on']}: "
        f"cosine ≥ {cosine:.6f}, relative RMSE ≤ {error:.2g}."
    )


def _accuracy_line(accuracy: Mapping[str, Any]) -> str:
    """Figures before and after: `top1 0.9847 → 0.9819`."""
    before, after = accuracy["source"], accuracy["compiled"]
    figures = ", ".join(f"{name} {value:.4f} → {after[name]:.4f}" for name, value in before.items())
    on = f"{accuracy['frames']} labelled frames, source → {accuracy['compiled_on']}"
    return f"Accuracy on {on}: {figures}."


def verify(
    archive: Path,
    against: Path,
    data: Path | None,
    labels: Path | None,
    overrides: Sequence[str],
    *,
    as_json: bool,
) -> int:
    """`verify`: exit code 0 when the archive computes what its source does."""
    from converter.recheck import verify_archive

    chosen = resolve([from_arguments(overrides)])
    with Reporter(quiet=as_json) as reporter:
        record = verify_archive(
            archive, against, data=data, labels=labels, options=chosen, on_event=reporter
        )
    if as_json:
        print_json(record)
    else:
        print_figures(record)
        print(_verification_line(record))
        if "accuracy" in record:
            print(_accuracy_line(record["accuracy"]))
    return 0


def print_figures(record: Any) -> None:
    """The figures of each output."""
    second = record.get("postprocessor", {}).get("outputs", {})
    named = [
        *record["outputs"].items(),
        *((f"second stage, {name}", row) for name, row in second.items()),
    ]
    for name, row in named:
        figures = ", ".join(f"{key} {value}" for key, value in row.items())
        print(f"{name}: {figures}")


def plan(
    source: Path,
    target: str,
    toolchain: str,
    chosen: Options,
    *,
    explain: bool,
    as_json: bool,
) -> int:
    """`plan`: nothing is run."""
    from converter.run import plan as make

    made = make(source, target, options=chosen, toolchain=toolchain)
    if as_json:
        print_json(made.to_json())
    else:
        print_plan(made, explain=explain)
    return 0


def plan_for_modelconverter(source: Path, target: str, toolchain: str, chosen: Options) -> int:
    """`plan --format modelconverter`: a file for ModelConverter."""
    from converter.modelconverter.export import text
    from converter.run import plan as make

    print(text(make(source, target, options=chosen, toolchain=toolchain), source), end="")
    return 0


def print_plan(made: Plan, *, explain: bool, file: Any = None) -> None:
    """A plan for people."""

    def say(text: str = "") -> None:
        print(text, file=file)

    backend = made.backend
    say(f"{made.model.path} ({made.model.name}) for {made.target}, toolchain {made.toolchain}")
    say(f"{backend.tool} {backend.version}" + (f" in {backend.image_name}" if backend.image else ""))
    if backend.reason:
        say(backend.reason)
    say(f"plan {made.hash}")
    document = made.parameters.to_json()
    for kind in ("inputs", "outputs"):
        say(f"\n{kind}:")
        for item in document.pop(kind):
            shape = "?" if item["shape"] is None else "×".join(map(str, item["shape"]))
            frames = f", frames {item['dai_type']}" if item.get("dai_type") else ""
            say(f"  {item['name']}: {item['dtype']} {item['layout'] or ''} {shape}{frames}")
            if item.get("embedded"):
                say(f"    embedded: {_preprocessing(item['embedded'])}")
            if item.get("remaining", {}).get("mean"):
                say(f"    left in the archive: {_preprocessing(item['remaining'])}")
    say("\nparameters:")
    for key, value in document.items():
        say(f"  {key}: {value}")
    say("\nsteps:")
    for index, step in enumerate(made.steps, 1):
        say(f"  {index}. {step.title}: {step.tool} {step.version}".rstrip())
        if step.argv:
            say(f"     {shlex.join(step.argv)}")
    for warning in made.warnings:
        say(f"\nwarning: {warning}")
    if explain:
        say("\noptions:")
        width = max(len(key) for key in made.origins)
        for key, setting in made.origins.items():
            say(f"  {key:<{width}}  {setting['value']}  ({setting['origin']})")


def _preprocessing(value: Any) -> str:
    return f"{value['color'] or 'no colour'}, mean {value['mean']}, scale {value['scale']}"


def inspect(source: Path, *, as_json: bool) -> int:
    """`inspect`: an archive, a model or a compiled file."""
    from converter.inspect import inspect as look

    facts = look(source)
    if as_json:
        print_json(facts)
    elif facts["kind"] == "archive":
        _print_archive(source, facts)
    else:
        _print_compiled(source, facts)
    return 0


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
    compiled = facts["model_file"]
    if compiled and "format" not in compiled:
        print(f"compiled: {_summary(compiled)}")
        # A build record of another program may hold anything.
        with contextlib.suppress(AttributeError, KeyError, TypeError, ValueError):
            print(_verification_line(facts["buildinfo"]["verification"]))
        print(f'load it: dai.NNArchive("{source}")')
    elif compiled:
        version = f"{'opset ' if compiled['format'] == 'ONNX' else ''}{compiled['opset']}"
        print(f"source: {compiled['format']} {version}, {sum(compiled['operators'].values())} nodes")
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
    load_with = _format(facts).load_with
    print(f'load it: {load_with}("{source}")' if load_with else "DepthAI loads it from an NN Archive.")


def _summary(facts: Any) -> str:
    return _format(facts).summary(facts)


def _format(facts: Any) -> Format:
    from converter.formats import formats

    return next(
        item
        for item in formats()
        if (item.suffix, item.target) == (f".{facts['kind']}", facts["target"])
    )


def doctor(*, as_json: bool) -> int:
    """`doctor`: exit code 5 if something is missing or broken."""
    from converter.doctor import checks
    from converter.where_it_runs import rows

    found = checks()
    if as_json:
        print_json(
            {
                "checks": [
                    {"name": c.name, "detail": c.detail, "problem": c.problem, "remedy": c.remedy}
                    for c in found
                ],
                "where_it_runs": [row.to_json() for row in rows()],
            }
        )
    else:
        for check in found:
            mark = "!!" if check.problem else "ok"
            print(f"{mark} {check.name}: {check.problem or check.detail}")
            if check.problem:
                print(f"   {check.remedy}")
        print("\nWhere it runs (> is this system):")
        for row in rows():
            print(f"{'>' if row.is_here else ' '} {row.system}")
            for target, kinds in row.toolchains.items():
                print(f"    {target}: {', '.join(kinds) or 'none'}")
            if row.installs != "yes":
                print(f"    pip can install it: {row.installs}")
    return 5 if any(check.problem for check in found) else 0


def install(
    target: str, toolchain: str, version: str | None, overrides: Sequence[str], wheel: Path | None
) -> int:
    """`toolchain install`."""
    from converter.target import load

    chosen = _tool_options(target, version, overrides)
    with Reporter() as reporter:
        if toolchain == "native":
            where = load(target).install(reporter, chosen, wheel=wheel)
        else:
            from converter.container.build import pull

            name = chosen.text("container.image") or load(target).images(chosen)[-1]
            if name.startswith("localhost/"):
                raise UsageError(
                    f"No registry offers the image {name}.",
                    remedy=f"Build it: nnconvert toolchain build {target}",
                )
            where = pull(name, reporter, engine_address=chosen.text("container.engine")).name
    print(where)
    return 0


def build(
    target: str, sdk: Path | None, base: str | None, version: str | None, overrides: Sequence[str]
) -> int:
    """`toolchain build`."""
    from converter.container.build import build as make
    from converter.target import load

    chosen = _tool_options(target, version, overrides)
    with Reporter() as reporter:
        recipe = load(target).recipe(reporter, chosen, sdk=sdk, base=base)
        image = make(recipe, reporter, engine_address=chosen.text("container.engine"))
    print(f"{image.size_bytes / 1e6:,.0f} MB, {image.id}", file=sys.stderr)
    print(image.name)
    return 0


def _tool_options(target: str, version: str | None, overrides: Sequence[str]) -> Options:
    given = [from_arguments(overrides)]
    if version is not None:
        values = {f"{target}.tool_version": version}
        given.append(Layer(origin="command line", values=values))
    return resolve(given)


def remove(target: str) -> int:
    """`toolchain remove`."""
    from converter.target import load

    print("Removed." if load(target).remove() else "There was none.")
    return 0

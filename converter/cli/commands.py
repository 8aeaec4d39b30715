"""The commands: call the API, print the result."""

# ruff: noqa: T201 - printing is what this module is for

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from converter.cli import print_json
from converter.cli.progress import Reporter
from converter.errors import UsageError
from converter.options.resolve import Layer, Options, from_arguments, resolve
from converter.plans import Plan

if TYPE_CHECKING:
    from converter.cameras import Named

T = TypeVar("T")


def layers(
    overrides: Sequence[str],
    config: Path | None,
    preset: str | None,
    preprocess: str | None,
    flags_given: Layer,
    *,
    verify: bool,
) -> Options:
    """The options in their order of strength: preset, file, command line."""
    flags: dict[str, Any] = {}
    if preprocess is not None:
        flags["preprocess"] = preprocess
    if not verify:
        flags["verify.enabled"] = False
    said = [from_arguments(overrides), flags_given, Layer(origin="command line", values=flags)]
    weaker: list[Layer] = []
    if preset is not None or config is not None:
        from converter.options.files import from_file, preset_layer

        weaker += [preset_layer(preset)] if preset is not None else []
        weaker += [from_file(config, given=resolve(said))] if config is not None else []
    return resolve([*weaker, *said])


def _left_out(record: Mapping[str, Any]) -> str:
    """The outputs that were not compared, in front of the figures of the others."""
    names = list(record.get("not_compared") or ())
    return f"Not compared: {', '.join(names)}. " if names else ""


def verification_line(record: Any) -> str:
    """A verification in one line."""
    if record.get("status") == "skipped":
        return f"Not compared with the source: {record['reason']}."
    rows = [*record["outputs"].values(), *record.get("postprocessor", {}).get("outputs", {}).values()]
    values = [row.get("beyond_floor", row) for row in rows if "cosine" in row]
    indices = [row["agreement"] for row in rows if "agreement" in row]
    figures = []
    if values:
        cosine = min(row["cosine"] for row in values)
        error = max(row["rel_rmse"] or 0.0 for row in values)
        figures.append(f"cosine ≥ {cosine:.6f}, relative RMSE ≤ {error:.2g}")
    if indices:
        figures.append(f"{min(indices):.2%} of the indices the same")
    said = [f"{item['output']}: {item['said']}" for item in record.get("headlines", ())]
    return (
        f"{_left_out(record)}Compared with the source on {record['checked_on']}: "
        f"{'; '.join([*said, *figures])}."
    )


def accuracy_line(accuracy: Mapping[str, Any]) -> str:
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
    report: Path | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """`verify`: exit code 0 when the archive computes what its source does."""
    from converter.recheck import verify_archive

    chosen = resolve([from_arguments(overrides)])
    with Reporter(quiet=as_json or quiet, notices=not quiet) as reporter:
        record = verify_archive(
            archive,
            against,
            data=data,
            labels=labels,
            options=chosen,
            on_event=reporter,
            report=report,
        )
    if as_json:
        print_json(record)
    elif not quiet:
        print_figures(record)
        print(verification_line(record))
        if "accuracy" in record:
            print(accuracy_line(record["accuracy"]))
    return 0


def print_figures(record: Any) -> None:
    """The figures of each output."""
    second = record.get("postprocessor", {}).get("outputs", {})
    named = [
        *record["outputs"].items(),
        *((f"second stage, {name}", row) for name, row in second.items()),
    ]
    for name, row in named:
        single = {key: value for key, value in row.items() if not isinstance(value, list | dict)}
        print(f"{name}: {', '.join(f'{key} {value}' for key, value in single.items())}")
        for part in row.get("parts", ()):
            print(f"  {part['where']} ({part['name']}): error {part['error']}, {part['state']}")


def only(found: Sequence[T], what: str) -> T:
    """The only source or target of a plan.

    Raises:
        UsageError: There are several.
    """
    if len(found) > 1:
        raise UsageError(f"A plan is for one {what}, not for {len(found)}.", remedy="Give one.")
    return found[0]


def plan(
    sources: Sequence[str],
    targets: Sequence[Named],
    toolchain: str,
    chosen: Options,
    *,
    explain: bool,
    as_json: bool,
) -> int:
    """`plan`: nothing is run."""
    from converter.run import plan as make

    named = only(targets, "target")
    if named.camera:
        print(named, file=sys.stderr)
    made = make(only(sources, "source"), named.target, options=chosen, toolchain=toolchain)
    if as_json:
        print_json(made.to_json())
    else:
        print_plan(made, explain=explain)
    return 0


def plan_for_modelconverter(
    sources: Sequence[str], targets: Sequence[Named], toolchain: str, chosen: Options
) -> int:
    """`plan --format modelconverter`: a file for ModelConverter."""
    from converter.modelconverter.export import text
    from converter.run import plan as make

    source, target = only(sources, "source"), only(targets, "target").target
    print(text(make(source, target, options=chosen, toolchain=toolchain), Path(source)), end="")
    return 0


def print_plan(made: Plan, *, explain: bool, file: Any = None) -> None:
    """A plan for people."""

    def say(text: str = "") -> None:
        print(text, file=file)

    backend = made.backend
    say(f"{made.model.path} ({made.model.name}) for {made.target}, toolchain {made.toolchain}")
    say(f"{backend.tool} {backend.version}" + (f" in {backend.image_name}" if backend.image else ""))
    for text in (backend.reason, backend.caveat):
        if text:
            say(text)
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
        say(f"\n{warning.said}")
    if explain:
        say("\noptions:")
        width = max(len(key) for key in made.origins)
        for key, setting in made.origins.items():
            say(f"  {key:<{width}}  {setting['value']}  ({setting['origin']})")


def _preprocessing(value: Any) -> str:
    return f"{value['color'] or 'no colour'}, mean {value['mean']}, scale {value['scale']}"


def doctor(*, as_json: bool) -> int:
    """`doctor`: exit code 5 if something is missing or broken."""
    from converter.doctor import checks
    from converter.where_it_runs import rows

    found = checks()
    if as_json:
        print_json(
            {
                "checks": [
                    {
                        "name": check.name,
                        "detail": check.detail,
                        "problem": check.problem,
                        "remedy": check.remedy,
                        "needed": check.is_needed,
                    }
                    for check in found
                ],
                "where_it_runs": [row.to_json() for row in rows()],
            }
        )
    else:
        for check in found:
            mark = "ok" if not check.problem else "!!" if check.is_needed else "--"
            print(f"{mark} {check.name}: {check.problem or check.detail}")
            if check.problem and check.remedy:
                print(f"   {check.remedy}")
        print("\nWhere it runs (> is this system):")
        for row in rows():
            print(f"{'>' if row.is_here else ' '} {row.system}")
            for target, kinds in row.toolchains.items():
                print(f"    {target}: {', '.join(kinds) or 'none'}")
            if row.installs != "yes":
                print(f"    pip can install it: {row.installs}")
    return 5 if any(check.problem and check.is_needed for check in found) else 0


def install(
    target: str, toolchain: str, version: str | None, overrides: Sequence[str], wheel: Path | None
) -> int:
    """`toolchain install`."""
    from converter.cameras import target_of
    from converter.target import load

    target = target_of(target).target
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
    from converter.cameras import target_of
    from converter.container.build import build as make
    from converter.target import load

    target = target_of(target).target
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
    from converter.cameras import target_of
    from converter.target import load

    print("Removed." if load(target_of(target).target).remove() else "There was none.")
    return 0

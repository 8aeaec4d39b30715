"""The commands and their options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from converter.cli.cache import cache_app
from converter.cli.init import init
from converter.cli.serve import serve_app
from converter.cli.source_flags import NO_SOURCE_FLAGS, SourceFlags
from converter.cli.zoo import zoo_app

_CONVERT_EXAMPLE = "Example: convert --target rvc4 model.tar.xz calibration.path=images/"
_OPTIONS_HELP = (
    "Options are KEY VALUE pairs behind the source, or KEY=VALUE. List them with "
    "`nnconvert plan --target rvc2 model.tar.xz --explain`."
)

app = App(
    name="nnconvert",
    help="Convert NN Archives for Luxonis cameras, and check the results.",
    help_format="plaintext",
    version_flags=["--version"],
    help_epilogue="Example: nnconvert convert --target rvc2 model.tar.xz",
)
toolchain_app = App(name="toolchain", help="Fetch, build or remove toolchains and images.")
app.command(toolchain_app)
app.command(serve_app)
app.command(cache_app)
app.command(zoo_app)


def _version() -> str:
    from importlib.metadata import version

    return version("nnarchive-converter")


app.version = _version

Source = Annotated[
    str,
    Parameter(
        help="An NN Archive (.tar.xz, .tar.gz, .tar.bz2, .tar, a folder), a model (.onnx, .xml, "
        ".tflite), or a YAML file of ModelConverter."
    ),
]
More = Annotated[
    str,
    Parameter(
        help="More sources, and options as KEY VALUE or KEY=VALUE, e.g. rvc2.superblob true.",
        allow_leading_hyphen=False,
    ),
]
Overrides = Annotated[
    str,
    Parameter(
        help="Options as KEY VALUE or KEY=VALUE, e.g. rvc2.superblob true.",
        allow_leading_hyphen=False,
    ),
]
Target = Annotated[
    str,
    Parameter(
        name=["--target", "-t"],
        help="The camera, or its platform: oak-d, oak4-d, …, rvc2, rvc3 or rvc4; several with commas.",
    ),
]
Quiet = Annotated[
    bool, Parameter(name=["--quiet", "-q"], negative="", help="Print warnings, errors and the result.")
]
Toolchain = Annotated[str, Parameter(help="auto, or one of the target: native, container, online.")]
ConfigFile = Annotated[Path | None, Parameter(help="A YAML or JSON file with options.")]
Preset = Annotated[str | None, Parameter(help="A named set of options: superblob, thorough.")]
Preprocess = Annotated[
    Literal["embedded", "archive"] | None,
    Parameter(help="Put mean, scale and colour into the model, or leave them in the config."),
]
AsJson = Annotated[bool, Parameter(name="--json", negative="", help="Print one JSON document.")]
Report = Annotated[
    Path | None,
    Parameter(help="Write an HTML page: frames, plots, tensors, warnings; an old one is replaced."),
]
Explain = Annotated[bool, Parameter(negative="", help="Also print each option and who set it.")]


@app.command(help_epilogue=f"{_CONVERT_EXAMPLE}\n\n{_OPTIONS_HELP}")
def convert(
    source: Source,
    *more: More,
    target: Target,
    output: Annotated[
        str | None,
        Parameter(
            name=["--output", "-o"],
            help="An archive, or FOLDER/, which is made. Default: NAME.TARGET.tar.xz here.",
        ),
    ] = None,
    about: SourceFlags = NO_SOURCE_FLAGS,
    toolchain: Toolchain = "auto",
    config: ConfigFile = None,
    preset: Preset = None,
    preprocess: Preprocess = None,
    verify: Annotated[bool, Parameter(help="Compare the result with the source.")] = True,
    force: Annotated[bool, Parameter(negative="", help="Replace an existing output.")] = False,
    keep_work: Annotated[
        Path | None, Parameter(help="Keep intermediate files in this new or empty folder.")
    ] = None,
    report: Report = None,
    dry_run: Annotated[bool, Parameter(negative="", help="Print the plan; run nothing.")] = False,
    explain: Explain = False,
    server: Annotated[
        str | None,
        Parameter(help="Convert on this server (`nnconvert serve`); its key is in NNCONVERT_API_KEY."),
    ] = None,
    quiet: Quiet = False,
    json: AsJson = False,
) -> int:
    """Convert NN Archives for cameras. The last line printed is the archive's path."""
    from converter.cameras import named_targets
    from converter.cli import commands
    from converter.cli.convert import Request
    from converter.cli.convert import convert as run
    from converter.cli.sources import split

    sources, overrides = split([source, *more])
    layers = commands.layers(overrides, config, preset, preprocess, about.layer(), verify=verify)
    if dry_run:
        return commands.plan(
            sources, named_targets(target), toolchain, layers, explain=explain, as_json=json
        )
    request = Request(
        toolchain=toolchain,
        chosen=layers,
        output=output,
        force=force,
        keep_work=keep_work,
        report=report,
        explain=explain,
        as_json=json,
        quiet=quiet,
    )
    if server is not None:
        from converter.cli.remote import convert as remote

        return remote(server, sources, named_targets(target), request)
    return run(sources, named_targets(target), request)


@app.command(help_epilogue="Example: nnconvert plan --target rvc2 model.tar.xz --explain")
def plan(
    source: Source,
    *overrides: Overrides,
    target: Target,
    about: SourceFlags = NO_SOURCE_FLAGS,
    toolchain: Toolchain = "auto",
    config: ConfigFile = None,
    preset: Preset = None,
    preprocess: Preprocess = None,
    verify: Annotated[bool, Parameter(help="Plan the comparison with the source.")] = True,
    explain: Explain = False,
    json: AsJson = False,
    format: Annotated[  # noqa: A002 - the flag's name
        Literal["modelconverter"] | None, Parameter(help="Print a YAML file that ModelConverter takes.")
    ] = None,
) -> int:
    """Print what a conversion would do: parameters, steps, warnings. Nothing is run."""
    from converter.cameras import named_targets
    from converter.cli import commands
    from converter.cli.sources import split

    sources, words = split([source, *overrides])
    layers = commands.layers(words, config, preset, preprocess, about.layer(), verify=verify)
    targets = named_targets(target)
    if format is not None:
        return commands.plan_for_modelconverter(sources, targets, toolchain, layers)
    return commands.plan(sources, targets, toolchain, layers, explain=explain, as_json=json)


@app.command(
    help_epilogue="Example: nnconvert verify model.rvc4.tar.xz --against model.tar.xz --data images/"
)
def verify(
    archive: Annotated[Path, Parameter(help="An archive that this converter wrote.")],
    *overrides: Overrides,
    against: Annotated[Path, Parameter(help="The source archive it was made from.")],
    data: Annotated[
        Path | None,
        Parameter(
            help="Frames to compare on: a folder or a .zip; 20, or verify.frames. Default: generated."
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        Parameter(
            help="Labels of those frames: a CSV, a COCO JSON, or a folder (classes, YOLO's .txt, "
            "masks). Prints the accuracy of the source and of the result."
        ),
    ] = None,
    report: Report = None,
    quiet: Quiet = False,
    json: AsJson = False,
) -> int:
    """Compare a converted archive with its source again. Exit code 7 if it computes something else."""
    from converter.cli import commands

    return commands.verify(
        archive, against, data, labels, overrides, report=report, as_json=json, quiet=quiet
    )


@app.command(
    help_epilogue="Example: nnconvert analyze model.rvc4.tar.xz --against model.tar.xz --data images/"
)
def analyze(
    archive: Annotated[Path, Parameter(help="An archive that this converter wrote.")],
    *overrides: Overrides,
    against: Annotated[Path, Parameter(help="The source archive it was made from.")],
    data: Annotated[
        Path | None,
        Parameter(help="Frames to measure on: a folder or a .zip. Default: generated."),
    ] = None,
    report: Report = None,
    quiet: Quiet = False,
    json: AsJson = False,
) -> int:
    """Show where a converted network loses its accuracy, layer by layer, and what helps."""
    from converter.cli.analyze import analyze as run

    return run(archive, against, data, overrides, report=report, as_json=json, quiet=quiet)


@app.command(
    help_epilogue="Example: nnconvert preview model.rvc2.tar.xz photo.jpg --against model.tar.xz"
)
def preview(
    archive: Annotated[Path, Parameter(help="An archive that this converter wrote.")],
    photo: Annotated[Path, Parameter(help="An image file of any size.")],
    *more: Annotated[
        str, Parameter(help="More of them, and options as KEY=VALUE.", allow_leading_hyphen=False)
    ],
    against: Annotated[Path, Parameter(help="The source archive it was made from.")],
    output: Annotated[
        Path, Parameter(name=["--output", "-o"], help="The picture to write; an old one is replaced.")
    ] = Path("preview.png"),
    quiet: Quiet = False,
    json: AsJson = False,
) -> int:
    """Draw what the source and the converted network find in photos, side by side."""
    from converter.cli.preview import preview as run

    return run(archive, [str(photo), *more], against, output, as_json=json, quiet=quiet)


@app.command(help_epilogue="Example: nnconvert inspect model.rvc2.tar.xz")
def inspect(
    source: Annotated[Path, Parameter(help="An archive, a .blob, a .superblob or a .dlc.")],
    *more: Annotated[Path, Parameter(help="More of them: a line for each.")],
    profile: Annotated[
        bool,
        Parameter(
            negative="",
            help="Show what compiled files ask of a camera, side by side: multiply-accumulates, "
            "bytes of weights and activations, live memory. Sizes, no times.",
        ),
    ] = False,
    json: AsJson = False,
) -> int:
    """Show what an archive or a compiled file holds, and how to load it."""
    if profile:
        from converter.cli.profile import show

        return show([source, *more], as_json=json)
    from converter.cli.inspect import inspect as look

    return look([source, *more], as_json=json)


@app.command(help_epilogue="Example: nnconvert lint model.rvc2.tar.xz --fail-on warning")
def lint(
    *source: Annotated[Path, Parameter(help="Archives, sources or targets.")],
    target: Annotated[
        str | None, Parameter(help="Name what a conversion for this target will refuse, too.")
    ] = None,
    json: AsJson = False,
    sarif: Annotated[bool, Parameter(negative="", help="Print SARIF 2.1.0, for code hosts.")] = False,
    fail_on: Annotated[
        Literal["error", "warning", "info"], Parameter(help="The least severity for exit code 3.")
    ] = "error",
    list_checks: Annotated[
        bool, Parameter(name="--list", negative="", help="Print every code that lint may find.")
    ] = False,
    explain: Annotated[
        str | None, Parameter(help="Print what a code means, with examples: --explain CODE.")
    ] = None,
    quiet: Annotated[
        bool, Parameter(name=["--quiet", "-q"], negative="", help="Print findings and errors only.")
    ] = False,
) -> int:
    """Find problems for cameras and parsers in an archive. Exit code 3 if there are errors."""
    from converter.cli import lint as command

    return command.lint(
        source,
        target=target,
        as_json=json,
        as_sarif=sarif,
        fail_on=fail_on,
        list_checks=list_checks,
        explain=explain,
        quiet=quiet,
    )


@app.command(help_epilogue="Example: nnconvert diff model.v1.tar.xz model.v2.tar.xz")
def diff(
    old: Annotated[Path, Parameter(help="An archive, source or target.")],
    new: Annotated[Path, Parameter(help="The one to compare it with.")],
    *,
    json: AsJson = False,
) -> int:
    """Compare two archives by meaning. Exit code 0 if it is the same, 1 if not, 2 for an error."""
    from converter.cli.diff import diff as compare

    return compare(old, new, as_json=json)


@app.command(help_epilogue="Example: nnconvert doctor")
def doctor(*, json: AsJson = False) -> int:
    """Check this machine: libraries, toolchains, disk. Exit code 5 if something is missing."""
    from converter.cli import commands

    return commands.doctor(as_json=json)


app.command(init, help_epilogue="Example: nnconvert init model.onnx --color BGR --mean 104,117,123")


ToolTarget = Annotated[str, Parameter(help="The target: rvc2, rvc3 or rvc4.")]
ToolVersion = Annotated[
    str | None,
    Parameter(help="The tools' version, for example 2.41.0; the target's default if not set."),
]


@toolchain_app.command(help_epilogue="Example: nnconvert toolchain install rvc2")
def install(
    target: ToolTarget,
    *overrides: Overrides,
    toolchain: Annotated[
        Literal["native", "container"], Parameter(help="native, or container: fetch the public image.")
    ] = "native",
    tool_version: ToolVersion = None,
    wheel: Annotated[
        Path | None, Parameter(help="Take this file instead of fetching; for offline machines.")
    ] = None,
) -> int:
    """Fetch a toolchain: the native one into the cache, or the image of the container."""
    from converter.cli import commands

    return commands.install(target, toolchain, tool_version, overrides, wheel)


@toolchain_app.command(help_epilogue="Example: nnconvert toolchain build rvc4 --sdk snpe-2.41.0.zip")
def build(
    target: ToolTarget,
    *overrides: Overrides,
    sdk: Annotated[
        Path | None,
        Parameter(help="The vendor's archive: SNPE's zip, OpenVINO's tgz; rvc2 needs none."),
    ] = None,
    tool_version: ToolVersion = None,
    base: Annotated[
        str | None, Parameter(help="Build from this image instead of the Dockerfile's.")
    ] = None,
) -> int:
    """Build a target's image on this machine. The last line printed is its name."""
    from converter.cli import commands

    return commands.build(target, sdk, base, tool_version, overrides)


@toolchain_app.command(help_epilogue="Example: nnconvert toolchain remove rvc2")
def remove(target: ToolTarget) -> int:
    """Delete a native toolchain from the cache."""
    from converter.cli import commands

    return commands.remove(target)


@app.command(help_epilogue="Example: nnconvert worker --scheduler tcp://10.0.0.1:8786")
def worker(
    *,
    scheduler: Annotated[str, Parameter(help="The address of a Dask scheduler, tcp://HOST:PORT.")],
    slots: Annotated[
        int | None, Parameter(help="How many conversions run at once; one for each core if not set.")
    ] = None,
    memory_gb: Annotated[
        float | None, Parameter(help="What they may take together; most of the memory if not set.")
    ] = None,
    storage: Annotated[
        str | None, Parameter(help="Where the files of jobs are, if not where the dispatcher says.")
    ] = None,
    sandbox: Annotated[
        Literal["auto", "required", "off"],
        Parameter(help="Whether conversions run in bubblewrap: where it works, always, or never."),
    ] = "auto",
) -> int:
    """Convert for a Dask scheduler, until it is stopped; it says what this machine can convert."""
    from converter.cli.worker import worker as run

    return run(scheduler, slots, memory_gb, storage, sandbox)

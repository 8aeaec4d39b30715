"""Which toolchain converts for RVC4: SNPE in a container, or QNN on this machine."""

from __future__ import annotations

from typing import Final

from converter.backend import Backend, Kind, wanted
from converter.errors import ToolchainError, UsageError
from converter.options.resolve import Options

TOOLCHAINS: Final[tuple[Kind, ...]] = ("container", "native")
# ModelConverter's default.
SNPE_VERSION: Final = "2.41.0"
# `localhost/` is no registry: nobody else's image can come in its place.
OWN_IMAGE: Final = "localhost/nnconvert/rvc4"
VERSION_LABEL: Final = "nnconvert.snpe"
# What the native toolchain has nothing of.
_SNPE_ONLY: Final = (
    "rvc4.snpe_onnx_to_dlc_args",
    "rvc4.snpe_dlc_quant_args",
    "rvc4.snpe_dlc_graph_prepare_args",
    "rvc4.use_per_row_quantization",
    "rvc4.optimization_level",
    "rvc4.keep_raw_images",
)


def image_names(options: Options) -> list[str]:
    """Where SNPE may be: the image that was built here, then ModelConverter's."""
    version = options.text("rvc4.tool_version")
    return [f"{OWN_IMAGE}:{version or 'latest'}", public_image(version or SNPE_VERSION)]


def public_image(version: str) -> str:
    """ModelConverter's image of a version."""
    return f"ghcr.io/luxonis/modelconverter-rvc4:{version}-latest"


def choose(options: Options, toolchain: str) -> Backend:
    """The toolchain for a conversion.

    `auto` is the container where an engine and an image are, else the native one; the reason says which
    and why.

    Raises:
        UsageError: There is none of that name, or an option is none of its.
        ToolchainError: What is asked for is not there.
    """
    kind = wanted("rvc4", toolchain, TOOLCHAINS)
    if kind == "container":
        return _container(options, "")
    if kind == "native":
        if options.text("rvc4.tool_version"):
            raise UsageError(
                "rvc4.tool_version: the native toolchain is QNN of a pinned QAIRT.",
                remedy="Leave it out, or convert with --toolchain container.",
            )
        if given := _snpe_only(options):
            raise UsageError(
                f"{', '.join(given)}: only SNPE has that.",
                remedy="Leave it out, or convert with --toolchain container.",
            )
        return _native("")
    try:
        return _container(options, "Converting with SNPE in the container image {image}: it is there.")
    except ToolchainError as error:
        if any(options.text(key) for key in ("container.image", "rvc4.tool_version")):
            raise  # a user who names an image or a version does not want another tool
        if _snpe_only(options):
            raise  # nor one who sets SNPE's options
        why = error.message.rstrip(".")
        return _native(f"Converting natively with QNN, not with SNPE: {why[:1].lower()}{why[1:]}.")


def _snpe_only(options: Options) -> list[str]:
    default = Options({})
    return [key for key in _SNPE_ONLY if options.get(key) != default.get(key)]


def _native(reason: str) -> Backend:
    from targets.rvc4 import toolchain

    return Backend(
        toolchain="native",
        tool="QNN",
        version=toolchain.TOOL,
        reason=reason,
        caveat=toolchain.PINNED.caveat() or toolchain.UNTRIED,
    )


def _container(options: Options, reason: str) -> Backend:
    from converter.container.choose import require_image

    wanted_version = options.text("rvc4.tool_version")
    version = wanted_version or SNPE_VERSION
    cure = (
        f"Run: nnconvert toolchain build rvc4 --sdk snpe-{version}.zip, or: nnconvert toolchain "
        f"install rvc4 --toolchain container --tool-version {version}"
    )
    image = require_image(options, image_names(options), cure)
    labelled = image.labels.get(VERSION_LABEL)
    if labelled and wanted_version and not f"{labelled}.".startswith(f"{wanted_version}."):
        raise ToolchainError(
            f"The image {image.name} holds SNPE {labelled}, not {wanted_version}.", remedy=cure
        )
    unnamed = "unknown" if options.text("container.image") else SNPE_VERSION
    return Backend(
        toolchain="container",
        tool="SNPE",
        version=labelled or wanted_version or unnamed,
        image=image.id,
        image_name=image.name,
        reason=reason.format(image=image.name),
    )

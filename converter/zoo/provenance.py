"""How an archive was made: an in-toto statement with SLSA provenance; and what it is made of: an SBOM.

The statement is of https://in-toto.io/Statement/v1 with https://slsa.dev/provenance/v1, the bill of
materials of CycloneDX 1.6. Both are the same bytes for the same cell and build.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from converter.errors import ToolchainError
from converter.zoo.contents import Contents
from converter.zoo.index import Build, Cell

if TYPE_CHECKING:
    from cyclonedx.model.component import Component

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "https://slsa.dev/provenance/v1"
# What the parameters of a statement mean: docs/zoo-site.md.
BUILD_TYPE: Final = "urn:nnarchive-converter:zoo-cell:1"
BUILDER: Final = "urn:nnarchive-converter:zoo"
CONVERTER: Final = "nnarchive-converter"
_NAMESPACE: Final = uuid.UUID("b0c1f1de-7d0a-5d0c-9c8e-3f2f5f0c4a11")
_JSON: Final = "google.protobuf.json_format"
_PROVENANCE: Final = "in_toto_attestation.predicates.provenance.v1.provenance_pb2"
_IN_TOTO: Final = "in_toto_attestation.v1"
_NO_FILE_NAME: Final = re.compile(r"[^A-Za-z0-9._+-]+")


def require() -> None:
    """See that the libraries are installed, before hours of conversions.

    Raises:
        ToolchainError: One is missing.
    """
    for name in (_JSON, f"{_IN_TOTO}.statement", "cyclonedx.model.bom"):
        try:
            is_there = find_spec(name) is not None  # importing them takes a third of a second
        except ImportError:
            is_there = False
        if not is_there:
            raise _missing(name)


def _library(name: str) -> Any:
    """A module of the two libraries; the protobuf classes in it have no types."""
    try:
        return import_module(name)
    except ImportError:
        raise _missing(name) from None


def _missing(name: str) -> ToolchainError:
    package = {"cyclonedx": "cyclonedx-python-lib"}.get(name.partition(".")[0], "in-toto-attestation")
    return ToolchainError(
        f"Publishing a zoo needs {package}, which is not installed.",
        remedy=f"Run: pip install {package}",
    )


def file_name(cell: Cell) -> str:
    """What people call the archive: `digits.rvc4.INT8_STANDARD.tar.xz`; any model name is safe."""
    parts = (cell.model, cell.target, *((cell.mode,) if cell.mode != "default" else ()))
    safe = [_NO_FILE_NAME.sub("_", part).strip("._-")[:80] or "model" for part in parts]
    return f"{'.'.join(safe)}.tar.xz"


def statement(cell: Cell, build: Build, contents: Contents) -> bytes:
    """The provenance of a cell's archive.

    A cell that came out of the cache was made by an earlier run, whose times are not known here.
    """
    json_format, provenance_pb2 = _library(_JSON), _library(_PROVENANCE)
    ResourceDescriptor = _library(f"{_IN_TOTO}.resource_descriptor").ResourceDescriptor  # noqa: N806
    Statement = _library(f"{_IN_TOTO}.statement").Statement  # noqa: N806
    times = {} if cell.cached else {"startedOn": build.started_at, "finishedOn": build.ended_at}
    predicate: dict[str, Any] = {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {
                "model": cell.model,
                "target": cell.target,
                "mode": cell.mode,
                "manifest": {"name": build.manifest, "sha256": build.manifest_sha256},
            },
            "internalParameters": {
                "toolchain": cell.toolchain,
                "plan": cell.plan_hash or "",
                "cached": cell.cached,
            },
            "resolvedDependencies": _dependencies(cell, contents),
        },
        "runDetails": {
            "builder": {"id": BUILDER, "version": {CONVERTER: build.converter}},
            "metadata": {"invocationId": build.id, **times},
        },
    }
    # The schema's own classes say what a statement may hold.
    checked = json_format.ParseDict(predicate, provenance_pb2.Provenance())
    subject = ResourceDescriptor(name=file_name(cell), digest={"sha256": cell.sha256})
    made = Statement([subject.pb], PREDICATE_TYPE, json_format.MessageToDict(checked))
    made.validate()
    return _json(json_format.MessageToDict(made.pb))


def _dependencies(cell: Cell, contents: Contents) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if cell.source.get("sha256"):
        source = {"name": str(cell.source.get("name")), "digest": {"sha256": cell.source["sha256"]}}
        found.append(source)
    found += [
        {"name": f"model/{name}", "digest": {"sha256": digest}}
        for name, digest in contents.source_files.items()
    ]
    found += [
        {"name": f"calibration/{name}", "digest": {"sha256": digest}}
        for name, digest in contents.calibration.items()
    ]
    tools = {**contents.tools, **cell.tools}
    return found + [{"name": name, "uri": _purl(name, version)} for name, version in tools.items()]


def _purl(name: str, version: str) -> str:
    from packageurl import PackageURL

    return PackageURL("generic", None, name, version).to_string()


def read_statement(data: bytes) -> tuple[set[str], Mapping[str, Any]]:
    """The SHA-256 of a statement's subjects, and its predicate.

    Raises:
        ValueError: It is no in-toto statement of v1 with SLSA provenance of v1.
    """
    json_format, provenance_pb2 = _library(_JSON), _library(_PROVENANCE)
    statement_pb2 = _library(f"{_IN_TOTO}.statement_pb2")
    Statement = _library(f"{_IN_TOTO}.statement").Statement  # noqa: N806
    try:
        parsed = json_format.Parse(data, statement_pb2.Statement())
        Statement.copy_from_pb(parsed).validate()
        predicate = json_format.MessageToDict(parsed.predicate)
        json_format.ParseDict(predicate, provenance_pb2.Provenance())
    except (json_format.Error, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(str(error)) from error
    if parsed.predicate_type != PREDICATE_TYPE:
        raise ValueError(f"its predicate is {parsed.predicate_type!r}, not {PREDICATE_TYPE}")
    return {subject.digest["sha256"] for subject in parsed.subject}, predicate


# -------------------------------------------------------------------- SBOM


def sbom(cell: Cell, build: Build, contents: Contents) -> bytes:
    """The bill of materials of a cell's archive: its files, its source, calibration data, tools."""
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import ComponentType
    from cyclonedx.output.json import JsonV1Dot6

    tools = {**contents.tools, **cell.tools, CONVERTER: build.converter}
    archive = _component(ComponentType.MACHINE_LEARNING_MODEL, file_name(cell), cell.sha256)
    inside = [
        _component(ComponentType.FILE, one.name, one.sha256, ref=f"inside:{one.name}")
        for one in contents.members
    ]
    sources = [
        _component(ComponentType.MACHINE_LEARNING_MODEL, name, digest, ref=f"source:{name}")
        for name, digest in contents.source_files.items()
    ]
    data = [
        _component(ComponentType.DATA, f"calibration of {name}", digest, ref=f"calibration:{name}")
        for name, digest in contents.calibration.items()
    ]
    used = [
        _component(ComponentType.APPLICATION, name, None, version=version, ref=f"tool:{name}")
        for name, version in tools.items()
    ]
    bom = Bom(
        serial_number=uuid.uuid5(_NAMESPACE, f"{cell.sha256} {build.id} {cell.id}"),
        metadata=BomMetaData(component=archive, timestamp=_when(build.ended_at)),
        components=[*inside, *sources, *data],
    )
    bom.metadata.tools.components.update(used)
    bom.register_dependency(archive, [*inside, *sources, *data])
    return _json(json.loads(JsonV1Dot6(bom).output_as_string()))


def _component(
    kind: Any, name: str, sha256: str | None, *, version: str | None = None, ref: str | None = None
) -> Component:
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.component import Component

    hashes = [HashType(alg=HashAlgorithm.SHA_256, content=sha256)] if sha256 else []
    return Component(
        type=kind, name=name or "unnamed", version=version, bom_ref=ref or "archive", hashes=hashes
    )


def _when(text: str) -> Any:
    from datetime import datetime

    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def read_sbom(data: bytes) -> dict[str, str]:
    """The SHA-256 that a bill of materials gives: of the archive (`""`), and of the files inside it.

    Raises:
        ValueError: It is no CycloneDX document.
    """
    Bom = _library("cyclonedx.model.bom").Bom  # noqa: N806
    CycloneDxException = _library("cyclonedx.exception").CycloneDxException  # noqa: N806
    try:
        document = json.loads(data)
        if not isinstance(document, dict) or document.get("bomFormat") != "CycloneDX":
            raise ValueError("it is no CycloneDX document")
        bom = Bom.from_json(document)
        bom.validate()
    except (CycloneDxException, AttributeError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"it is no CycloneDX document ({type(error).__name__}: {error})") from error
    if bom.metadata.component is None:
        raise ValueError("it names no archive")
    inside = [one for one in bom.components if str(one.bom_ref.value).startswith("inside:")]
    return {
        name: digest.content
        for name, one in [("", bom.metadata.component), *((one.name, one) for one in inside)]
        for digest in one.hashes
    }


def _json(document: Any) -> bytes:
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"

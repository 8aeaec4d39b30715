"""Comparing a blob with what was asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from converter.artifact import CompiledInput
from converter.config.tensors import infer_layout
from converter.errors import ToolError, from_findings
from converter.findings import Finding
from converter.model import SourceModel, Tensor
from converter.processes.work_folder import read_made
from targets.rvc2.blob.read import Blob, BlobTensor, read_blob
from targets.rvc2.blob.superblob import SHAVE_COUNTS, read_superblob
from targets.rvc2.parameters import Parameters


def checked(path: Path, shaves: int, parameters: Parameters) -> Blob:
    """Read a blob's header, and check that it is what was asked for.

    Raises:
        ToolError: It is not, or the compiler wrote half of it, as it does when the disk is full.
    """
    blob = read_made(path, lambda: read_blob(path.read_bytes(), "the blob"))
    require_asked(blob, shaves, parameters)
    return blob


def checked_superblob(path: Path, parameters: Parameters) -> Blob:
    """Read a superblob, and check each of its blobs; returns the base's header.

    Raises:
        ArchiveError: It is damaged.
        ToolError: A blob is not what was asked for.
    """
    superblob = read_superblob(path.read_bytes(), path.name)
    require_asked(superblob.header, parameters.shaves, parameters)
    for shaves in SHAVE_COUNTS:
        require_asked(read_blob(superblob.blob(shaves), path.name), shaves, parameters)
    return superblob.header


def require_asked(blob: Blob, shaves: int, parameters: Parameters) -> None:
    """Check that a blob is what was asked for.

    Raises:
        ToolError: It is not.
    """
    findings = []
    slices = parameters.cmx_slices or shaves
    for what, wanted, found in (
        ("SHAVE cores", shaves, blob.shaves),
        ("CMX slices", slices, blob.cmx_slices),
    ):
        if wanted != found:
            findings.append(_differs("blob", f"{what}: {wanted} asked for, {found} compiled."))
    for kind, wanted_tensors, tensors in (
        ("input", parameters.inputs, blob.inputs),
        ("output", parameters.outputs, blob.outputs),
    ):
        names = {item.name for item in tensors}
        if names != {item.name for item in wanted_tensors}:
            findings.append(_differs(kind, f"the blob has the {kind}s {sorted(names)}."))
            continue
        by_name = {item.name: item for item in tensors}
        for item in wanted_tensors:
            findings += _compare_tensor(item, by_name[item.name])
    if findings:
        raise from_findings(ToolError, "The compiled blob is not what was asked for", findings)


def _compare_tensor(wanted: Any, found: BlobTensor) -> list[Finding]:
    findings = []
    if wanted.dtype != found.dtype:
        findings.append(_differs(found.name, f"{wanted.dtype} asked for, {found.dtype} compiled."))
    if wanted.shape is not None and tuple(wanted.shape) != found.shape:
        findings.append(
            _differs(found.name, f"{list(wanted.shape)} asked for, {list(found.shape)} compiled.")
        )
    if not found.is_dense:
        findings.append(_differs(found.name, "its elements are padded, which no reader expects."))
    return findings


def _differs(where: str, message: str) -> Finding:
    return Finding(code="rvc2.read-back", where=where, message=message)


def read_back(
    model: SourceModel, parameters: Parameters, blob: Blob
) -> tuple[tuple[CompiledInput, ...], tuple[Tensor, ...]]:
    """Inputs and outputs as the blob has them, in the source's order, with layouts.

    The layouts' letters are those that were declared to the compiler; the blob's letters only name the
    memory order of a rank.
    """
    found_inputs = {item.name: item for item in blob.inputs}
    found_outputs = {item.name: item for item in blob.outputs}
    inputs = tuple(
        CompiledInput(
            name=item.name,
            dtype=found_inputs[item.name].dtype,
            shape=found_inputs[item.name].shape,
            layout=item.layout,
            preprocessing=item.remaining,
            dai_type=item.dai_type,
        )
        for item in parameters.inputs
    )
    outputs = tuple(
        Tensor(
            name=item.name,
            dtype=found_outputs[item.name].dtype,
            shape=found_outputs[item.name].shape,
            layout=_output_layout(item, found_outputs[item.name]),
        )
        for item in model.outputs
    )
    return inputs, outputs


def _output_layout(item: Tensor, found: BlobTensor) -> str:
    return item.layout if len(item.layout) == len(found.shape) else infer_layout(found.shape)

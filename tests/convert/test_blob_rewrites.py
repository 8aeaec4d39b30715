"""What the Myriad compiler drops or destroys is right in the blob, or is refused before it is compiled.

Blobs of the real compiler, executed. The limits are those of test_blob_execution; where results are so
small that float16 has them without all its bits, 3e-3.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx
import pytest

from targets.rvc2.myriad.toolchain import Toolchain
from tests.blob_attributes import DROPPED
from tests.blob_rewrites import REFUSED, REWRITTEN
from tests.blobs import Compiler, NotCompiled
from tests.convert.test_blob_execution import OPERATOR, errors

SMALL = 3e-3


@pytest.fixture(scope="module")
def compiler(toolchain: Toolchain, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compiler]:
    with Compiler(toolchain, tmp_path_factory.mktemp("blobs")) as compiler:
        yield compiler


def as_it_is(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without rules, as OpenVINO 2022.2 reads it."""
    raw = onnx.ModelProto()
    raw.CopyFrom(model)
    raw.ir_version = 7
    raw.opset_import[0].version = 13
    return raw


@pytest.mark.parametrize("name", REWRITTEN)
def test_a_rewrite_makes_the_blob_right(compiler: Compiler, name: str) -> None:
    model = REWRITTEN[name]()
    limit = SMALL if name.startswith("small weights") else OPERATOR
    assert max(errors(model, compiler.compile(model)).values()) < limit


@pytest.mark.parametrize("name", ["AveragePool: 3", "ConvTranspose: in groups", "Resize: linear"])
def test_without_it_the_blob_is_wrong(compiler: Compiler, name: str) -> None:
    model = REWRITTEN[name]()
    assert max(errors(model, compiler.compile(as_it_is(model), prepared=True)).values()) > 0.1


@pytest.mark.parametrize("name", [name for name in DROPPED if not name.startswith("LSTM")])
def test_what_the_compiler_drops_is_written_out(compiler: Compiler, name: str) -> None:
    model = DROPPED[name]()
    limit = SMALL if "small weights" in name else OPERATOR
    assert max(errors(model, compiler.compile(model)).values()) < limit


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_written_out_is_refused_by_node_and_attribute(
    compiler: Compiler, name: str
) -> None:
    build, said = REFUSED[name]
    with pytest.raises(NotCompiled, match=said):
        compiler.compile(build())

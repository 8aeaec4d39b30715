"""What the rules write out, compiled and executed: the blob computes what the source does.

The limit is twice that of one operator (see `test_blob_execution`), for one became several.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from targets.rvc2.blob.execute import execute
from targets.rvc2.myriad.toolchain import Toolchain
from tests.blobs import Compiler, feeds_for, relative_error, run_source
from tests.rule_models import MODELS

LIMIT = 2e-3


@pytest.fixture(scope="module")
def compiler(toolchain: Toolchain, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compiler]:
    with Compiler(toolchain, tmp_path_factory.mktemp("blobs")) as compiler:
        yield compiler


@pytest.mark.parametrize("name", MODELS)
def test_a_rewritten_operator_is_computed_as_its_source_computes(compiler: Compiler, name: str) -> None:
    model = MODELS[name]()
    feeds = feeds_for(model)
    done = execute(compiler.compile(model), feeds)
    assert (done.unknown, done.overlaps, done.unwritten) == ((), (), ())
    wanted = run_source(model, feeds)
    assert set(wanted) == set(done.outputs)
    for output, values in wanted.items():
        assert relative_error(values, done.outputs[output]) < LIMIT, output

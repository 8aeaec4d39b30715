"""GridSample with a constant grid, compared with ONNX Runtime on the source."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.blob_models import one
from tests.rewriting import assert_same
from tests.space import space


@space(100)
@given(
    size=st.lists(st.integers(1, 5), min_size=2, max_size=3),
    points=st.lists(st.integers(1, 3), min_size=3, max_size=3),
    batch=st.integers(1, 2),
    mode=st.sampled_from(["bilinear", "nearest", "bicubic"]),
    padding=st.sampled_from(["zeros", "border", "reflection"]),
    aligned=st.integers(0, 1),
    reach=st.sampled_from([0.9, 1.6, 4.0]),
    same=st.booleans(),
    seed=st.integers(0, 99),
)
def test_sampling(
    size: list[int], points: list[int], batch: int, mode: str, padding: str, aligned: int,
    reach: float, same: bool, seed: int,
) -> None:  # fmt: skip
    opset = 16 if len(size) == 2 else 20
    if len(size) == 3 and mode == "bicubic":
        mode = "bilinear"
    names = {"bilinear": "linear", "bicubic": "cubic"} if opset == 20 else {}
    rng = np.random.default_rng(seed)
    grid = rng.uniform(-reach, reach, (batch, *points[: len(size)], len(size)))
    if same:
        grid[:] = grid[:1]
    model = one(
        "GridSample", [(batch, 2, *size)], [grid.astype(np.float32)], opset=opset,
        mode=names.get(mode, mode), padding_mode=padding, align_corners=aligned,
    )  # fmt: skip
    x: Any = rng.normal(0, 1, (batch, 2, *size)).astype(np.float32)
    assert_same(model, "GridSample", {"x0": x}, 1e-4)

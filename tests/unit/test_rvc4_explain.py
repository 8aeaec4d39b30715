"""What a user is told to do about an RVC4 network that lost too much."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from targets.rvc4 import explain

RECORD = {"outputs": {"y": {"rel_rmse": 0.45}}}


def subject(activations: int) -> explain.Subject:
    precision = SimpleNamespace(is_float=False, activations=activations)
    return cast("Any", SimpleNamespace(parameters=SimpleNamespace(precision=precision)))


@pytest.mark.parametrize(
    ("activations", "tried", "said"),
    [
        (8, 0.1, "INT8_INT16_MIXED brings the relative RMSE to 0.1 (tried on ONNX Runtime)."),
        (
            8,
            0.4,
            "INT8_INT16_MIXED loses 0.4 as well (tried on ONNX Runtime); FP16_STANDARD has no steps.",
        ),
        (8, None, "INT8_INT16_MIXED has steps 257 times finer."),
        (16, None, "FP16_STANDARD has no steps."),
    ],
)
def test_a_failure_has_a_remedy_in_every_integer_mode(
    monkeypatch: pytest.MonkeyPatch, activations: int, tried: float | None, said: str
) -> None:
    monkeypatch.setattr(explain, "_wider_error", lambda *_: tried)
    assert explain._what_helps(subject(activations), RECORD, 0.45) == said

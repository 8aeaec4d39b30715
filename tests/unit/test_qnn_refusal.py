"""A node that QNN does not take is told by the source's name, without words that say nothing."""

from __future__ import annotations

import pytest

from targets.rvc4.qnn import refused_node


@pytest.mark.parametrize(
    ("name", "reason", "told"),
    [
        ("Conv_0_token_1", "Failed to add node.", "node 'Conv_0' (Conv): the HTP does not take it. "),
        (
            "Conv_0",
            "only dilations 1!",
            "node 'Conv_0' (Conv): the HTP does not take it: only dilations 1!",
        ),
    ],
)
def test_a_refused_node(name: str, reason: str, told: str) -> None:
    assert str(refused_node("Conv", name, reason)).startswith(told)

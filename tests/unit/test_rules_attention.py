"""Attention and rotary embeddings written out, compared with ONNX Runtime on the source."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tests.blob_models import whole
from tests.rewriting import assert_same
from tests.space import space

BATCH, LENGTH, KEYS, WIDTH = 2, 3, 4, 6


def drawn(shape: Any, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def attention_model(
    *, heads: int, shared: int, flat: bool, mask: str, constant: bool, opset: int = 23, **more: Any
) -> tuple[Any, dict[str, Any]]:
    counts = {"q": (heads, LENGTH), "k": (heads // shared, KEYS), "v": (heads // shared, KEYS)}
    feeds = {}
    for index, (name, (count, length)) in enumerate(counts.items()):
        width = WIDTH + 2 * (name == "v")
        shape = (BATCH, length, count * width) if flat else (BATCH, count, length, width)
        feeds[name] = drawn(shape, index)
    names, weights = ["q", "k", "v"], []
    if mask:
        shape = {"rows": (LENGTH, KEYS), "batch": (BATCH, 1, LENGTH, KEYS)}[mask.split()[0]]
        values: Any = drawn(shape, 7)
        if mask.endswith("bool"):
            values = values > -0.5
            values[..., 0] = True
        names.append("m")
        if constant:
            weights.append(numpy_helper.from_array(values, "m"))
        else:
            feeds["m"] = values
    if flat:
        more |= {"q_num_heads": heads, "kv_num_heads": heads // shared}
    nodes = [helper.make_node("Attention", names, ["y"], name="node", **more)]
    kinds = {"m": TensorProto.BOOL if mask.endswith("bool") else TensorProto.FLOAT}
    inputs = {name: (value.shape, kinds.get(name, 1)) for name, value in feeds.items()}
    return whole(nodes, inputs, weights, ["y"], opset), feeds


@space(60)
@given(
    heads=st.sampled_from([(1, 1), (4, 1), (4, 2), (4, 4)]),
    flat=st.booleans(),
    mask=st.sampled_from(["", "rows", "rows bool", "batch", "batch bool"]),
    constant=st.booleans(),
    causal=st.integers(0, 1),
    scale=st.sampled_from([None, 0.25]),
    softcap=st.sampled_from([None, 2.0]),
)
def test_attention(
    heads: tuple[int, int], flat: bool, mask: str, constant: bool, causal: int, scale: Any, softcap: Any
) -> None:
    more = {"is_causal": causal, "scale": scale, "softcap": softcap}
    model, feeds = attention_model(
        heads=heads[0], shared=heads[1], flat=flat, mask=mask, constant=constant,
        **{name: value for name, value in more.items() if value is not None},
    )  # fmt: skip
    assert_same(model, "Attention", feeds)


@space(40)
@given(
    flat=st.booleans(),
    interleaved=st.integers(0, 1),
    part=st.booleans(),
    positions=st.sampled_from(["", "constant", "input"]),
)
def test_rotary_embeddings(flat: bool, interleaved: int, part: bool, positions: str) -> None:
    heads, width = 2, 8
    turned = 4 if part else width
    feeds = {"x": drawn((BATCH, LENGTH, heads * width) if flat else (BATCH, heads, LENGTH, width))}
    rows = (9, turned // 2) if positions else (BATCH, LENGTH, turned // 2)
    weights = [numpy_helper.from_array(drawn(rows, seed), name) for seed, name in enumerate("cs", 1)]
    names, places = ["x", "c", "s"], np.arange(BATCH * LENGTH).reshape(BATCH, LENGTH) % 9
    if positions:
        names.append("p")
    if positions == "constant":
        weights.append(numpy_helper.from_array(places, "p"))
    elif positions:
        feeds["p"] = places
    node = helper.make_node(
        "RotaryEmbedding", names, ["y"], name="node", interleaved=interleaved,
        rotary_embedding_dim=turned if part else 0, **({"num_heads": heads} if flat else {}),
    )  # fmt: skip
    inputs = {name: (v.shape, 7 if name == "p" else 1) for name, v in feeds.items()}
    assert_same(whole([node], inputs, weights, ["y"], 23), "RotaryEmbedding", feeds)

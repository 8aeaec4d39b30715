"""Models of one operator each that the rules write out, for blobs: a few for each kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tests.blob_attributes import recurrent
from tests.blob_models import Case

_EVERY: Final = ("Y", "Yh", "Yc")


def _recurrent() -> dict[str, Case]:
    cases: dict[str, Case] = {
        "LSTM Yh": lambda: recurrent("LSTM", "Yh"),
        "LSTM Yc": lambda: recurrent("LSTM", "Yc"),
        "LSTM Yh Yc": lambda: recurrent("LSTM", "Yh", "Yc", direction="bidirectional"),
        "LSTM Y Yc": lambda: recurrent("LSTM", "Y", "Yc", direction="reverse"),
        "LSTM of a batch": lambda: recurrent("LSTM", *_EVERY, batch=3, states=True),
        "LSTM of one step": lambda: recurrent("LSTM", *_EVERY, batch=3, steps=1),
        "LSTM lengths": lambda: recurrent(
            "LSTM", *_EVERY, batch=2, lengths=[3, 5], direction="bidirectional"
        ),
        "LSTM clip": lambda: recurrent("LSTM", *_EVERY, clip=0.2, direction="bidirectional"),
        "LSTM clip lengths": lambda: recurrent("LSTM", *_EVERY, clip=0.2, batch=2, lengths=[5, 2]),
        "LSTM activations": lambda: recurrent(
            "LSTM", "Y", activations=["HardSigmoid", "Softsign", "Elu"]
        ),
        "LSTM input_forget": lambda: recurrent("LSTM", "Y", input_forget=1),
        "GRU clip": lambda: recurrent("GRU", "Y", "Yh", clip=0.2),
        "GRU lengths": lambda: recurrent(
            "GRU", "Y", "Yh", batch=2, lengths=[2, 5], direction="reverse"
        ),
        "RNN LeakyRelu": lambda: recurrent("RNN", "Yh", activations=["LeakyRelu"], clip=0.5),
    }
    return cases


MODELS: Mapping[str, Case] = _recurrent()

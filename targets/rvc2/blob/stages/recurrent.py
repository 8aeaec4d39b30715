"""Recurrent layers."""

from __future__ import annotations

from typing import Final

import numpy as np

from targets.rvc2.blob.running import Floats, Running
from targets.rvc2.blob.stages.activation import sigmoid
from targets.rvc2.blob.words import NotKnown


def lstm(run: Running) -> None:
    """A long short-term memory over a sequence.

    Parameters: i forward; i cells (steps); i batches; i whether the cell state is used; i outputs.
    Buffers: x [batch][step][in], h and c before [batch][hidden], weights (W [4 · hidden][in], then
    R [4 · hidden][hidden]; gates forget, input, cell, output), bias [4 · hidden], all hidden states
    [batch][step][hidden], [last cell state], [last hidden state], [scratch].
    """
    forward, steps, batches, _uses_cell, outputs = run.parameters("5i")
    buffers = run.buffers(6, 10)
    if steps < 1 or batches < 1 or not 1 <= outputs <= 3 or len(buffers) < 5 + outputs:
        raise NotKnown(f"{outputs} outputs of an LSTM of {steps} steps and {batches} batches")
    source, hidden_before, cell_before, weights, biases = buffers[:5]
    x = run.floats(source).reshape(batches, steps, -1)
    hidden = run.floats(hidden_before).reshape(batches, -1)
    cell = run.floats(cell_before).reshape(batches, -1)
    size, into = hidden.shape[1], x.shape[2]
    matrix = run.floats(weights).reshape(-1)
    for_input = matrix[: 4 * size * into].reshape(4 * size, into).T
    for_hidden = matrix[4 * size * into :].reshape(4 * size, size).T
    bias = run.floats(biases).reshape(-1) if biases.is_there else np.zeros(4 * size, np.float32)
    run.budget.spend(float(steps) * batches * matrix.size)
    states = np.empty((batches, steps, size), np.float32)
    for step in range(steps) if forward else reversed(range(steps)):
        gates = x[:, step] @ for_input + hidden @ for_hidden + bias
        forget, take, new, give = (gates[:, k * size : (k + 1) * size] for k in range(4))
        cell = _rounded(sigmoid(forget) * cell + sigmoid(take) * np.tanh(new))
        hidden = _rounded(sigmoid(give) * np.tanh(cell))
        states[:, step] = hidden
    for target, values in zip(buffers[5 : 5 + outputs], (states, cell, hidden), strict=False):
        if target.is_there:
            run.write(target, values)


def _rounded(values: Floats) -> Floats:
    """A state as it is kept from step to step."""
    return values.astype(np.float16).astype(np.float32)


STAGES: Final = {70: ("LSTMCell", lstm)}

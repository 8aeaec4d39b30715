"""Kinds of source models: reading the facts in their files, writing them as ONNX, running them."""

"""Kinds of source models: what their files say of themselves, how they get to ONNX, what runs them."""
